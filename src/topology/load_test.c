#include "topology/build.h"

#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include "topology/dump_fixture.h"
#include "topology/parse_fixture.h"

/* A folder with a configuration in it that reads everything that can be read. */
static char folder[64];

static const char certificate[] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
                                  "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n";

static char *const environment[] = {(char[]){"HOME=/home/me"}, (char[]){"COUNT=7000"},
                                    (char[]){"UNUSED=secret"}, (char[]){"PRICE=5$each"}, NULL};

static const char *path(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *text = paths[next++ % 8];
    snprintf(text, sizeof paths[0], "%s/%s", folder, name);
    return text;
}

static void file_write(const char *name, const char *text)
{
    FILE *file = fopen(path(name), "we");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static void files_write(void)
{
    file_write("main.conf",
               "include services/*.conf; include none/*.conf; include site.conf;\n"
               "log directory=logs; access-log json fields=time,status; gateway threads=2;\n"
               "metrics 127.0.0.1:9100; quota memory=1g;\n"
               "realm r1 r2 { service logic { run x $realm; } listen $($env.COUNT + $index) tcp "
               "-> logic; include services/a.conf; }\n"
               "listen 5432 tcp -> far path=relay idle=1h;\n"
               "listen 5433 tcp { sni a.b *.b -> a; sni * -> b; proxy-protocol 10.0.0.0/8; }\n"
               "listen 53 udp -> b port=54 token=1:4;\n");
    file_write("services/a.conf", "service a { run a $env.HOME; env P=$env.PRICE; port 54; }\n");
    file_write("services/b.conf", "service b { shell 'x'; uses a; port 54 udp; weight 5 3; "
                                  "instances 3; limit nofile 7; quota tasks=9; }\n");
    file_write("site.conf",
               "service far { at far.example:1 [::1]:2 weight=3; at unix:x.sock; tls ca=ca.pem "
               "certificate=c.pem key=k.pem name=far; check http /h status=200 match=ok; "
               "balance hash header:X-User; proxy-protocol v2; retry tries=1; }\n"
               "listen 443 http tls { certificate c.pem key=k.pem; trust 10.0.0.0/8 ::1; "
               "tls min=1.3 client=require client-ca=ca.pem; bounds body=1m per-client=2;\n"
               "  header request set X-A $host; host shop.example { certificate k.pem; rewrite "
               "strip=/x;\n"
               "    route /api method=PUT,GET header=\"X-B: c\" -> a weight=3, b;\n"
               "    route ~^/(.) { redirect /v/$1; } route =/t { respond 200 \"$$ $path\"; } }\n"
               "  include hosts/*.conf; respond 404; }\n");
    file_write("hosts/x.conf", "host x.example { include routes; }\n");
    file_write("hosts/routes", "route / -> a;\n");
    file_write("c.pem", certificate);
    file_write("k.pem", certificate);
    file_write("ca.pem", certificate);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/enginx-load-XXXXXX");
    if (!mkdtemp(folder) || mkdir(path("services"), 0700) < 0 || mkdir(path("hosts"), 0700) < 0)
        return -1;
    files_write();
    return 0;
}

static int entry_remove(const char *name, const struct stat *status, int type, struct FTW *walk)
{
    (void)status;
    (void)type;
    (void)walk;
    return remove(name);
}

static int teardown(void **state)
{
    (void)state;
    return nftw(folder, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static char *dump_take(struct topology *topology)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    topology_dump(topology, out);
    fclose(out);
    topology_free(topology);
    return text;
}

static char *disk_dump(const char *name, const char *name_override, struct bundle *collect)
{
    const struct topology_options options = {
        .name_override = name_override, .environment = environment, .collect = collect};
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology =
        fixture_finish(topology_load(name, &options, diagnostics), diagnostics);
    if (!topology)
        fail_msg("%s", said);
    return dump_take(topology);
}

/* Through a memfd, as the gateway gets it. */
static struct bundle *reopen(struct bundle *bundle)
{
    struct bundle *opened = NULL;
    int fd = bundle_seal(bundle);
    assert_true(fd >= 0);
    bundle_free(bundle);
    assert_int_equal(bundle_open(fd, &opened), 0);
    close(fd);
    return opened;
}

static char *bundle_dump(const struct bundle *bundle)
{
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology =
        fixture_finish(topology_load_bundle(bundle, diagnostics), diagnostics);
    if (!topology)
        fail_msg("%s", said);
    return dump_take(topology);
}

static void a_bundle_gives_the_same_topology(void **state)
{
    (void)state;
    static const char *const names[] = {NULL, "other"};
    char away[96];
    for (size_t i = 0; i < 2; i++) {
        struct bundle *bundle = bundle_new();
        char *disk = disk_dump(path("main.conf"), names[i], bundle);
        bundle = reopen(bundle);
        /* Neither disk nor environment is looked at. */
        snprintf(away, sizeof away, "%s-away", folder);
        assert_int_equal(rename(folder, away), 0);
        char *unpacked = bundle_dump(bundle);
        assert_int_equal(rename(away, folder), 0);
        assert_string_equal(disk, unpacked);
        assert_non_null(strstr(disk, "far.example"));
        assert_non_null(strstr(disk, "x.example /"));
        free(disk);
        free(unpacked);
        bundle_free(bundle);
    }
}

static void a_relative_path_gives_the_same_topology(void **state)
{
    (void)state;
    char before[4096];
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(folder), 0);
    struct bundle *bundle = bundle_new();
    char *disk = disk_dump("main.conf", NULL, bundle);
    assert_int_equal(chdir(before), 0);
    bundle = reopen(bundle);
    char *unpacked = bundle_dump(bundle);
    assert_string_equal(disk, unpacked);
    free(disk);
    free(unpacked);
    bundle_free(bundle);
}

static void a_text_gives_the_same_topology(void **state)
{
    (void)state;
    static const char text[] = "include services/a.conf; service x { run $env.HOME; }";
    static const char *const paths[] = {"enginx run", "/srv/shop.conf"};
    for (size_t i = 0; i < 2; i++) {
        struct bundle *bundle = bundle_new();
        const struct topology_options options = {.environment = environment, .collect = bundle};
        struct diagnostics *diagnostics = diagnostics_new();
        struct topology *topology = fixture_finish(
            topology_parse(text, strlen(text), paths[i], folder, &options, diagnostics),
            diagnostics);
        assert_non_null(topology);
        char *disk = dump_take(topology);
        bundle = reopen(bundle);
        char *unpacked = bundle_dump(bundle);
        assert_string_equal(disk, unpacked);
        free(disk);
        free(unpacked);
        bundle_free(bundle);
    }
}

static void a_bundle_has_what_was_used_and_no_more(void **state)
{
    (void)state;
    struct bundle *bundle = bundle_new();
    size_t length;
    const char *name;
    free(disk_dump(path("main.conf"), NULL, bundle));
    assert_non_null(bundle_find(bundle, BUNDLE_FILE, path("ca.pem"), &length));
    assert_int_equal(length, strlen(certificate));
    assert_string_equal(bundle_find(bundle, BUNDLE_ENVIRONMENT, "PRICE", NULL), "5$each");
    assert_null(bundle_find(bundle, BUNDLE_ENVIRONMENT, "UNUSED", NULL));
    assert_non_null(bundle_find(bundle, BUNDLE_MATCHES, path("none/*.conf"), &length));
    assert_int_equal(length, 0);
    assert_non_null(bundle_nth(bundle, BUNDLE_SOURCE, 5, &name, &length));
    assert_null(bundle_nth(bundle, BUNDLE_SOURCE, 6, &name, &length));
    bundle_free(bundle);
}

static void what_is_no_configuration_is_refused(void **state)
{
    (void)state;
    struct bundle *bundle = bundle_new();
    struct diagnostics *diagnostics = diagnostics_new();
    assert_null(fixture_finish(topology_load_bundle(bundle, diagnostics), diagnostics));
    says("an empty bundle", "bundle: error: there is no configuration in it");
    bundle_add(bundle, BUNDLE_ROOT, "x", "a", 1);
    bundle_add(bundle, BUNDLE_SOURCE, "x", "service a { run x; }", 20);
    diagnostics = diagnostics_new();
    assert_null(fixture_finish(topology_load_bundle(bundle, diagnostics), diagnostics));
    says("a cut root", "bundle: error: there is no configuration in it");
    bundle_free(bundle);
}

/* `file` is what is wrong, at this place of the second line. */
static void load_bad(const char *line, int column, const char *file, const char *message)
{
    char text[512], wanted[512];
    struct diagnostics *diagnostics = diagnostics_new();
    snprintf(text, sizeof text, "service a { run x; }\n%s\n", line);
    file_write("bad.conf", text);
    assert_null(fixture_finish(topology_load(path("bad.conf"), NULL, diagnostics), diagnostics));
    snprintf(wanted, sizeof wanted, "%s:2:%d: error: `%s` %s", path("bad.conf"), column, path(file),
             message);
    says(text, wanted);
}

static void files_that_cannot_be_used_are_reported(void **state)
{
    (void)state;
    static const struct {
        const char *statement;
        int column;
        const char *file;
        const char *message;
    } cases[] = {
        {"certificate none.pem key=k.pem;", 49, "none.pem",
         "cannot be read: No such file or directory"},
        {"certificate services;", 49, "services", "is not a file"},
        {"certificate empty.pem key=k.pem;", 49, "empty.pem", "has no certificate in PEM in it"},
        {"certificate only.pem;", 49, "only.pem", "has no private key in PEM in it"},
        {"certificate c.pem key=empty.pem;", 59, "empty.pem", "has no private key in PEM in it"},
        {"certificate large.pem;", 49, "large.pem", "is too large: at most 1048576 bytes"},
        {"certificate c.pem; tls client=optional client-ca=x.pem;", 86, "x.pem",
         "cannot be read: No such file or directory"},
    };
    file_write("empty.pem", "");
    file_write("only.pem", "-----BEGIN CERTIFICATE-----\n");
    FILE *large = fopen(path("large.pem"), "we");
    assert_int_equal(ftruncate(fileno(large), BUNDLE_FILE_BYTES_MAX + 1), 0);
    fclose(large);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char line[256];
        snprintf(line, sizeof line, "listen 443 http tls { route / -> a; %s }", cases[i].statement);
        load_bad(line, cases[i].column, cases[i].file, cases[i].message);
    }
    load_bad("service b { at x:1; tls ca=none.pem; }", 28, "none.pem",
             "cannot be read: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bundle_gives_the_same_topology),
        cmocka_unit_test(a_relative_path_gives_the_same_topology),
        cmocka_unit_test(a_text_gives_the_same_topology),
        cmocka_unit_test(a_bundle_has_what_was_used_and_no_more),
        cmocka_unit_test(what_is_no_configuration_is_refused),
        cmocka_unit_test(files_that_cannot_be_used_are_reported),
    };
    int failed = cmocka_run_group_tests(tests, setup, teardown);
    free(said);
    return failed;
}
