/* Guards as the configuration says them. */
#include <unistd.h>

#include "topology/parse_fixture.h"

#define SERVICES    "service a { run a; } service b { run b; }\n"
#define SITE(block) SERVICES "listen 80 http {\n" block "\n}"

static const struct route *route_named(const struct topology *topology, const char *name)
{
    const struct site *site = topology->listeners[0].site;
    for (size_t i = 0; i < site->host_count; i++)
        for (size_t k = 0; k < site->hosts[i].route_count; k++)
            if (strcmp(site->hosts[i].routes[k].name, name) == 0)
                return &site->hosts[i].routes[k];
    fail_msg("no route %s", name);
    return NULL;
}

static enum access_verdict verdict(const struct access_list *list, uint8_t a, uint8_t b)
{
    const uint8_t address[16] = {[10] = 0xff, [11] = 0xff, [12] = a, [13] = b};
    return access_list_find(list, address);
}

static void they_come_from_outside_to_inside(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("limit 5/m; deny 10.1.0.0/16; host x { allow 10.0.0.0/8; route /a -> a { limit "
                  "requests=3; deny 10.2.0.0/16; } route /b -> b; } route / -> a;"));
    const struct route *inner = route_named(topology, "x /a");
    static const enum guard_kind kinds[] = {GUARD_RATE, GUARD_ACCESS, GUARD_ACCESS, GUARD_REQUESTS,
                                            GUARD_ACCESS};
    assert_int_equal(inner->guard_count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(inner->guards[i].kind, kinds[i]);
    assert_int_equal(verdict(inner->guards[1].access, 10, 1), ACCESS_DENY);
    assert_int_equal(verdict(inner->guards[2].access, 10, 1), ACCESS_ALLOW);
    assert_int_equal(verdict(inner->guards[2].access, 11, 1), ACCESS_NONE);
    assert_int_equal(verdict(inner->guards[4].access, 10, 2), ACCESS_DENY);
    assert_int_equal(route_named(topology, "x /b")->guard_count, 3);
    assert_int_equal(route_named(topology, "* /")->guard_count, 2);
    topology_free(topology);
    topology = good(SITE("route / -> a;"));
    assert_int_equal(route_named(topology, "* /")->guard_count, 0);
    topology_free(topology);
}

static void limits_have_their_numbers(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("route /a -> a { limit 100/s burst=50 requests=7 status=503; } route /b -> a { "
                  "limit 30/m by=header:X-Key; limit 9/h by=cookie:s; limit 1/s by=path; limit "
                  "1/s by=all; limit 1/s by=$arg.q-$host; }"));
    const struct route *a = route_named(topology, "* /a"), *b = route_named(topology, "* /b");
    assert_int_equal(a->guard_count, 2);
    assert_int_equal(a->guards[0].limit->interval_ns, 10000000);
    assert_int_equal(a->guards[0].limit->burst, 50);
    assert_int_equal(a->guards[0].limit->status, 503);
    assert_null(a->guards[0].limit->key);
    assert_int_equal(a->guards[1].limit->requests, 7);
    assert_string_equal(a->guards[0].text, "limit 100/s");
    static const char *const keys[] = {"${header.X-Key}", "${cookie.s}", "${path}", "",
                                       "${arg.q}-${host}"};
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(b->guards[i].limit->key, keys[i]);
    assert_int_equal(b->guards[0].limit->burst, 30);
    assert_int_equal(b->guards[0].limit->interval_ns, 2000000000);
    assert_int_equal(b->guards[0].limit->status, 429);
    assert_int_equal(b->guards[1].limit->burst, 9);
    topology_free(topology);
}

static uint64_t identity(const char *text, const char *route, size_t number)
{
    struct topology *topology = good(text);
    uint64_t found = route_named(topology, route)->guards[number].limit->identity;
    topology_free(topology);
    return found;
}

/* A changed rate goes on from what was counted; limits of different blocks count apart. */
static void counts_belong_to_the_block(void **state)
{
    (void)state;
    const char *text = SITE("limit 5/s; route /a -> a { limit 5/s; limit 6/s; } route /b -> a;");
    uint64_t outer = identity(text, "* /a", 0), inner = identity(text, "* /a", 1);
    assert_int_equal(outer, identity(text, "* /b", 0));
    assert_int_not_equal(outer, inner);
    assert_int_not_equal(inner, identity(text, "* /a", 2));
    assert_int_equal(inner, identity(SITE("route /a -> b { limit 9/m burst=3; }"), "* /a", 0));
    assert_int_not_equal(inner, identity(SITE("route /a -> b { limit 5/s by=path; }"), "* /a", 0));
}

static void tcp_has_allow_and_deny(void **state)
{
    (void)state;
    struct topology *topology = good("service a { run a; }\n"
                                     "listen 80 tcp -> a { allow 10.0.0.0/8; deny all; }");
    const struct listener *listener = &topology->listeners[0];
    assert_int_equal(listener->path, LISTENER_RELAY);
    assert_int_equal(verdict(listener->access, 10, 1), ACCESS_ALLOW);
    assert_int_equal(verdict(listener->access, 11, 1), ACCESS_DENY);
    topology_free(topology);
    bad("service a { run a; }\nlisten 80 tcp -> a { limit 1/s; }",
        "shop.conf:2:22: error: `limit` is for requests, and this is no `listen … http`");
}

static void services_say_who_may(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("auth request -> b path=/may?x=1 copy=X-User,X-Groups user=X-User redirect=on "
                  "cache=5s by=$cookie.s; route /a -> a; route / -> a { auth request -> a; }"));
    const struct route *route = route_named(topology, "* /");
    assert_int_equal(route->guard_count, 2);
    const struct guard_request *request = route->guards[0].request;
    assert_int_equal(request->route->targets->service, 1);
    assert_string_equal(request->path, "/may?x=1");
    assert_string_equal(request->copy[1], "X-Groups");
    assert_null(request->copy[2]);
    assert_string_equal(request->user, "X-User");
    assert_true(request->redirects);
    assert_int_equal(request->cache_ms, 5000);
    assert_string_equal(request->key, "${cookie.s}");
    const struct guard_request *usual = route->guards[1].request;
    assert_string_equal(usual->path, "/auth");
    assert_false(usual->redirects);
    assert_int_not_equal(usual->identity, request->identity);
    const struct site *site = topology->listeners[0].site;
    assert_int_equal(site->own_route_count, 2); /* each once, however many routes have it */
    assert_ptr_equal(site->own_routes[0], request->route);
    topology_free(topology);
}

static void tokens_have_rules(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("route /a -> a { header request set X-A \"$jwt.sub.\"; auth jwt key=k.pem "
                  "issuer=i audience=x leeway=30s claim=a.b=c "
                  "claim=d=e=f exp=optional realm=r; } route /b -> b { auth jwt -> a path=/j; }"));
    const struct guard_jwt *file = route_named(topology, "* /a")->guards[0].jwt;
    const struct guard_jwt *service = route_named(topology, "* /b")->guards[0].jwt;
    assert_int_equal(file->keys, GUARD_KEYS_PEM);
    assert_null(file->route);
    assert_string_equal(file->issuer, "i");
    assert_string_equal(file->audience, "x");
    assert_int_equal(file->leeway_s, 30);
    assert_true(file->endless);
    assert_string_equal(route_named(topology, "* /a")->headers_change[0].value, "${jwt.sub}.");
    assert_int_equal(file->claim_count, 2);
    assert_string_equal(file->claims[0].name, "a.b");
    assert_string_equal(file->claims[1].name, "d");
    assert_string_equal(file->claims[1].value, "e=f");
    assert_int_equal(service->keys, GUARD_KEYS_SERVICE);
    assert_int_equal(service->route->targets->service, 0);
    assert_string_equal(service->path, "/j");
    assert_false(service->endless);
    assert_int_equal(topology->token_count, 2);
    assert_ptr_equal(topology->tokens[service->number], service);
    topology_free(topology);
}

static void browsers_are_told(void **state)
{
    (void)state;
    struct topology *topology =
        good(SITE("limit 1/s; cors origin=https://a.example,https://*.b.example headers=X-A,X-B "
                  "credentials=on max-age=1h; security-headers frame=deny; header response set "
                  "Referrer-Policy no-referrer; route /a -> a { cors origin=*; } route /b -> b;"));
    const struct route *a = route_named(topology, "* /a"), *b = route_named(topology, "* /b");
    assert_int_equal(a->guard_count, 2);
    assert_int_equal(a->guards[0].kind, GUARD_CORS); /* the innermost, and before all */
    assert_true(a->guards[0].cors->any);
    assert_false(a->guards[0].cors->credentials);
    const struct guard_cors *cors = b->guards[0].cors;
    assert_string_equal(cors->origins[1], "https://*.b.example");
    assert_null(cors->origins[2]);
    assert_string_equal(cors->headers, "X-A, X-B");
    assert_string_equal(cors->methods, "GET, HEAD, POST, PUT, PATCH, DELETE");
    assert_string_equal(cors->max_age, "3600");
    assert_true(cors->credentials);
    static const char *const rules[][2] = {
        {"X-Content-Type-Options", "nosniff"},
        {"X-Frame-Options", "DENY"},
        {"Referrer-Policy", "strict-origin-when-cross-origin"},
        {"Referrer-Policy", "no-referrer"}, /* the file's own stands behind */
    };
    assert_int_equal(b->headers_change_count, 4); /* no HSTS without TLS */
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(b->headers_change[i].name, rules[i][0]);
        assert_string_equal(b->headers_change[i].value, rules[i][1]);
    }
    topology_free(topology);
    topology = good(SERVICES "listen 443 http tls { certificate x.pem; security-headers "
                             "csp=\"default-src 'self'\" frame=any; route / -> a; }");
    const struct route *secure = route_named(topology, "* /");
    assert_int_equal(secure->headers_change_count, 4);
    assert_string_equal(secure->headers_change[2].value, "max-age=31536000");
    assert_string_equal(secure->headers_change[3].value, "default-src 'self'");
    topology_free(topology);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    static const struct {
        const char *block, *line;
    } rows[] = {
        {"allow; route / -> a;", "shop.conf:3:1: error: `allow` names nobody"},
        {"deny 10.0.0.1/8; route / -> a;",
         "shop.conf:3:6: error: deny: `10.0.0.1/8` has bits beyond the network's length"},
        {"limit burst=3; route / -> a;", "shop.conf:3:1: error: `limit` needs a rate, or "
                                         "requests=N"},
        {"limit burst=3 requests=2; route / -> a;",
         "shop.conf:3:13: error: `burst=` belongs to a rate"},
        {"limit 1/s by=header:; route / -> a;",
         "shop.conf:3:14: error: `by=header:` is nothing that requests differ in"},
        {"limit 1/s by=me; route / -> a;",
         "shop.conf:3:14: error: `by=me` is nothing that requests differ in"},
        {"auth basic; route / -> a;", "shop.conf:3:1: error: `auth basic` needs one file"},
        {"auth basic x y; route / -> a;", "shop.conf:3:1: error: `auth basic` needs one file"},
        {"auth basic x realm='a\"b'; route / -> a;",
         "shop.conf:3:20: error: a realm is text of up to 100 bytes without quotation marks and "
         "backslashes"},
        {"auth request b; route / -> a;",
         "shop.conf:3:1: error: `auth request` needs `-> SERVICE`"},
        {"auth request -> z; route / -> a;", "shop.conf:3:17: error: there is no service `z`"},
        {"auth request -> b path=auth; route / -> a;",
         "shop.conf:3:24: error: a path starts with `/`, and has no blanks"},
        {"auth request -> b copy=X-A,Host; route / -> a;",
         "shop.conf:3:24: error: `Host` is no header that can be copied"},
        {"auth request -> b by=$host; route / -> a;",
         "shop.conf:3:22: error: `by=` is for answers that are remembered: `cache=`"},
        {"auth request -> b realm=x; route / -> a;",
         "shop.conf:3:25: error: `realm=` is nothing for `auth request`"},
        {"cors credentials=on; route / -> a;", "shop.conf:3:1: error: `cors` needs origin="},
        {"cors origin=* credentials=on; route / -> a;",
         "shop.conf:3:27: error: cookies for the pages of all origins would be nobody's secret"},
        {"cors origin=shop.example; route / -> a;",
         "shop.conf:3:13: error: `shop.example` is no origin"},
        {"security-headers hsts=1h; route / -> a;",
         "shop.conf:3:23: error: `hsts=` has a meaning only with TLS"},
        {"auth jwt; route / -> a;",
         "shop.conf:3:1: error: keys come from one place: key=, secret=, "
         "jwks= or a service"},
        {"auth jwt key=a -> b; route / -> a;",
         "shop.conf:3:1: error: keys come from one place: key=, secret=, jwks= or a service"},
        {"auth jwt key=a jwks=b; route / -> a;",
         "shop.conf:3:21: error: keys come from one place: key=, secret=, jwks= or a service"},
        {"auth jwt key=a path=/x; route / -> a;", "shop.conf:3:21: error: `path=` is of a service"},
        {"auth jwt k.pem; route / -> a;",
         "shop.conf:3:1: error: `auth jwt` has no file, but key=, secret=, jwks= or `-> SERVICE`"},
        {"route / -> a { limit 1/s by=$1; }",
         "shop.conf:3:29: error: `$1` has a value only with a regular expression that has `(…)`"},
    };
    char text[512];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        snprintf(text, sizeof text, SITE("%s"), rows[i].block);
        bad(text, rows[i].line);
    }
}

/* ---- files ---------------------------------------------------------------------------------- */

static char folder[] = "/tmp/enginx-guard-XXXXXX";

static void file_write(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct topology *loaded(const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/shop.conf", folder);
    file_write("shop.conf", text);
    struct diagnostics *diagnostics = diagnostics_new();
    return fixture_finish(topology_load(path, NULL, diagnostics), diagnostics);
}

static void networks_come_from_files(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    file_write("bad.txt", "# who\n\n 10.1.0.0/16 # all of it\r\n2001:db8::/32\n11.0.0.0/8");
    struct topology *topology = loaded(SITE("deny file=bad.txt; allow all; route / -> a;"));
    assert_non_null(topology);
    const struct access_list *list = route_named(topology, "* /")->guards[0].access;
    assert_int_equal(verdict(list, 10, 1), ACCESS_DENY);
    assert_int_equal(verdict(list, 11, 200), ACCESS_DENY);
    assert_int_equal(verdict(list, 10, 2), ACCESS_ALLOW);
    topology_free(topology);
    file_write("bad.txt", "10.0.0.0/8\n10.0.0/8\n");
    const char *text = SITE("deny file=bad.txt;\nroute / -> a;");
    assert_null(loaded(text));
    if (!strstr(said, "line 2 of `bad.txt`: "))
        fail_msg("%s", said);
    assert_null(loaded(SITE("deny file=none.txt;\nroute / -> a;")));
    if (!strstr(said, "none.txt` cannot be read: No such file"))
        fail_msg("%s", said);
    char command[256];
    snprintf(command, sizeof command, "%s/shop.conf", folder);
    unlink(command);
    snprintf(command, sizeof command, "%s/bad.txt", folder);
    unlink(command);
    rmdir(folder);
}

static void users_come_from_files(void **state)
{
    (void)state;
#define HASH "$2y$05$abcdefghijklmnopqrstuuKnFVVLEhMmYXVhAZQpI0nK5E4Vq8eWa"
    static const struct {
        const char *lines, *said;
    } rows[] = {
        {"a:plain\n", "line 1 of `users` has a hash of a kind that is not taken"},
        {"#\na:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n", "line 2 of `users` has a hash that is none"},
        {"a:$1$salt$hash\n", "line 1 of `users` has a hash of a kind that is not taken"},
        {"a:$2y$15$abcdefghijklmnopqrstuuKnFVVLEhMmYXVhAZQpI0nK5E4Vq8eWa",
         "line 1 of `users` has a bcrypt hash that takes too long"},
        {"a:$6$rounds=2000001$a$b", "line 1 of `users` has a hash that takes too long"},
        {"a\n", "line 1 of `users` has no `:`"},
        {":" HASH "\n", "line 1 of `users` has no name"},
        {"a:" HASH "\na:" HASH "\n", "`users` has the user `a` twice"},
    };
    char path[256];
    strcpy(folder, "/tmp/enginx-guard-XXXXXX");
    assert_non_null(mkdtemp(folder));
    file_write("users", "# staff\nzoe:" HASH ":more\n\nann:$apr1$abcdefgh$x\r\n");
    struct topology *topology =
        loaded(SITE("auth basic users realm=\"Staff only\"; route / -> a;"));
    assert_non_null(topology);
    const struct guard *guard = &route_named(topology, "* /")->guards[0];
    assert_int_equal(guard->kind, GUARD_BASIC);
    assert_string_equal(guard->basic->realm, "Staff only");
    assert_int_equal(guard->basic->user_count, 2);
    assert_string_equal(guard->basic->users[0].name, "ann");
    assert_string_equal(guard->basic->users[0].hash, "$apr1$abcdefgh$x");
    assert_string_equal(guard->basic->users[1].hash, HASH);
    topology_free(topology);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        file_write("users", rows[i].lines);
        assert_null(loaded(SITE("auth basic users;\nroute / -> a;")));
        if (!strstr(said, rows[i].said) || strstr(said, "KnFVV"))
            fail_msg("%s is not in: %s", rows[i].said, said);
    }
    snprintf(path, sizeof path, "%s/shop.conf", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/users", folder);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_come_from_outside_to_inside),
        cmocka_unit_test(limits_have_their_numbers),
        cmocka_unit_test(counts_belong_to_the_block),
        cmocka_unit_test(tcp_has_allow_and_deny),
        cmocka_unit_test(services_say_who_may),
        cmocka_unit_test(tokens_have_rules),
        cmocka_unit_test(browsers_are_told),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(networks_come_from_files),
        cmocka_unit_test(users_come_from_files),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(said);
    return failed;
}
