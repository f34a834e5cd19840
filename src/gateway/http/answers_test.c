/* The handlers of `redirect` and `respond`. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/exchange_fixture_test.h"

static int teardown(void **state)
{
    (void)state;
    fixture_end();
    return 0;
}

static struct slice capture_one = SLICE("");

/* NULL: refused with 400. */
static void redirected(const char *pattern, const char *host, const char *target,
                       const char *location)
{
    const struct route route = {
        .path = "/", .name = "r", .kind = ROUTE_REDIRECT, .location = pattern, .status = 308};
    struct exchange *exchange = fixture_begin(&route, host, target);
    exchange->captures[1] = capture_one;
    fixture_field("X", "a b\r\nSet-Cookie: c");
    handler_redirect.start(exchange);
    assert_int_equal(fixture.released, 1);
    assert_int_equal(fixture.status, location ? 308 : 400);
    assert_int_equal(fixture.failed, !location);
    if (!location)
        return;
    char expected[256];
    snprintf(expected, sizeof expected, "Location: %s\n", location);
    assert_string_equal(fixture.head, expected);
    assert_true(fixture.last);
    assert_int_equal(fixture.body_kind, BODY_LENGTH);
    assert_int_equal(fixture.body_length, 0);
}

static void redirects_say_where(void **state)
{
    (void)state;
    redirected("https://${host}${uri}", "Shop.Example", "/a?b", "https://shop.example/a?b");
    redirected("https://${host}${uri}", "[::1]", "/", "https://[::1]/");
    redirected("https://other.example/x", "", "/a?b", "https://other.example/x");
    redirected("/new${path}", "", "/a?b", "/new/a");
    redirected("https://${host}${uri}", "a.example", "*", "https://a.example/");
}

static void redirects_believe_no_strange_host(void **state)
{
    (void)state;
    redirected("https://${host}${uri}", "", "/", NULL);
    redirected("https://${host}${uri}", "a@evil.example", "/", NULL);
    redirected("https://${host}:8443/", "a/b", "/", NULL);
    redirected("${header.None}", "a", "/", NULL);
}

static void redirects_cannot_be_broken_out_of(void **state)
{
    (void)state;
    redirected("/x?${header.X}", "a", "/", "/x?a%20bSet-Cookie:%20c");
    capture_one = SLICE("/evil.example/");
    redirected("/${1}", "a", "/", "/evil.example/");
    redirected("//cdn.example/${1}", "a", "/", "//cdn.example//evil.example/");
    capture_one = SLICE("\\evil.example/");
    redirected("/${1}", "a", "/", "/%5Cevil.example/");
    redirected("${path}", "a", "//evil.example", "/evil.example");
}

static struct exchange *responds(const struct route *route)
{
    struct exchange *exchange = fixture_begin(route, "a.example", "/");
    return exchange;
}

static void responses_say_what_they_were_told(void **state)
{
    (void)state;
    const struct route route = {.path = "/",
                                .kind = ROUTE_RESPOND,
                                .status = 200,
                                .body = "hello ${host}\n",
                                .type = "text/html"};
    struct exchange *exchange = responds(&route);
    handler_respond.start(exchange);
    assert_int_equal(fixture.status, 200);
    assert_string_equal(fixture.head, "Content-Type: text/html\n");
    assert_string_equal(fixture.body, "hello a.example\n");
    assert_int_equal(fixture.body_length, 16);
    assert_true(fixture.last);
    assert_int_equal(fixture.released, 1);
    assert_int_equal(handler_respond.request_body(exchange, "x", 1, true), 1);
}

static void a_slow_client_gets_all_of_it(void **state)
{
    (void)state;
    const struct route route = {
        .path = "/", .kind = ROUTE_RESPOND, .status = 200, .body = "0123456789"};
    struct exchange *exchange = responds(&route);
    fixture.room = 4;
    handler_respond.start(exchange);
    assert_int_equal(fixture.body_length, 10);
    assert_int_equal(fixture.released, 0);
    handler_respond.response_room(exchange);
    assert_int_equal(fixture.released, 0);
    handler_respond.response_room(exchange);
    assert_int_equal(fixture.released, 1);
    assert_string_equal(fixture.body, "0123456789");
    assert_true(fixture.last);
}

static void a_client_that_left_is_let_go_by_abort(void **state)
{
    (void)state;
    const struct route route = {.path = "/", .kind = ROUTE_RESPOND, .status = 200, .body = "x"};
    struct exchange *exchange = responds(&route);
    fixture.room = -EPIPE;
    handler_respond.start(exchange);
    assert_int_equal(fixture.released, 0);
    handler_respond.abort(exchange);
    const struct route away = {
        .path = "/", .kind = ROUTE_REDIRECT, .status = 302, .location = "/x"};
    exchange = responds(&away);
    fixture.room = -EPIPE;
    handler_redirect.start(exchange);
    assert_int_equal(fixture.released, 0);
}

static void head_has_the_length_and_no_body(void **state)
{
    (void)state;
    const struct route route = {.path = "/", .kind = ROUTE_RESPOND, .status = 404, .body = "gone"};
    struct exchange *exchange = responds(&route);
    exchange->request.method = METHOD_HEAD;
    handler_respond.start(exchange);
    assert_int_equal(fixture.status, 404);
    assert_int_equal(fixture.body_length, 4);
    assert_int_equal(fixture.body_bytes, 0);
    assert_string_equal(fixture.head, "Content-Type: text/plain; charset=utf-8\n");
    assert_true(fixture.last);
    assert_int_equal(fixture.released, 1);
}

static void some_statuses_have_no_body(void **state)
{
    (void)state;
    const struct route none = {.path = "/", .kind = ROUTE_RESPOND, .status = 204, .body = "x"};
    handler_respond.start(responds(&none));
    assert_int_equal(fixture.body_kind, BODY_NONE);
    assert_int_equal(fixture.body_bytes, 0);
    assert_string_equal(fixture.head, "");
    assert_int_equal(fixture.released, 1);
    const struct route empty = {.path = "/", .kind = ROUTE_RESPOND, .status = 403};
    handler_respond.start(responds(&empty));
    assert_int_equal(fixture.body_kind, BODY_LENGTH);
    assert_int_equal(fixture.body_length, 0);
    assert_string_equal(fixture.head, "");
    assert_int_equal(fixture.released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(redirects_say_where, teardown),
        cmocka_unit_test_teardown(redirects_believe_no_strange_host, teardown),
        cmocka_unit_test_teardown(redirects_cannot_be_broken_out_of, teardown),
        cmocka_unit_test_teardown(responses_say_what_they_were_told, teardown),
        cmocka_unit_test_teardown(a_slow_client_gets_all_of_it, teardown),
        cmocka_unit_test_teardown(a_client_that_left_is_let_go_by_abort, teardown),
        cmocka_unit_test_teardown(head_has_the_length_and_no_body, teardown),
        cmocka_unit_test_teardown(some_statuses_have_no_body, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
