/* Two threads' upstreams of one service on one loop, whose clock the test moves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "upstream/low_water.h"
#include "upstream/upstream_rig.h"

enum { KEPT_MAX = 16, IDLE_MS = 60000 };

struct kept { /* a connection as a protocol has it; closed: nobody's */
    struct pooled pooled;
    struct endpoint *endpoint;
    uint64_t expires_ms;
    int fd;
    bool closed;
    bool stays; /* as with TLS */
};

struct side { /* a thread */
    struct low_water low_water;
    struct upstream_place place;
    struct upstream *upstream;
    struct kept kept[KEPT_MAX];
};

struct fixture {
    struct rig *rig;
    struct stash *stash;
    struct side sides[2];
    int others[KEPT_MAX]; /* the endpoint's ends */
};

static int begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    void *rig;
    rig_begin(&rig);
    fixture->rig = rig;
    fixture->stash = stash_new();
    rig_instances(rig, 1);
    for (unsigned i = 0; i < 2; i++) {
        struct side *side = &fixture->sides[i];
        low_water_init(&side->low_water, fixture->rig->loop, fixture->stash);
        side->place = fixture->rig->place;
        side->place.thread = i;
        side->place.low_water = &side->low_water;
        side->upstream = upstream_new(&side->place, NULL, &fixture->rig->service);
    }
    for (int i = 0; i < KEPT_MAX; i++)
        fixture->others[i] = -1;
    *state = fixture;
    return 0;
}

static uint64_t open_now(struct fixture *fixture)
{
    return tally_connections_now(fixture->rig->tally, RIG_SLOT);
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    for (int i = 0; i < 2; i++)
        upstream_free(fixture->sides[i].upstream);
    for (int i = 0; i < 2; i++)
        low_water_done(&fixture->sides[i].low_water);
    stash_free(fixture->stash);
    assert_int_equal(open_now(fixture), 0);
    for (int i = 0; i < KEPT_MAX; i++)
        if (fixture->others[i] >= 0)
            close(fixture->others[i]);
    void *rig = fixture->rig;
    rig_end(&rig);
    free(fixture);
    return 0;
}

/* ---- connections ---------------------------------------------------------------------------- */

static struct endpoint *endpoint_of(struct side *side)
{
    struct endpoint *endpoint = NULL;
    assert_int_equal(upstream_pick(side->upstream, &(struct pick){0}, &endpoint), PICK_DONE);
    return endpoint;
}

static void kept_end(struct kept *kept)
{
    assert_false(kept->closed);
    kept->closed = true;
    endpoint_unref(kept->endpoint);
}

static void kept_close(struct pooled *pooled)
{
    struct kept *kept = (struct kept *)pooled;
    close(kept->fd);
    tally_add(&kept->endpoint->tally->connections_now, (uint64_t)-1);
    kept_end(kept);
}

static int kept_give(struct pooled *pooled, uint64_t *ret_expires_ms)
{
    struct kept *kept = (struct kept *)pooled;
    if (kept->stays)
        return -1;
    *ret_expires_ms = kept->expires_ms;
    endpoint_idle_remove(kept->endpoint, pooled);
    kept_end(kept);
    return kept->fd;
}

/* So many new ones in the pool. */
static void connect_many(struct fixture *fixture, struct side *side, int count)
{
    struct endpoint *endpoint = endpoint_of(side);
    for (int i = 0; i < count; i++) {
        int fds[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
        fixture->others[i] = fds[1];
        side->kept[i] = (struct kept){
            .pooled = {.close = kept_close, .give = kept_give},
            .endpoint = endpoint,
            .expires_ms = rig_now() + IDLE_MS,
            .fd = fds[0],
        };
        endpoint_ref(endpoint);
        tally_add(&endpoint->tally->connections_now, 1);
        endpoint_idle_put(endpoint, &side->kept[i].pooled);
    }
}

/* Requests that need so many at once, one after the other's end. */
static void use(struct side *side, int count)
{
    struct endpoint *endpoint = endpoint_of(side);
    struct pooled *taken[KEPT_MAX];
    for (int i = 0; i < count; i++)
        assert_non_null(taken[i] = endpoint_idle_take(endpoint));
    for (int i = 0; i < count; i++)
        endpoint_idle_put(endpoint, taken[i]);
}

/* Takes all that the stash has. */
static int stash_empty(struct side *side)
{
    struct endpoint *endpoint = endpoint_of(side);
    int count = 0;
    for (int fd; (fd = endpoint_stash_take(endpoint)) >= 0; count++) {
        close(fd);
        tally_add(&endpoint->tally->connections_now, (uint64_t)-1);
    }
    return count;
}

static void second(struct fixture *fixture)
{
    rig_pass(fixture->rig, LOW_WATER_LOOK_MS);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void what_nobody_needed_for_a_second_is_given(void **state)
{
    struct fixture *fixture = *state;
    struct side *giver = &fixture->sides[0];
    struct side *taker = &fixture->sides[1];
    connect_many(fixture, giver, 10);
    second(fixture); /* it was not there for the whole second */
    assert_int_equal(endpoint_of(giver)->idle_count, 10);
    rig_pass(fixture->rig, LOW_WATER_LOOK_MS / 2);
    use(giver, 4);
    rig_pass(fixture->rig, LOW_WATER_LOOK_MS / 2);
    /* Six were not needed; one of them is the floor. */
    assert_int_equal(endpoint_of(giver)->idle_count, 5);
    assert_int_equal(open_now(fixture), 10);
    assert_int_equal(stash_empty(taker), 5);
    assert_int_equal(open_now(fixture), 5);
    /* They come from the end of the list: those that were put back last are still there. */
    for (int i = 0; i < 5; i++)
        assert_true(giver->kept[i].closed);
    for (int i = 5; i < 10; i++)
        assert_false(giver->kept[i].closed);
}

static void all_but_the_floor_goes_when_nothing_happens(void **state)
{
    struct fixture *fixture = *state;
    struct side *giver = &fixture->sides[0];
    connect_many(fixture, giver, 3);
    second(fixture);
    second(fixture);
    assert_int_equal(endpoint_of(giver)->idle_count, LOW_WATER_FLOOR);
    second(fixture);
    assert_int_equal(endpoint_of(giver)->idle_count, LOW_WATER_FLOOR);
    /* The giver finds its own again. */
    assert_int_equal(stash_empty(giver), 3 - LOW_WATER_FLOOR);
}

static void each_second_begins_anew(void **state)
{
    struct fixture *fixture = *state;
    struct side *giver = &fixture->sides[0];
    connect_many(fixture, giver, 4);
    second(fixture);
    for (int i = 0; i < 3; i++) {
        use(giver, 4);
        second(fixture);
        assert_int_equal(endpoint_of(giver)->idle_count, 4);
    }
    second(fixture);
    assert_int_equal(endpoint_of(giver)->idle_count, 1);
}

static void the_timer_runs_only_while_something_is_idle(void **state)
{
    struct fixture *fixture = *state;
    struct side *giver = &fixture->sides[0];
    assert_false(timer_active(&giver->low_water.timer));
    connect_many(fixture, giver, 3);
    assert_true(timer_active(&giver->low_water.timer));
    assert_false(timer_active(&fixture->sides[1].low_water.timer));
    second(fixture);
    second(fixture);
    kept_close(endpoint_idle_take(endpoint_of(giver)));
    second(fixture);
    /* What lies in the stash is looked after, */
    assert_true(timer_active(&giver->low_water.timer));
    rig_pass(fixture->rig, IDLE_MS);
    /* until it is too old. */
    assert_int_equal(open_now(fixture), 0);
    assert_false(timer_active(&giver->low_water.timer));
    connect_many(fixture, giver, 1);
    assert_true(timer_active(&giver->low_water.timer));
}

static void what_the_endpoint_closed_is_let_go(void **state)
{
    struct fixture *fixture = *state;
    struct side *giver = &fixture->sides[0];
    connect_many(fixture, giver, 4);
    second(fixture);
    second(fixture);
    close(fixture->others[0]);
    fixture->others[0] = -1;
    assert_int_equal(open_now(fixture), 4);
    second(fixture);
    assert_int_equal(open_now(fixture), 3);
}

static void what_cannot_be_given_stays(void **state)
{
    struct fixture *fixture = *state;
    struct side *giver = &fixture->sides[0];
    connect_many(fixture, giver, 4);
    giver->kept[0].stays = true;
    giver->kept[1].pooled.give = NULL;
    second(fixture);
    second(fixture);
    assert_false(giver->kept[0].closed);
    assert_false(giver->kept[1].closed);
    assert_int_equal(open_now(fixture), 4);
}

static void the_stash_holds_as_many_as_a_pool(void **state)
{
    struct fixture *fixture = *state;
    struct side *giver = &fixture->sides[0];
    connect_many(fixture, giver, 8);
    fixture->rig->service.gateway.idle_max = 3;
    second(fixture);
    second(fixture);
    assert_int_equal(endpoint_of(giver)->idle_count, 5);
    assert_int_equal(stash_empty(&fixture->sides[1]), 3);
    assert_int_equal(open_now(fixture), 5);
}

static void who_restarted_gets_no_old_connection(void **state)
{
    struct fixture *fixture = *state;
    connect_many(fixture, &fixture->sides[0], 4);
    second(fixture);
    second(fixture);
    rig_restart(fixture->rig, 1);
    /* One thread has learnt it, the other not yet. */
    assert_int_equal(endpoint_stash_take(endpoint_of(&fixture->sides[1])), -1);
    upstream_news(fixture->sides[0].upstream);
    assert_int_equal(open_now(fixture), 0);
}

static void the_first_who_learns_of_a_restart_lets_all_go(void **state)
{
    struct fixture *fixture = *state;
    endpoint_of(&fixture->sides[1]); /* holds the shelf too */
    connect_many(fixture, &fixture->sides[0], 4);
    second(fixture);
    second(fixture);
    rig_restart(fixture->rig, 1);
    upstream_news(fixture->sides[0].upstream);
    assert_int_equal(open_now(fixture), 0);
}

static void who_drains_is_rid_of_them(void **state)
{
    struct fixture *fixture = *state;
    struct side *giver = &fixture->sides[0];
    connect_many(fixture, giver, 4);
    second(fixture);
    second(fixture);
    kept_close(endpoint_idle_take(endpoint_of(giver)));
    assert_int_equal(open_now(fixture), 3);
    rig_state(fixture->rig, 1, BOARD_DRAINING);
    upstream_news(giver->upstream); /* though its own pool is empty */
    assert_int_equal(open_now(fixture), 0);
}

static void a_full_endpoint_has_room_while_the_stash_holds_one(void **state)
{
    struct fixture *fixture = *state;
    struct side *taker = &fixture->sides[1];
    struct endpoint *endpoint;
    fixture->rig->service.gateway.connections_max = 8;
    connect_many(fixture, &fixture->sides[0], 4);
    second(fixture);
    second(fixture);
    fixture->rig->service.gateway.connections_max = 4;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(upstream_pick(taker->upstream, &(struct pick){0}, &endpoint), PICK_DONE);
        int fd = endpoint_stash_take(endpoint);
        assert_true(fd >= 0);
        close(fd); /* still counted: a request is under way on it */
    }
    assert_int_equal(upstream_pick(taker->upstream, &(struct pick){0}, &endpoint), PICK_WAIT);
    fixture->rig->service.gateway.connections_max = 0;
    tally_add(&endpoint_of(taker)->tally->connections_now, (uint64_t)-3);
}

int main(void)
{
#define WITH_SIDES(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        WITH_SIDES(what_nobody_needed_for_a_second_is_given),
        WITH_SIDES(all_but_the_floor_goes_when_nothing_happens),
        WITH_SIDES(each_second_begins_anew),
        WITH_SIDES(the_timer_runs_only_while_something_is_idle),
        WITH_SIDES(what_the_endpoint_closed_is_let_go),
        WITH_SIDES(what_cannot_be_given_stays),
        WITH_SIDES(the_stash_holds_as_many_as_a_pool),
        WITH_SIDES(who_restarted_gets_no_old_connection),
        WITH_SIDES(the_first_who_learns_of_a_restart_lets_all_go),
        WITH_SIDES(who_drains_is_rid_of_them),
        WITH_SIDES(a_full_endpoint_has_room_while_the_stash_holds_one),
    };
    return cmocka_run_group_tests_name("low_water", tests, NULL, NULL);
}
