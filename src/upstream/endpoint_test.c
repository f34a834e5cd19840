#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "upstream/upstream_rig.h"

static const struct pick any;

/* Of so many choices, how many does it get? */
static unsigned share(struct rig *rig, uint32_t number, unsigned choices)
{
    unsigned times = 0;
    for (unsigned i = 0; i < choices; i++)
        times += rig_choose(rig)->number == number;
    return times;
}

static void fail_often(struct rig *rig, struct endpoint *endpoint, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        rig_request(rig, endpoint, i % 2 ? OUTCOME_FAILED : OUTCOME_CONNECT_FAILED);
}

/* ---- counting ------------------------------------------------------------------------------- */

static void what_happens_is_counted(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    struct tally_endpoint *tally = endpoint->tally;
    assert_ptr_equal(tally, tally_endpoint(rig->tally, 0, RIG_SLOT));
    endpoint_begin(endpoint);
    endpoint_begin(endpoint);
    assert_int_equal(tally->requests_now, 2);
    endpoint_end(endpoint, OUTCOME_GOOD, 700);
    endpoint_end(endpoint, OUTCOME_UNUSED, 900);
    rig_request(rig, endpoint, OUTCOME_CONNECT_FAILED);
    rig_request(rig, endpoint, OUTCOME_FAILED);
    assert_int_equal(tally->requests_now, 0);
    assert_int_equal(tally->requests, 4);
    assert_int_equal(tally->failures_connect, 1);
    assert_int_equal(tally->failures, 1);
    assert_int_equal(tally->latency_us, 700);
    assert_int_equal(tally->ejected, 0);
    assert_ptr_equal(upstream_tally(rig->upstream),
                     tally_traffic(rig->tally, 0, TALLY_SERVICE, RIG_SERVICE));
}

/* ---- passive health ------------------------------------------------------------------------- */

static void failures_in_a_row_eject(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 3);
    rig->service.gateway.eject_failures = 5;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *bad = rig_choose_number(rig, 2);
    fail_often(rig, bad, 4);
    rig_request(rig, bad, OUTCOME_UNUSED); /* says nothing */
    assert_true(endpoint_serves(bad));
    rig_request(rig, bad, OUTCOME_GOOD); /* not in a row any more */
    fail_often(rig, bad, 4);
    assert_true(share(rig, 2, 30) > 0);
    fail_often(rig, bad, 1);
    assert_false(endpoint_serves(bad));
    assert_int_equal(share(rig, 2, 1000), 0);
    assert_int_equal(bad->tally->ejected, 1);
    rig_pass(rig, 9999);
    assert_int_equal(share(rig, 2, 1000), 0);
    rig_pass(rig, 1);
    assert_true(share(rig, 2, 1000) > 0);
}

static void without_eject_nobody_is_ejected(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_LEAST);
    fail_often(rig, rig_choose_number(rig, 2), 1000);
    assert_true(share(rig, 2, 10) > 0);
}

static void one_request_tries_the_ejected(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig->service.gateway.eject_failures = 3;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *bad = rig_choose_number(rig, 2);
    fail_often(rig, bad, 3);
    rig_pass(rig, 10000);
    rig_others(rig, 1, 100); /* so that it would be taken again and again */
    rig_pass(rig, 0);
    assert_ptr_equal(rig_choose(rig), bad);
    endpoint_begin(bad);
    assert_int_equal(share(rig, 2, 100), 0);
    endpoint_end(bad, OUTCOME_UNUSED, 0); /* nothing was learnt: the next tries */
    assert_ptr_equal(rig_choose(rig), bad);
    endpoint_begin(bad);
    endpoint_end(bad, OUTCOME_GOOD, 0);
    assert_true(endpoint_serves(bad));
    assert_int_equal(share(rig, 2, 100), 100);
    assert_int_equal(bad->tally->ejected, 1);
}

/* A WebSocket may be the trial, and last for hours. */
static void a_trial_that_lasts_keeps_nobody_out(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig->service.gateway.eject_failures = 3;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *bad = rig_choose_number(rig, 2);
    fail_often(rig, bad, 3);
    rig_pass(rig, 10000);
    rig_hold(rig, rig_choose_number(rig, 2));
    assert_int_equal(share(rig, 2, 100), 0);
    rig_others(rig, 1, 100);
    rig_pass(rig, 10000);
    assert_ptr_equal(rig_choose(rig), bad);
}

static void each_ejection_lasts_longer_up_to_ten_times(void **state)
{
    static const uint64_t expected_ms[] = {10000, 20000, 40000, 80000, 100000, 100000};
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig->service.gateway.eject_failures = 3;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *bad = rig_choose_number(rig, 2);
    fail_often(rig, bad, 3);
    for (size_t i = 0; i < sizeof expected_ms / sizeof *expected_ms; i++) {
        assert_int_equal(bad->ejected_until_ms, rig_now() + expected_ms[i]);
        rig_pass(rig, expected_ms[i]);
        fail_often(rig, bad, 1); /* the trial */
    }
    assert_int_equal(bad->tally->ejected, 1);
    rig_pass(rig, 100000);
    rig_request(rig, bad, OUTCOME_GOOD);
    fail_often(rig, bad, 3); /* soon again: it is not forgotten */
    assert_int_equal(bad->ejected_until_ms, rig_now() + 100000);
    rig_pass(rig, 100000);
    rig_request(rig, bad, OUTCOME_GOOD);
    rig_pass(rig, 100001); /* having been well for long */
    fail_often(rig, bad, 3);
    assert_int_equal(bad->ejected_until_ms, rig_now() + 10000);
}

static void failures_of_before_the_ejection_do_not_prolong_it(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig->service.gateway.eject_failures = 3;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *bad = rig_choose_number(rig, 2);
    endpoint_begin(bad);
    endpoint_begin(bad);
    fail_often(rig, bad, 3);
    uint64_t until_ms = bad->ejected_until_ms;
    rig_pass(rig, 5000);
    endpoint_end(bad, OUTCOME_FAILED, 0);
    assert_int_equal(bad->ejected_until_ms, until_ms);
    endpoint_end(bad, OUTCOME_GOOD, 0); /* nor does a late success end it */
    assert_int_equal(bad->ejected_until_ms, until_ms);
}

static void when_all_are_ejected_all_are_used(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 3);
    rig->service.gateway.eject_failures = 2;
    rig_start(rig, BALANCE_LEAST);
    for (uint32_t number = 1; number <= 3; number++)
        fail_often(rig, rig_choose_number(rig, number), 2);
    assert_in_range(share(rig, 1, 300), 90, 110);
    /* One is well again: it is the only one. */
    struct endpoint *well = rig_choose_number(rig, 3);
    rig_request(rig, well, OUTCOME_GOOD);
    assert_int_equal(share(rig, 3, 100), 100);
    /* It is full: it has to be waited for, the others are still ejected. */
    rig->service.gateway.requests_max = 1;
    rig_hold(rig, well);
    assert_int_equal(rig_pick(rig, &any), -1);
}

static void who_returns_starts_slowly(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig->service.gateway.eject_failures = 2;
    rig->service.gateway.slow_start_ms = 10000;
    rig_start(rig, BALANCE_ROUND_ROBIN);
    struct endpoint *bad = rig_choose_number(rig, 2);
    fail_often(rig, bad, 2);
    rig_pass(rig, 10000);
    rig_request(rig, bad, OUTCOME_GOOD);
    assert_in_range(share(rig, 2, 10000), 700, 1200);
}

/* ---- idle connections ----------------------------------------------------------------------- */

struct kept { /* a connection that waits for a request */
    struct pooled pooled;
    struct endpoint *endpoint;
    bool closed;
};

static void kept_close(struct pooled *pooled)
{
    struct kept *kept = (struct kept *)pooled;
    assert_false(kept->closed);
    kept->closed = true;
    endpoint_unref(kept->endpoint);
}

static void keep(struct kept *kept, struct endpoint *endpoint)
{
    *kept = (struct kept){.pooled.close = kept_close, .endpoint = endpoint};
    endpoint_ref(endpoint);
    endpoint_idle_put(endpoint, &kept->pooled);
}

static void the_last_used_connection_is_the_next(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig->service.gateway.idle_max = 3;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    assert_null(endpoint_idle_take(endpoint));
    struct kept kept[4];
    for (int i = 0; i < 4; i++)
        keep(&kept[i], endpoint);
    assert_true(kept[3].closed); /* no room */
    assert_ptr_equal(endpoint_idle_take(endpoint), &kept[2].pooled);
    endpoint_idle_remove(endpoint, &kept[0].pooled);
    assert_ptr_equal(endpoint_idle_take(endpoint), &kept[1].pooled);
    assert_null(endpoint_idle_take(endpoint));
    assert_int_equal(endpoint->idle_count, 0);
    for (int i = 0; i < 3; i++)
        endpoint_unref(endpoint);
}

static void a_bound_on_connections_is_shared_by_the_idle_of_all_threads(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig->service.gateway.connections_max = 5;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    static struct kept kept[3]; /* closed when the rig ends */
    for (int i = 0; i < 3; i++)
        keep(&kept[i], endpoint);
    assert_int_equal(endpoint->idle_count, 2);
    assert_true(kept[2].closed);
}

static void idle_connections_go_with_their_endpoint(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 4);
    rig->service.gateway.eject_failures = 1;
    rig_start(rig, BALANCE_ROUND_ROBIN);
    struct kept kept[5];
    struct endpoint *endpoints[5];
    for (uint32_t number = 1; number <= 4; number++) {
        endpoints[number] = rig_choose_number(rig, number);
        keep(&kept[number], endpoints[number]);
    }
    rig_state(rig, 1, BOARD_DRAINING);
    rig_restart(rig, 2);
    upstream_news(rig->upstream);
    assert_true(kept[1].closed);
    assert_true(kept[2].closed);
    assert_false(kept[3].closed);
    rig_request(rig, endpoints[3], OUTCOME_FAILED);
    assert_true(kept[3].closed);
    assert_false(kept[4].closed);
    upstream_free(rig->upstream);
    rig->upstream = NULL;
    assert_true(kept[4].closed);
}

static void what_comes_back_to_one_that_left_is_closed(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    endpoint_begin(endpoint);
    rig_restart(rig, 1); /* seen before the roster is read anew */
    struct kept kept;
    keep(&kept, endpoint);
    assert_true(kept.closed);
    struct endpoint *next = rig_choose(rig);
    assert_ptr_not_equal(next, endpoint);
    assert_int_equal(next->epoch, endpoint->epoch + 1000);
    assert_false(endpoint_serves(endpoint));
    assert_string_equal(endpoint->name, "api.1");
    upstream_free(rig->upstream);
    rig->upstream = NULL;
    keep(&kept, endpoint);
    assert_true(kept.closed);
    endpoint_end(endpoint, OUTCOME_FAILED, 10);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        WITH_RIG(what_happens_is_counted),
        WITH_RIG(failures_in_a_row_eject),
        WITH_RIG(without_eject_nobody_is_ejected),
        WITH_RIG(one_request_tries_the_ejected),
        WITH_RIG(a_trial_that_lasts_keeps_nobody_out),
        WITH_RIG(each_ejection_lasts_longer_up_to_ten_times),
        WITH_RIG(failures_of_before_the_ejection_do_not_prolong_it),
        WITH_RIG(when_all_are_ejected_all_are_used),
        WITH_RIG(who_returns_starts_slowly),
        WITH_RIG(the_last_used_connection_is_the_next),
        WITH_RIG(a_bound_on_connections_is_shared_by_the_idle_of_all_threads),
        WITH_RIG(idle_connections_go_with_their_endpoint),
        WITH_RIG(what_comes_back_to_one_that_left_is_closed),
    };
    return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
