#include "topology/parse_fixture.h"

#define SERVICES                                                                                   \
    "service a { run a; port 80; port 53 udp; }"                                                   \
    "service far { at far.example:1; } service b { run b; balance hash client; }"                  \
    "service tls { run x; tls verify=no; } service proxy { run x; proxy-protocol v1; }"            \
    "service ewma { run x; balance ewma; } service hash { run x; balance hash path; }"             \
    "service sticky { run x; balance sticky cookie; }"                                             \
    "service bound { run x; balance hash client bound=1.5; } service db { run x; role exec y; }\n"

static void paths_are_chosen_by_need(void **state)
{
    (void)state;
    static const struct {
        const char *listen;
        enum listener_path path;
        const char *why;
    } wanted[] = {
        {"80 tcp -> a;", LISTENER_DIRECT, "nothing in it needs the gateway"},
        {"80 tcp -> a path=direct;", LISTENER_DIRECT, NULL},
        {"80 tcp -> b;", LISTENER_DIRECT, NULL},
        {"80 tcp -> a port=81;", LISTENER_DIRECT, NULL},
        {"53 udp -> a;", LISTENER_DIRECT, NULL},
        {"53 udp -> b sticky=client;", LISTENER_DIRECT, NULL},
        {"54 udp -> b;", LISTENER_DIRECT, NULL},
        {"80 tcp -> a path=relay;", LISTENER_RELAY, "`path=relay` says so"},
        {"80 tcp tls -> a { certificate x; }", LISTENER_RELAY, "TLS ends here"},
        {"80 tcp { sni * -> a; }", LISTENER_RELAY, "the name that a client asks for leads it"},
        {"80 tcp -> a { proxy-protocol all; }", LISTENER_RELAY,
         "its clients begin with a PROXY header"},
        {"80 tcp -> a { bounds per-client=3; }", LISTENER_RELAY, "its connections are bounded"},
        {"80 tcp -> a { bounds connections=3; }", LISTENER_RELAY, "its connections are bounded"},
        {"80 tcp -> a idle=1m;", LISTENER_RELAY,
         "`idle=` needs somebody who sees whether anything moves"},
        {"53 udp -> a idle=1m;", LISTENER_RELAY, NULL},
        {"53 udp -> a sticky=source;", LISTENER_RELAY,
         "`sticky=source` is for all ports of a "
         "client"},
        {"53 udp -> a token=0:8;", LISTENER_RELAY,
         "`sticky=token` needs somebody who looks into datagrams"},
        {"54 udp -> a;", LISTENER_RELAY,
         "replies of a program at port 53 would not come from port 54"},
        {"53 udp -> b port=54;", LISTENER_RELAY,
         "replies of a program at port 54 would not come from port 53"},
        {"80 tcp -> far;", LISTENER_RELAY, "`far` is served elsewhere (`at`)"},
        {"80 tcp -> tls;", LISTENER_RELAY, "`tls` is spoken to by TLS"},
        {"80 tcp -> proxy;", LISTENER_RELAY, "`proxy` gets a PROXY header"},
        {"80 tcp -> ewma;", LISTENER_RELAY, "`balance ewma` of `ewma` needs the gateway"},
        {"80 tcp -> ewma path=direct;", LISTENER_DIRECT, NULL},
        {"80 tcp -> db role=primary;", LISTENER_RELAY, "its connections go by role"},
        {"80 tcp -> bound;", LISTENER_RELAY, "`bound=` of `bound` needs the gateway"},
        {"80 http -> a;", LISTENER_GATEWAY_HTTP, "requests are led by host and path"},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        char text[1024];
        snprintf(text, sizeof text, SERVICES "listen %s", wanted[i].listen);
        struct topology *topology = good(text);
        const struct listener *listener = &topology->listeners[0];
        if (listener->path != wanted[i].path ||
            (wanted[i].why && strcmp(wanted[i].why, listener->path_why) != 0))
            fail_msg("`%s` is %d: %s", wanted[i].listen, listener->path, listener->path_why);
        assert_int_equal(topology_needs_gateway(topology), listener->path != LISTENER_DIRECT);
        topology_free(topology);
    }
}

static void metrics_are_a_listener(void **state)
{
    (void)state;
    struct topology *topology = good("service a { run a; } metrics 127.0.0.1:9100;");
    const struct listener *listener = &topology->listeners[0];
    assert_int_equal(listener->kind, LISTENER_METRICS);
    assert_int_equal(listener->path, LISTENER_GATEWAY_HTTP);
    assert_int_equal(listener->service, UINT32_MAX);
    assert_int_equal(listener->port, 9100);
    assert_string_equal(listener->text, "tcp:127.0.0.1:9100");
    assert_int_equal(listener_target(topology, listener), 0);
    assert_true(topology_needs_gateway(topology));
    topology_free(topology);
}

static void a_check_by_the_network_needs_the_gateway(void **state)
{
    (void)state;
    struct topology *topology = good("service a { run a; check tcp; }");
    assert_true(topology_needs_gateway(topology));
    topology_free(topology);
    topology = good("service a { run a; check exec x; }");
    assert_false(topology_needs_gateway(topology));
    topology_free(topology);
    topology = good("service a { run a; role redis; }");
    assert_true(topology_needs_gateway(topology));
    topology_free(topology);
}

static void roles_are_wishes_of_listeners_and_routes(void **state)
{
    (void)state;
    struct topology *topology =
        good(SERVICES "listen 1 tcp -> db role=primary; listen 2 tcp -> db role=replica;"
                      "listen 3 http -> db role=replica-or-primary; listen 4 tcp -> db;"
                      "listen 5 http { route /a -> db role=primary; route / -> db; }");
    assert_int_equal(topology->listeners[0].role, ROLE_WISH_PRIMARY);
    assert_int_equal(topology->listeners[1].role, ROLE_WISH_REPLICA);
    assert_int_equal(topology->listeners[2].site->hosts[0].routes[0].targets[0].role,
                     ROLE_WISH_REPLICA_OR_PRIMARY);
    assert_int_equal(topology->listeners[3].role, ROLE_WISH_ANY);
    const struct route *routes = topology->listeners[4].site->hosts[0].routes;
    assert_int_equal(routes[0].targets[0].role, ROLE_WISH_PRIMARY);
    assert_int_equal(routes[1].targets[0].role, ROLE_WISH_ANY);
    topology_free(topology);
}

static void targets_are_stated_or_learnt(void **state)
{
    (void)state;
    struct topology *topology =
        good(SERVICES "listen 1 tcp -> a; listen 2 tcp -> a port=7; listen 3 udp -> b;"
                      "listen 4 udp -> a; listen 5 tcp -> b; listen 6 http -> a;"
                      "listen 7 tcp { sni * -> a; } listen 8 udp -> b idle=1s;");
    static const uint16_t wanted[] = {80, 7, 3, 53, 0, 0, 0, 0};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_int_equal(listener_target(topology, &topology->listeners[i]), wanted[i]);
    topology_free(topology);
}

static void idle_times_have_their_defaults(void **state)
{
    (void)state;
    struct topology *topology =
        good("service a { run a; timeout tunnel=5m; } listen 1 tcp -> a; listen 2 udp -> a;"
             "listen 3 tcp -> a idle=1s; listen 4 udp -> a idle=2s;");
    static const uint32_t wanted[] = {300000, 60000, 1000, 2000};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
        assert_int_equal(topology->listeners[i].idle_ms, wanted[i]);
    topology_free(topology);
}

static void names_of_tls_lead_to_services(void **state)
{
    (void)state;
    struct topology *topology =
        good(SERVICES "listen 443 tcp { sni A.example *.a.example -> a; sni * -> b; }");
    const struct listener *listener = &topology->listeners[0];
    assert_int_equal(listener->kind, LISTENER_STREAM);
    assert_int_equal(listener->service, UINT32_MAX);
    assert_int_equal(listener->sni_count, 2);
    assert_string_equal(listener->snis[0].names[0], "a.example");
    assert_string_equal(listener->snis[0].names[1], "*.a.example");
    assert_null(listener->snis[0].names[2]);
    assert_int_equal(listener->snis[0].service, 0);
    assert_string_equal(listener->snis[1].names[0], "*");
    assert_int_equal(listener->snis[1].service, 2);
    assert_null(listener->tls);
    topology_free(topology);
}

static void tls_has_its_settings(void **state)
{
    (void)state;
    struct topology *topology =
        good(SERVICES "listen 1 http tls -> a { certificate c.pem; }"
                      "listen 2 http tls { certificate c.pem key=k.pem; host a { certificate /d; "
                      "route / -> a; } tls min=1.3 ciphers=\"A:B\" client=require client-ca=ca.pem "
                      "tickets=off; }");
    const struct listener_tls *tls = topology->listeners[0].tls;
    assert_int_equal(tls->certificate_count, 1);
    assert_string_equal(tls->certificates[0].certificate_file, "/c.pem");
    assert_string_equal(tls->certificates[0].key_file, "/c.pem");
    assert_int_equal(tls->version_min, 12);
    assert_null(tls->ciphers);
    assert_int_equal(tls->client, CLIENT_CERTIFICATE_NONE);
    assert_null(tls->client_ca_file);
    assert_true(tls->tickets);
    tls = topology->listeners[1].tls;
    assert_int_equal(tls->certificate_count, 2);
    assert_string_equal(tls->certificates[0].key_file, "/k.pem");
    assert_string_equal(tls->certificates[1].certificate_file, "/d");
    assert_int_equal(tls->version_min, 13);
    assert_string_equal(tls->ciphers, "A:B");
    assert_int_equal(tls->client, CLIENT_CERTIFICATE_REQUIRE);
    assert_string_equal(tls->client_ca_file, "/ca.pem");
    assert_false(tls->tickets);
    topology_free(topology);
}

static void tokens_have_a_place(void **state)
{
    (void)state;
    struct topology *topology = good(SERVICES "listen 1 udp -> a token=4:16;"
                                              "listen 2 udp -> a sticky=token token=0:1;"
                                              "listen 3 udp -> a sticky=source;");
    assert_int_equal(topology->listeners[0].sticky, STICKY_TOKEN);
    assert_int_equal(topology->listeners[0].token_at, 4);
    assert_int_equal(topology->listeners[0].token_bytes, 16);
    assert_int_equal(topology->listeners[1].sticky, STICKY_TOKEN);
    assert_int_equal(topology->listeners[2].sticky, STICKY_SOURCE);
    topology_free(topology);
}

static const struct {
    const char *listen;
    const char *line;
} cases[] = {
    {"80 tcp;", "shop.conf:2:1: error: `listen … tcp` needs `-> SERVICE`"},
    {"80 tcp { }", "shop.conf:2:1: error: `listen … tcp` needs `-> SERVICE`"},
    {"80 http;", "shop.conf:2:1: error: `listen … http` leads nowhere"},
    {"80 tpc -> a;", "       hint: allowed: tcp, udp or http; did you mean `tcp`?"},
    {"80 http tsl -> a;", "shop.conf:2:16: error: listen: `tsl` is not known here"},
    {"80 http web;", "shop.conf:2:16: error: listen: `->` is missing before `web`"},
    {"80 http tls -> a;", "shop.conf:2:16: error: `tls` needs a certificate"},
    {"80 tcp tls -> a;", "shop.conf:2:15: error: `tls` needs a certificate"},
    {"80 http tls { certificate auto; route / -> a; }",
     "shop.conf:2:34: error: certificate: `auto` is not in this version yet"},
    {"80 http tls { certificate auto; route / -> a; }", "1 error, 0 warnings"},
    {"53 udp tls -> a;", "shop.conf:2:15: error: udp has no TLS"},
    {"53 udp -> a { bounds per-client=1; }",
     "shop.conf:2:22: error: `bounds` is not for datagrams"},
    {"53 udp -> a { flood connections=1/s concurrent=2; }",
     "shop.conf:2:55: error: `concurrent=` is for connections, and this is `listen … udp`"},
    {"53 udp -> a { flood requests=1/s; }",
     "shop.conf:2:37: error: `requests=` is for requests, and this is no `listen … http`"},
    {"80 tcp -> a { flood concurrent=2 requests=1/s; }",
     "shop.conf:2:50: error: `requests=` is for requests, and this is no `listen … http`"},
    {"80 tcp -> a { flood ban=1h; }", "shop.conf:2:22: error: `flood` says nothing of how much"},
    {"80 tcp -> a { flood; }", "shop.conf:2:22: error: `flood` needs at least one option"},
    {"80 tcp -> a { flood connections=0/s; }",
     "shop.conf:2:40: error: flood connections=: `0/s` is too small"},
    {"80 tcp -> a { flood connections=9; }",
     "shop.conf:2:40: error: flood connections=: `9` is not a rate"},
    {"80 tcp -> a { flood concurrent=0; }",
     "shop.conf:2:39: error: flood concurrent=: `0` is too small"},
    {"80 tcp -> a { flood concurrent=9 ban=10ms; }",
     "shop.conf:2:45: error: flood ban=: `10ms` is too small"},
    {"80 tcp -> a { flood concurrent=9 except=10.0.0.1/8; }",
     "shop.conf:2:48: error: flood except=: `10.0.0.1/8` has bits beyond the network's length"},
    {"80 tcp -> a { flood concurrent=9; flood concurrent=8; }",
     "shop.conf:2:42: error: `flood` is given twice"},
    {"80 tcp -> a path=direct { flood concurrent=9; }",
     "shop.conf:2:25: error: path=direct is not possible: who floods it is banned (`flood`)"},
    {"80 http { route / -> a { flood requests=1/s; } }",
     "shop.conf:2:33: error: `flood` is not allowed in `route`"},
    {"80 tcp -> a sticky=source;", "shop.conf:2:27: error: `sticky=` is for udp"},
    {"80 http -> a port=8;",
     "shop.conf:2:26: error: `port=` is for `listen … tcp` and `listen … udp`"},
    {"53 udp -> a sticky=token;",
     "shop.conf:2:27: error: `sticky=token` needs to know where the token stands"},
    {"53 udp -> a sticky=client token=0:8;",
     "shop.conf:2:40: error: `token=` belongs to `sticky=token`"},
    {"53 udp -> a token=0:17;",
     "shop.conf:2:26: error: listen token=: `0:17` is not a place in a datagram"},
    {"80 tcp tls -> a path=direct { certificate x; }",
     "shop.conf:2:29: error: path=direct is not possible: TLS ends here"},
    {"80 tcp -> far path=direct;",
     "shop.conf:2:27: error: path=direct is not possible: `far` is served elsewhere (`at`)"},
    {"80 tcp -> far port=5;", "shop.conf:2:27: error: `at` says the port of `far`"},
    {"80 tcp -> sticky;", "shop.conf:2:18: error: `balance sticky` of `sticky` goes by a cookie, "
                          "and only requests have one"},
    {"80 tcp -> a { route / -> a; }",
     "shop.conf:2:22: error: `route` is for requests, and this is no `listen … http`"},
    {"80 tcp -> a { bounds body=1m; }",
     "shop.conf:2:34: error: `body=` is for requests, and this is no `listen … http`"},
    {"80 tcp -> a { sni * -> b; }",
     "shop.conf:2:18: error: `-> SERVICE` and `sni` exclude each other"},
    {"80 tcp tls { certificate x; sni * -> b; }",
     "shop.conf:2:36: error: `sni` passes TLS on as it is, and this listener ends it"},
    {"80 tcp { sni a A -> b; }", "shop.conf:2:23: error: the host `a` is given twice"},
    {"80 tcp { sni -> b; }", "1 error, 0 warnings"},
    {"80 tcp { sni -> b; }", "shop.conf:2:17: error: `sni` needs NAME"},
    {"80 tcp { sni a b; }", "shop.conf:2:17: error: `sni` needs ->"},
    {"80 tcp { sni a -> nope; }", "shop.conf:2:26: error: there is no service `nope`"},
    {"80 http tls { certificate x; tls client=require; route / -> a; }",
     "shop.conf:2:48: error: client certificates need an authority that they are from"},
    {"80 http tls { certificate x; tls client-ca=y; route / -> a; }",
     "shop.conf:2:51: error: clients are not asked for a certificate"},
    {"80 tcp -> a; listen 80 http -> a;", "shop.conf:2:28: error: two listeners at `80`"},
    {"80 tcp -> a role=primary;",
     "shop.conf:2:25: error: nothing finds out who is the primary of `a`"},
    {"80 tcp -> db role=master;",
     "shop.conf:2:26: error: listen role=: `master` is not known here"},
    {"80 tcp -> db role=primary path=direct;",
     "shop.conf:2:39: error: path=direct is not possible: its connections go by role"},
    {"80 udp -> db role=primary;", "shop.conf:2:26: error: `role=` is for tcp and http"},
    {"80 tcp role=primary { sni * -> db; }",
     "shop.conf:2:20: error: `role=` is of the service behind `->`"},
    {"80 http role=primary { route / -> db; }",
     "shop.conf:2:21: error: `role=` is of the service behind `->`"},
    {"80 http -> a role=replica;",
     "shop.conf:2:19: error: nothing finds out who is the primary of `a`"},
    {"80 tcp -> a; metrics 80;", "shop.conf:2:29: error: two listeners at `80`"},
};

static void what_is_wrong_is_said_where_it_stands(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[1024];
        snprintf(text, sizeof text, SERVICES "listen %s", cases[i].listen);
        bad(text, cases[i].line);
    }
}

static void floods_have_their_numbers(void **state)
{
    (void)state;
    struct topology *topology =
        good(SERVICES "listen 80 http { flood connections=50/s requests=600/m concurrent=100 "
                      "ban=1h except=10.0.0.0/8 except=2001:db8::/32; route / -> a; }\n"
                      "listen 81 tcp -> a { flood connections=9/h; }\n"
                      "listen 53 udp -> a { flood connections=5/s; allow 10.0.0.0/8; deny all; }\n"
                      "listen 82 tcp -> a;");
    const struct flood *all = topology->listeners[0].flood, *some = topology->listeners[1].flood;
    assert_int_equal(all->connections.interval_ns, 20000000);
    assert_int_equal(all->connections.burst, 50);
    assert_int_equal(all->requests.interval_ns, 100000000);
    assert_int_equal(all->requests.burst, 600);
    assert_int_equal(all->concurrent, 100);
    assert_int_equal(all->ban_ms, 3600000);
    assert_int_equal(all->exempt_count, 2);
    assert_int_equal(all->exempt[0].length, 96 + 8);
    assert_int_equal(all->exempt[1].length, 32);
    assert_int_equal(some->ban_ms, 600000);
    assert_int_equal(some->requests.interval_ns + some->concurrent + some->exempt_count, 0);
    assert_non_null(topology->listeners[2].flood);
    assert_non_null(topology->listeners[2].access);
    assert_int_equal(topology->listeners[1].path, LISTENER_RELAY);
    assert_int_equal(topology->listeners[2].path, LISTENER_RELAY);
    assert_null(topology->listeners[3].flood);
    assert_int_equal(topology->listeners[3].path, LISTENER_DIRECT);
    topology_free(topology);
}

static void balancing_that_the_path_cannot_do_is_warned_of(void **state)
{
    (void)state;
    topology_free(good(SERVICES "listen 1 tcp -> ewma path=direct;"));
    says("direct", "shop.conf:2:27: warning: the direct path cannot do `balance ewma`: it balances "
                   "by least");
    topology_free(good(SERVICES "listen 1 tcp -> hash;"));
    says("relay", "shop.conf:2:17: warning: `balance hash` of `hash` looks at requests: "
                  "connections are balanced by least");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_are_chosen_by_need),
        cmocka_unit_test(metrics_are_a_listener),
        cmocka_unit_test(a_check_by_the_network_needs_the_gateway),
        cmocka_unit_test(roles_are_wishes_of_listeners_and_routes),
        cmocka_unit_test(targets_are_stated_or_learnt),
        cmocka_unit_test(idle_times_have_their_defaults),
        cmocka_unit_test(names_of_tls_lead_to_services),
        cmocka_unit_test(tls_has_its_settings),
        cmocka_unit_test(tokens_have_a_place),
        cmocka_unit_test(floods_have_their_numbers),
        cmocka_unit_test(what_is_wrong_is_said_where_it_stands),
        cmocka_unit_test(balancing_that_the_path_cannot_do_is_warned_of),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(said);
    return failed;
}
