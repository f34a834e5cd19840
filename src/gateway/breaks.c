#include "gateway/breaks.h"

#include <inttypes.h>
#include <stdio.h>

static struct tally_traffic *tally_of(const struct breaks *breaks, const char *service)
{
    uint32_t row = tally_row(breaks->tally, TALLY_SERVICE, board_find(breaks->board, service));
    return tally_traffic(breaks->tally, breaks->thread, TALLY_SERVICE, row);
}

_Static_assert((int)BREAKER_OPEN == 1 && (int)BREAKER_HALF_OPEN == 2, "tally_breaker_state");

static void count(const struct breaks *breaks, const struct breaker_change *change)
{
    static const uint64_t shown[BREAKER_STATES] = {
        [BREAKER_OPEN] = TALLY_BREAKER_OPEN, [BREAKER_HALF_OPEN] = TALLY_BREAKER_HALF_OPEN};
    struct tally_traffic *tally = tally_of(breaks, change->service);
    tally_add(&tally->breaker_opened, change->opened);
    atomic_store_explicit(&tally->breaker_now, shown[change->state], memory_order_relaxed);
}

static void changed(void *owner, const struct breaker_change *change)
{
    const struct breaks *breaks = owner;
    char why[BREAK_WHY_BYTES] = "";
    count(breaks, change);
    if (change->state == BREAKER_OPEN)
        snprintf(why, sizeof why, "%" PRIu64 " of %" PRIu64 " tries failed",
                 change->counts.failures, change->counts.tries);
    breaks->call(change->service, change->state, why);
}

static void news(struct watch *watch, unsigned events)
{
    (void)events;
    struct breaks *breaks = watch->owner;
    breakers_changed(breaks->breakers, changed, breaks);
}

int breaks_start(struct breaks *breaks, struct loop *loop)
{
    return watch_start(loop, &breaks->watch, breakers_fd(breaks->breakers), WATCH_READ, news,
                       breaks);
}
