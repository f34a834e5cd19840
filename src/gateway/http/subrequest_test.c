/* Requests of the gateway's own, to instances that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http/h1_rig.h"
#include "gateway/http/subrequest.h"

static struct {
    uint16_t status;
    char type[64];
    char body[65536 * 2];
    size_t length, room;
    int overs;
    bool whole, enough;
    char why[128];
    struct subrequest *subrequest;
} owner;

static bool owner_head(void *own, const struct response_head *head)
{
    assert_ptr_equal(own, &owner);
    owner.status = head->status;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].id == FIELD_CONTENT_TYPE)
            snprintf(owner.type, sizeof owner.type, "%.*s", (int)head->fields[i].value.length,
                     head->fields[i].value.bytes);
    return !owner.enough;
}

static size_t owner_body(void *own, const char *bytes, size_t length)
{
    assert_ptr_equal(own, &owner);
    size_t taken = length < owner.room ? length : owner.room;
    memcpy(owner.body + owner.length, bytes, taken);
    owner.length += taken;
    owner.room -= taken;
    return taken;
}

static void owner_over(void *own, bool whole, const char *why)
{
    assert_ptr_equal(own, &owner);
    owner.overs++;
    owner.whole = whole;
    snprintf(owner.why, sizeof owner.why, "%s", why);
}

static const struct subrequest_calls calls = {owner_head, owner_body, owner_over};

/* The service's row of this thread: what is under way, and what was. */
static const struct tally_traffic *service_tally(const struct rig *rig)
{
    return upstream_tally(worker_upstream(rig->worker.current, 0));
}

static bool begin(struct rig *rig)
{
    memset(&owner, 0, sizeof owner);
    owner.room = sizeof owner.body;
    static struct client_base client;
    client = (struct client_base){.worker = &rig->worker, .plan = &rig->plan};
    client.use = rig->worker.current;
    const struct field fields[] = {
        {.name = SLICE("Cookie"), .value = SLICE("a=b"), .id = FIELD_COOKIE}};
    const struct subrequest_setup setup = {
        .client = &client,
        .use = rig->worker.current,
        .route = &rig->route,
        .method = SLICE("GET"),
        .authority = SLICE("shop.example:8080"),
        .target = SLICE("/may?path=/x"),
        .fields = fields,
        .field_count = 1,
        .calls = &calls,
        .owner = &owner,
    };
    bool over;
    owner.subrequest = subrequest_start(&setup, &over);
    assert_non_null(owner.subrequest);
    return over;
}

static void assert_has(const struct rig *rig, const char *text)
{
    if (!strstr(rig->text, text))
        fail_msg("no “%s” in: %s", text, rig->text);
}

static void it_is_a_request_like_others(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    assert_false(begin(rig));
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "GET /may?path=/x HTTP/1.1\r\n");
    assert_has(rig, "Host: shop.example:8080\r\n");
    assert_has(rig, "Cookie: a=b\r\n");
    assert_int_equal(service_tally(rig)->requests_now, 1);
    rig_say(rig, origin,
            "HTTP/1.1 403 Forbidden\r\nContent-Type: a/b\r\n"
            "Content-Length: 2\r\n\r\nno");
    for (int i = 0; i < 100 && !owner.overs; i++)
        rig_turns(rig);
    assert_int_equal(owner.overs, 1);
    assert_true(owner.whole);
    assert_int_equal(owner.status, 403);
    assert_string_equal(owner.type, "a/b");
    assert_string_equal(owner.body, "no");
    assert_int_equal(service_tally(rig)->requests, 1);
    assert_int_equal(service_tally(rig)->requests_now, 0);
    assert_int_equal(rig->plan_tally->requests, 0);
    close(origin);
}

static void who_takes_nothing_is_given_the_rest_later(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    begin(rig);
    owner.room = 1000;
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n";
    char *body = malloc(65536);
    for (int i = 0; i < 65536; i++)
        body[i] = (char)('a' + i % 23);
    rig_say(rig, origin, head);
    rig_say_bytes(rig, origin, body, 65536);
    rig_turns(rig);
    assert_int_equal(owner.length, 1000);
    assert_int_equal(owner.overs, 0);
    while (!owner.overs) {
        owner.room = 5000;
        subrequest_more(owner.subrequest);
        rig_turns(rig);
    }
    assert_true(owner.whole);
    assert_int_equal(owner.length, 65536);
    assert_memory_equal(owner.body, body, 65536);
    free(body);
    close(origin);
}

static void it_may_be_given_up_at_any_time(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    begin(rig);
    int origin = rig_origin(rig, 1);
    subrequest_cancel(owner.subrequest);
    rig_hear_end(rig, origin);
    close(origin);
    begin(rig);
    origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    owner.enough = true;
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    rig_turns(rig);
    assert_int_equal(owner.status, 200);
    assert_int_equal(owner.length, 0);
    assert_int_equal(owner.overs, 0);
    assert_int_equal(service_tally(rig)->requests_now, 0);
    close(origin);
}

static void a_response_that_breaks_off_is_not_whole(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    begin(rig);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok");
    close(origin);
    for (int i = 0; i < 100 && !owner.overs; i++)
        rig_turns(rig);
    assert_int_equal(owner.overs, 1);
    assert_false(owner.whole);
    assert_true(owner.why[0] != 0);
}

static void nobody_there_is_an_answer_at_once(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    rig_down(rig, 0);
    assert_true(begin(rig));
    assert_int_equal(owner.overs, 1);
    assert_int_equal(owner.status, 503);
    assert_true(owner.whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_is_a_request_like_others, rig_begin, rig_end),
        cmocka_unit_test_setup_teardown(who_takes_nothing_is_given_the_rest_later, rig_begin,
                                        rig_end),
        cmocka_unit_test_setup_teardown(it_may_be_given_up_at_any_time, rig_begin, rig_end),
        cmocka_unit_test_setup_teardown(a_response_that_breaks_off_is_not_whole, rig_begin,
                                        rig_end),
        cmocka_unit_test_setup_teardown(nobody_there_is_an_answer_at_once, rig_begin, rig_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
