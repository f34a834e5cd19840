#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "upstream/upstream_rig.h"

enum { MEMBERS_MAX = 1100 };

static const struct pick any;
static unsigned times[MEMBERS_MAX];

/* Chooses so often, one after the other (each is over before the next), and counts. */
static void spread(struct rig *rig, unsigned choices)
{
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        times[i] = 0;
    for (unsigned i = 0; i < choices; i++)
        times[rig_choose(rig)->number]++;
}

/* Begins so many requests and lets none end. */
static void pile(struct rig *rig, unsigned requests)
{
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        times[i] = 0;
    for (unsigned i = 0; i < requests; i++) {
        struct endpoint *endpoint = rig_choose(rig);
        rig_hold(rig, endpoint);
        times[endpoint->number]++;
    }
}

/* ---- least ---------------------------------------------------------------------------------- */

static void least_goes_where_least_is_under_way_over_all_threads(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 3);
    rig_start(rig, BALANCE_LEAST);
    rig_others(rig, 1, 5);
    rig_others(rig, 2, 3);
    rig_others(rig, 3, 4);
    assert_int_equal(rig_pick(rig, &any), 2);
    rig_others(rig, 2, 9);
    rig_pass(rig, 1);
    assert_int_equal(rig_pick(rig, &any), 3);
    /* What this thread begins counts at once: 5, 9, 4 become 8, 9, 8 before 2 is looked at. */
    pile(rig, 7);
    assert_int_equal(times[1], 3);
    assert_int_equal(times[2], 0);
    assert_int_equal(times[3], 4);
}

static void idle_endpoints_share_by_weight(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 3);
    rig_weight(rig, 2, 3);
    rig_weight(rig, 3, 0);
    rig_start(rig, BALANCE_LEAST);
    spread(rig, 400);
    assert_int_equal(times[1], 100);
    assert_int_equal(times[2], 300);
    assert_int_equal(times[3], 0);
}

static void busy_endpoints_share_by_weight(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig_weight(rig, 2, 3);
    rig_start(rig, BALANCE_LEAST);
    pile(rig, 400);
    assert_in_range(times[1], 99, 101);
    assert_in_range(times[2], 299, 301);
}

static void many_endpoints_are_loaded_evenly_by_two_choices(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1000);
    rig_start(rig, BALANCE_LEAST);
    pile(rig, 10000);
    unsigned most = 0;
    for (unsigned i = 1; i <= 1000; i++)
        most = times[i] > most ? times[i] : most;
    assert_in_range(most, 11, 14); /* by one choice it would be some 21 */
}

static void who_was_away_is_not_owed_what_it_missed(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_LEAST);
    rig_state(rig, 2, BOARD_DOWN);
    spread(rig, 100);
    assert_int_equal(times[1], 100);
    rig_state(rig, 2, BOARD_UP);
    spread(rig, 20);
    assert_in_range(times[2], 10, 11);
}

/* ---- the other policies --------------------------------------------------------------------- */

static void round_robin_takes_each_in_turn_whatever_its_weight(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 4);
    rig_weight(rig, 2, 7);
    rig_start(rig, BALANCE_ROUND_ROBIN);
    int first = rig_pick(rig, &any);
    for (int i = 1; i < 9; i++)
        assert_int_equal(rig_pick(rig, &any), (first - 1 + i) % 4 + 1);
    rig_state(rig, 3, BOARD_DRAINING);
    spread(rig, 30);
    assert_int_equal(times[3], 0);
    assert_in_range(times[4], 10, 20);
}

static void weighted_takes_by_weights(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 3);
    rig_weight(rig, 1, 5);
    rig_start(rig, BALANCE_WEIGHTED);
    spread(rig, 70);
    assert_int_equal(times[1], 50);
    assert_int_equal(times[2], 10);
    assert_int_equal(times[3], 10);
}

static void random_takes_by_weights(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 20);
    rig_weight(rig, 1, 20);
    rig_start(rig, BALANCE_RANDOM);
    rig_state(rig, 2, BOARD_DOWN);
    spread(rig, 38000);
    assert_in_range(times[1], 18800, 21200);
    assert_int_equal(times[2], 0);
    for (int i = 3; i <= 20; i++)
        assert_in_range(times[i], 800, 1200);
    for (uint32_t i = 1; i < 20; i++)
        rig_state(rig, i, BOARD_DOWN);
    spread(rig, 100);
    assert_int_equal(times[20], 100);
}

static uint64_t hash_of(unsigned client)
{
    return pick_hash(&client, sizeof client);
}

static void hash_keeps_clients_but_those_of_who_is_down(void **state)
{
    struct rig *rig = *state;
    enum { CLIENTS = 2000, COUNT = 10 };
    static int before[CLIENTS];
    rig_instances(rig, COUNT);
    rig_start(rig, BALANCE_HASH);
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        times[i] = 0;
    for (unsigned client = 0; client < CLIENTS; client++) {
        before[client] = rig_pick(rig, &(struct pick){.hash = hash_of(client)});
        times[before[client]]++;
    }
    for (int i = 1; i <= COUNT; i++)
        assert_in_range(times[i], 100, 300);
    rig_state(rig, 4, BOARD_DOWN);
    unsigned fallen[COUNT + 1] = {0};
    for (unsigned client = 0; client < CLIENTS; client++) {
        int now = rig_pick(rig, &(struct pick){.hash = hash_of(client)});
        if (before[client] != 4)
            assert_int_equal(now, before[client]);
        else
            fallen[now]++;
    }
    assert_int_equal(fallen[4], 0);
    for (int i = 1; i <= COUNT; i++)
        assert_in_range(fallen[i], 0, times[4] / 2); /* not all to one */
    rig_state(rig, 4, BOARD_UP);
    rig_restart(rig, 4);
    for (unsigned client = 0; client < CLIENTS; client++)
        assert_int_equal(rig_pick(rig, &(struct pick){.hash = hash_of(client)}), before[client]);
}

static void a_hash_passes_over_who_is_full_or_was_tried(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 3);
    rig->service.gateway.requests_max = 2;
    rig_start(rig, BALANCE_HASH);
    struct pick pick = {.hash = hash_of(1)};
    struct endpoint *first;
    assert_int_equal(upstream_pick(rig->upstream, &pick, &first), PICK_DONE);
    rig_hold(rig, first);
    assert_int_equal(rig_pick(rig, &pick), first->number);
    pick.avoid[pick.avoid_count++] = first;
    assert_int_not_equal(rig_pick(rig, &pick), first->number);
    pick.avoid_count = 0;
    endpoint_begin(first);
    assert_int_not_equal(rig_pick(rig, &pick), first->number);
    endpoint_end(first, OUTCOME_GOOD, 0);
    assert_int_equal(rig_pick(rig, &pick), first->number);
    assert_int_not_equal(pick_hash("", 0), 0);
}

/* The keys that each of `count` instances gets. */
static void place(struct rig *rig, unsigned keys, int *ret_places)
{
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        times[i] = 0;
    for (unsigned key = 0; key < keys; key++) {
        ret_places[key] = rig_pick(rig, &(struct pick){.hash = hash_of(key)});
        times[ret_places[key]]++;
    }
}

static void another_instance_takes_its_share_of_keys_and_no_other_moves(void **state)
{
    struct rig *rig = *state;
    enum { KEYS = 4000 };
    static int before[KEYS], after[KEYS];
    /* 15 to 16 as well as 3 to 4: it is no matter how many there are. */
    static const uint32_t counts[] = {3, 15, 63};
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_HASH);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        uint32_t count = counts[i];
        rig_instances(rig, count);
        place(rig, KEYS, before);
        rig_instances(rig, count + 1);
        place(rig, KEYS, after);
        unsigned moved = 0;
        for (unsigned key = 0; key < KEYS; key++) {
            if (after[key] == before[key])
                continue;
            assert_int_equal(after[key], count + 1);
            moved++;
        }
        assert_in_range(moved, KEYS / (count + 1) * 7 / 10, KEYS / (count + 1) * 13 / 10);
        for (uint32_t number = 1; number <= count + 1; number++)
            assert_in_range(times[number], KEYS / (count + 1) / 2, KEYS / (count + 1) * 2);
    }
}

static void weights_share_out_keys(void **state)
{
    struct rig *rig = *state;
    enum { KEYS = 4000 };
    static int before[KEYS], after[KEYS];
    rig_instances(rig, 4);
    rig_start(rig, BALANCE_HASH);
    place(rig, KEYS, before);
    rig_weight(rig, 2, 3);
    rig_weight(rig, 4, 0);
    place(rig, KEYS, after);
    assert_int_equal(times[4], 0);
    assert_in_range(times[2], KEYS * 3 / 5 * 9 / 10, KEYS * 3 / 5 * 11 / 10);
    /* Who has more weight only gains. */
    for (unsigned key = 0; key < KEYS; key++)
        if (before[key] != 4)
            assert_true(after[key] == before[key] || after[key] == 2);
}

static void a_bound_sends_what_is_too_much_to_the_next(void **state)
{
    struct rig *rig = *state;
    enum { COUNT = 4, REQUESTS = 400 };
    rig_instances(rig, COUNT);
    rig->service.gateway.hash_bound_percent = 125;
    rig_start(rig, BALANCE_HASH);
    for (unsigned i = 0; i < MEMBERS_MAX; i++)
        times[i] = 0;
    struct pick pick = {.hash = hash_of(5)};
    int first = rig_pick(rig, &pick);
    for (unsigned i = 1; i <= REQUESTS; i++) { /* all for one key */
        struct endpoint *endpoint;
        assert_int_equal(upstream_pick(rig->upstream, &pick, &endpoint), PICK_DONE);
        rig_hold(rig, endpoint);
        times[endpoint->number]++;
        unsigned most = (i * 125 + COUNT * 100 - 1) / (COUNT * 100); /* 1.25 × the mean */
        if (most < 4)
            most = 4; /* so few are no load */
        for (int number = 1; number <= COUNT; number++)
            assert_true(times[number] <= most);
        if (i <= 4)
            assert_int_equal(endpoint->number, first);
    }
    assert_int_equal(times[first], REQUESTS * 125 / (COUNT * 100));
    /* In the order of the key, not spread: the last of it has what is left. */
    unsigned full = 0;
    for (int number = 1; number <= COUNT; number++)
        full += times[number] == REQUESTS * 125 / (COUNT * 100);
    assert_int_equal(full, 3);
    rig_others(rig, (uint32_t)first, 0);
    rig_state(rig, (uint32_t)first, BOARD_DOWN);
    assert_int_not_equal(rig_pick(rig, &pick), first);
    assert_int_not_equal(rig_pick(rig, &pick), -1);
}

static void a_bound_gives_way_where_nobody_else_can(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig->service.gateway.hash_bound_percent = 100;
    rig_start(rig, BALANCE_HASH);
    struct pick pick = {.hash = hash_of(1)};
    struct endpoint *first, *second;
    assert_int_equal(upstream_pick(rig->upstream, &pick, &first), PICK_DONE);
    rig_others(rig, first->number, 10);
    rig_pass(rig, 1);
    assert_int_equal(upstream_pick(rig->upstream, &pick, &second), PICK_DONE);
    assert_int_not_equal(second->number, first->number);
    pick.avoid[pick.avoid_count++] = second; /* it has failed this request */
    assert_int_equal(rig_pick(rig, &pick), (int)first->number);
}

/* ---- roles ---------------------------------------------------------------------------------- */

static void role_set(struct rig *rig, uint32_t number, enum endpoint_role role)
{
    board_write_begin(rig_row(rig));
    rig_instance(rig, number)->role = (uint8_t)role;
    board_write_end(rig_row(rig));
}

static const struct pick primary = {.role = ROLE_WISH_PRIMARY};
static const struct pick replica = {.role = ROLE_WISH_REPLICA};
static const struct pick either = {.role = ROLE_WISH_REPLICA_OR_PRIMARY};

static void a_role_that_is_asked_for_is_what_one_gets(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 3);
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(rig_pick(rig, &primary), -1); /* nobody knows yet */
    assert_int_equal(rig_pick(rig, &either), -1);
    assert_true(rig_pick(rig, &any) > 0);
    role_set(rig, 1, ROLE_REPLICA);
    role_set(rig, 2, ROLE_PRIMARY);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(rig_pick(rig, &primary), 2);
        assert_int_equal(rig_pick(rig, &replica), 1);
        assert_int_equal(rig_pick(rig, &either), 1);
    }
    rig_state(rig, 1, BOARD_DOWN);
    assert_int_equal(rig_pick(rig, &replica), -1);
    assert_int_equal(rig_pick(rig, &either), 2);
    rig_state(rig, 2, BOARD_DOWN);
    rig_state(rig, 3, BOARD_DOWN);
    rig_instances(rig, 0);
    assert_int_equal(rig_pick(rig, &primary), 0);
}

static void who_is_demoted_is_revoked_and_who_is_unknown_is_not(void **state)
{
    struct rig *rig = *state;
    struct endpoint *writes, *reads;
    rig_instances(rig, 2);
    role_set(rig, 1, ROLE_PRIMARY);
    role_set(rig, 2, ROLE_REPLICA);
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(upstream_pick(rig->upstream, &primary, &writes), PICK_DONE);
    rig_hold(rig, writes);
    assert_int_equal(upstream_pick(rig->upstream, &replica, &reads), PICK_DONE);
    rig_hold(rig, reads);
    role_set(rig, 1, ROLE_NONE);
    upstream_news(rig->upstream);
    assert_false(upstream_revoked_take(rig->upstream));
    assert_int_equal(rig_pick(rig, &primary), -1);
    role_set(rig, 2, ROLE_PRIMARY);
    upstream_news(rig->upstream);
    assert_false(upstream_revoked_take(rig->upstream));
    assert_int_equal(rig_pick(rig, &primary), 2);
    role_set(rig, 1, ROLE_DEPOSED);
    upstream_news(rig->upstream);
    assert_true(upstream_revoked_take(rig->upstream));
    assert_true(writes->revoked);
    assert_false(reads->revoked); /* a reader of one that was promoted reads on */
    assert_false(upstream_revoked_take(rig->upstream));
    assert_false(endpoint_serves(writes));
    role_set(rig, 1, ROLE_PRIMARY);
    role_set(rig, 2, ROLE_REPLICA);
    assert_int_equal(rig_pick(rig, &primary), 1);
}

/* Its slot is the same, and what runs there is another. */
static void a_new_start_is_not_what_was_revoked(void **state)
{
    struct rig *rig = *state;
    struct endpoint *writes;
    rig_instances(rig, 1);
    role_set(rig, 1, ROLE_PRIMARY);
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(upstream_pick(rig->upstream, &primary, &writes), PICK_DONE);
    rig_hold(rig, writes);
    rig_restart(rig, 1);
    role_set(rig, 1, ROLE_REPLICA);
    upstream_news(rig->upstream);
    assert_false(upstream_revoked_take(rig->upstream));
    assert_false(writes->revoked);
}

static void sticky_clients_stay_while_they_can(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 30);
    rig_start(rig, BALANCE_STICKY);
    struct pick pick = {.sticky = 17};
    rig_others(rig, 17, 50);
    for (int i = 0; i < 50; i++)
        assert_int_equal(rig_pick(rig, &pick), 17);
    rig_state(rig, 17, BOARD_DRAINING);
    assert_in_range(rig_pick(rig, &pick), 1, 30);
    assert_int_not_equal(rig_pick(rig, &pick), 17);
    pick.sticky = 31; /* nobody's */
    assert_in_range(rig_pick(rig, &pick), 1, 30);
}

static void ewma_prefers_who_answers_fast(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_EWMA);
    unsigned slow = 0;
    for (int i = 0; i < 1000; i++) {
        struct endpoint *endpoint = rig_choose(rig);
        endpoint_begin(endpoint);
        slow += endpoint->number == 1;
        rig_pass(rig, 1);
        endpoint_end(endpoint, OUTCOME_GOOD, endpoint->number == 1 ? 50000 : 1000);
    }
    assert_in_range(slow, 1, 20);
    /* The fast one has 60 under way: 1 ms × 61 against 50 ms at most. */
    rig_others(rig, 2, 60);
    rig_pass(rig, 1);
    assert_int_equal(rig_pick(rig, &any), 1);
}

static void a_peak_is_forgotten_with_time(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_EWMA);
    for (int i = 0; i < 2; i++) {
        struct endpoint *endpoint = rig_choose(rig);
        endpoint_begin(endpoint);
        endpoint_end(endpoint, OUTCOME_GOOD, endpoint->number == 1 ? 1000000 : 10000);
    }
    assert_int_equal(rig_pick(rig, &any), 2);
    for (int i = 0; i < 20; i++) { /* the other goes on to be measured */
        rig_pass(rig, 1000);
        struct endpoint *endpoint = rig_choose(rig);
        endpoint_begin(endpoint);
        endpoint_end(endpoint, OUTCOME_GOOD, 10000);
        if (endpoint->number == 1)
            return;
        assert_true(i < 15); /* 1 s is 10 ms after 6.6 halves of 2 s */
    }
    fail();
}

/* An endpoint that never answered is asked once, not by everybody. */
static void the_unknown_gets_one_request_at_first(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig_start(rig, BALANCE_EWMA);
    struct endpoint *endpoint = rig_choose(rig);
    endpoint_begin(endpoint);
    rig_pass(rig, 5);
    endpoint_end(endpoint, OUTCOME_GOOD, 5000);
    pile(rig, 20);
    assert_int_equal(times[3 - endpoint->number], 1);
}

/* ---- who can take a request ----------------------------------------------------------------- */

static void the_dead_get_nothing_at_once(void **state)
{
    static const enum balance_policy policies[] = {
        BALANCE_LEAST, BALANCE_ROUND_ROBIN, BALANCE_RANDOM, BALANCE_WEIGHTED,
        BALANCE_HASH,  BALANCE_EWMA,        BALANCE_STICKY};
    struct rig *rig = *state;
    rig_instances(rig, 40);
    for (size_t policy = 0; policy < sizeof policies / sizeof *policies; policy++) {
        rig_start(rig, policies[policy]);
        struct pick pick = {.hash = 5, .sticky = 7};
        for (uint32_t number = 1; number < 40; number++) {
            rig_state(rig, number, BOARD_DOWN); /* no version, no bell */
            for (int i = 0; i < 20; i++)
                assert_in_range(rig_pick(rig, &pick), number + 1, 40);
        }
        for (uint32_t number = 1; number < 40; number++)
            rig_state(rig, number, BOARD_UP);
        upstream_free(rig->upstream);
        rig->upstream = NULL;
    }
}

static void nobody_is_none_and_somebody_who_comes_is_worth_waiting_for(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 0);
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(rig_pick(rig, &any), 0);
    rig_coming(rig, 1);
    assert_int_equal(rig_pick(rig, &any), -1);
    rig_coming(rig, 0);
    assert_int_equal(rig_pick(rig, &any), 0);
    rig_row(rig)->wanted = 1; /* none was made yet */
    assert_int_equal(rig_pick(rig, &any), -1);
    rig_instances(rig, 1);
    assert_int_equal(rig_pick(rig, &any), 1);
    /* It dies; the supervisor has not said yet whether it restarts. */
    rig_state(rig, 1, BOARD_DOWN);
    assert_int_equal(rig_pick(rig, &any), -1);
    rig_pass(rig, 2000);
    assert_int_equal(rig_pick(rig, &any), 0);
    rig_state(rig, 1, BOARD_STARTING); /* its check failed: who knows for how long */
    assert_int_equal(rig_pick(rig, &any), 0);
    rig_coming(rig, 1);
    assert_int_equal(rig_pick(rig, &any), -1);
    rig_coming(rig, 0);
    rig_state(rig, 1, BOARD_DRAINING);
    assert_int_equal(rig_pick(rig, &any), 0);
}

static void a_service_that_is_not_on_the_board_yet_is_waited_for(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig->service.name = "other";
    rig_start(rig, BALANCE_LEAST);
    assert_int_equal(rig_pick(rig, &any), -1);
    struct board_service *row = rig_row(rig);
    board_write_begin(row);
    snprintf(row->name, sizeof row->name, "other");
    board_write_end(row);
    upstream_news(rig->upstream);
    assert_int_equal(rig_pick(rig, &any), 1);
}

static void bounds_hold_over_all_threads(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig->service.gateway.requests_max = 4;
    rig_start(rig, BALANCE_LEAST);
    rig_others(rig, 1, 3);
    rig_others(rig, 2, 2);
    pile(rig, 3);
    assert_int_equal(times[1], 1);
    assert_int_equal(times[2], 2);
    assert_int_equal(rig_pick(rig, &any), -1); /* for room, not forever */
    rig_others(rig, 1, 2);
    rig_pass(rig, 1);
    assert_int_equal(rig_pick(rig, &any), 1);
}

static void connections_are_bounded_but_idle_ones_serve(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig->service.gateway.connections_max = 10;
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    tally_add(&tally_endpoint(rig->tally, 1, endpoint->row)->connections_now, 9);
    assert_int_equal(rig_pick(rig, &any), 1);
    tally_add(&endpoint->tally->connections_now, 1);
    assert_int_equal(rig_pick(rig, &any), -1);
    struct pooled pooled = {0};
    endpoint_idle_put(endpoint, &pooled);
    assert_int_equal(rig_pick(rig, &any), 1);
    endpoint_idle_remove(endpoint, &pooled);
    assert_int_equal(rig_pick(rig, &any), -1);
}

static void those_tried_already_are_the_last_resort(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 20); /* more than are scanned */
    rig_start(rig, BALANCE_LEAST);
    struct pick pick = {0};
    for (uint32_t number = 1; number <= 3; number++)
        pick.avoid[pick.avoid_count++] = rig_choose_number(rig, number);
    for (uint32_t number = 5; number <= 20; number++)
        rig_state(rig, number, BOARD_DOWN);
    for (int i = 0; i < 50; i++)
        assert_int_equal(rig_pick(rig, &pick), 4);
    rig_state(rig, 4, BOARD_DOWN);
    for (int i = 0; i < 50; i++)
        assert_in_range(rig_pick(rig, &pick), 1, 3);
}

/* kill -9: its sockets refuse before the supervisor has seen it. */
static void one_that_refused_is_not_tried_again_at_once(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 1);
    rig_start(rig, BALANCE_LEAST);
    struct endpoint *endpoint = rig_choose(rig);
    struct pick pick = {.avoid = {endpoint}, .avoid_count = 1};
    rig_request(rig, endpoint, OUTCOME_FAILED);
    assert_int_equal(rig_pick(rig, &pick), 1);
    rig_request(rig, endpoint, OUTCOME_CONNECT_FAILED);
    assert_int_equal(rig_pick(rig, &pick), -1);
    assert_int_equal(rig_pick(rig, &any), 1); /* others may have more luck */
    rig_pass(rig, 250);
    assert_int_equal(rig_pick(rig, &pick), 1); /* it lives after all */
    rig_request(rig, endpoint, OUTCOME_CONNECT_FAILED);
    rig_restart(rig, 1);
    assert_int_equal(rig_pick(rig, &pick), 1); /* another process */
}

static void a_slow_start_begins_with_a_tenth(void **state)
{
    struct rig *rig = *state;
    rig_instances(rig, 2);
    rig->service.gateway.slow_start_ms = 10000;
    rig_instance(rig, 2)->up_ms = rig_now();
    rig_start(rig, BALANCE_ROUND_ROBIN);
    spread(rig, 10000);
    assert_in_range(times[2], 700, 1200); /* of 5000 it takes a tenth of its turns, or a bit more */
    rig_pass(rig, 5000);
    spread(rig, 10000);
    assert_in_range(times[2], 3100, 4300);
    rig_pass(rig, 5000);
    spread(rig, 10000);
    assert_int_equal(times[2], 5000);
    /* Alone it takes all, however new. */
    rig_instance(rig, 2)->up_ms = rig_now();
    rig_state(rig, 1, BOARD_DOWN);
    spread(rig, 100);
    assert_int_equal(times[2], 100);
}

int main(void)
{
#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        WITH_RIG(least_goes_where_least_is_under_way_over_all_threads),
        WITH_RIG(idle_endpoints_share_by_weight),
        WITH_RIG(busy_endpoints_share_by_weight),
        WITH_RIG(many_endpoints_are_loaded_evenly_by_two_choices),
        WITH_RIG(who_was_away_is_not_owed_what_it_missed),
        WITH_RIG(round_robin_takes_each_in_turn_whatever_its_weight),
        WITH_RIG(weighted_takes_by_weights),
        WITH_RIG(random_takes_by_weights),
        WITH_RIG(hash_keeps_clients_but_those_of_who_is_down),
        WITH_RIG(a_hash_passes_over_who_is_full_or_was_tried),
        WITH_RIG(another_instance_takes_its_share_of_keys_and_no_other_moves),
        WITH_RIG(weights_share_out_keys),
        WITH_RIG(a_bound_sends_what_is_too_much_to_the_next),
        WITH_RIG(a_bound_gives_way_where_nobody_else_can),
        WITH_RIG(a_role_that_is_asked_for_is_what_one_gets),
        WITH_RIG(who_is_demoted_is_revoked_and_who_is_unknown_is_not),
        WITH_RIG(a_new_start_is_not_what_was_revoked),
        WITH_RIG(sticky_clients_stay_while_they_can),
        WITH_RIG(ewma_prefers_who_answers_fast),
        WITH_RIG(a_peak_is_forgotten_with_time),
        WITH_RIG(the_unknown_gets_one_request_at_first),
        WITH_RIG(the_dead_get_nothing_at_once),
        WITH_RIG(nobody_is_none_and_somebody_who_comes_is_worth_waiting_for),
        WITH_RIG(a_service_that_is_not_on_the_board_yet_is_waited_for),
        WITH_RIG(bounds_hold_over_all_threads),
        WITH_RIG(connections_are_bounded_but_idle_ones_serve),
        WITH_RIG(those_tried_already_are_the_last_resort),
        WITH_RIG(one_that_refused_is_not_tried_again_at_once),
        WITH_RIG(a_slow_start_begins_with_a_tenth),
    };
    return cmocka_run_group_tests_name("choose", tests, NULL, NULL);
}
