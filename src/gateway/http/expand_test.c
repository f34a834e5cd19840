#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/exchange_fixture_test.h"
#include "gateway/http/expand.h"

static const struct route plain = {.path = "/", .name = "plain"};

static int teardown(void **state)
{
    (void)state;
    fixture_end();
    return 0;
}

static void slice_equal(struct slice slice, const char *expected)
{
    if (!slice.bytes)
        fail_msg("nothing, instead of %s", expected);
    if (!slice_is(slice, expected))
        fail_msg("%.*s, instead of %s", (int)slice.length, slice.bytes, expected);
}

static void pattern(const char *text, const char *expected)
{
    slice_equal(expand_pattern(&fixture.exchange, text), expected);
}

static void variables_of_a_request(void **state)
{
    (void)state;
    struct exchange *exchange = fixture_begin(&plain, "Shop.Example", "/a%20b/c?x=1&y=&xx=2");
    fixture_field("User-Agent", "curl/8");
    fixture_field("Cookie", "a=1; session=s3cret");
    fixture_field("Cookie", "b=2");
    exchange->captures[2] = SLICE("two");
    pattern("nothing", "nothing");
    pattern("", "");
    pattern("${host}", "shop.example");
    pattern("${path}|${query}|${uri}", "/a%20b/c|x=1&y=&xx=2|/a%20b/c?x=1&y=&xx=2");
    pattern("${scheme} ${method} ${client} ${port} ${request_id}", "http GET 192.0.2.7 8080 4711");
    pattern("$$5 ${2}${3}.", "$5 two.");
    pattern("${header.user-agent}${header.Accept}", "curl/8");
    pattern("${cookie.session} ${cookie.b} ${cookie.essio}.", "s3cret 2 .");
    pattern("${arg.x} ${arg.xx} ${arg.y} ${arg.z}.", "1 2  .");
    exchange->secure = true;
    pattern("${scheme}", "https");
}

static void requests_without_a_path(void **state)
{
    (void)state;
    fixture_begin(&plain, "", "*");
    pattern("${path}${uri}${host}", "//");
}

static void a_long_value_is_whole(void **state)
{
    (void)state;
    char value[5001];
    memset(value, 'v', 5000);
    value[5000] = 0;
    fixture_begin(&plain, "a", "/");
    fixture_field("X", value);
    struct slice text = expand_pattern(&fixture.exchange, "${header.X}${header.X}.");
    assert_int_equal(text.length, 10001);
    assert_memory_equal(text.bytes + 5000, value, 5000);
}

static void control_bytes_do_not_come_through(void **state)
{
    (void)state;
    fixture_begin(&plain, "a", "/");
    fixture.fields[0] =
        (struct field){.name = SLICE("X"), .value = SLICE("a\r\nSet-Cookie: b\0\x7f\tc")};
    fixture.exchange.request.field_count = 1;
    pattern("${header.X}", "aSet-Cookie: b\tc");
    fixture.exchange.captures[1] = SLICE("/\r\nx");
    pattern("${1}", "/x");
}

static void hosts_that_are_none_are_not_shown(void **state)
{
    (void)state;
    static const struct {
        const char *host, *shown;
    } cases[] = {{"a_b.Example", "a_b.example"},
                 {"[2001:DB8::1]", "[2001:db8::1]"},
                 {"10.0.0.1", "10.0.0.1"},
                 {"evil.example/x", ""},
                 {"a@evil.example", ""},
                 {"a b", ""},
                 {"[::1]x", ""},
                 {"[::1", ""},
                 {"::1", ""},
                 {"[x]", ""},
                 {"a%2e", ""},
                 {"", ""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_begin(&plain, cases[i].host, "/");
        pattern("${host}", cases[i].shown);
    }
}

static const struct network trusted[] = {
    {.address = {[10] = 0xff, 0xff, 192, 0, 2, 0}, .length = 96 + 24},
    {.address = {0x20, 1, 0xd, 0xb8}, .length = 32}};

static void client_is(bool is_trusted, const char *forwarded, const char *expected)
{
    fixture_begin(&plain, "a", "/");
    fixture.site.trusted = trusted;
    fixture.site.trusted_count = 2;
    fixture.exchange.client_trusted = is_trusted;
    fixture_field("X-Forwarded-For", "203.0.113.1");
    fixture_field("X-Forwarded-For", forwarded);
    fixture_field("X-Forwarded-Proto", "https");
    pattern("${client}", expected);
    pattern("${scheme}", is_trusted ? "https" : "http");
}

static void proxies_are_believed_when_they_are_trusted(void **state)
{
    (void)state;
    client_is(false, "198.51.100.1", "192.0.2.7");
    client_is(true, "198.51.100.1", "198.51.100.1");
    client_is(true, "198.51.100.1, 192.0.2.8", "198.51.100.1");
    client_is(true, "198.51.100.2,198.51.100.1:4711 , [2001:db8::1]:99", "198.51.100.1");
    client_is(true, "192.0.2.9, 2001:db8::2", "203.0.113.1"); /* on in the line before */
    client_is(true, "unknown, 192.0.2.9", "192.0.2.9");       /* nobody vouches for more */
    client_is(true, "2001:db9::7", "2001:db9::7");
    client_is(true, "", "203.0.113.1");
}

/* ---- rewrites ------------------------------------------------------------------------------- */

static void target(const struct rewrite *rewrites, size_t count, const char *sent,
                   const char *expected)
{
    const struct route route = {
        .path = "/", .name = "r", .rewrites = rewrites, .rewrite_count = count};
    struct exchange *exchange = fixture_begin(&route, "shop.example", sent);
    fixture_field("X", "a b?c#d/e");
    fixture_field("Up", "../..");
    fixture_field("Bad", "100%");
    struct slice result = expand_target(exchange);
    if (expected)
        slice_equal(result, expected);
    else if (result.bytes)
        fail_msg("%.*s, instead of nothing", (int)result.length, result.bytes);
}
#define TARGET(sent, expected, ...)                                                                \
    target((const struct rewrite[]){__VA_ARGS__},                                                  \
           sizeof((const struct rewrite[]){__VA_ARGS__}) / sizeof(struct rewrite), sent, expected)

static void targets_without_rewrites_stay(void **state)
{
    (void)state;
    target(NULL, 0, "/a/../%61?x", "/a/../%61?x");
    target(NULL, 0, "*", "*");
    TARGET("*", "*", {.prefix = "/v1"});
}

static void prefixes_are_stripped_and_put_in_front(void **state)
{
    (void)state;
    TARGET("/api/x?y=%2F", "/x?y=%2F", {.strip = "/api"});
    TARGET("/api/x", "/x", {.strip = "/api/"});
    TARGET("/api", "/", {.strip = "/api"});
    TARGET("/api?", "/?", {.strip = "/api"});
    TARGET("/api/", "/", {.strip = "/api"});
    TARGET("/apis", "/apis", {.strip = "/api"});
    TARGET("/other", "/other", {.strip = "/api"});
    TARGET("/%61pi/x%2fy", "/x%2Fy", {.strip = "/api"});
    TARGET("/x", "/v1/x", {.prefix = "/v1"});
    TARGET("/x", "/v1/x", {.prefix = "/v1/"});
    TARGET("/x", "/x", {.prefix = "/"});
    TARGET("/api/x?q", "/v1/x?q", {.strip = "/api"}, {.prefix = "/v1"});
    TARGET("/caf%c3%a9/x", "/x", {.strip = "/caf\xc3\xa9"});
}

static void a_strip_does_not_open_what_lies_above(void **state)
{
    (void)state;
    TARGET("/api/../secret", "/secret", {.strip = "/api"});
    TARGET("/x/../api/y", "/y", {.strip = "/api"});
    TARGET("/api//evil.example/", "//evil.example/", {.strip = "/api"});
}

static void expressions_replace_the_path(void **state)
{
    (void)state;
    TARGET("/old/a/b?q=1", "/new/a/b?q=1", {.regex = "^/old/(.*)$", .replacement = "/new/${1}"});
    TARGET("/new?q=1", "/new?q=1", {.regex = "^/old/(.*)$", .replacement = "/new/${1}"});
    TARGET("/u/7?q=1", "/user?id=7&q=1",
           {.regex = "^/u/(.*)$", .replacement = "/user?id=${1}&${query}"});
    TARGET("/u?q=1", "/user", {.regex = "^/u$", .replacement = "/user?"});
    TARGET("/u/7", "/7", {.regex = "^/u/(.*)$", .replacement = "${1}"});
    TARGET("/a", "/c", {.regex = "^/a$", .replacement = "/b"},
           {.regex = "^/b$", .replacement = "/c"});
}

static void values_stay_within_their_part(void **state)
{
    (void)state;
    TARGET("/a", "/a%20b%3Fc%23d/e", {.regex = "^/a$", .replacement = "/${header.X}"});
    TARGET("/a", "/x?q=a%20b?c%23d/e", {.regex = "^/a$", .replacement = "/x?q=${header.X}"});
    TARGET("/a", NULL, {.regex = "^/a$", .replacement = "/x/${header.Up}/../y"});
    TARGET("/a", "/y", {.regex = "^/a$", .replacement = "/x/z/${header.Up}/y"});
    TARGET("/a", NULL, {.regex = "^/a$", .replacement = "/${header.Bad}"});
}

static void a_dear_expression_is_no_path(void **state)
{
    (void)state;
    TARGET("/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", NULL,
           {.regex = "^/(a+)+$", .replacement = "/x"});
}

/* ---- header rules --------------------------------------------------------------------------- */

static void rules_change_fields(void **state)
{
    (void)state;
    static const struct header_rule rules[] = {
        {false, HEADER_SET, "X-Client", "${client}"},
        {false, HEADER_ADD, "Via-Who", "me"},
        {false, HEADER_REMOVE, "cookie", NULL},
        {false, HEADER_SET, "X-Empty", "${header.No}"},
        {true, HEADER_SET, "Server", "enginx"},
        {false, HEADER_SET, "host", "inner.example"},
    };
    const struct route route = {
        .path = "/", .name = "r", .headers_change = rules, .headers_change_count = 6};
    struct exchange *exchange = fixture_begin(&route, "a", "/");
    fixture_field("Host", "a");
    fixture_field("x-client", "forged");
    fixture_field("X-CLIENT", "twice");
    fixture_field("Cookie", "a=b");
    fixture_field("Via-Who", "you");
    fixture_field("X-Empty", "full");
    uint32_t count;
    const struct field *fields =
        expand_fields(exchange, false, fixture.fields, exchange->request.field_count, &count);
    assert_int_equal(count, 4);
    slice_equal(fields[0].value, "you");
    slice_equal(fields[1].name, "X-Client");
    slice_equal(fields[1].value, "192.0.2.7");
    slice_equal(fields[2].value, "me");
    slice_equal(fields[3].value, "inner.example");
    assert_int_equal(fields[3].id, FIELD_HOST);
    fields = expand_fields(exchange, true, NULL, 0, &count);
    assert_int_equal(count, 1);
    slice_equal(fields[0].value, "enginx");
    /* The request's own are as they were. */
    slice_equal(fixture.fields[1].value, "forged");
}

static void without_rules_fields_are_the_same(void **state)
{
    (void)state;
    struct exchange *exchange = fixture_begin(&plain, "a", "/");
    uint32_t count;
    assert_ptr_equal(expand_fields(exchange, false, fixture.fields, 3, &count), fixture.fields);
    assert_int_equal(count, 3);
    exchange->route = NULL;
    assert_ptr_equal(expand_fields(exchange, true, fixture.fields, 2, &count), fixture.fields);
    assert_int_equal(count, 2);
}

static void without_memory_there_is_nothing(void **state)
{
    (void)state;
    static const struct header_rule rules[] = {{false, HEADER_SET, "X", "${header.Long}"}};
    static const struct rewrite rewrites[] = {{.prefix = "/v1"}};
    const struct route route = {.path = "/",
                                .name = "r",
                                .headers_change = rules,
                                .headers_change_count = 1,
                                .rewrites = rewrites,
                                .rewrite_count = 1};
    struct exchange *exchange = fixture_begin(&route, "a", "/");
    while (bump_alloc(exchange->arena, 1024))
        continue;
    while (bump_alloc(exchange->arena, 1))
        continue;
    uint32_t count;
    assert_null(expand_pattern(exchange, "${path}").bytes);
    assert_null(expand_target(exchange).bytes);
    assert_null(expand_fields(exchange, false, fixture.fields, 0, &count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(variables_of_a_request, teardown),
        cmocka_unit_test_teardown(requests_without_a_path, teardown),
        cmocka_unit_test_teardown(a_long_value_is_whole, teardown),
        cmocka_unit_test_teardown(control_bytes_do_not_come_through, teardown),
        cmocka_unit_test_teardown(hosts_that_are_none_are_not_shown, teardown),
        cmocka_unit_test_teardown(proxies_are_believed_when_they_are_trusted, teardown),
        cmocka_unit_test_teardown(targets_without_rewrites_stay, teardown),
        cmocka_unit_test_teardown(prefixes_are_stripped_and_put_in_front, teardown),
        cmocka_unit_test_teardown(a_strip_does_not_open_what_lies_above, teardown),
        cmocka_unit_test_teardown(expressions_replace_the_path, teardown),
        cmocka_unit_test_teardown(values_stay_within_their_part, teardown),
        cmocka_unit_test_teardown(a_dear_expression_is_no_path, teardown),
        cmocka_unit_test_teardown(rules_change_fields, teardown),
        cmocka_unit_test_teardown(without_rules_fields_are_the_same, teardown),
        cmocka_unit_test_teardown(without_memory_there_is_nothing, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
