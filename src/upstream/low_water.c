#include "upstream/low_water.h"

#include <assert.h>

#include "upstream/upstream_private.h"

void low_water_init(struct low_water *low_water, struct loop *loop, struct stash *stash)
{
    *low_water = (struct low_water){.loop = loop, .stash = stash};
    LIST_INIT(&low_water->endpoints);
}

void low_water_done(struct low_water *low_water)
{
    assert(LIST_EMPTY(&low_water->endpoints));
    if (low_water->loop)
        timer_stop(low_water->loop, &low_water->timer);
}

/* ---- giving --------------------------------------------------------------------------------- */

static struct pooled *pooled_after(const struct endpoint *endpoint, uint32_t count)
{
    struct pooled *pooled = LIST_FIRST(&endpoint->idle);
    while (pooled && count--)
        pooled = LIST_NEXT(pooled, next);
    return pooled;
}

static void surplus_give(struct endpoint_own *own)
{
    struct endpoint *endpoint = &own->endpoint;
    if (endpoint->idle_low <= LOW_WATER_FLOOR)
        return;
    uint32_t max = endpoint->upstream->service->gateway.idle_max;
    uint32_t needed = endpoint->idle_count - (endpoint->idle_low - LOW_WATER_FLOOR);
    struct pooled *next;
    for (struct pooled *pooled = pooled_after(endpoint, needed); pooled; pooled = next) {
        next = LIST_NEXT(pooled, next);
        if (!pooled->give || !shelf_has_room(own->shelf, max))
            return;
        uint64_t expires_ms;
        int fd = pooled->give(pooled, &expires_ms);
        if (fd >= 0)
            shelf_give(own->shelf, fd, expires_ms, max, &endpoint->tally->connections_now);
    }
}

/* ---- looking -------------------------------------------------------------------------------- */

static void endpoint_look(struct endpoint_own *own, uint64_t now_ms)
{
    endpoint_idle_settle(own);
    surplus_give(own);
    own->endpoint.idle_low = own->endpoint.idle_count;
    shelf_sweep(own->shelf, now_ms, &own->endpoint.tally->connections_now);
    if (own->endpoint.idle_count == 0 && !shelf_holds(own->shelf))
        low_water_forget(own);
}

static void low_water_look(struct timer *timer)
{
    struct low_water *low_water = timer->owner;
    struct endpoint_own *next;
    /* Nothing here lets an endpoint leave. */
    for (struct endpoint_own *own = LIST_FIRST(&low_water->endpoints); own; own = next) {
        next = LIST_NEXT(own, looked_at);
        endpoint_look(own, loop_now(low_water->loop));
    }
    if (!LIST_EMPTY(&low_water->endpoints))
        timer_start(low_water->loop, timer, LOW_WATER_LOOK_MS, low_water_look, low_water);
}

void low_water_watch(struct endpoint_own *own)
{
    struct upstream *upstream = own->endpoint.upstream;
    struct low_water *low_water = upstream->place.low_water;
    struct timer *timer = &low_water->timer;
    /* Without memory for the timer it is tried with the next that becomes idle. */
    if (!timer_active(timer) &&
        timer_start(low_water->loop, timer, LOW_WATER_LOOK_MS, low_water_look, low_water) < 0)
        return;
    own->is_looked_at = true;
    own->endpoint.idle_low = 0; /* its first second is not a whole one */
    LIST_INSERT_HEAD(&low_water->endpoints, own, looked_at);
    upstream->looked_at++;
}

void low_water_forget(struct endpoint_own *own)
{
    if (!own->is_looked_at)
        return;
    own->is_looked_at = false;
    LIST_REMOVE(own, looked_at);
    own->endpoint.upstream->looked_at--;
}
