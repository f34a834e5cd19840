/* Connections that went through the stash: here the worker takes what it gave. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http/h1_rig.h"

#define GET  "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

enum { PAIRS = 3, SLOT = 100 };

struct pairs { /* clients, and the instance's ends of as many connections */
    int clients[PAIRS];
    int origins[PAIRS];
};

static void answer(struct rig *rig, int client, int origin)
{
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
}

/* All but one, the last used, are in the stash after it. */
static struct pairs stashed(struct rig *rig)
{
    struct pairs pairs;
    rig_start(rig, 1);
    for (int i = 0; i < PAIRS; i++) {
        pairs.clients[i] = rig_client(rig);
        rig_say(rig, pairs.clients[i], GET);
        pairs.origins[i] = rig_origin(rig, 1);
    }
    for (int i = 0; i < PAIRS; i++)
        answer(rig, pairs.clients[i], pairs.origins[i]);
    rig_pass(rig, 1000);
    rig_pass(rig, 1000);
    struct endpoint *endpoint = NULL;
    upstream_pick(worker_upstream(rig->worker.current, 0), &(struct pick){0}, &endpoint);
    assert_non_null(endpoint);
    assert_int_equal(endpoint->idle_count, 1);
    return pairs;
}

static void pairs_close(struct pairs *pairs)
{
    for (int i = 0; i < PAIRS; i++) {
        close(pairs->clients[i]);
        close(pairs->origins[i]);
    }
}

static uint64_t opened(const struct rig *rig)
{
    return tally_endpoint(rig->tally, 0, SLOT)->connections;
}

static void they_carry_requests_again(void **state)
{
    struct rig *rig = *state;
    struct pairs pairs = stashed(rig);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < PAIRS; i++)
            rig_say(rig, pairs.clients[i], i ? POST : GET);
        assert_false(rig_origin_waits(rig, 1));
        /* The pool's one first, then those of the stash, the last given first. */
        for (int i = 0; i < PAIRS; i++)
            rig_hear(rig, pairs.origins[i], "\r\n\r\n");
        for (int i = 0; i < PAIRS; i++)
            rig_say(rig, pairs.origins[i], OK_2);
        for (int i = 0; i < PAIRS; i++)
            rig_hear(rig, pairs.clients[i], "ok");
        rig_pass(rig, 1000);
        rig_pass(rig, 1000);
    }
    assert_int_equal(opened(rig), PAIRS);
    assert_int_equal(tally_connections_now(rig->tally, SLOT), PAIRS);
    pairs_close(&pairs);
}

/* Ends or words that came while nobody watched: a request that may not be sent twice is not lost.
 */
static void what_is_no_good_any_more_carries_none(void **state)
{
    struct rig *rig = *state;
    struct pairs pairs = stashed(rig);
    shutdown(pairs.origins[0], SHUT_WR);
    rig_say(rig, pairs.origins[1], "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    rig_turns(rig);
    for (int i = 0; i < PAIRS; i++)
        rig_say(rig, pairs.clients[i], POST);
    int fresh[2] = {rig_origin(rig, 1), rig_origin(rig, 1)};
    rig_hear(rig, pairs.origins[PAIRS - 1], "hello");
    rig_say(rig, pairs.origins[PAIRS - 1], OK_2);
    for (int i = 0; i < 2; i++) {
        rig_hear(rig, fresh[i], "hello");
        rig_say(rig, fresh[i], OK_2);
    }
    for (int i = 0; i < PAIRS; i++)
        rig_hear(rig, pairs.clients[i], "ok");
    assert_int_equal(tally_connections_now(rig->tally, SLOT), PAIRS);
    for (int i = 0; i < 2; i++)
        close(fresh[i]);
    pairs_close(&pairs);
}

static void the_idle_timeout_holds_there_too(void **state)
{
    struct rig *rig = *state;
    struct pairs pairs = stashed(rig);
    for (int i = 0; i < 59; i++)
        rig_pass(rig, 1000);
    for (int i = 0; i < PAIRS; i++)
        assert_true(rig_hear_end(rig, pairs.origins[i]));
    assert_int_equal(tally_connections_now(rig->tally, SLOT), 0);
    assert_false(timer_active(&rig->worker.low_water.timer));
    pairs_close(&pairs);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        WITH_RIG(they_carry_requests_again),
        WITH_RIG(what_is_no_good_any_more_carries_none),
        WITH_RIG(the_idle_timeout_holds_there_too),
    };
    return cmocka_run_group_tests_name("h1_stash", tests, NULL, NULL);
}
