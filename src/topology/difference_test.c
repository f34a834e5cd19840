#include "topology/difference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "topology/build.h"

static struct topology *parsed(const char *text)
{
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology_options options = {0};
    struct topology *topology =
        topology_parse(text, strlen(text), "test.conf", "/srv", &options, diagnostics);
    if (!topology)
        diagnostics_print(diagnostics, stderr, false);
    assert_non_null(topology);
    diagnostics_free(diagnostics);
    return topology;
}

/* The difference in words must be `expected`. */
static void compare(const char *before, const char *after, const char *expected)
{
    struct topology *one = parsed(before), *other = parsed(after);
    struct difference *difference = difference_new(one, other);
    assert_non_null(difference);
    char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);
    difference_print(difference, out);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
    difference_free(difference);
    topology_free(one);
    topology_free(other);
}

#define A "service a { run a; port 3000; }\n"
#define R "service r { run r; role exec x; }\n"
#define B "service b { run b; port 4000; }\n"

static void the_same_is_no_change_wherever_it_stands(void **state)
{
    (void)state;
    compare(A B "listen 80 tcp -> a;", "# moved\n" B A "listen 80 tcp -> a;", "");
    compare(A B "listen 80 http { route /x -> a, b weight=2; }",
            B A "listen 80 http { route /x -> a, b weight=2; }", "");
}

static void services_come_go_and_change(void **state)
{
    (void)state;
    compare(A, A B, "+ service b, 1 instance\n");
    compare(A B, B, "- service a: drained and stopped\n");
    compare(A, A "service d { at 127.0.0.1:9; }", "+ service d, elsewhere\n");
    compare(A, A "job k { run k; every 1h; }", "+ job k\n");
    compare(A "job k { run k; every 1h; }", A, "- job k: a run of it is stopped\n");
    compare(A "job k { run k; every 1h; }", A "job k { run k -x; every 1h; }",
            "~ job k: its program changed; the next run is of the new one\n");
    compare(A "job k { run k; every 1h; }", A "job k { run k; every 2h; }",
            "~ job k: its settings\n");
    compare(A, "service a { run a -x; port 3000; }",
            "~ service a: its program changed; its instances are replaced\n");
    compare(A, "service a { run a; port 3000; instances 3; }",
            "~ service a: 3 instances, were 1\n");
    compare(A, "service a { run a; port 3000; balance random; }",
            "~ service a: its settings; no restart\n");
    compare(A, "service a { run a; port 3000; stop SIGINT; }",
            "~ service a: its settings; no restart\n");
    compare(A, "service a { run a; port 3000; check tcp every=3s; }",
            "~ service a: its settings; no restart\n");
    static const char *const settings[] = {
        "role redis;",
        "role redis every=2s;",
        "role redis timeout=2s;",
        "role redis fall=2;",
        "role postgres;",
        "role postgres user=x;",
        "role postgres database=x;",
        "role exec ./role.sh;",
        "role exec ./role.sh x;",
        "balance hash path;",
        "balance hash path bound=1.5;",
        "after-stop x;",
        "after-stop y;",
        "after-stop y timeout=9s;",
    };
    for (size_t i = 1; i < sizeof settings / sizeof settings[0]; i++) {
        char was[128], now[128];
        snprintf(was, sizeof was, "service a { run a; port 3000; %s }", settings[i - 1]);
        snprintf(now, sizeof now, "service a { run a; port 3000; %s }", settings[i]);
        compare(was, now, "~ service a: its settings; no restart\n");
    }
    compare(A, "service a { run a; port 3000; before-start x; }",
            "~ service a: its program changed; its instances are replaced\n"
            "~ service a: its settings; no restart\n");
    compare("service a { run a; before-start x; }",
            "service a { run a; before-start x timeout=9s; }",
            "~ service a: its settings; no restart\n");
    compare(A, "service a { run a; port 3000; timeout response=9s; }",
            "~ service a: its settings; no restart\n");
}

static void listeners_come_go_move_and_change(void **state)
{
    (void)state;
    compare(A, A "listen 80 tcp -> a;", "+ listen tcp:80, direct\n");
    compare(A "listen 80 tcp -> a;", A, "- listen tcp:80\n");
    compare(A "listen 80 tcp -> a;", A "listen 80 http -> a;",
            "~ listen tcp:80: http, was direct\n");
    compare(A "listen 80 http -> a;", A "listen 80 tcp -> a path=relay;",
            "~ listen tcp:80: relay, was http\n");
    compare(A B "listen 80 tcp -> a;", A B "listen 80 tcp -> b;",
            "~ listen tcp:80: where it leads, or how\n");
    compare(A B "listen 80 http { route /x -> a; }", A B "listen 80 http { route /x -> b; }",
            "~ listen tcp:80: where it leads, or how\n");
    compare(R "listen 80 tcp -> r role=primary;", R "listen 80 tcp -> r role=replica;",
            "~ listen tcp:80: where it leads, or how\n");
    compare(R "listen 80 http { route /x -> r; }",
            R "listen 80 http { route /x -> r role=replica; }",
            "~ listen tcp:80: where it leads, or how\n");
    compare(A "listen 80 http { route /x -> a; }",
            A "listen 80 http { route /x -> a { header request set X-Y z; } }",
            "~ listen tcp:80: where it leads, or how\n");
    static const char *const follows[] = {
        "route /x -> a { x-accel-redirect; }",   "route /x -> a { x-sendfile /usr; }",
        "route /x -> a { x-sendfile /bin; }",    "route /x -> a { internal; }",
        "route /x -> a { compress gzip; }",      "route /x -> a { compress gzip level=5; }",
        "route /x -> a { compress br level=5; }"};
    for (size_t i = 0; i < sizeof follows / sizeof follows[0]; i++) {
        char before[256], after[256];
        snprintf(before, sizeof before, A "listen 80 http { %s }",
                 i ? follows[i - 1] : "route /x -> a;");
        snprintf(after, sizeof after, A "listen 80 http { %s }", follows[i]);
        compare(before, after, "~ listen tcp:80: where it leads, or how\n");
    }
    compare(A "listen 80 http { route /x -> a; }",
            A "listen 80 http { timeout idle=3s; route /x -> a; }",
            "~ listen tcp:80: where it leads, or how\n");
}

static void each_word_of_a_flood_is_a_change(void **state)
{
    (void)state;
    static const char *const floods[] = {
        "",
        "flood requests=100/s;",
        "flood requests=6000/m;",
        "flood connections=100/s;",
        "flood concurrent=100;",
        "flood concurrent=99;",
        "flood concurrent=100 ban=1m;",
        "flood concurrent=100 except=10.0.0.0/8;",
        "flood concurrent=100 except=10.0.0.0/9;",
    };
    char text[2][256];
    for (size_t i = 0; i < sizeof floods / sizeof floods[0]; i++)
        for (size_t k = 0; k < sizeof floods / sizeof floods[0]; k++) {
            snprintf(text[0], sizeof text[0], A "listen 80 http { route / -> a; %s }", floods[i]);
            snprintf(text[1], sizeof text[1], A "listen 80 http { route / -> a; %s }", floods[k]);
            compare(text[0], text[1], i == k ? "" : "~ listen tcp:80: where it leads, or how\n");
        }
}

static void what_a_reload_cannot_do_is_told(void **state)
{
    (void)state;
    compare("cluster x;" A, "cluster y;" A,
            "! the cluster's name cannot change\n"
            "~ service a: its program changed; its instances are replaced\n");
    compare(A, "quota memory=1g;" A,
            "! the cluster's quota: not before the cluster is restarted\n");
    compare(A, "gateway threads=3;" A, "! gateway threads=: not before the cluster is restarted\n");
    compare(A, "gateway connections=300;" A, "~ gateway: its bounds\n");
    compare(A, "cache pages;" A, "+ cache pages\n");
    compare("cache pages;" A, A, "- cache pages: what it has is forgotten\n");
    compare("cache pages;" A, "cache pages memory=9m;" A,
            "~ cache pages: its bounds, or its disk\n");
    compare("cache pages; cache b;" A, "cache b; cache pages;" A, "");
    compare("cache pages;" A, "cache b;" A, "+ cache b\n- cache pages: what it has is forgotten\n");
    compare("cache pages;" A "listen 80 http { route /x -> a; }",
            "cache pages;" A "listen 80 http { route /x -> a { cache pages; } }",
            "~ listen tcp:80: where it leads, or how\n");
    compare("cache pages;" A "listen 80 http { cache pages; route /x -> a; }",
            "cache pages;" A "listen 80 http { cache pages ttl=1s; route /x -> a; }",
            "~ listen tcp:80: where it leads, or how\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_is_no_change_wherever_it_stands),
        cmocka_unit_test(services_come_go_and_change),
        cmocka_unit_test(listeners_come_go_move_and_change),
        cmocka_unit_test(each_word_of_a_flood_is_a_change),
        cmocka_unit_test(what_a_reload_cannot_do_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
