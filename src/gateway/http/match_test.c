#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "gateway/http/match.h"
#include "gateway/http/path.h"
#include "gateway/http/regex.h"

static struct slice text(const char *text)
{
    return (struct slice){text, (uint32_t)strlen(text)};
}

/* A host of these names, with these routes. */
#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define ROUTES(...)                                                                                \
    .routes = (const struct route[]){__VA_ARGS__},                                                 \
    .route_count = sizeof((const struct route[]){__VA_ARGS__}) / sizeof(struct route)

static struct match *compiled(const struct site *site)
{
    struct match *match;
    char why[256] = "";
    int error = match_new(site, &match, why, sizeof why);
    if (error)
        fail_msg("%s", why);
    return match;
}

static char scratch[MATCH_SCRATCH_BYTES];
static struct matched matched;

static enum match_result ask(const struct match *match, enum http_method method,
                             const char *method_name, const char *host, const char *path)
{
    struct head head = {
        .method = method, .method_name = text(method_name), .host = text(host), .path = text(path)};
    return match_find(match, &head, scratch, &matched);
}

/* The name of the route that GET of it finds; "-": none. */
static const char *found(const struct match *match, const char *host, const char *path)
{
    if (ask(match, METHOD_GET, "GET", host, path) != MATCH_FOUND)
        return "-";
    assert_ptr_equal(match_route(match, matched.number), matched.route);
    return matched.route->name;
}

static void hosts_by_their_nearest_name(void **state)
{
    (void)state;
    const struct site_host hosts[] = {
        {.names = NAMES("*"), ROUTES({.path = "/", .name = "rest"})},
        {.names = NAMES("*.shop.example"), ROUTES({.path = "/", .name = "below"})},
        {.names = NAMES("shop.example", "www.shop.example"), ROUTES({.path = "/", .name = "shop"})},
        {.names = NAMES("*.eu.shop.example"), ROUTES({.path = "/", .name = "below-eu"})},
        {.names = NAMES("api.shop.example"), ROUTES({.path = "/v1/", .name = "api"})},
        {.names = NAMES("[::1]"), ROUTES({.path = "/", .name = "six"})},
    };
    const struct site site = {.hosts = hosts, .host_count = 6};
    struct match *match = compiled(&site);
    assert_string_equal(found(match, "shop.example", "/"), "shop");
    assert_string_equal(found(match, "WWW.Shop.Example", "/"), "shop");
    assert_string_equal(found(match, "shop.example.", "/"), "shop");
    assert_string_equal(found(match, "a.shop.example", "/"), "below");
    assert_string_equal(found(match, "a.b.c.shop.example", "/"), "below");
    assert_string_equal(found(match, "a.eu.shop.example", "/"), "below-eu");
    assert_string_equal(found(match, "eu.shop.example", "/"), "below");
    assert_string_equal(found(match, "ashop.example", "/"), "rest");
    assert_string_equal(found(match, ".shop.example", "/"), "rest");
    assert_string_equal(found(match, "example", "/"), "rest");
    assert_string_equal(found(match, "", "/"), "rest");
    assert_string_equal(found(match, ".", "/"), "rest");
    assert_string_equal(found(match, "[::1]", "/"), "six");
    /* The nearest decides alone. */
    assert_string_equal(found(match, "api.shop.example", "/v1/x"), "api");
    assert_string_equal(found(match, "api.shop.example", "/v2"), "-");
    char long_name[600];
    memset(long_name, 'a', sizeof long_name);
    memcpy(long_name + sizeof long_name - 14, ".shop.example", 14);
    assert_string_equal(found(match, long_name, "/"), "rest");
    match_free(match);
}

static void without_a_rest_other_hosts_have_no_route(void **state)
{
    (void)state;
    const struct site_host hosts[] = {
        {.names = NAMES("a.example"), ROUTES({.path = "/", .name = "a"})}};
    const struct site site = {.hosts = hosts, .host_count = 1};
    struct match *match = compiled(&site);
    assert_string_equal(found(match, "a.example", "/"), "a");
    assert_string_equal(found(match, "b.example", "/"), "-");
    match_free(match);
    struct match *none = compiled(&(const struct site){0});
    assert_string_equal(found(none, "b.example", "/"), "-");
    match_free(none);
}

#define EXACT .path_kind = PATH_EXACT
#define GLOB  .path_kind = PATH_GLOB
#define REGEX .path_kind = PATH_REGEX

static struct match *rest_of(const struct route *routes, size_t count)
{
    /* The site must outlive the matcher. */
    static const char *const any[] = {"*", NULL};
    static struct site_host host;
    static struct site site;
    host = (struct site_host){.names = any, .routes = routes, .route_count = count};
    site = (struct site){.hosts = &host, .host_count = 1};
    return compiled(&site);
}
#define REST_OF(routes) rest_of(routes, sizeof(routes) / sizeof *(routes))

static void exact_before_longest_prefix(void **state)
{
    (void)state;
    static const struct route routes[] = {
        {.path = "/", .name = "root"},
        {.path = "/api", .name = "api"},
        {.path = "/api/", .name = "below-api"},
        {.path = "/api/v1/users", .name = "users"},
        {EXACT, .path = "/api", .name = "=api"},
        {EXACT, .path = "/apis", .name = "=apis"},
        {.path = "/caf\xc3\xa9/", .name = "cafe"},
    };
    struct match *match = REST_OF(routes);
    assert_string_equal(found(match, "", "/"), "root");
    assert_string_equal(found(match, "", "/api"), "=api");
    assert_string_equal(found(match, "", "/api/"), "below-api");
    assert_string_equal(found(match, "", "/api/x"), "below-api");
    assert_string_equal(found(match, "", "/apis"), "=apis");
    assert_string_equal(found(match, "", "/apis/x"), "root");
    assert_string_equal(found(match, "", "/apix"), "root");
    assert_string_equal(found(match, "", "/api/v1/users"), "users");
    assert_string_equal(found(match, "", "/api/v1/users/7"), "users");
    assert_string_equal(found(match, "", "/api/v1/usersx"), "below-api");
    /* In their normal form. */
    assert_string_equal(found(match, "", "/x/../%61pi/v1/./users"), "users");
    assert_string_equal(found(match, "", "/caf%c3%a9/x"), "cafe");
    assert_string_equal(found(match, "", "/api%2Fv1/users"), "root");
    assert_string_equal(found(match, "", "//api/v1/users"), "root");
    /* What has no path. */
    assert_string_equal(found(match, "", "*"), "root");
    assert_string_equal(found(match, "", ""), "root");
    match_free(match);
}

static void a_prefix_ends_where_a_segment_does(void **state)
{
    (void)state;
    static const struct route routes[] = {{.path = "/api", .name = "api"}};
    struct match *match = REST_OF(routes);
    assert_string_equal(found(match, "", "/api"), "api");
    assert_string_equal(found(match, "", "/api/x"), "api");
    assert_string_equal(found(match, "", "/api//"), "api");
    assert_string_equal(found(match, "", "/apis"), "-");
    assert_string_equal(found(match, "", "/ap"), "-");
    assert_string_equal(found(match, "", "/"), "-");
    match_free(match);
}

static void patterns_stand_where_their_beginning_does(void **state)
{
    (void)state;
    static const struct route routes[] = {
        {.path = "/", .name = "root"},
        {.path = "/api/", .name = "api"},
        {GLOB, .path = "*.php", .name = "php"},
        {GLOB, .path = "/files/*.zip", .name = "zip"},
        {.path = "/files/", .name = "files"},
        {.path = "/files/deep/", .name = "deep"},
        {REGEX, .path = "^/u/([0-9]+)/([a-z]*)$", .name = "user"},
        {REGEX, .path = "^/u/7/", .name = "seven"},
        {REGEX, .path = "\\.(png|jpg)$", .name = "image"},
        {EXACT, .path = "/index.php", .name = "index"},
        {GLOB, .path = "/a?c", .name = "abc"},
        {GLOB, .path = "/a*", .name = "a"},
        {GLOB, .path = "/abx*", .name = "abx"},
    };
    struct match *match = REST_OF(routes);
    assert_string_equal(found(match, "", "/x.php"), "php");
    assert_string_equal(found(match, "", "/index.php"), "index");
    assert_string_equal(found(match, "", "/api/x.php"), "api");
    assert_string_equal(found(match, "", "/x/y.php"), "php");
    assert_string_equal(found(match, "", "/files/x/y.zip"), "zip");
    assert_string_equal(found(match, "", "/files/deep/y.zip"), "deep");
    assert_string_equal(found(match, "", "/files/y.php"), "files");
    assert_string_equal(found(match, "", "/logo.png"), "image");
    assert_string_equal(found(match, "", "/logo.png.x"), "root");
    assert_string_equal(found(match, "", "/abc"), "abc");
    assert_string_equal(found(match, "", "/a%C3c"), "abc");
    assert_string_equal(found(match, "", "/abbc"), "a");
    assert_string_equal(found(match, "", "/abxc"), "abx");    /* more fixed bytes */
    assert_string_equal(found(match, "", "/u/7/x"), "seven"); /* more fixed bytes */
    assert_string_equal(found(match, "", "/u/42/bob"), "user");
    assert_true(slice_is(matched.captures[1], "42"));
    assert_true(slice_is(matched.captures[2], "bob"));
    assert_null(matched.captures[3].bytes);
    assert_string_equal(found(match, "", "/u/x"), "root");
    assert_null(matched.captures[0].bytes);
    match_free(match);
}

static void globs_take_any_text(void **state)
{
    (void)state;
    static const struct route routes[] = {{GLOB, .path = "/*a*b?c*", .name = "yes"}};
    struct match *match = REST_OF(routes);
    assert_string_equal(found(match, "", "/abxc"), "yes");
    assert_string_equal(found(match, "", "/..a..b..b.c.."), "yes");
    assert_string_equal(found(match, "", "/abc"), "-");
    assert_string_equal(found(match, "", "/ab%C3c"), "yes");
    assert_string_equal(found(match, "", "/ab%C3%C3c"), "-");
    assert_string_equal(found(match, "", "/bxca"), "-");
    match_free(match);
}

static void equals_in_the_order_of_the_file(void **state)
{
    (void)state;
    static const char *const get[] = {"GET", NULL};
    static const struct route routes[] = {
        {REGEX, .path = "^/x/.*1", .name = "one"},
        {GLOB, .path = "/x/*2*", .name = "two"},
        {REGEX, .path = "^/x/.*3", .name = "three"},
        {.path = "/x/", .name = "first"},
        {.path = "/x/", .name = "second"},
        {REGEX, .path = "^/x/.*[13]", .name = "late", .methods = get}, /* another path */
    };
    struct match *match = REST_OF(routes);
    assert_string_equal(found(match, "", "/x/321"), "one");
    assert_string_equal(found(match, "", "/x/32"), "two");
    assert_string_equal(found(match, "", "/x/3"), "three");
    assert_string_equal(found(match, "", "/x/"), "first");
    match_free(match);
}

static void more_conditions_first(void **state)
{
    (void)state;
    static const struct route_match_header beta[] = {{"X-Beta", "yes"}}, any[] = {{"X-Beta", NULL}};
    static const char *const get[] = {"GET", NULL}, *const make[] = {"MKCOL", NULL};
    static const struct route routes[] = {
        {.path = "/", .name = "all"},
        {.path = "/", .name = "get", .methods = get},
        {.path = "/", .name = "beta-get", .methods = get, .headers = beta, .header_count = 1},
        {.path = "/", .name = "any", .headers = any, .header_count = 1},
        {.path = "/", .name = "make", .methods = make},
        {REGEX, .path = "^/r/", .name = "r"},
        {REGEX, .path = "^/r/", .name = "r-beta", .headers = beta, .header_count = 1},
    };
    struct match *match = REST_OF(routes);
    struct field fields[] = {{text("Accept"), text("*"), 0, 0},
                             {text("x-beta"), text("yes"), 0, 0}};
    struct head head = {.method = METHOD_GET, .path = text("/q"), .fields = fields};
    assert_int_equal(match_find(match, &head, scratch, &matched), MATCH_FOUND);
    assert_string_equal(matched.route->name, "get");
    head.field_count = 2;
    assert_int_equal(match_find(match, &head, scratch, &matched), MATCH_FOUND);
    assert_string_equal(matched.route->name, "beta-get");
    fields[1].value = text("Yes"); /* values are compared byte by byte */
    head.method = METHOD_PUT;
    assert_int_equal(match_find(match, &head, scratch, &matched), MATCH_FOUND);
    assert_string_equal(matched.route->name, "any");
    head.field_count = 1;
    assert_int_equal(match_find(match, &head, scratch, &matched), MATCH_FOUND);
    assert_string_equal(matched.route->name, "all");
    head.method = METHOD_OTHER;
    head.method_name = text("MKCOL");
    assert_int_equal(match_find(match, &head, scratch, &matched), MATCH_FOUND);
    assert_string_equal(matched.route->name, "make");
    head.path = text("/r/x");
    assert_int_equal(match_find(match, &head, scratch, &matched), MATCH_FOUND);
    assert_string_equal(matched.route->name, "r");
    head.field_count = 2;
    fields[1].value = text("yes");
    assert_int_equal(match_find(match, &head, scratch, &matched), MATCH_FOUND);
    assert_string_equal(matched.route->name, "r-beta");
    match_free(match);
}

static void a_method_that_no_route_has(void **state)
{
    (void)state;
    static const char *const read[] = {"GET", "OPTIONS", NULL},
                             *const write[] = {"POST", "GET", NULL},
                             *const make[] = {"MKCOL", NULL};
    static const struct route routes[] = {
        {.path = "/a", .name = "read", .methods = read},
        {.path = "/a", .name = "write", .methods = write},
        {.path = "/a/b", .name = "make", .methods = make},
        {.path = "/c", .name = "c", .methods = read},
        {.path = "/", .name = "root", .methods = make},
    };
    struct match *match = REST_OF(routes);
    assert_int_equal(ask(match, METHOD_PUT, "PUT", "", "/a"), MATCH_METHOD);
    assert_true(slice_is(matched.allow, "GET, HEAD, OPTIONS, POST, MKCOL"));
    assert_int_equal(ask(match, METHOD_HEAD, "HEAD", "", "/a"), MATCH_FOUND);
    assert_int_equal(ask(match, METHOD_POST, "POST", "", "/a/b"),
                     MATCH_FOUND); /* the shorter one */
    assert_string_equal(matched.route->name, "write");
    assert_int_equal(ask(match, METHOD_OTHER, "MKCOL", "", "/c"), MATCH_FOUND);
    assert_string_equal(matched.route->name, "root");
    assert_int_equal(ask(match, METHOD_OTHER, "MKCO", "", "/c"), MATCH_METHOD);
    match_free(match);
}

static void bad_paths(void **state)
{
    (void)state;
    static const struct route routes[] = {{.path = "/", .name = "root"},
                                          {REGEX, .path = "^/x/(a+)+$", .name = "slow"}};
    struct match *match = REST_OF(routes);
    assert_int_equal(ask(match, METHOD_GET, "GET", "", "/a/../.."), MATCH_BAD_PATH);
    assert_int_equal(ask(match, METHOD_GET, "GET", "", "/%00"), MATCH_BAD_PATH);
    /* Whoever makes an expression too dear does not get around its route. */
    assert_int_equal(
        ask(match, METHOD_GET, "GET", "", "/x/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
        MATCH_BAD_PATH);
    char *path = malloc(MATCH_PATH_BYTES_MAX + 2);
    memset(path, '/', MATCH_PATH_BYTES_MAX + 1);
    path[MATCH_PATH_BYTES_MAX + 1] = 0;
    assert_int_equal(ask(match, METHOD_GET, "GET", "", path), MATCH_BAD_PATH);
    path[MATCH_PATH_BYTES_MAX - PATH_GROWTH_MAX] = 0;
    assert_int_equal(ask(match, METHOD_GET, "GET", "", path), MATCH_FOUND);
    free(path);
    match_free(match);
}

static void refused(struct route route, const char *part)
{
    static const char *const any[] = {"*", NULL};
    const struct site_host host = {.names = any, .routes = &route, .route_count = 1};
    const struct site site = {.hosts = &host, .host_count = 1};
    struct match *match;
    char why[256] = "";
    assert_int_equal(match_new(&site, &match, why, sizeof why), -EINVAL);
    if (!strstr(why, part))
        fail_msg("%s", why);
}

static void what_cannot_be_compiled_is_named(void **state)
{
    (void)state;
    static const struct rewrite rewrites[] = {{.strip = "/a"},
                                              {.regex = "^/(", .replacement = "/"}};
    refused((struct route){REGEX, .path = "^/("}, "route ^/(: missing closing parenthesis");
    refused((struct route){.path = "api"}, "route api: no path can be so");
    refused((struct route){EXACT, .path = "/a%4"}, "no path can be so");
    refused((struct route){EXACT, .path = "/.."}, "no path can be so");
    refused((struct route){.path = "/a", .rewrites = rewrites, .rewrite_count = 2}, "parenthesis");
    char path[MATCH_KEY_BYTES_MAX + 2] = "/";
    memset(path + 1, 'a', MATCH_KEY_BYTES_MAX);
    refused((struct route){.path = path}, "at most 1024");
}

static void rewrites_are_compiled(void **state)
{
    (void)state;
    static const struct rewrite rewrites[] = {{.strip = "/a"},
                                              {.regex = "^/b(.*)", .replacement = "/$1"}};
    static const struct route routes[] = {
        {.path = "/", .name = "plain"},
        {.path = "/a", .name = "rewrites", .rewrites = rewrites, .rewrite_count = 2}};
    struct match *match = REST_OF(routes);
    assert_int_equal(match_route_count(match), 2);
    assert_null(match_rewrite(match, 0, 0));
    assert_null(match_rewrite(match, 1, 0));
    struct slice captures[REGEX_CAPTURES];
    assert_int_equal(regex_match(match_rewrite(match, 1, 1), SLICE("/bc"), captures), REGEX_YES);
    match_free(match);
}

static void many_routes_and_hosts(void **state)
{
    (void)state;
    enum { HOSTS = 300, ROUTES_EACH = 40, BYTES = 48 };
    struct site_host *hosts = calloc(HOSTS, sizeof *hosts);
    struct route *routes = calloc(HOSTS * ROUTES_EACH, sizeof *routes);
    char(*texts)[BYTES] = calloc(HOSTS * ROUTES_EACH, BYTES);
    char(*names)[BYTES] = calloc(HOSTS, BYTES);
    const char **lists = calloc(HOSTS * 2, sizeof *lists);
    for (size_t i = 0; i < HOSTS; i++) {
        snprintf(names[i], BYTES, "%sh%zu.example", i % 3 ? "" : "*.", i);
        lists[2 * i] = names[i];
        hosts[i] = (struct site_host){
            .names = &lists[2 * i], .routes = &routes[i * ROUTES_EACH], .route_count = ROUTES_EACH};
        for (size_t j = 0; j < ROUTES_EACH; j++) {
            size_t at = i * ROUTES_EACH + j;
            snprintf(texts[at], BYTES, "/r%zu/%s", j, j % 2 ? "deep/" : "");
            routes[at] = (struct route){.path = texts[at], .name = texts[at]};
        }
    }
    const struct site site = {.hosts = hosts, .host_count = HOSTS};
    struct match *match = compiled(&site);
    for (size_t i = 0; i < HOSTS; i++)
        for (size_t j = 0; j < ROUTES_EACH; j++) {
            char host[BYTES], path[BYTES * 2];
            size_t at = i * ROUTES_EACH + j;
            snprintf(host, sizeof host, "%sh%zu.example", i % 3 ? "" : "www.", i);
            snprintf(path, sizeof path, "%sx", texts[at]);
            assert_string_equal(found(match, host, path), texts[at]);
            assert_int_equal(matched.number, at);
        }
    match_free(match);
    free(hosts);
    free(routes);
    free(texts);
    free(names);
    free(lists);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_by_their_nearest_name),
        cmocka_unit_test(without_a_rest_other_hosts_have_no_route),
        cmocka_unit_test(exact_before_longest_prefix),
        cmocka_unit_test(a_prefix_ends_where_a_segment_does),
        cmocka_unit_test(patterns_stand_where_their_beginning_does),
        cmocka_unit_test(globs_take_any_text),
        cmocka_unit_test(equals_in_the_order_of_the_file),
        cmocka_unit_test(more_conditions_first),
        cmocka_unit_test(a_method_that_no_route_has),
        cmocka_unit_test(bad_paths),
        cmocka_unit_test(what_cannot_be_compiled_is_named),
        cmocka_unit_test(rewrites_are_compiled),
        cmocka_unit_test(many_routes_and_hosts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
