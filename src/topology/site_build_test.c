#include "topology/parse_fixture.h"

#define SERVICES    "service a { run a; } service b { run b; } service c { run c; port none; }\n"
#define SITE(block) SERVICES "listen 80 http {\n" block "\n}"

static const struct site *site_of(struct topology *topology)
{
    assert_int_equal(topology->listeners[0].kind, LISTENER_HTTP);
    assert_int_equal(topology->listeners[0].path, LISTENER_GATEWAY_HTTP);
    assert_int_equal(topology->listeners[0].service, UINT32_MAX);
    assert_non_null(topology->listeners[0].site);
    return topology->listeners[0].site;
}

static void one_service_is_one_route(void **state)
{
    (void)state;
    struct topology *topology = good(SERVICES "listen 80 http -> b;");
    const struct site *site = site_of(topology);
    assert_int_equal(site->host_count, 1);
    assert_string_equal(site->hosts[0].names[0], "*");
    assert_null(site->hosts[0].names[1]);
    assert_int_equal(site->hosts[0].route_count, 1);
    const struct route *route = &site->hosts[0].routes[0];
    assert_int_equal(route->path_kind, PATH_PREFIX);
    assert_string_equal(route->path, "/");
    assert_string_equal(route->name, "* /");
    assert_int_equal(route->kind, ROUTE_PROXY);
    assert_int_equal(route->target_count, 1);
    assert_int_equal(route->targets[0].service, 1);
    assert_int_equal(route->targets[0].weight, 1);
    assert_null(route->methods);
    assert_int_equal(route->header_count, 0);
    topology_free(topology);
}

static void defaults_are_as_the_reference_says(void **state)
{
    (void)state;
    struct topology *topology = good(SERVICES "listen 80 http -> b;");
    const struct site *site = site_of(topology);
    assert_int_equal(site->access_log, ACCESS_OFF);
    assert_null(site->access_fields);
    assert_int_equal(site->trusted_count, 0);
    assert_int_equal(site->header_ms, 10000);
    assert_int_equal(site->body_ms, 30000);
    assert_int_equal(site->send_ms, 30000);
    assert_int_equal(site->idle_ms, 75000);
    assert_int_equal(site->tunnel_ms, 3600000);
    assert_int_equal(site->header_bytes_max, 32768);
    assert_int_equal(site->header_count_max, 128);
    assert_int_equal(site->body_bytes_max, 0);
    assert_int_equal(site->rate_bytes_min, 0);
    assert_int_equal(topology->gateway.threads, 0);
    assert_int_equal(topology->gateway.connections_max, 65536);
    topology_free(topology);
}

static void a_listener_has_its_settings(void **state)
{
    (void)state;
    struct topology *topology = good("access-log text; gateway threads=3 connections=9;" SITE(
        "timeout header=1s body=2s send=3s idle=4s tunnel=5s;"
        "bounds header=2k fields=9 body=3k connections=7 per-client=2 slowest=100;"
        "trust 10.0.0.0/8 ::1 all; proxy-protocol 192.0.2.1; access-log json fields=time,uri;"
        "redirect https;"));
    const struct listener *listener = &topology->listeners[0];
    const struct site *site = site_of(topology);
    static const uint8_t ten[16] = {[10] = 0xff, [11] = 0xff, [12] = 10};
    static const uint8_t loopback[16] = {[15] = 1}, all[16];
    assert_int_equal(site->header_ms, 1000);
    assert_int_equal(site->body_ms, 2000);
    assert_int_equal(site->send_ms, 3000);
    assert_int_equal(site->idle_ms, 4000);
    assert_int_equal(site->tunnel_ms, 5000);
    assert_int_equal(site->header_bytes_max, 2048);
    assert_int_equal(site->header_count_max, 9);
    assert_int_equal(site->body_bytes_max, 3072);
    assert_int_equal(site->rate_bytes_min, 100);
    assert_int_equal(listener->connections_max, 7);
    assert_int_equal(listener->connections_per_client, 2);
    assert_int_equal(site->trusted_count, 3);
    assert_memory_equal(site->trusted[0].address, ten, 16);
    assert_int_equal(site->trusted[0].length, 104);
    assert_memory_equal(site->trusted[1].address, loopback, 16);
    assert_int_equal(site->trusted[1].length, 128);
    assert_memory_equal(site->trusted[2].address, all, 16);
    assert_int_equal(site->trusted[2].length, 0);
    assert_int_equal(listener->proxy_count, 1);
    assert_int_equal(listener->proxies[0].length, 128);
    assert_int_equal(site->access_log, ACCESS_JSON);
    assert_string_equal(site->access_fields[0], "time");
    assert_string_equal(site->access_fields[1], "uri");
    assert_null(site->access_fields[2]);
    assert_int_equal(topology->gateway.threads, 3);
    assert_int_equal(topology->gateway.connections_max, 9);
    topology_free(topology);
    topology = good("access-log text;" SERVICES "listen 80 http -> a;");
    assert_int_equal(site_of(topology)->access_log, ACCESS_TEXT);
    topology_free(topology);
}

static void hosts_come_in_order_and_the_rest_last(void **state)
{
    (void)state;
    struct topology *topology = good(SITE("host * { route / -> a; }\n"
                                          "host Shop.Example. *.shop.example { route / -> a; }\n"
                                          "host [::1] 10.0.0.1 { route / -> b; }"));
    const struct site *site = site_of(topology);
    assert_int_equal(site->host_count, 3);
    assert_string_equal(site->hosts[0].names[0], "shop.example");
    assert_string_equal(site->hosts[0].names[1], "*.shop.example");
    assert_null(site->hosts[0].names[2]);
    assert_string_equal(site->hosts[1].names[0], "[::1]");
    assert_string_equal(site->hosts[2].names[0], "*");
    assert_string_equal(site->hosts[0].routes[0].name, "shop.example /");
    topology_free(topology);
}

static void patterns_have_four_kinds(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        enum path_kind kind;
        const char *path;
    } wanted[] = {{"/api/", PATH_PREFIX, "/api/"},
                  {"/", PATH_PREFIX, "/"},
                  {"=/api", PATH_EXACT, "/api"},
                  {"*.php", PATH_GLOB, "*.php"},
                  {"/f/*.zip", PATH_GLOB, "/f/*.zip"},
                  {"/v?", PATH_GLOB, "/v?"},
                  {"~^/u/([0-9]+)$", PATH_REGEX, "^/u/([0-9]+)$"},
                  {"'~^/x{2}$'", PATH_REGEX, "^/x{2}$"}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, SITE("route %s -> a;"), wanted[i].pattern);
        struct topology *topology = good(text);
        const struct route *route = &site_of(topology)->hosts[0].routes[0];
        assert_int_equal(route->path_kind, wanted[i].kind);
        assert_string_equal(route->path, wanted[i].path);
        topology_free(topology);
    }
}

static void a_route_has_conditions_and_shares(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("route /api method=POST,GET header=\"X-Beta: yes\" header=X-A -> a weight=95, b "
                  "weight=5 { timeout response=2m; bounds body=1g; }\n"
                  "route /b -> a,b;  route /c -> a , b weight=0;"));
    const struct route *route = site_of(topology)->hosts[0].routes;
    assert_string_equal(route->methods[0], "GET");
    assert_string_equal(route->methods[1], "POST");
    assert_null(route->methods[2]);
    assert_int_equal(route->header_count, 2);
    assert_string_equal(route->headers[0].name, "X-A");
    assert_null(route->headers[0].value);
    assert_string_equal(route->headers[1].name, "X-Beta");
    assert_string_equal(route->headers[1].value, "yes");
    assert_int_equal(route->target_count, 2);
    assert_int_equal(route->targets[0].weight, 95);
    assert_int_equal(route->targets[1].service, 1);
    assert_int_equal(route->targets[1].weight, 5);
    assert_int_equal(route->response_ms, 120000);
    assert_int_equal(route->body_bytes_max, 1 << 30);
    assert_string_equal(route->name, "* /api GET,POST X-A X-Beta: yes");
    assert_int_equal(route->line, 3);
    assert_int_equal(route[1].target_count, 2);
    assert_int_equal(route[1].targets[1].weight, 1);
    assert_int_equal(route[2].targets[0].weight, 1);
    assert_int_equal(route[2].targets[1].weight, 0);
    topology_free(topology);
}

static void redirects_and_responses_keep_their_variables(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("host h { redirect https; }\n"
                  "host i { redirect https://x.example$uri status=301; }\n"
                  "host j { route ~^/u/(.)(.) { redirect /v/$2/${1}x; } }\n"
                  "host k { respond 404 \"no $path of $header.User-Agent, 5$$\" type=text/html; "
                  "route =/n { respond 204; } }"));
    const struct site_host *hosts = site_of(topology)->hosts;
    assert_int_equal(hosts[0].routes[0].kind, ROUTE_REDIRECT);
    assert_string_equal(hosts[0].routes[0].location, "https://${host}${uri}");
    assert_int_equal(hosts[0].routes[0].status, 308);
    assert_string_equal(hosts[0].routes[0].name, "h /");
    assert_string_equal(hosts[1].routes[0].location, "https://x.example${uri}");
    assert_int_equal(hosts[1].routes[0].status, 301);
    assert_string_equal(hosts[2].routes[0].location, "/v/${2}/${1}x");
    const struct route *respond = &hosts[3].routes[0];
    assert_int_equal(respond->kind, ROUTE_RESPOND);
    assert_int_equal(respond->status, 404);
    assert_string_equal(respond->body, "no ${path} of ${header.User-Agent}, 5$$");
    assert_string_equal(respond->type, "text/html");
    assert_null(hosts[3].routes[1].body);
    assert_string_equal(hosts[3].routes[1].type, "text/plain");
    topology_free(topology);
}

static void rules_come_from_outside_to_inside(void **state)
{
    (void)state;
    struct topology *topology = good(
        SITE("header request set A $client; rewrite strip=/a prefix=/b;\n"
             "host h { header response add B b; header response remove C; rewrite ~^/(.*)$ /$1?x;\n"
             "  route /1 -> a;  route /2 -> a { header request set D d; rewrite prefix=/d; } }"));
    const struct route *routes = site_of(topology)->hosts[0].routes;
    assert_int_equal(routes[0].headers_change_count, 3);
    assert_int_equal(routes[0].rewrite_count, 3);
    assert_int_equal(routes[1].headers_change_count, 4);
    assert_int_equal(routes[1].rewrite_count, 4);
    const struct header_rule *rules = routes[1].headers_change;
    assert_string_equal(rules[0].name, "A");
    assert_string_equal(rules[0].value, "${client}");
    assert_false(rules[0].response);
    assert_int_equal(rules[0].action, HEADER_SET);
    assert_true(rules[1].response);
    assert_int_equal(rules[1].action, HEADER_ADD);
    assert_int_equal(rules[2].action, HEADER_REMOVE);
    assert_null(rules[2].value);
    assert_string_equal(rules[3].name, "D");
    const struct rewrite *rewrites = routes[1].rewrites;
    assert_string_equal(rewrites[0].strip, "/a");
    assert_null(rewrites[0].prefix);
    assert_string_equal(rewrites[1].prefix, "/b");
    assert_string_equal(rewrites[2].regex, "^/(.*)$");
    assert_string_equal(rewrites[2].replacement, "/${1}?x");
    assert_string_equal(rewrites[3].prefix, "/d");
    topology_free(topology);
}

static void a_realm_has_its_own_services_and_variables(void **state)
{
    (void)state;
    struct topology *topology =
        good("realm s1 s2 { service w { run w; }\n"
             "listen $(8000 + $index) http { host $realm.example { route / -> w; } } }");
    for (uint32_t i = 0; i < 2; i++) {
        const struct site *site = topology->listeners[i].site;
        assert_string_equal(site->hosts[0].names[0], i ? "s2.example" : "s1.example");
        assert_int_equal(site->hosts[0].routes[0].targets[0].service, i);
    }
    topology_free(topology);
}

static const struct {
    const char *block;
    const char *line;
} cases[] = {
    {"", "shop.conf:2:1: error: `listen … http` leads nowhere"},
    {"rotue / -> a;", "1 error, 0 warnings"}, /* not that it leads nowhere as well */
    {"host a { rotue / -> a; }", "1 error, 0 warnings"},
    {"route / -> d;", "shop.conf:3:12: error: there is no service `d`"},
    {"route / -> c;", "shop.conf:3:12: error: `c` listens nowhere"},
    {"route / -> aa;", "       hint: did you mean `a`?"},
    {"route / a;", "shop.conf:3:9: error: route: `->` is missing before `a`"},
    {"route /;", "shop.conf:3:1: error: `route` leads nowhere: it needs `-> SERVICE`, `redirect` "
                 "or `respond`"},
    {"route / ->;", "shop.conf:3:1: error: `route` needs SERVICE"},
    {"route / -> a, a;", "shop.conf:3:15: error: this service is named twice"},
    {"route / -> a wieght=3;", "shop.conf:3:14: error: this is not known here"},
    {"route / -> a b;", "shop.conf:3:14: error: a `,` is missing in front of this"},
    {"route / -> a,;", "shop.conf:3:12: error: a service is missing behind the `,`"},
    {"route / -> ,a;", "shop.conf:3:12: error: a service is missing in front of the `,`"},
    {"route / -> a weight=0, b weight=0;",
     "shop.conf:3:26: error: with all weights 0 nobody gets a request"},
    {"route / -> weight=1 a;", "shop.conf:3:12: error: a weight follows its service"},
    {"route / -> a weight=1001;", "shop.conf:3:14: error: `1001` is too large"},
    {"route / -> files;", "shop.conf:3:12: error: `-> files` needs a folder"},
    {"route / -> files listing=on;", "shop.conf:3:12: error: `-> files` needs a folder"},
    {"route / -> files p listing=yes;", "shop.conf:3:20: error: `yes` is neither on nor off"},
    {"route / -> files p index=a/b;", "shop.conf:3:26: error: an index is the name of a file"},
    {"route / -> files p fallback=x.html;", "shop.conf:3:20: error: a fallback is a file below the "
                                            "folder, with `/` in front"},
    {"route / -> files p, a;", "shop.conf:3:21: error: this is not known here"},
    {"route / -> files p list=on;", "shop.conf:3:20: error: this is not known here"},
    {"compress gzip off; route / -> a;", "shop.conf:3:15: error: `off` stands alone"},
    {"compress gzip br gzip; route / -> a;", "shop.conf:3:18: error: this coding is named twice"},
    {"compress gzip types=text; route / -> a;",
     "shop.conf:3:21: error: `text` is no type of content"},
    {"compress gzip types=text/a/b; route / -> a;",
     "shop.conf:3:21: error: `text/a/b` is no type of content"},
    {"compress; route / -> a;", "shop.conf:3:1: error: `compress` needs CODING"},
    {"route / -> files p { x-accel-redirect; }",
     "shop.conf:3:22: error: `x-accel-redirect` is for routes to a service"},
    {"route / { respond 204; x-sendfile /srv; }",
     "shop.conf:3:24: error: `x-sendfile` is for routes to a service"},
    {"route / -> a { x-sendfile; }", "shop.conf:3:16: error: `x-sendfile` needs DIRECTORY"},
    {"route / -> a { internal on; }", "shop.conf:3:25: error: internal: `on` is one argument too "
                                      "many"},
    {"route *.php -> a root=/srv;",
     "shop.conf:3:23: error: this is for services that speak FastCGI"},
    {"route / -> files p root=/srv;",
     "shop.conf:3:25: error: this is for services that speak FastCGI"},
    {"route api -> a;", "shop.conf:3:7: error: a path starts with `/`"},
    {"route ~( -> a;", "shop.conf:3:8: error: not a regular expression: missing closing "
                       "parenthesis"},
    {"route ~a[b -> a;", "shop.conf:3:10: error: not a regular expression: missing terminating ] "
                         "for character class"},
    {"route / method=get -> a;", "shop.conf:3:16: error: route method=: `get` is not a list of "
                                 "methods"},
    {"route / mehod=GET -> a;", "       hint: did you mean `method=`?"},
    {"route / header=\"a b\" -> a;", "shop.conf:3:16: error: route header=: `a b` is not a header"},
    {"route / -> a; route / -> b;",
     "shop.conf:3:21: error: two routes match the same requests: `* /`"},
    {"route / -> a;\nredirect https;",
     "shop.conf:4:1: error: two routes match the same requests: `* /`"},
    {"route / method=GET,PUT -> a;\nroute / method=PUT,GET -> b;",
     "       hint: the first stands in shop.conf:3"},
    {"redirect https; respond 404;",
     "shop.conf:3:17: error: two routes match the same requests: `* /`"},
    {"host a { route / -> a; } host A { route / -> b; }",
     "shop.conf:3:31: error: the host `a` is given twice"},
    {"host a:80 { route / -> a; }", "shop.conf:3:6: error: host: `a:80` is not a host name"},
    {"host a { }", "shop.conf:3:1: error: a host without routes has nothing to answer"},
    {"host * { route / -> a; } route / -> b;",
     "shop.conf:2:1: error: there is `host *`, and routes outside of `host`, which are for all "
     "other names as well"},
    {"redirect ftp://x;", "shop.conf:3:10: error: a URL starts with `https://`, `http://` or `/`"},
    {"redirect /$nmae;", "shop.conf:3:10: error: unknown variable `$nmae`"},
    {"redirect /$hots;", "       hint: did you mean `$host`? A dollar sign that means itself is "
                         "written $$"},
    {"redirect /$instance;", "shop.conf:3:10: error: unknown variable `$instance`"},
    {"redirect https status=305;", "shop.conf:3:23: error: redirect status=: `305` is not known "
                                   "here"},
    {"route /a { redirect /$1; }", "shop.conf:3:21: error: `$1` has a value only with a regular "
                                   "expression that has `(…)`"},
    {"route ~/(a) { redirect /$2; }",
     "shop.conf:3:24: error: `$2` has no value: the regular expression has 1 `(…)`"},
    {"rewrite ~/a /$1; route / -> a;", "shop.conf:3:13: error: `$1` has a value only with a "
                                       "regular expression that has `(…)`"},
    {"rewrite; route / -> a;", "shop.conf:3:1: error: `rewrite` says nothing"},
    {"rewrite /a /b; route / -> a;", "shop.conf:3:9: error: a regular expression starts with `~`"},
    {"rewrite ~a; route / -> a;", "shop.conf:3:9: error: a replacement is missing"},
    {"rewrite strip=a; route / -> a;", "shop.conf:3:15: error: a path starts with `/`"},
    {"respond 204 x;", "shop.conf:3:13: error: a response with status 204 has no body"},
    {"respond 199;", "shop.conf:3:9: error: respond: `199` is too small"},
    {"route /a { respond 200; redirect https; }",
     "shop.conf:3:12: error: `redirect` and `respond` exclude each other"},
    {"route /a -> a { respond 200; }",
     "shop.conf:3:17: error: `respond` and `-> SERVICE` exclude each other"},
    {"route /a { respond 200; rewrite prefix=/a; }",
     "shop.conf:3:25: error: `rewrite` is for requests that a service gets"},
    {"header request set A; route / -> a;", "shop.conf:3:20: error: a value is missing behind `A`"},
    {"header request remove A b; route / -> a;", "shop.conf:3:25: error: `remove` needs no value"},
    {"header request set content-length 1; route / -> a;",
     "shop.conf:3:20: error: the gateway writes `Content-Length` itself"},
    {"header request set \"A:\" 1; route / -> a;",
     "shop.conf:3:20: error: header: `A:` is not a header's name"},
    {"header request set A \"a\\nb\"; route / -> a;",
     "shop.conf:3:22: error: a header's value has no line breaks in it"},
    {"trust 10.1.0.0/8; route / -> a;",
     "shop.conf:3:7: error: trust: `10.1.0.0/8` has bits beyond the network's length"},
    {"trust 10.1.0.0/8; route / -> a;", "       hint: the network is 10.0.0.0/8"},
    {"trust 10.0.0.0/33; route / -> a;", "shop.conf:3:7: error: trust: `10.0.0.0/33` is not a "
                                         "network"},
    {"access-log json fields=time,urri; route / -> a;",
     "shop.conf:3:24: error: the access log has no field `urri`"},
    {"access-log json fields=time,urri; route / -> a;", "       hint: did you mean `uri`?"},
    {"certificate a.pem; route / -> a;", "shop.conf:3:1: error: `certificate` needs `listen … "
                                         "tls`"},
    {"host a { certificate a.pem; route / -> a; }",
     "shop.conf:2:1: error: its hosts have certificates, and it has no `tls`"},
    {"tls min=1.3; route / -> a;", "shop.conf:3:1: error: `tls` needs `listen … tls`"},
    {"sni a -> a; route / -> a;", "shop.conf:3:1: error: `sni` is for `listen … tcp`"},
    {"limit; route / -> a;", "shop.conf:3:1: error: `limit` needs a rate, or requests=N"},
    {"run x; route / -> a;", "shop.conf:3:1: error: `run` is not allowed in the block of "
                             "`listen`"},
    {"route / -> a { route / -> b; }", "shop.conf:3:16: error: `route` is not allowed in `route`"},
};

static void what_is_wrong_is_said_where_it_stands(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[512];
        snprintf(text, sizeof text, SITE("%s"), cases[i].block);
        bad(text, cases[i].line);
    }
}

static void a_redirect_in_a_circle_is_warned_of(void **state)
{
    (void)state;
    topology_free(good("listen 443 http tls { certificate c; host a { redirect https; } }"));
    says("circle",
         "shop.conf:1:56: warning: `redirect https` where https is already: clients go in "
         "a circle");
    topology_free(good("listen 80 http { redirect https; }"));
    assert_null(strstr(said, "warning:"));
}

static void scripts_have_a_root(void **state)
{
    (void)state;
    struct topology *topology =
        good("service p { run p; speaks fastcgi; } service q { run q; speaks fastcgi; capacity "
             "idle=3; }\nlisten 80 http { route *.php -> p, q root=/srv/www/; route / -> q root=/ "
             "index=/front.php5 split=.php5; }");
    const struct route *routes = site_of(topology)->hosts[0].routes;
    assert_int_equal(topology->services[0].gateway.speaks, SPEAKS_FASTCGI);
    assert_int_equal(topology->services[0].gateway.idle_max, 0);
    assert_int_equal(topology->services[1].gateway.idle_max, 3);
    assert_string_equal(routes[0].root, "/srv/www");
    assert_string_equal(routes[0].index, "index.php");
    assert_string_equal(routes[0].split, ".php");
    assert_string_equal(routes[1].root, ""); /* `/`: names start with one */
    assert_string_equal(routes[1].index, "/front.php5");
    topology_free(topology);
    static const struct {
        const char *block, *line;
    } wrong[] = {
        {"-> p;", "shop.conf:2:19: error: the service speaks FastCGI: `root=` of a route must say "
                  "where its scripts lie"},
        {"{ route / -> p; }", "shop.conf:2:18: error: the service speaks FastCGI: `root=` must say "
                              "where its scripts lie"},
        {"{ route / -> p, a root=/; }",
         "shop.conf:2:32: error: the services of a route speak one protocol"},
        {"{ route / -> p root=/ split=php; }",
         "shop.conf:2:44: error: what scripts' names end with starts with a dot"},
        {"{ route / -> p root=/ index=a.html; }",
         "shop.conf:2:44: error: the index is no script: its name ends with no `.php`"},
        {"{ route / root=/x { respond 204; } }",
         "shop.conf:2:31: error: this is for services that speak FastCGI"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "service p { run p; speaks fastcgi; } service a { run a; }\n"
                 "listen 80 http %s",
                 wrong[i].block);
        bad(text, wrong[i].line);
    }
}

static void what_services_lead_to_is_known(void **state)
{
    (void)state;
    struct topology *topology = good(
        SITE("route / -> a; route /x -> a { x-accel-redirect; x-sendfile /srv/one/ two; x-sendfile "
             "/srv/one; }\nroute /y -> files /srv/one { internal; }"));
    const struct route *routes = site_of(topology)->hosts[0].routes;
    assert_null(routes[0].follow);
    assert_false(routes[0].internal);
    const struct route_follow *follow = routes[1].follow;
    assert_true(follow->accel);
    assert_int_equal(follow->directory_count, 3);
    assert_string_equal(topology->directories[follow->directories[0]], "/srv/one");
    assert_int_equal(follow->directories[2], follow->directories[0]);
    assert_int_not_equal(follow->directories[1], follow->directories[0]);
    assert_true(routes[2].internal);
    assert_int_equal(routes[2].files->directory, follow->directories[0]);
    topology_free(topology);
}

static void compression_is_inherited(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("compress gzip br types=Text/*,*,application/*+json min=5k level=9; route / -> a;"
                  "route /x -> a { compress off; } route /y -> a { compress zstd; }"));
    const struct route *routes = site_of(topology)->hosts[0].routes;
    const struct compression *compression = routes[0].compression;
    assert_int_equal(compression->coding_count, 2);
    assert_int_equal(compression->codings[0], CODING_GZIP);
    assert_int_equal(compression->codings[1], CODING_BROTLI);
    assert_string_equal(compression->types[0], "text/*");
    assert_string_equal(compression->types[2], "application/*+json");
    assert_null(compression->types[3]);
    assert_int_equal(compression->bytes_min, 5120);
    assert_int_equal(compression->level, 9);
    assert_null(routes[1].compression);
    assert_int_equal(routes[2].compression->bytes_min, 1024);
    assert_int_equal(routes[2].compression->level, 4);
    topology_free(topology);
    topology = good(SITE("route / -> a;"));
    assert_null(site_of(topology)->hosts[0].routes[0].compression);
    topology_free(topology);
}

static void all_that_is_wrong_is_said_at_once(void **state)
{
    (void)state;
    bad(SITE("route / -> d; redirect nowhere; trust x; route ~( -> a;"), "4 errors, 0 warnings");
}

static void the_same_route_may_differ_in_conditions(void **state)
{
    (void)state;
    topology_free(good(SITE("route / -> a; route =/ -> a; route / method=GET -> b;"
                            "route / header=A -> b; route / header=\"A: b\" -> b;")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_service_is_one_route),
        cmocka_unit_test(defaults_are_as_the_reference_says),
        cmocka_unit_test(a_listener_has_its_settings),
        cmocka_unit_test(hosts_come_in_order_and_the_rest_last),
        cmocka_unit_test(patterns_have_four_kinds),
        cmocka_unit_test(a_route_has_conditions_and_shares),
        cmocka_unit_test(redirects_and_responses_keep_their_variables),
        cmocka_unit_test(rules_come_from_outside_to_inside),
        cmocka_unit_test(a_realm_has_its_own_services_and_variables),
        cmocka_unit_test(what_is_wrong_is_said_where_it_stands),
        cmocka_unit_test(a_redirect_in_a_circle_is_warned_of),
        cmocka_unit_test(scripts_have_a_root),
        cmocka_unit_test(what_services_lead_to_is_known),
        cmocka_unit_test(compression_is_inherited),
        cmocka_unit_test(all_that_is_wrong_is_said_at_once),
        cmocka_unit_test(the_same_route_may_differ_in_conditions),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(said);
    return failed;
}
