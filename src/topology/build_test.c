#include "topology/build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char *const environment[] = {(char[]){"HOME=/home/me"}, (char[]){"PORTS=8000"},
                                    (char[]){"PRICE=5$each"}, NULL};
static char *said; /* what the diagnostics printed last */
static size_t said_size;

static struct topology *finish(struct topology *topology, struct diagnostics *diagnostics)
{
    free(said);
    said = NULL;
    FILE *out = open_memstream(&said, &said_size);
    diagnostics_print(diagnostics, out, false);
    fclose(out);
    assert_int_equal(topology == NULL, diagnostics_errors(diagnostics) > 0);
    diagnostics_free(diagnostics);
    return topology;
}

static struct topology *parse(const char *text)
{
    const struct topology_options options = {.environment = environment};
    struct diagnostics *diagnostics = diagnostics_new();
    return finish(
        topology_parse(text, strlen(text), "shop.conf", "/srv/shop", &options, diagnostics),
        diagnostics);
}

static struct topology *good(const char *text)
{
    struct topology *topology = parse(text);
    if (!topology)
        fail_msg("%s: %s", text, said);
    return topology;
}

/* The text is refused, and the diagnostics have this line in them. */
static void bad(const char *text, const char *line)
{
    char with_end[1024];
    struct topology *topology = parse(text);
    snprintf(with_end, sizeof with_end, "%s\n", line);
    if (topology || !strstr(said, with_end))
        fail_msg("`%s`\nmust say: %s\nand says: %s", text, line, said);
}

static void defaults_are_as_the_reference_says(void **state)
{
    (void)state;
    struct topology *topology = good("service web { run node server.js; }");
    const struct service *web = topology_service(topology, "web");
    assert_string_equal(topology->name, "shop");
    assert_string_equal(topology->directory, "/srv/shop");
    assert_string_equal(topology->file, "");
    assert_int_equal(topology->steering, STEERING_AUTO);
    assert_null(topology->log_directory);
    assert_int_equal(topology->log_file_bytes_max, 10 << 20);
    assert_int_equal(topology->log_files_max, 5);
    assert_int_equal(topology->quota.memory_bytes, 0);
    assert_string_equal(web->name, "web");
    assert_string_equal(web->realm, "");
    assert_string_equal(web->file, "shop.conf");
    assert_int_equal(web->line, 1);
    assert_int_equal(web->argc, 2);
    assert_string_equal(web->argv[0], "node");
    assert_string_equal(web->argv[1], "server.js");
    assert_null(web->argv[2]);
    assert_false(web->shell);
    assert_null(web->directory);
    assert_null(web->user);
    assert_null(web->env[0]);
    assert_false(web->env_clear);
    assert_int_equal(web->umask, -1);
    assert_int_equal(web->instances, 1);
    assert_int_equal(web->port_count, 0);
    assert_true(web->listens);
    assert_false(web->publish);
    assert_int_equal(web->balance, BALANCE_LEAST);
    assert_null(web->weights);
    assert_int_equal(web->check, CHECK_LISTEN);
    assert_int_equal(web->check_every_ms, 5000);
    assert_int_equal(web->check_timeout_ms, 5000);
    assert_int_equal(web->check_rise, 1);
    assert_int_equal(web->check_fall, 3);
    assert_int_equal(web->start_within_ms, 60000);
    assert_int_equal(web->restart, RESTART_ALWAYS);
    assert_int_equal(web->backoff_min_ms, 100);
    assert_int_equal(web->backoff_max_ms, 30000);
    assert_int_equal(web->restart_tries, 10);
    assert_int_equal(web->restart_reset_ms, 10000);
    assert_int_equal(web->stop_signal, SIGTERM);
    assert_int_equal(web->stop_within_ms, 30000);
    assert_int_equal(web->stop_drain_ms, 10000);
    topology_free(topology);
}

static void everything_can_be_said(void **state)
{
    (void)state;
    struct topology *topology = good(
        "cluster c1; quota memory=2g cpu=150% tasks=512; steering seccomp;"
        "log directory=logs size=1m keep=2;"
        "service db { run db; }\n"
        "service web {"
        "  run ./web --id $instance \"a b\" '$HOME' $env.HOME ${state}/x; directory ./web;"
        "  user nobody group=adm; env A=1 B=\"x y\"; env A=2 P=$env.PRICE; environment clear;"
        "  umask 027; limit nofile 64k; limit core unlimited; instances 3;"
        "  port 3000 activation=yes; port 3001 udp; publish yes; quota memory=256m cpu=50% tasks=9;"
        "  balance weighted; weight 5 3; check exec curl --x=1 every=1s timeout=200ms rise=2 "
        "fall=4;"
        "  start within=5m; restart on-failure backoff=1s..2m tries=0 reset=1h;"
        "  stop QUIT within=0 drain=3s; uses db db; }");
    const struct service *web = topology_service(topology, "web");
    assert_string_equal(topology->name, "c1");
    assert_int_equal(topology->quota.memory_bytes, 2147483648);
    assert_int_equal(topology->quota.cpu_percent, 150);
    assert_int_equal(topology->quota.tasks, 512);
    assert_int_equal(topology->steering, STEERING_SECCOMP);
    assert_string_equal(topology->log_directory, "/srv/shop/logs");
    assert_int_equal(topology->log_file_bytes_max, 1 << 20);
    assert_int_equal(topology->log_files_max, 2);
    assert_int_equal(web->line, 2);
    assert_int_equal(web->argc, 7);
    assert_string_equal(web->argv[2], "${instance}");
    assert_string_equal(web->argv[3], "a b");
    assert_string_equal(web->argv[4], "$$HOME");
    assert_string_equal(web->argv[5], "/home/me");
    assert_string_equal(web->argv[6], "${state}/x");
    assert_string_equal(web->directory, "/srv/shop/web");
    assert_string_equal(web->user, "nobody");
    assert_string_equal(web->group, "adm");
    assert_int_equal(web->env_count, 3);
    assert_string_equal(web->env[0], "A=2");
    assert_string_equal(web->env[1], "B=x y");
    assert_string_equal(web->env[2], "P=5$$each");
    assert_null(web->env[3]);
    assert_true(web->env_clear);
    assert_int_equal(web->umask, 027);
    assert_int_equal(web->limit_count, 2);
    assert_int_equal(web->limits[0].resource, RLIMIT_NOFILE);
    assert_int_equal(web->limits[0].value, 65536);
    assert_int_equal(web->limits[1].resource, RLIMIT_CORE);
    assert_true(web->limits[1].value == RLIM_INFINITY);
    assert_int_equal(web->instances, 3);
    assert_int_equal(web->port_count, 2);
    assert_int_equal(web->ports[0].port, 3000);
    assert_int_equal(web->ports[0].protocol, PROTOCOL_TCP);
    assert_true(web->ports[0].activation);
    assert_int_equal(web->ports[1].protocol, PROTOCOL_UDP);
    assert_false(web->ports[1].activation);
    assert_true(web->publish);
    assert_int_equal(web->quota.tasks, 9);
    assert_int_equal(web->balance, BALANCE_WEIGHTED);
    assert_int_equal(web->weight_count, 2);
    assert_int_equal(web->weights[0], 5);
    assert_int_equal(web->check, CHECK_EXEC);
    assert_string_equal(web->check_argv[0], "curl");
    assert_string_equal(web->check_argv[1], "--x=1");
    assert_null(web->check_argv[2]);
    assert_int_equal(web->check_every_ms, 1000);
    assert_int_equal(web->check_timeout_ms, 200);
    assert_int_equal(web->check_rise, 2);
    assert_int_equal(web->check_fall, 4);
    assert_int_equal(web->start_within_ms, 300000);
    assert_int_equal(web->restart, RESTART_ON_FAILURE);
    assert_int_equal(web->backoff_min_ms, 1000);
    assert_int_equal(web->backoff_max_ms, 120000);
    assert_int_equal(web->restart_tries, 0);
    assert_int_equal(web->restart_reset_ms, 3600000);
    assert_int_equal(web->stop_signal, SIGQUIT);
    assert_int_equal(web->stop_within_ms, 0);
    assert_int_equal(web->stop_drain_ms, 3000);
    assert_int_equal(web->uses_count, 1);
    assert_int_equal(web->uses[0], 0);
    assert_int_equal(topology->start_order[0], 0);
    topology_free(topology);
}

static void a_shell_has_its_text(void **state)
{
    (void)state;
    struct topology *topology =
        good("service a { shell 'echo $HOME >&2'; port none; check notify; }");
    const struct service *service = &topology->services[0];
    assert_true(service->shell);
    assert_string_equal(service->argv[0], "/bin/sh");
    assert_string_equal(service->argv[1], "-c");
    assert_string_equal(service->argv[2], "echo $$HOME >&2");
    assert_null(service->argv[3]);
    assert_false(service->listens);
    assert_int_equal(service->check, CHECK_NOTIFY);
    topology_free(topology);
}

static void paths_start_at_the_folder(void **state)
{
    (void)state;
    struct topology *topology =
        good("service a { run x; directory /abs; } service b { run x; directory $state/x; }"
             "service c { run x; directory .; } service d { run x; directory ././e; }"
             "service e { run x; directory $instance; }");
    assert_string_equal(topology->services[4].directory, "/srv/shop/${instance}");
    assert_string_equal(topology->services[0].directory, "/abs");
    assert_string_equal(topology->services[1].directory, "${state}/x");
    assert_string_equal(topology->services[2].directory, "/srv/shop");
    assert_string_equal(topology->services[3].directory, "/srv/shop/e");
    topology_free(topology);
    struct diagnostics *diagnostics = diagnostics_new();
    const char *text = "service a { run x; directory b; } log directory=b;";
    topology =
        finish(topology_parse(text, strlen(text), "x", "/a$b", NULL, diagnostics), diagnostics);
    assert_string_equal(topology->services[0].directory, "/a$$b/b");
    assert_string_equal(topology->log_directory, "/a$b/b");
    topology_free(topology);
}

static void listeners_have_addresses_and_targets(void **state)
{
    (void)state;
    struct topology *topology = good(
        "service web { run x; port 3000; port 53 udp; } service other { run y; }\n"
        "listen 8080 tcp -> web; listen 127.0.0.1:81 tcp -> other;\n"
        "listen [::1]:82 tcp -> web port=3001; listen 53 udp -> web; listen *:54 udp -> other;");
    const struct listener *listeners = topology->listeners;
    assert_int_equal(topology->listener_count, 5);
    assert_string_equal(listeners[0].text, "tcp:8080");
    assert_int_equal(listeners[0].address.ss_family, AF_UNSPEC);
    assert_int_equal(listeners[0].port, 8080);
    assert_int_equal(listeners[0].service, 0);
    assert_int_equal(listeners[0].target_port, 0);
    assert_int_equal(listener_target(topology, &listeners[0]), 3000);
    assert_string_equal(listeners[1].text, "tcp:127.0.0.1:81");
    const struct sockaddr_in *four = (const struct sockaddr_in *)&listeners[1].address;
    assert_int_equal(four->sin_family, AF_INET);
    assert_int_equal(ntohs(four->sin_port), 81);
    assert_int_equal(ntohl(four->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(listener_target(topology, &listeners[1]), 0);
    assert_string_equal(listeners[2].text, "tcp:[::1]:82");
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&listeners[2].address;
    assert_int_equal(ntohs(six->sin6_port), 82);
    assert_int_equal(listener_target(topology, &listeners[2]), 3001);
    assert_int_equal(listeners[2].line, 3);
    assert_int_equal(listeners[3].protocol, PROTOCOL_UDP);
    assert_int_equal(listener_target(topology, &listeners[3]), 53);
    assert_string_equal(listeners[4].text, "udp:54");
    assert_int_equal(listener_target(topology, &listeners[4]), 54);
    topology_free(topology);
}

static void realms_repeat_their_block(void **state)
{
    (void)state;
    struct topology *topology =
        good("service data { run d; } service login { run l; }\n"
             "realm s1 s2 { service logic { run ./logic --realm $realm $index $instance;"
             "  uses data login; } service data { run ./data $(10 - $index + 1); }\n"
             "  listen $(7000 + $index) tcp -> logic; listen $($env.PORTS+$index) tcp -> login; }");
    assert_int_equal(topology->service_count, 6);
    const struct service *logic = topology_service(topology, "s2.logic");
    assert_string_equal(logic->realm, "s2");
    assert_string_equal(logic->argv[2], "s2");
    assert_string_equal(logic->argv[3], "2");
    assert_string_equal(logic->argv[4], "${instance}");
    assert_int_equal(logic->uses_count, 2);
    assert_string_equal(topology->services[logic->uses[0]].name, "s2.data");
    assert_string_equal(topology->services[logic->uses[1]].name, "login");
    assert_string_equal(topology_service(topology, "s1.data")->argv[1], "10");
    assert_string_equal(topology->listeners[2].text, "tcp:7002");
    assert_string_equal(topology->services[topology->listeners[2].service].name, "s2.logic");
    assert_string_equal(topology->listeners[3].text, "tcp:8002");
    assert_string_equal(topology->services[topology->listeners[3].service].name, "login");
    topology_free(topology);
    topology = good("realm s1 { service a { run x; } } service b { run x; uses s1.a; }");
    assert_string_equal(topology->services[topology->services[1].uses[0]].name, "s1.a");
    topology_free(topology);
}

static uint64_t definition_of(const char *block)
{
    char text[512];
    snprintf(text, sizeof text, "service z { run z; } service a { %s } service y { run y; }",
             block);
    struct topology *topology = good(text);
    uint64_t definition = topology_service(topology, "a")->definition;
    topology_free(topology);
    return definition;
}

static void a_definition_is_what_an_instance_is_started_with(void **state)
{
    (void)state;
    uint64_t plain = definition_of("run x;");
    static const char *const same[] = {"run 'x';", "run x; instances 7;", "run x; weight 3;",
                                       "run x; balance random; stop INT; start within=1s;",
                                       "\n\nrun x; restart never; check notify; publish yes;"};
    static const char *const other[] = {"run x y;",
                                        "run ab c;",
                                        "run a bc;",
                                        "run xy;",
                                        "run y;",
                                        "shell x;",
                                        "run x; env A=1;",
                                        "run x; directory /;",
                                        "run x; user u;",
                                        "run x; umask 0;",
                                        "run x; environment clear;",
                                        "run x; uses z;",
                                        "run x; uses y;",
                                        "run x; limit nofile 3;",
                                        "run x; port 1;",
                                        "run x; port 1 udp;",
                                        "run x; port 1 activation=yes;",
                                        "run x; port none;",
                                        "run x; quota tasks=3;",
                                        "run x; quota cpu=3%;",
                                        "run x; user u group=g;",
                                        "run x; env A=2;",
                                        "run x; limit nofile 4;"};
    enum { OTHERS = sizeof other / sizeof other[0] };
    uint64_t seen[OTHERS];
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_true(definition_of(same[i]) == plain);
    for (size_t i = 0; i < OTHERS; i++) {
        seen[i] = definition_of(other[i]);
        assert_true(seen[i] != plain);
        for (size_t j = 0; j < i; j++)
            if (seen[i] == seen[j])
                fail_msg("`%s` and `%s` are one definition", other[i], other[j]);
    }
}

static void names_come_from_option_file_or_path(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *name;
    } rows[] = {{"/etc/enginx/shop.conf", "shop"},
                {"My Shop.v2.conf", "My-Shop-v2"},
                {".conf", "xconf"},
                {"", "cluster"},
                {"/a/", "cluster"},
                {"-x", "xx"}};
    const char *text = "service a { run x; }";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct diagnostics *diagnostics = diagnostics_new();
        struct topology *topology = finish(
            topology_parse(text, strlen(text), rows[i].path, NULL, NULL, diagnostics), diagnostics);
        assert_string_equal(topology->name, rows[i].name);
        assert_string_equal(topology->file, rows[i].path[0] == '/' ? rows[i].path : "");
        topology_free(topology);
    }
    struct topology_options options = {.name_override = "mine"};
    text = "cluster theirs; service a { run x; }";
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology =
        finish(topology_parse(text, strlen(text), "x", NULL, &options, diagnostics), diagnostics);
    assert_string_equal(topology->name, "mine");
    topology_free(topology);
    options.name_override = "../x";
    diagnostics = diagnostics_new();
    assert_null(
        finish(topology_parse(text, strlen(text), "x", NULL, &options, diagnostics), diagnostics));
    assert_non_null(strstr(said, "-c: error: `../x` is not a name\n"));
}

static void errors_are_printed_in_full(void **state)
{
    (void)state;
    assert_null(parse("service api {\n    instnces 4;\n    run x;\n    uses dbb;\n}\n"
                      "service db { run x; instances 0; }\n"));
    assert_string_equal(said, "shop.conf:2:5: error: unknown directive `instnces`\n"
                              "     2 |     instnces 4;\n"
                              "       |     ^~~~~~~~\n"
                              "       hint: did you mean `instances`?\n"
                              "shop.conf:4:10: error: there is no service `dbb`\n"
                              "     4 |     uses dbb;\n"
                              "       |          ^~~\n"
                              "       hint: did you mean `db`?\n"
                              "shop.conf:6:31: error: instances: `0` is too small\n"
                              "     6 | service db { run x; instances 0; }\n"
                              "       |                               ^\n"
                              "       hint: allowed: 1 to 1024\n"
                              "3 errors, 0 warnings\n");
}

/* What stands in a service's block, and the message with its hint. */
static const struct {
    const char *block;
    const char *line;
} block_cases[] = {
    {"", "shop.conf:1:9: error: service `a` has no program"},
    {"at 1.2.3.4;", "1 error, 0 warnings"}, /* not that a program is missing as well */
    {"run x; shell y;", "shop.conf:1:20: error: `run` and `shell` exclude each other"},
    {"run;", "shop.conf:1:13: error: `run` needs PROGRAM"},
    {"run;", "       hint: run PROGRAM [ARGUMENT…];"},
    {"run '';", "shop.conf:1:17: error: run: `` is not a path"},
    {"run x; run y;", "shop.conf:1:20: error: `run` is given twice"},
    {"run x; run y;", "       hint: the first stands in shop.conf:1"},
    {"run x { }", "shop.conf:1:13: error: `run` has no block"},
    {"run x; instances 1025;", "shop.conf:1:30: error: instances: `1025` is too large"},
    {"run x; instances 1 2;", "shop.conf:1:32: error: instances: `2` is one argument too many"},
    {"run x; instances 1\nport 2;", "       hint: is a `;` missing at the end of line 1?"},
    {"run x; cluster y;", "shop.conf:1:20: error: `cluster` is not allowed in `service`"},
    {"run x; cluster y;", "       hint: it stands at the top level"},
    {"run x; uses nope;", "shop.conf:1:25: error: there is no service `nope`"},
    {"run x; uses a;", "shop.conf:1:25: error: `a` cannot use itself"},
    {"run x; check exec;", "shop.conf:1:26: error: `check exec` needs a command"},
    {"run x; check listen y;", "shop.conf:1:33: error: this kind of check has no arguments"},
    {"run x; check http;", "shop.conf:1:26: error: `check http` needs one path"},
    {"run x; check exec y every=1s every=1s;",
     "shop.conf:1:42: error: check: `every=` is given twice"},
    {"run x; check exec y fall=0;", "shop.conf:1:38: error: check fall=: `0` is too small"},
    {"run x; start;", "shop.conf:1:20: error: `start` needs at least one option"},
    {"run x; start wihtin=1s;", "       hint: did you mean `within=`?"},
    {"run x; quota;", "shop.conf:1:20: error: `quota` needs at least one option"},
    {"run x; weight 1 2;", "shop.conf:1:20: error: 2 weights for 1 instance"},
    {"run x; weight 0;", "shop.conf:1:20: error: with all weights 0 no instance gets a connection"},
    {"run x; balance least; weight 1;",
     "shop.conf:1:35: error: only `balance weighted` has weights"},
    {"run x; balance least client;",
     "shop.conf:1:34: error: only `balance hash` and `balance sticky` have a key"},
    {"run x; balance hash cookie;", "shop.conf:1:33: error: `cookie` is not a key to balance by"},
    {"run x; limit nofile 1; limit nofile 2;", "shop.conf:1:42: error: this limit is given twice"},
    {"run x; port 80; port 80;", "shop.conf:1:34: error: port 80 is given twice"},
    {"run x; port 80; port none;", "shop.conf:1:34: error: `port none` stands alone"},
    {"run x; port none; check listen;",
     "shop.conf:1:31: error: `check listen` never succeeds with `port none`"},
    {"run $nope;", "shop.conf:1:17: error: unknown variable `$nope`"},
    {"run $instence;",
     "       hint: did you mean `$instance`? A dollar sign that means itself is written $$"},
    {"run $env.NOPE;", "shop.conf:1:17: error: `$env.NOPE` is not set in the environment"},
    {"run $realm;", "shop.conf:1:17: error: `$realm` has a value only inside a realm"},
    {"run \"$(date)\";", "shop.conf:1:17: error: cannot calculate `$(date)`"},
    {"run $(1 - 2);", "shop.conf:1:17: error: cannot calculate `$(1 - 2)`"},
    {"run $(9999999999);", "shop.conf:1:17: error: cannot calculate `$(9999999999)`"},
    {"run x; instances $instance;",
     "shop.conf:1:30: error: `$instance` is known only when an instance starts"},
    {"run x; umask 8;", "shop.conf:1:26: error: umask: `8` is not an octal number"},
    {"run x; stop SIGTREM;", "       hint: did you mean `SIGTERM`?"},
    {"run x; restart always backoff=2s..1s;",
     "shop.conf:1:43: error: restart backoff=: the range `2s..1s` ends before it starts"},
    {"run x; env A;", "shop.conf:1:24: error: env: `A` is not an assignment"},
};

static void wrong_blocks_are_diagnosed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof block_cases / sizeof block_cases[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "service a { %s }", block_cases[i].block);
        bad(text, block_cases[i].line);
    }
}

static const struct {
    const char *text;
    const char *line;
} file_cases[] = {
    {"service a { run x; } service a { run y; }",
     "shop.conf:1:30: error: there are two services `a`"},
    {"service access { run x; }", "shop.conf:1:9: error: `access` is the name of the access log"},
    {"service a;", "shop.conf:1:1: error: `service` needs a block"},
    {"service { run x; }", "shop.conf:1:1: error: `service` needs NAME"},
    {"service a.b { run x; }", "shop.conf:1:9: error: service: `a.b` is not a name"},
    {"service a { run x; ", "shop.conf:1:1: error: the block of `service` is not closed"},
    {"service a { run x }", "shop.conf:1:17: error: a `;` is missing after `x`"},
    {"cluster a", "shop.conf:1:9: error: a `;` is missing after `a`"},
    {"}", "shop.conf:1:1: error: `}` without a `{`"},
    {";", "shop.conf:1:1: error: `;` without a directive"},
    {"{ }", "shop.conf:1:1: error: `{` without a directive"},
    {"run x;", "shop.conf:1:1: error: `run` is not allowed at the top level"},
    {"\"cluster\" a;", "shop.conf:1:1: error: `cluster` is not allowed at the top level"},
    {"cluster \"a;", "shop.conf:1:9: error: the string that starts here is not closed"},
    {"cluster a; cluster b;", "shop.conf:1:12: error: `cluster` is given twice"},
    {"dns 53 { zone x; }", "shop.conf:1:1: error: `dns` is not in this version yet"},
    {"steering ebpf;", "       hint: allowed: auto, bpf or seccomp; did you mean `bpf`?"},
    {"service a { run x; } listen 80 tcp -> b;", "shop.conf:1:39: error: there is no service `b`"},
    {"service a { run x; } listen 80 tcp a;",
     "shop.conf:1:36: error: listen: `->` is missing before `a`"},
    {"service a { run x; } listen 80 tcp;",
     "shop.conf:1:22: error: `listen … tcp` needs `-> SERVICE`"},
    {"service a { run x; } listen 80 frames { length u16be; }",
     "shop.conf:1:32: error: listen: `frames` is not in this version yet"},
    {"service a { run x; } listen 80 tcp -> a; listen *:80 tcp -> a;",
     "shop.conf:1:49: error: two listeners at `*:80`"},
    {"service a { run x; } listen 80 tcp -> a; listen [::]:80 tcp -> a;",
     "shop.conf:1:49: error: two listeners at `[::]:80`"},
    {"service a { run x; } listen [::1]:80 tcp -> a; listen [0::1]:80 tcp -> a;",
     "shop.conf:1:55: error: two listeners at `[0::1]:80`"},
    {"job a { every 1h; }", "error: job `a` has no program"},
    {"job a { run x; at 24:00; }", "error: `24:00` is no time of the day"},
    {"job a { run x; at 03:00x; }", "error: `03:00x` is no time of the day"},
    {"job a { run x; at 03:00; every 1h; }", "error: `every` and `at` exclude each other"},
    {"job a { run x; } service b { run x; uses a; }", "error: `a` is a job, which nobody can use"},
    {"job a { run x; } listen 80 tcp -> a;", "error: `a` listens nowhere"},
    {"service a { run x; port none; } listen 80 tcp -> a;",
     "shop.conf:1:50: error: `a` listens nowhere"},
    {"service a { run x; } listen 53 udp -> a path=direct port=54;",
     "shop.conf:1:46: error: path=direct is not possible: replies of a program at port 54 would "
     "not "
     "come from port 53"},
    {"service a { run x; uses b; }\nservice b { run x; uses c; }\nservice c { run x; uses a; }",
     "shop.conf:3:25: error: services use each other in a circle: nothing could start first"},
    {"service a { run x; uses b; }\nservice b { run x; uses a; }",
     "       hint: a (shop.conf:1) uses b (shop.conf:2) uses a"},
    {"service a { run x; uses b nope; } service b { run x; uses nope a; }",
     "shop.conf:1:64: error: services use each other in a circle: nothing could start first"},
    {"realm s s { service a { run x; } }", "shop.conf:1:9: error: realm `s` is given twice"},
    /* Not one for each realm. */
    {"realm s t { service a { run x; uses b; } }", "1 error, 0 warnings"},
    {"realm s t { service a { run x; } listen 80 tcp -> a; }",
     "       hint: each realm needs its own, like $(7000 + $index)"},
    {"realm s { cluster x; }", "shop.conf:1:11: error: `cluster` is not allowed in `realm`"},
    {"realm s { service logic { run x; uses lgic; } }", "       hint: did you mean `logic`?"},
    {"realm s { service a { run x; } } listen $(70000 + 1) tcp -> s.a;",
     "shop.conf:1:41: error: listen: `70001` is too large"},
    {"include x;", "shop.conf:1:9: error: `/srv/shop/x` cannot be read: No such file or directory"},
    {"include x y;", "shop.conf:1:1: error: `include` takes one path, or a pattern of paths"},
    {"a{b{c{d{e{f{g{h{i{j{k{l{m{n{o{p{q{",
     "shop.conf:1:34: error: blocks are nested too deeply: at most 16"},
};

static void wrong_files_are_diagnosed(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof file_cases / sizeof file_cases[0]; i++)
        bad(file_cases[i].text, file_cases[i].line);
}

static void suspicious_files_are_warned_of(void **state)
{
    (void)state;
    topology_free(good("service a { run x\n instances 4; }"));
    assert_string_equal(said,
                        "shop.conf:2:2: warning: `instances` is taken as an argument of `run`; "
                        "in quotation marks it is meant so\n"
                        "     2 |  instances 4; }\n"
                        "       |  ^~~~~~~~~\n"
                        "       hint: is a `;` missing at the end of line 1?\n"
                        "0 errors, 1 warning\n");
    topology_free(good("service a { run x\n 'instances' 4; }"));
    assert_string_equal(said, "");
    topology_free(good("service a { run x; check exec ping evry=1s; }"));
    assert_non_null(strstr(said, "1:36: warning: `evry=` is taken as an argument of `check`\n"));
    topology_free(good("service a { run x; check exec ping 'evry=1s' --every=1s size=2; }"));
    assert_string_equal(said, "");
    topology_free(good("# nothing\n"));
    assert_non_null(strstr(said, "shop.conf: warning: there is no service\n"));
}

static void counts_are_bounded(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i <= TOPOLOGY_SERVICES_MAX; i++)
        fprintf(out, "service s%d { run x; }\n", i);
    fclose(out);
    bad(text, "shop.conf:10001:1: error: too many services: at most 10000");
    free(text);
    out = open_memstream(&text, &size);
    for (int i = 0; i < 4000; i++)
        fprintf(out, "service s%d { run x; instances 1024; }\n", i);
    fclose(out);
    bad(text, "shop.conf:3226:1: error: there are more instances than addresses for them");
    free(text);
    out = open_memstream(&text, &size);
    fprintf(out, "service a { run x; env");
    for (int i = 0; i <= SERVICE_ENV_MAX; i++)
        fprintf(out, " A%d=", i);
    fprintf(out, "; }");
    fclose(out);
    bad(text, "shop.conf:1:20: error: 1025 variables are too many: at most 1024");
    free(text);
    out = open_memstream(&text, &size);
    for (int i = 0; i <= SERVICE_USES_MAX; i++)
        fprintf(out, "service s%d { run x; }\n", i);
    fprintf(out, "service a { run x; uses");
    for (int i = 0; i <= SERVICE_USES_MAX; i++)
        fprintf(out, "\ns%d", i);
    fprintf(out, "; }");
    fclose(out);
    bad(text, "shop.conf:515:1: error: too many services used: at most 256");
    free(text);
}

/* Wherever the memory ends, there is one diagnostic, and (under ASan) nothing leaks. */
static void too_little_memory_is_one_diagnostic(void **state)
{
    (void)state;
    const char *text =
        "service a { run x $instance; env A=1; uses b; } service b { run y; port 1; }"
        "realm r s { service c { run z; } listen $(7000 + $index) tcp -> c; }";
    bool enough = false;
    for (size_t bytes = 16; bytes < 49152; bytes += 16) {
        const struct topology_options options = {.bytes_max = bytes};
        struct diagnostics *diagnostics = diagnostics_new();
        struct topology *topology = finish(
            topology_parse(text, strlen(text), "x", NULL, &options, diagnostics), diagnostics);
        assert_false(enough && !topology);
        enough = topology != NULL;
        if (!topology)
            assert_string_equal(said,
                                "x: error: the configuration is too large for the memory that "
                                "it may take\n1 error, 0 warnings\n");
        topology_free(topology);
    }
    assert_true(enough);
}

struct folder {
    char path[64];
};

static int folder_setup(void **state)
{
    struct folder *folder = calloc(1, sizeof *folder);
    snprintf(folder->path, sizeof folder->path, "/tmp/build_test.XXXXXX");
    *state = folder;
    return mkdtemp(folder->path) ? 0 : -1;
}

static int folder_teardown(void **state)
{
    struct folder *folder = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder->path);
    int error = system(command);
    free(folder);
    return error;
}

static void file_write(const struct folder *folder, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct topology *load(const struct folder *folder, const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    struct diagnostics *diagnostics = diagnostics_new();
    return finish(topology_load(path, NULL, diagnostics), diagnostics);
}

static void files_include_files(void **state)
{
    const struct folder *folder = *state;
    char path[256];
    snprintf(path, sizeof path, "%s/more", folder->path);
    assert_int_equal(mkdir(path, 0700), 0);
    file_write(folder, "main.conf",
               "service a { run x; include \"more/a-part\"; }\ninclude more/*.conf;\n"
               "include nothing/*.conf;\nservice z { run x; }");
    file_write(folder, "more/a-part", "instances 3;");
    file_write(folder, "more/2.conf", "service c { run x; }");
    file_write(folder, "more/1.conf", "include 1-inner;\nservice b { run x; directory d; }");
    file_write(folder, "more/1-inner", "service i { run x; }");
    struct topology *topology = load(folder, "main.conf");
    if (!topology)
        fail_msg("%s", said);
    static const char *const names[] = {"a", "i", "b", "c", "z"};
    assert_int_equal(topology->service_count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(topology->services[i].name, names[i]);
    assert_int_equal(topology->services[0].instances, 3);
    snprintf(path, sizeof path, "%s/main.conf", folder->path);
    assert_string_equal(topology->file, path);
    assert_string_equal(topology->directory, folder->path);
    assert_string_equal(topology->services[0].file, path);
    snprintf(path, sizeof path, "%s/more/1.conf", folder->path);
    assert_string_equal(topology->services[2].file, path);
    assert_int_equal(topology->services[2].line, 2);
    snprintf(path, sizeof path, "%s/d", folder->path);
    assert_string_equal(topology->services[2].directory, path);
    topology_free(topology);
}

/* As above, while files are being searched and read. */
static void too_little_memory_for_included_files(void **state)
{
    const struct folder *folder = *state;
    char path[256];
    bool enough = false;
    file_write(folder, "main.conf", "include *.part;\nservice a { run x; }");
    file_write(folder, "1.part", "include inner;");
    file_write(folder, "2.part", "service b { run x; }");
    file_write(folder, "inner", "service c { run x; }");
    snprintf(path, sizeof path, "%s/main.conf", folder->path);
    for (size_t bytes = 64; bytes < 65536 && !enough; bytes += 64) {
        const struct topology_options options = {.bytes_max = bytes};
        struct diagnostics *diagnostics = diagnostics_new();
        struct topology *topology = finish(topology_load(path, &options, diagnostics), diagnostics);
        enough = topology != NULL;
        topology_free(topology);
    }
    assert_true(enough);
}

static void loops_of_includes_end(void **state)
{
    const struct folder *folder = *state;
    file_write(folder, "a.conf", "include b.conf;\nservice a { run x; }");
    file_write(folder, "b.conf", "\ninclude ./a.conf;");
    assert_null(load(folder, "a.conf"));
    assert_non_null(strstr(said, "b.conf:2:9: error: `"));
    assert_non_null(strstr(said, "a.conf` is being read already: a loop of includes\n"));
    assert_non_null(strstr(said, "1 error, 0 warnings"));
    for (int i = 0; i < 20; i++) {
        char name[16], text[32];
        snprintf(name, sizeof name, "n%d", i);
        snprintf(text, sizeof text, "include n%d;", i + 1);
        file_write(folder, name, text);
    }
    assert_null(load(folder, "n0"));
    assert_non_null(
        strstr(said, "n16:1:9: error: files include files too deeply: at most 16 levels"));
    /* Two at each level are two to the power of the depth. */
    for (int i = 0; i < 16; i++) {
        char name[16], text[64];
        snprintf(name, sizeof name, "n%d", i);
        snprintf(text, sizeof text, "include n%d; include n%d;", i + 1, i + 1);
        file_write(folder, name, i < 15 ? text : "");
    }
    assert_null(load(folder, "n0"));
    assert_non_null(strstr(said, "is one file too many: at most 16384 are read"));
}

static void unreadable_files_are_named(void **state)
{
    const struct folder *folder = *state;
    char expected[256], path[256];
    assert_null(load(folder, "none.conf"));
    snprintf(expected, sizeof expected,
             "%s/none.conf: error: the configuration cannot be read: No such file or directory\n",
             folder->path);
    assert_memory_equal(said, expected, strlen(expected));
    assert_null(load(folder, "no/folder.conf"));
    assert_non_null(strstr(said, "cannot be read: No such file or directory\n"));
    assert_null(load(folder, "."));
    assert_non_null(strstr(said, "/.: error: the configuration is a directory, not a file\n"));
    snprintf(path, sizeof path, "%s/huge.conf", folder->path);
    file_write(folder, "huge.conf", "");
    assert_int_equal(truncate(path, 100 << 20), 0);
    assert_null(load(folder, "huge.conf"));
    assert_non_null(strstr(said, "the configuration is too large: 104857600 bytes"));
    assert_int_equal(truncate(path, 100), 0);
    assert_null(load(folder, "huge.conf"));
    assert_non_null(strstr(said, "the configuration is not a text: byte 1 is 0"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_as_the_reference_says),
        cmocka_unit_test(everything_can_be_said),
        cmocka_unit_test(a_shell_has_its_text),
        cmocka_unit_test(paths_start_at_the_folder),
        cmocka_unit_test(listeners_have_addresses_and_targets),
        cmocka_unit_test(realms_repeat_their_block),
        cmocka_unit_test(a_definition_is_what_an_instance_is_started_with),
        cmocka_unit_test(names_come_from_option_file_or_path),
        cmocka_unit_test(errors_are_printed_in_full),
        cmocka_unit_test(wrong_blocks_are_diagnosed),
        cmocka_unit_test(wrong_files_are_diagnosed),
        cmocka_unit_test(suspicious_files_are_warned_of),
        cmocka_unit_test(counts_are_bounded),
        cmocka_unit_test(too_little_memory_is_one_diagnostic),
        cmocka_unit_test_setup_teardown(files_include_files, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(too_little_memory_for_included_files, folder_setup,
                                        folder_teardown),
        cmocka_unit_test_setup_teardown(loops_of_includes_end, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(unreadable_files_are_named, folder_setup, folder_teardown),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(said);
    return failed;
}
