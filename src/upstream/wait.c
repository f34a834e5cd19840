/* Those who wait for an endpoint, by their deadlines, which is the order in which they came. They
 * are woken one by one while somebody can take a request; one that finds nothing after all goes
 * back to its place. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "upstream/upstream_private.h"

static void waiter_out(struct waiter *waiter)
{
    struct upstream *upstream = waiter->upstream;
    TAILQ_REMOVE(&upstream->waiters, waiter, next);
    waiter->upstream = NULL;
    upstream->waiting--;
    tally_add(&upstream->tally->held_now, (uint64_t)-1);
}

static void waiter_tell(struct waiter *waiter, enum pick_result result)
{
    waiter_out(waiter);
    waiter->call(waiter, result);
}

/* Can anybody of that role take a request, under any port? */
static enum pick_result upstream_outlook(struct upstream *upstream, enum role_wish role)
{
    enum pick_result outlook = PICK_NONE;
    for (struct roster *roster = upstream->rosters; roster; roster = roster->next) {
        if (roster->role != role)
            continue;
        roster_refresh(roster);
        enum pick_result result = roster_outlook(roster);
        if (result == PICK_DONE)
            return PICK_DONE;
        if (result == PICK_WAIT)
            outlook = PICK_WAIT;
    }
    return outlook;
}

/* ---- waking --------------------------------------------------------------------------------- */

static void wait_due(struct timer *timer);

/* For the first deadline; and, since other threads tell nobody of the room that they make, soon. */
static void wait_timer_set(struct upstream *upstream)
{
    const struct waiter *first = TAILQ_FIRST(&upstream->waiters);
    if (!first) {
        timer_stop(upstream->place.loop, &upstream->wait_timer);
        return;
    }
    uint64_t now_ms = loop_now(upstream->place.loop);
    uint64_t left_ms = first->deadline_ms > now_ms ? first->deadline_ms - now_ms : 0;
    if (left_ms > WAIT_POLL_MS)
        left_ms = WAIT_POLL_MS;
    /* Without memory for the timer the bell and the ends of requests still wake them. */
    (void)timer_start(upstream->place.loop, &upstream->wait_timer, left_ms, wait_due, upstream);
}

/* A callback may do anything: leave, wait again, let others leave, let the upstream go. */
static void waiters_expire(struct upstream *upstream)
{
    uint64_t now_ms = loop_now(upstream->place.loop);
    for (struct waiter *first = TAILQ_FIRST(&upstream->waiters);
         first && first->deadline_ms <= now_ms; first = TAILQ_FIRST(&upstream->waiters))
        waiter_tell(first, PICK_NONE);
}

static struct waiter *waiters_first(const struct upstream *upstream, enum role_wish role)
{
    struct waiter *waiter;
    TAILQ_FOREACH (waiter, &upstream->waiters, next)
        if (waiter->role == role)
            break;
    return waiter;
}

/* Those who wait for one role have nothing to do with those who wait for another. */
static void waiters_tell_role(struct upstream *upstream, enum role_wish role)
{
    struct waiter *first = waiters_first(upstream, role);
    for (uint32_t bound = upstream->waiting; bound > 0 && first; bound--) {
        enum pick_result outlook = upstream_outlook(upstream, role);
        struct waiter *told = first;
        if (outlook == PICK_WAIT)
            break;
        waiter_tell(told, outlook);
        first = waiters_first(upstream, role);
        if (first == told)
            break;
    }
}

static void waiters_tell(struct upstream *upstream)
{
    waiters_expire(upstream);
    for (int role = ROLE_WISH_ANY; role <= ROLE_WISH_REPLICA_OR_PRIMARY; role++)
        waiters_tell_role(upstream, (enum role_wish)role);
}

static void waiters_look(struct upstream *upstream)
{
    upstream->looking = true;
    waiters_tell(upstream);
    upstream->looking = false;
    if (upstream->ending)
        free(upstream); /* a callback was the last that held it */
    else
        wait_timer_set(upstream);
}

static void wait_due(struct timer *timer)
{
    waiters_look(timer->owner);
}

static void wake_due(struct deferred *deferred)
{
    waiters_look(deferred->owner);
}

void waiters_wake(struct upstream *upstream)
{
    if (!upstream->ending)
        deferred_start(upstream->place.loop, &upstream->wake, wake_due, upstream);
}

void waiters_dismiss(struct upstream *upstream)
{
    while (!TAILQ_EMPTY(&upstream->waiters))
        waiter_tell(TAILQ_FIRST(&upstream->waiters), PICK_NONE);
    timer_stop(upstream->place.loop, &upstream->wait_timer);
    deferred_stop(upstream->place.loop, &upstream->wake);
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* Those of all threads of this process together. */
static bool queue_full(const struct upstream *upstream)
{
    uint64_t held = 0;
    const struct upstream_place *place = &upstream->place;
    uint32_t first = place->thread - place->thread % upstream->threads;
    for (uint32_t i = 0; i < upstream->threads; i++)
        held += atomic_load_explicit(
            &tally_traffic(place->tally, first + i, TALLY_SERVICE, upstream->row)->held_now,
            memory_order_relaxed);
    return held >= upstream->service->gateway.hold_max;
}

/* Its supervisor sees by the tally for whom. */
static void sleeper_wake(const struct upstream *upstream)
{
    const uint64_t one = 1;
    if (upstream->number == BOARD_NONE || upstream->place.wake_fd < 0 ||
        !board_service(upstream->place.board, upstream->number)->asleep)
        return;
    if (write(upstream->place.wake_fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("wake-broken", "error=\"%s\"", strerror(errno));
}

bool upstream_wait(struct upstream *upstream, struct waiter *waiter, waiter_call *call)
{
    assert(!waiter->upstream);
    if (upstream->ending || queue_full(upstream))
        return false;
    if (waiter->deadline_ms == 0) {
        waiter->deadline_ms = loop_now(upstream->place.loop) + upstream->service->gateway.hold_ms;
        tally_add(&upstream->tally->held, 1);
    }
    waiter->upstream = upstream;
    waiter->call = call;
    /* One that has waited before goes to the front, where it was; a new one to the end. */
    struct waiter *after = TAILQ_LAST(&upstream->waiters, waiters);
    while (after && after->deadline_ms > waiter->deadline_ms)
        after = TAILQ_PREV(after, waiters, next);
    if (after)
        TAILQ_INSERT_AFTER(&upstream->waiters, after, waiter, next);
    else
        TAILQ_INSERT_HEAD(&upstream->waiters, waiter, next);
    upstream->waiting++;
    tally_add(&upstream->tally->held_now, 1);
    sleeper_wake(upstream);
    if (!timer_active(&upstream->wait_timer))
        wait_timer_set(upstream);
    return true;
}

void waiter_stop(struct waiter *waiter)
{
    if (waiter->upstream)
        waiter_out(waiter);
}
