#include "topology/parse_fixture.h"

static struct topology *service(const char *block)
{
    char text[1024];
    snprintf(text, sizeof text, "service a { %s }", block);
    return good(text);
}

static void defaults_are_as_the_reference_says(void **state)
{
    (void)state;
    struct topology *topology = service("run x;");
    const struct service_gateway *gateway = &topology->services[0].gateway;
    assert_int_equal(gateway->remote_count, 0);
    assert_false(gateway->tls.on);
    assert_int_equal(gateway->proxy_protocol, 0);
    assert_int_equal(gateway->hash_key, HASH_CLIENT);
    assert_int_equal(gateway->slow_start_ms, 0);
    assert_int_equal(gateway->connections_max, 0);
    assert_int_equal(gateway->requests_max, 0);
    assert_int_equal(gateway->idle_max, 64);
    assert_int_equal(gateway->connect_ms, 3000);
    assert_int_equal(gateway->send_ms, 30000);
    assert_int_equal(gateway->response_ms, 60000);
    assert_int_equal(gateway->read_ms, 60000);
    assert_int_equal(gateway->idle_ms, 60000);
    assert_int_equal(gateway->tunnel_ms, 3600000);
    assert_int_equal(gateway->retry_tries, 2);
    assert_int_equal(gateway->retry_budget_percent, 20);
    assert_int_equal(gateway->retry_methods, RETRY_IDEMPOTENT);
    assert_int_equal(gateway->hold_max, 1000);
    assert_int_equal(gateway->hold_ms, 30000);
    assert_int_equal(gateway->eject_failures, 5);
    assert_int_equal(gateway->eject_ms, 10000);
    assert_int_equal(gateway->breaker.failures, 0); /* there is none */
    topology_free(topology);
}

static void everything_can_be_said(void **state)
{
    (void)state;
    struct topology *topology =
        service("run x; speaks http; tls name=n.example ca=ca.pem certificate=c.pem key=k.pem; "
                "proxy-protocol v2; slow-start 5s; capacity connections=1 requests=2 idle=3; "
                "timeout connect=1s send=2s response=3s read=4s idle=5s tunnel=6s; "
                "retry tries=0 budget=7% methods=all; hold requests=8 within=9s; "
                "eject failures=10 for=11s; "
                "breaker failures=12 errors=13% within=14s open=15s probes=16 status=502-504;");
    const struct service_gateway *gateway = &topology->services[0].gateway;
    assert_true(gateway->tls.on);
    assert_true(gateway->tls.verify);
    assert_string_equal(gateway->tls.name, "n.example");
    assert_string_equal(gateway->tls.ca_file, "/ca.pem");
    assert_string_equal(gateway->tls.certificate_file, "/c.pem");
    assert_string_equal(gateway->tls.key_file, "/k.pem");
    assert_int_equal(gateway->proxy_protocol, 2);
    assert_int_equal(gateway->slow_start_ms, 5000);
    assert_int_equal(gateway->connections_max, 1);
    assert_int_equal(gateway->requests_max, 2);
    assert_int_equal(gateway->idle_max, 3);
    assert_int_equal(gateway->connect_ms, 1000);
    assert_int_equal(gateway->send_ms, 2000);
    assert_int_equal(gateway->response_ms, 3000);
    assert_int_equal(gateway->read_ms, 4000);
    assert_int_equal(gateway->idle_ms, 5000);
    assert_int_equal(gateway->tunnel_ms, 6000);
    assert_int_equal(gateway->retry_tries, 0);
    assert_int_equal(gateway->retry_budget_percent, 7);
    assert_int_equal(gateway->retry_methods, RETRY_ALL);
    assert_int_equal(gateway->hold_max, 8);
    assert_int_equal(gateway->hold_ms, 9000);
    assert_int_equal(gateway->eject_failures, 10);
    assert_int_equal(gateway->eject_ms, 11000);
    assert_int_equal(gateway->breaker.failures, 12);
    assert_int_equal(gateway->breaker.errors_percent, 13);
    assert_int_equal(gateway->breaker.within_ms, 14000);
    assert_int_equal(gateway->breaker.open_ms, 15000);
    assert_int_equal(gateway->breaker.probes, 16);
    assert_int_equal(gateway->breaker.status_low, 502);
    assert_int_equal(gateway->breaker.status_high, 504);
    topology_free(topology);
    topology = service("run x; breaker;");
    gateway = &topology->services[0].gateway;
    assert_int_equal(gateway->breaker.failures, 5);
    assert_int_equal(gateway->breaker.errors_percent, 50);
    assert_int_equal(gateway->breaker.within_ms, 10000);
    assert_int_equal(gateway->breaker.open_ms, 10000);
    assert_int_equal(gateway->breaker.probes, 1);
    assert_int_equal(gateway->breaker.status_low, 500);
    assert_int_equal(gateway->breaker.status_high, 599);
    topology_free(topology);
    topology = service("run x; tls;");
    assert_string_equal(topology->services[0].gateway.tls.ca_file,
                        "/etc/ssl/certs/ca-certificates.crt");
    topology_free(topology);
    topology = service("run x; tls verify=no;");
    assert_false(topology->services[0].gateway.tls.verify);
    assert_null(topology->services[0].gateway.tls.ca_file);
    topology_free(topology);
}

static void a_service_may_be_elsewhere(void **state)
{
    (void)state;
    struct topology *topology =
        service("at 10.0.0.7:8080 weight=2; at legacy.example:80 [::1]:81 unix:/run/x.sock; "
                "at unix:y.sock;");
    const struct service *of = &topology->services[0];
    const struct remote *remotes = of->gateway.remotes;
    assert_int_equal(of->gateway.remote_count, 5);
    assert_int_equal(of->instances, 0);
    assert_int_equal(of->argc, 0);
    assert_int_equal(of->balance, BALANCE_WEIGHTED);
    assert_string_equal(remotes[0].host, "10.0.0.7");
    assert_int_equal(remotes[0].port, 8080);
    assert_int_equal(remotes[0].weight, 2);
    assert_string_equal(remotes[0].text, "10.0.0.7:8080");
    assert_string_equal(remotes[1].host, "legacy.example");
    assert_int_equal(remotes[1].weight, 1);
    assert_string_equal(remotes[2].host, "::1");
    assert_string_equal(remotes[2].text, "[::1]:81");
    assert_null(remotes[3].host);
    assert_string_equal(remotes[3].path, "/run/x.sock");
    assert_string_equal(remotes[4].path, "/y.sock");
    assert_string_equal(remotes[4].text, "unix:/y.sock");
    topology_free(topology);
    topology = service("at x:1; balance least;");
    assert_int_equal(topology->services[0].balance, BALANCE_LEAST);
    topology_free(topology);
}

static void balancing_has_keys(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum balance_policy balance;
        enum hash_key key;
        const char *name;
    } wanted[] = {
        {"ewma", BALANCE_EWMA, HASH_CLIENT, NULL},
        {"hash", BALANCE_HASH, HASH_CLIENT, NULL},
        {"hash client", BALANCE_HASH, HASH_CLIENT, NULL},
        {"hash path", BALANCE_HASH, HASH_PATH, NULL},
        {"hash uri", BALANCE_HASH, HASH_URI, NULL},
        {"hash host", BALANCE_HASH, HASH_HOST, NULL},
        {"hash header:X-A", BALANCE_HASH, HASH_HEADER, "X-A"},
        {"hash cookie:id", BALANCE_HASH, HASH_COOKIE, "id"},
        {"hash query:q", BALANCE_HASH, HASH_QUERY, "q"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        char text[128];
        snprintf(text, sizeof text, "run x; balance %s;", wanted[i].text);
        struct topology *topology = service(text);
        const struct service *of = &topology->services[0];
        assert_int_equal(of->balance, wanted[i].balance);
        assert_int_equal(of->gateway.hash_key, wanted[i].key);
        if (wanted[i].name)
            assert_string_equal(of->gateway.hash_name, wanted[i].name);
        else
            assert_null(of->gateway.hash_name);
        topology_free(topology);
    }
    struct topology *topology = service("run x; balance sticky cookie;");
    assert_int_equal(topology->services[0].balance, BALANCE_STICKY);
    assert_string_equal(topology->services[0].gateway.cookie_name, "enginx");
    topology_free(topology);
    topology = service("run x; balance sticky cookie:id;");
    assert_string_equal(topology->services[0].gateway.cookie_name, "id");
    topology_free(topology);
}

static void checks_by_the_network_have_their_words(void **state)
{
    (void)state;
    struct topology *topology = service(
        "run x; check http '/h?a=$b' host=h.example status=204 match=\"all good\" every=1s;");
    const struct service *of = &topology->services[0];
    assert_int_equal(of->check, CHECK_HTTP);
    assert_int_equal(of->check_every_ms, 1000);
    assert_string_equal(of->gateway.check_path, "/h?a=$b");
    assert_string_equal(of->gateway.check_host, "h.example");
    assert_int_equal(of->gateway.check_status_low, 204);
    assert_int_equal(of->gateway.check_status_high, 204);
    assert_string_equal(of->gateway.check_match, "all good");
    topology_free(topology);
    topology = service("run x; check http /;");
    assert_int_equal(topology->services[0].gateway.check_status_low, 200);
    assert_int_equal(topology->services[0].gateway.check_status_high, 399);
    assert_null(topology->services[0].gateway.check_host);
    topology_free(topology);
    topology = service("run x; check udp send=ping expect=pong;");
    assert_int_equal(topology->services[0].check, CHECK_UDP);
    assert_string_equal(topology->services[0].gateway.check_send, "ping");
    assert_string_equal(topology->services[0].gateway.check_expect, "pong");
    topology_free(topology);
    topology = service("at x:1; check redis;");
    assert_int_equal(topology->services[0].check, CHECK_REDIS);
    topology_free(topology);
    topology = service("run x; check exec psql \"host=db\";");
    assert_string_equal(topology->services[0].check_argv[1], "host=db");
    topology_free(topology);
}

static void steps_have_commands_and_times(void **state)
{
    (void)state;
    struct topology *topology =
        service("run x; before-start once ./migrate --all timeout=5m; before-start shell 'a $b'; "
                "before-start once shell c; after-stop rm -rf $state timeout=1s;");
    const struct service *one = &topology->services[0];
    assert_int_equal(one->before_start_count, 3);
    assert_true(one->before_start[0].once);
    assert_string_equal(one->before_start[0].argv[0], "./migrate");
    assert_string_equal(one->before_start[0].text, "./migrate --all");
    assert_null(one->before_start[0].argv[2]);
    assert_int_equal(one->before_start[0].timeout_ms, 300000);
    assert_false(one->before_start[1].once);
    assert_string_equal(one->before_start[1].argv[0], "/bin/sh");
    assert_int_equal(one->before_start[1].timeout_ms, 30000);
    assert_true(one->before_start[2].once);
    assert_string_equal(one->before_start[2].argv[2], "c");
    assert_int_equal(one->after_stop_count, 1);
    assert_string_equal(one->after_stop[0].argv[2], "${state}");
    assert_int_equal(one->after_stop[0].timeout_ms, 1000);
    topology_free(topology);
}

static uint64_t definition_of(const char *block)
{
    struct topology *topology = service(block);
    uint64_t definition = topology->services[0].definition;
    topology_free(topology);
    return definition;
}

static void what_the_gateway_does_is_no_reason_for_a_restart(void **state)
{
    (void)state;
    static const char *const same[] = {
        "run x; check http /; balance ewma;",
        "run x; tls verify=no; proxy-protocol v1;",
        "run x; timeout connect=1s; retry tries=1; hold requests=1; eject for=1s;",
        "run x; slow-start 1s; capacity idle=1; speaks http;",
    };
    uint64_t plain = definition_of("run x;");
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_true(definition_of(same[i]) == plain);
}

static const struct {
    const char *block;
    const char *line;
} cases[] = {
    {"", "       hint: run PROGRAM ARGUMENTS…; or shell \"…\"; or at HOST:PORT;"},
    {"at x:1; run y;", "shop.conf:1:21: error: `run` and `at` exclude each other"},
    {"at x:1; instances 3; port 1;", "2 errors, 0 warnings"},
    {"at x:1; weight 3;", "       hint: at 10.0.0.7:8080 weight=2;"},
    {"at x:1; check listen;", "shop.conf:1:27: error: this check looks at a program, and `at` "
                              "names servers that somebody else runs"},
    {"at x;", "shop.conf:1:16: error: at: `x` is not an endpoint"},
    {"at x:0;", "shop.conf:1:16: error: at: `x:0` is not an endpoint"},
    {"at :80;", "shop.conf:1:16: error: at: `:80` is not an endpoint"},
    {"at a..b:80;", "shop.conf:1:16: error: at: `a..b:80` is not an endpoint"},
    {"at [::g]:80;", "shop.conf:1:16: error: at: `[::g]:80` is not an endpoint"},
    {"at unix:;", "shop.conf:1:16: error: at: `unix:` is not an endpoint"},
    {"at x:1 y:2 x:1;", "shop.conf:1:24: error: `x:1` is given twice"},
    {"at x:1 weight=0;", "shop.conf:1:13: error: with all weights 0 no endpoint gets a connection"},
    {"at x:1 weight=1001;", "shop.conf:1:27: error: at weight=: `1001` is too large"},
    {"run x; balance hash pth;", "       hint: did you mean `path`?"},
    {"run x; balance hash header:;", "shop.conf:1:33: error: `header:` is not a key to balance by"},
    {"run x; balance sticky ip;", "shop.conf:1:35: error: `balance sticky` goes by a cookie"},
    {"run x; balance sticky cookie:\"a b\";",
     "shop.conf:1:35: error: `balance sticky` goes by a cookie"},
    {"run x; balance ewma x;",
     "shop.conf:1:33: error: only `balance hash` and `balance sticky` have a key"},
    {"run x; balance least bound=2;", "shop.conf:1:40: error: `bound=` belongs to `balance hash`"},
    {"run x; balance hash path bound=0.9;",
     "shop.conf:1:44: error: balance bound=: `0.9` is too small"},
    {"run x; balance hash path bound=1.255;",
     "shop.conf:1:44: error: balance bound=: `1.255` is not a factor"},
    {"run x; balance hash path bound=101;", "       hint: allowed: 1 to 100"},
    {"run x; role exec;",
     "shop.conf:1:25: error: `role exec` needs a command, which prints `primary` or `replica`"},
    {"run x; role redis a;", "shop.conf:1:31: error: this kind of role has no arguments"},
    {"run x; role redis user=a;", "shop.conf:1:36: error: `user=` belongs to `role postgres`"},
    {"run x; role exec psql user=a;", "       hint: in quotation marks it is an argument"},
    {"run x; role mysql;", "shop.conf:1:25: error: role: `mysql` is not known here"},
    {"at a:1; role exec x;", "       hint: role postgres; or role redis;"},
    {"run x; check http;", "shop.conf:1:26: error: `check http` needs one path"},
    {"run x; check http a;", "shop.conf:1:31: error: a path starts with `/` and has no blanks in "
                             "it"},
    {"run x; check http /a /b;", "shop.conf:1:34: error: `check http` needs one path"},
    {"run x; check http /$instance;",
     "shop.conf:1:31: error: the path of a check is the same for all instances"},
    {"run x; check http / status=600;",
     "shop.conf:1:40: error: check status=: `600` is not a status"},
    {"run x; check http / status=300-200;",
     "shop.conf:1:40: error: check status=: `300-200` is not a status"},
    {"run x; check tcp host=a;", "shop.conf:1:35: error: `host=` belongs to `check http`"},
    {"run x; check exec psql host=db;", "       hint: in quotation marks it is an argument"},
    {"run x; check http / send=a;", "shop.conf:1:38: error: `send=` belongs to `check udp`"},
    {"run x; check tcp y;", "shop.conf:1:30: error: this kind of check has no arguments"},
    {"run x; tls verify=no name=*.b;",
     "shop.conf:1:39: error: one name is expected, and no pattern"},
    {"run x; tls key=k;", "shop.conf:1:28: error: a key without a certificate"},
    {"run x; directory $directory/a;",
     "       hint: a relative path starts at the configuration's folder"},
    {"run x; proxy-protocol v3;", "       hint: allowed: v1 or v2; did you mean `v1`?"},
    {"run x; retry budget=101%;", "shop.conf:1:33: error: retry budget=: `101%` is too large"},
    {"run x; timeout;", "shop.conf:1:20: error: `timeout` needs at least one option"},
    {"run x; check grpc a b;", "shop.conf:1:33: error: `check grpc` has one name at most"},
    {"run x; tls; check grpc;",
     "shop.conf:1:25: error: `check grpc` with `tls` needs a service that speaks HTTP/2"},
    {"run x; proxy-protocol v2; speaks http2;",
     "shop.conf:1:20: error: with `speaks http2` requests of many clients share a connection, "
     "which "
     "has one PROXY header"},
    {"run x; route / -> a;", "shop.conf:1:20: error: `route` is not allowed in `service`"},
};

static void what_is_wrong_is_said_where_it_stands(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, "service a { %s }", cases[i].block);
        bad(text, cases[i].line);
    }
}

static void roles_are_found_by_checks(void **state)
{
    (void)state;
    struct topology *topology = good(
        "service a { run x; role postgres user=monitor every=500ms; }"
        "service b { run x; role exec ./role.sh $instance timeout=3s fall=2; }"
        "service c { at x:1; role redis; } service d { run x; }"
        "service e { run x; balance hash path bound=1.25; } service f { run x; balance hash; }");
    const struct service *services = topology->services;
    assert_int_equal(services[0].role.check, ROLE_CHECK_POSTGRES);
    assert_string_equal(services[0].role.user, "monitor");
    assert_string_equal(services[0].role.database, "postgres");
    assert_int_equal(services[0].role.every_ms, 500);
    assert_int_equal(services[0].role.timeout_ms, 1000);
    assert_int_equal(services[0].role.fall, 3);
    assert_int_equal(services[1].role.check, ROLE_CHECK_EXEC);
    assert_string_equal(services[1].role.argv[0], "./role.sh");
    assert_string_equal(services[1].role.argv[1], "${instance}");
    assert_null(services[1].role.argv[2]);
    assert_int_equal(services[1].role.timeout_ms, 3000);
    assert_int_equal(services[1].role.fall, 2);
    assert_int_equal(services[2].role.check, ROLE_CHECK_REDIS);
    assert_int_equal(services[3].role.check, ROLE_CHECK_NONE);
    assert_int_equal(services[4].gateway.hash_bound_percent, 125);
    assert_int_equal(services[5].gateway.hash_bound_percent, 0);
    topology_free(topology);
}

static void long_paths_of_sockets_are_refused(void **state)
{
    (void)state;
    char text[256];
    snprintf(text, sizeof text, "service a { at unix:/%0107d; }", 0);
    bad(text, "shop.conf:1:16: error: the path of a socket has at most 107 bytes");
    snprintf(text, sizeof text, "service a { at unix:/%0106d; }", 0);
    topology_free(good(text));
}

static void a_range_of_instances_follows_marks(void **state)
{
    (void)state;
    struct topology *topology =
        good("service a { run x; quota memory=1g; priority 9; instances 0..40 cpu=70% memory=80%\n"
             "connections=100 latency=p95<200ms queue=7 idle=5m cool-down=2m; }\n"
             "service b { run x; instances 0..1 idle=1m; }\n"
             "service c { run x; instances 0..4 idle=5m; }");
    const struct service *a = &topology->services[0];
    assert_int_equal(a->instances, 1);
    assert_int_equal(a->priority, 9);
    assert_int_equal(service_instances_most(a), 40);
    const struct service_scale wanted = {.low = 0,
                                         .high = 40,
                                         .cpu_percent = 70,
                                         .memory_percent = 80,
                                         .connections = 100,
                                         .latency_us = 200000,
                                         .latency_part = 95,
                                         .queue = 7,
                                         .idle_ms = 300000,
                                         .cool_down_ms = 120000};
    assert_memory_equal(&a->scale, &wanted, sizeof wanted);
    const struct service *b = &topology->services[1];
    assert_int_equal(b->scale.high, 1);
    assert_int_equal(b->scale.cool_down_ms, 60000);
    assert_int_equal(b->priority, 50);
    assert_int_equal(b->scale.cpu_percent, 0);
    assert_int_equal(topology->services[2].scale.cpu_percent, 70); /* it has to follow something */
    topology_free(topology);
}

static void wrong_ranges_are_diagnosed(void **state)
{
    (void)state;
    static const struct {
        const char *block, *error;
    } ranges[] = {
        {"run x; instances 1..8;",
         "shop.conf:1:30: error: a range needs a mark: what its number follows"},
        {"run x; instances 3 cpu=70%;",
         "shop.conf:1:30: error: a number alone is fixed: its options need a range"},
        {"run x; instances 3 cool-down=9s;",
         "shop.conf:1:30: error: a number alone is fixed: its options need a range"},
        {"run x; instances 0..4 cpu=70%;",
         "shop.conf:1:30: error: a range from 0 needs `idle=`: when it falls asleep"},
        {"run x; instances 1..4 cpu=70% idle=5m;",
         "shop.conf:1:48: error: only a range from 0 falls asleep"},
        {"run x; instances 1..4 memory=70%;",
         "shop.conf:1:20: error: `memory=` is a part of each instance's quota, and `a` has none"},
        {"run x; port none; instances 0..1 idle=5m;",
         "shop.conf:1:31: error: a program that listens nowhere is woken by nobody: it cannot "
         "sleep"},
        {"run x; port 53 udp; instances 0..1 idle=5m;",
         "shop.conf:1:33: error: a datagram wakes nobody: a service with a UDP port cannot sleep"},
        {"run x; instances 1..4 latency=p90<1s;",
         "shop.conf:1:43: error: `p90<1s` is no mark for latency"},
        {"run x; instances 1..4 latency=p95<0;",
         "shop.conf:1:43: error: `p95<0` is no mark for latency"},
        {"run x; instances 4..1 cpu=70%;",
         "shop.conf:1:30: error: instances: the range `4..1` ends before it starts"},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "service a { %s }", ranges[i].block);
        bad(text, ranges[i].error);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_range_of_instances_follows_marks),
        cmocka_unit_test(wrong_ranges_are_diagnosed),
        cmocka_unit_test(defaults_are_as_the_reference_says),
        cmocka_unit_test(everything_can_be_said),
        cmocka_unit_test(a_service_may_be_elsewhere),
        cmocka_unit_test(balancing_has_keys),
        cmocka_unit_test(checks_by_the_network_have_their_words),
        cmocka_unit_test(what_the_gateway_does_is_no_reason_for_a_restart),
        cmocka_unit_test(what_is_wrong_is_said_where_it_stands),
        cmocka_unit_test(roles_are_found_by_checks),
        cmocka_unit_test(long_paths_of_sockets_are_refused),
        cmocka_unit_test(steps_have_commands_and_times),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(said);
    return failed;
}
