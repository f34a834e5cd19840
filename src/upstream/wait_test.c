#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "upstream/upstream_rig.h"

/* A request that waits: when it is told to choose it does, and holds what it gets. */
struct request {
    struct waiter waiter;
    struct rig *rig;
    char name;
    bool picky; /* finds nothing, and waits again */
    bool last;  /* holds the upstream */
    struct endpoint *endpoint;
};

static char told[64]; /* names in the order in which they were told; upper case: PICK_NONE */
static size_t told_count;

static void request_told(struct waiter *waiter, enum pick_result result)
{
    struct request *request = (struct request *)waiter;
    assert_null(waiter->upstream);
    told[told_count++] = (char)(result == PICK_NONE ? request->name - 32 : request->name);
    told[told_count] = '\0';
    if (request->last) { /* with it goes the upstream */
        upstream_free(request->rig->upstream);
        request->rig->upstream = NULL;
    }
    if (result == PICK_NONE)
        return;
    assert_int_equal(result, PICK_DONE);
    if (request->picky) {
        assert_true(upstream_wait(request->rig->upstream, waiter, request_told));
        return;
    }
    request->endpoint = rig_choose(request->rig);
    endpoint_begin(request->endpoint);
}

static void request_wait(struct rig *rig, struct request *request, char name)
{
    *request = (struct request){.rig = rig, .name = name};
    assert_int_equal(rig_pick(rig, &(struct pick){0}), -1);
    assert_true(upstream_wait(rig->upstream, &request->waiter, request_told));
}

static void request_end(struct request *request)
{
    endpoint_end(request->endpoint, OUTCOME_GOOD, 0);
    request->endpoint = NULL;
}

static int waiting_begin(void **state)
{
    told_count = 0;
    told[0] = '\0';
    return rig_begin(state);
}

/* Who waits for a role that nobody has keeps nobody waiting who wants another. */
static void those_who_wait_for_a_role_hold_up_nobody(void **state)
{
    struct rig *rig = *state;
    struct request writer, reader;
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_LEAST);
    struct request *const requests[] = {&writer, &reader};
    static const enum role_wish wishes[] = {ROLE_WISH_PRIMARY, ROLE_WISH_REPLICA};
    for (int i = 0; i < 2; i++) {
        *requests[i] = (struct request){.rig = rig, .name = "wr"[i]};
        requests[i]->waiter.role = wishes[i];
        assert_int_equal(rig_pick(rig, &(struct pick){.role = wishes[i]}), -1);
        assert_true(upstream_wait(rig->upstream, &requests[i]->waiter, request_told));
    }
    rig_pass(rig, 20);
    assert_string_equal(told, "");
    board_write_begin(rig_row(rig));
    rig_instance(rig, 2)->role = ROLE_REPLICA;
    board_write_end(rig_row(rig));
    upstream_news(rig->upstream);
    rig_pass(rig, 0);
    assert_string_equal(told, "r");
    board_write_begin(rig_row(rig));
    rig_instance(rig, 1)->role = ROLE_PRIMARY;
    board_write_end(rig_row(rig));
    upstream_news(rig->upstream);
    rig_pass(rig, 0);
    assert_string_equal(told, "rw");
    request_end(&reader);
    request_end(&writer);
}

static void room_is_given_in_the_order_of_coming(void **state)
{
    struct rig *rig = *state;
    struct request requests[4];
    rig_instances(rig, 1);
    rig->service.gateway.requests_max = 2;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    endpoint_begin(endpoint);
    endpoint_begin(endpoint);
    for (int i = 0; i < 4; i++)
        request_wait(rig, &requests[i], (char)('a' + i));
    assert_int_equal(upstream_tally(rig->upstream)->held_now, 4);
    rig_pass(rig, 100);
    assert_string_equal(told, "");
    endpoint_end(endpoint, OUTCOME_GOOD, 0);
    rig_pass(rig, 0);
    assert_string_equal(told, "a");
    waiter_stop(&requests[1].waiter);
    endpoint_end(endpoint, OUTCOME_GOOD, 0);
    rig_pass(rig, 0);
    assert_string_equal(told, "ac");
    request_end(&requests[0]);
    request_end(&requests[2]);
    rig_pass(rig, 0);
    assert_string_equal(told, "acd");
    request_end(&requests[3]);
    assert_int_equal(upstream_tally(rig->upstream)->held_now, 0);
    assert_int_equal(upstream_tally(rig->upstream)->held, 4);
}

static void one_that_finds_nothing_keeps_its_place_and_its_deadline(void **state)
{
    struct rig *rig = *state;
    struct request requests[2];
    rig_instances(rig, 1);
    rig_state(rig, 1, BOARD_STARTING);
    rig_coming(rig, 1);
    rig->service.gateway.hold_ms = 1000;
    rig_start(rig, BALANCE_LEAST);
    request_wait(rig, &requests[0], 'a');
    rig_pass(rig, 5);
    request_wait(rig, &requests[1], 'b');
    requests[0].picky = true;
    uint64_t deadline_ms = requests[0].waiter.deadline_ms;
    rig_state(rig, 1, BOARD_UP);
    upstream_news(rig->upstream);
    rig_pass(rig, 0);
    assert_string_equal(told, "a"); /* tried once in a turn */
    requests[0].picky = false;
    upstream_news(rig->upstream);
    rig_pass(rig, 0);
    assert_string_equal(told, "aab");
    assert_int_equal(requests[0].waiter.deadline_ms, deadline_ms);
    assert_int_equal(upstream_tally(rig->upstream)->held, 2);
    request_end(&requests[0]);
    request_end(&requests[1]);
}

static void the_deadline_ends_the_waiting(void **state)
{
    struct rig *rig = *state;
    struct request requests[3];
    rig_instances(rig, 0);
    rig_coming(rig, 1);
    rig->service.gateway.hold_ms = 300;
    rig_start(rig, BALANCE_LEAST);
    request_wait(rig, &requests[0], 'a');
    rig_pass(rig, 200);
    request_wait(rig, &requests[1], 'b');
    rig_pass(rig, 99);
    assert_string_equal(told, "");
    rig_pass(rig, 1);
    assert_string_equal(told, "A");
    rig_pass(rig, 200);
    assert_string_equal(told, "AB");
    rig_pass(rig, 100000);
    request_wait(rig, &requests[2], 'c');
    waiter_stop(&requests[2].waiter);
    waiter_stop(&requests[2].waiter);
    rig_pass(rig, 1000);
    assert_string_equal(told, "AB");
}

static void when_nobody_comes_any_more_all_are_told(void **state)
{
    struct rig *rig = *state;
    struct request requests[2];
    rig_instances(rig, 0);
    rig_coming(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    request_wait(rig, &requests[0], 'a');
    request_wait(rig, &requests[1], 'b');
    rig_coming(rig, 0); /* given up */
    upstream_news(rig->upstream);
    assert_string_equal(told, ""); /* not from within */
    rig_pass(rig, 0);
    assert_string_equal(told, "AB");
}

static void an_instance_that_comes_takes_all_it_can(void **state)
{
    struct rig *rig = *state;
    struct request requests[5];
    rig_instances(rig, 0);
    rig_coming(rig, 2);
    rig->service.gateway.requests_max = 2;
    rig_start(rig, BALANCE_LEAST);
    for (int i = 0; i < 5; i++)
        request_wait(rig, &requests[i], (char)('a' + i));
    rig_instances(rig, 2);
    upstream_news(rig->upstream);
    rig_pass(rig, 0);
    assert_string_equal(told, "abcd");
    assert_int_equal(requests[0].endpoint->tally->requests_now, 2);
    for (int i = 0; i < 4; i++)
        request_end(&requests[i]);
    rig_pass(rig, 0);
    assert_string_equal(told, "abcde");
    request_end(&requests[4]);
}

/* Nobody tells this thread: it looks by itself. */
static void room_that_another_thread_makes_is_seen(void **state)
{
    struct rig *rig = *state;
    struct request request;
    rig_instances(rig, 1);
    rig->service.gateway.requests_max = 3;
    rig_start(rig, BALANCE_LEAST);
    rig_others(rig, 1, 3);
    request_wait(rig, &request, 'a');
    rig_pass(rig, 20);
    assert_string_equal(told, "");
    rig_others(rig, 1, 2);
    rig_pass(rig, 20);
    assert_string_equal(told, "a");
    request_end(&request);
}

static void an_idle_connection_is_room(void **state)
{
    struct rig *rig = *state;
    struct request request;
    rig_instances(rig, 1);
    rig->service.gateway.connections_max = 2;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    tally_add(&endpoint->tally->connections_now, 2);
    request_wait(rig, &request, 'a');
    struct pooled pooled = {0};
    endpoint_idle_put(endpoint, &pooled);
    rig_pass(rig, 0);
    assert_string_equal(told, "a");
    endpoint_idle_remove(endpoint, &pooled);
    request_end(&request);
}

static void the_queue_is_bounded_over_all_threads(void **state)
{
    struct rig *rig = *state;
    struct request requests[2];
    struct request last = {.rig = rig, .name = 'x'};
    rig_instances(rig, 0);
    rig_coming(rig, 1);
    rig->service.gateway.hold_max = 5;
    rig_start(rig, BALANCE_LEAST);
    atomic_store(&tally_traffic(rig->tally, 1, TALLY_SERVICE, RIG_SERVICE)->held_now, 3);
    request_wait(rig, &requests[0], 'a');
    request_wait(rig, &requests[1], 'b');
    assert_false(upstream_wait(rig->upstream, &last.waiter, request_told));
    waiter_stop(&requests[0].waiter);
    assert_true(upstream_wait(rig->upstream, &last.waiter, request_told));
    waiter_stop(&last.waiter);
    waiter_stop(&requests[1].waiter);
    rig->service.gateway.hold_max = 0;
    atomic_store(&tally_traffic(rig->tally, 1, TALLY_SERVICE, RIG_SERVICE)->held_now, 0);
    assert_false(upstream_wait(rig->upstream, &last.waiter, request_told));
}

static void those_who_wait_are_told_of_the_end(void **state)
{
    struct rig *rig = *state;
    struct request requests[2];
    rig_instances(rig, 0);
    rig_coming(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    request_wait(rig, &requests[0], 'a');
    request_wait(rig, &requests[1], 'b');
    upstream_news(rig->upstream);
    upstream_free(rig->upstream);
    rig->upstream = NULL;
    assert_string_equal(told, "AB");
    rig_pass(rig, 100000); /* nothing of it is left in the loop */
}

static void one_that_waits_may_be_the_last_who_holds_it(void **state)
{
    struct rig *rig = *state;
    struct request requests[2];
    rig_instances(rig, 0);
    rig_coming(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    request_wait(rig, &requests[0], 'a');
    request_wait(rig, &requests[1], 'b');
    requests[0].last = true;
    rig_pass(rig, 30000);
    assert_string_equal(told, "AB");
    assert_null(rig->upstream);
}

static void retries_are_allowed_within_the_budget(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    for (int i = 0; i < 1000; i++)
        rig_request(rig, rig_choose(rig), OUTCOME_GOOD);
    unsigned allowed = 0;
    while (allowed < 1000 && upstream_retry_allowed(rig->upstream))
        allowed++;
    assert_in_range(allowed, 160, 200);
    assert_int_equal(upstream_tally(rig->upstream)->retries, allowed);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, waiting_begin, rig_end)
    const struct CMUnitTest tests[] = {
        WITH_RIG(those_who_wait_for_a_role_hold_up_nobody),
        WITH_RIG(room_is_given_in_the_order_of_coming),
        WITH_RIG(one_that_finds_nothing_keeps_its_place_and_its_deadline),
        WITH_RIG(the_deadline_ends_the_waiting),
        WITH_RIG(when_nobody_comes_any_more_all_are_told),
        WITH_RIG(an_instance_that_comes_takes_all_it_can),
        WITH_RIG(room_that_another_thread_makes_is_seen),
        WITH_RIG(an_idle_connection_is_room),
        WITH_RIG(the_queue_is_bounded_over_all_threads),
        WITH_RIG(those_who_wait_are_told_of_the_end),
        WITH_RIG(one_that_waits_may_be_the_last_who_holds_it),
        WITH_RIG(retries_are_allowed_within_the_budget),
    };
    return cmocka_run_group_tests_name("wait", tests, NULL, NULL);
}
