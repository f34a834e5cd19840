/* Using an endpoint: requests that begin and end, what is learnt from them, idle connections. */
#include <assert.h>
#include <stdlib.h>

#include "upstream/upstream_private.h"

void endpoint_ref(struct endpoint *endpoint)
{
    endpoint->refs++;
}

void endpoint_unref(struct endpoint *endpoint)
{
    if (!endpoint)
        return;
    assert(endpoint->refs > 0);
    if (--endpoint->refs > 0 || endpoint->listed)
        return;
    if (endpoint->upstream)
        LIST_REMOVE(endpoint_own(endpoint), all);
    free(endpoint_own(endpoint));
}

static uint64_t endpoint_now(const struct endpoint *endpoint)
{
    return loop_now(endpoint->upstream->place.loop);
}

void endpoint_begin(struct endpoint *endpoint)
{
    endpoint_ref(endpoint);
    tally_add(&endpoint->tally->requests, 1);
    tally_add(&endpoint->tally->requests_now, 1);
    struct upstream *upstream = endpoint->upstream;
    if (!upstream)
        return;
    uint64_t now_ms = endpoint_now(endpoint);
    retry_budget_count(&upstream->budget, now_ms);
    if (endpoint->ejected_until_ms) {
        struct endpoint_own *own = endpoint_own(endpoint);
        own->trials++;
        own->trial_until_ms = now_ms + upstream->service->gateway.eject_ms;
    }
}

/* ---- passive health ------------------------------------------------------------------------- */

static void endpoint_eject(struct endpoint *endpoint, uint64_t now_ms)
{
    struct endpoint_own *own = endpoint_own(endpoint);
    uint64_t eject_ms = endpoint->upstream->service->gateway.eject_ms;
    bool again = endpoint->ejected_until_ms != 0;
    if (!again && now_ms > own->returned_ms + EJECT_FACTOR_MAX * eject_ms)
        own->eject_level = 0; /* it has been well for long */
    uint64_t factor = (uint64_t)1 << own->eject_level;
    if (factor < EJECT_FACTOR_MAX)
        own->eject_level++;
    else
        factor = EJECT_FACTOR_MAX;
    endpoint->ejected_until_ms = now_ms + factor * eject_ms;
    if (!again)
        tally_add(&endpoint->tally->ejected, 1);
    endpoint_idle_settle(own);
}

static void endpoint_return(struct endpoint *endpoint, uint64_t now_ms)
{
    struct endpoint_own *own = endpoint_own(endpoint);
    endpoint->ejected_until_ms = 0;
    own->up_ms = now_ms;
    own->returned_ms = now_ms;
}

static void endpoint_good(struct endpoint *endpoint, bool trial)
{
    endpoint->failures = 0;
    if (trial)
        endpoint_return(endpoint, endpoint_now(endpoint));
}

static void endpoint_bad(struct endpoint *endpoint, bool trial)
{
    uint32_t failures_max = endpoint->upstream->service->gateway.eject_failures;
    if (endpoint->failures < UINT8_MAX)
        endpoint->failures++;
    if (failures_max > UINT8_MAX)
        failures_max = UINT8_MAX;
    if (failures_max == 0)
        return;
    /* Those that fail late, of before the ejection, tell nothing new. */
    if (trial || (endpoint->ejected_until_ms == 0 && endpoint->failures >= failures_max))
        endpoint_eject(endpoint, endpoint_now(endpoint));
}

/* 2^-x, its fraction by a straight line. */
double ewma_fade(uint64_t age_ms)
{
    uint64_t halves = age_ms / EWMA_HALF_MS;
    double rest = (double)(age_ms % EWMA_HALF_MS) / EWMA_HALF_MS;
    return halves > 62 ? 0 : (1 - rest / 2) / (double)((uint64_t)1 << halves);
}

/* Peak-EWMA: a latency above the average is believed at once, one below it by and by, the more the
 * longer nothing was heard. */
static void endpoint_measure(struct endpoint *endpoint, uint64_t latency_us)
{
    uint64_t now_ms = endpoint_now(endpoint);
    double latency = (double)latency_us;
    double share = 1 - ewma_fade(now_ms > endpoint->ewma_ms ? now_ms - endpoint->ewma_ms : 0);
    if (latency >= endpoint->ewma_us)
        endpoint->ewma_us = latency;
    else
        endpoint->ewma_us += (latency - endpoint->ewma_us) * share;
    endpoint->ewma_ms = now_ms;
}

static void endpoint_learn(struct endpoint *endpoint, enum endpoint_outcome outcome,
                           uint64_t latency_us)
{
    struct endpoint_own *own = endpoint_own(endpoint);
    bool trial = endpoint->ejected_until_ms && own->trials > 0;
    if (own->trials > 0)
        own->trials--;
    if (outcome == OUTCOME_CONNECT_FAILED)
        own->refused_ms = endpoint_now(endpoint);
    if (outcome == OUTCOME_GOOD)
        endpoint_good(endpoint, trial);
    else if (outcome != OUTCOME_UNUSED)
        endpoint_bad(endpoint, trial);
    if (latency_us > 0 && outcome == OUTCOME_GOOD)
        endpoint_measure(endpoint, latency_us);
    if (!TAILQ_EMPTY(&endpoint->upstream->waiters))
        waiters_wake(endpoint->upstream);
}

void endpoint_end(struct endpoint *endpoint, enum endpoint_outcome outcome, uint64_t latency_us)
{
    struct tally_endpoint *tally = endpoint->tally;
    tally_add(&tally->requests_now, (uint64_t)-1);
    if (latency_us > 0 && outcome == OUTCOME_GOOD)
        tally_add(&tally->latency_us, latency_us);
    if (outcome == OUTCOME_CONNECT_FAILED)
        tally_add(&tally->failures_connect, 1);
    if (outcome == OUTCOME_FAILED)
        tally_add(&tally->failures, 1);
    if (endpoint->upstream)
        endpoint_learn(endpoint, outcome, latency_us);
    endpoint_unref(endpoint);
}

bool endpoint_serves(const struct endpoint *endpoint)
{
    if (!endpoint->upstream || !endpoint->listed)
        return false;
    const struct endpoint_own *own = (const struct endpoint_own *)endpoint;
    return endpoint_stands(own) && endpoint->ejected_until_ms == 0;
}

/* ---- idle connections ----------------------------------------------------------------------- */

/* With a bound on connections over all threads each keeps its share of them idle at most: another
 * thread that finds the endpoint full must not wait for what nobody uses. */
static uint32_t idle_max(const struct upstream *upstream)
{
    const struct service_gateway *settings = &upstream->service->gateway;
    if (settings->connections_max == 0 || upstream->threads == 1)
        return settings->idle_max;
    uint32_t share = settings->connections_max / upstream->threads;
    return share < settings->idle_max ? share : settings->idle_max;
}

void endpoint_idle_put(struct endpoint *endpoint, struct pooled *pooled)
{
    if (!endpoint_serves(endpoint) || endpoint->idle_count >= idle_max(endpoint->upstream)) {
        pooled->close(pooled);
        return;
    }
    struct endpoint_own *own = endpoint_own(endpoint);
    if (own->shelf && !own->is_looked_at)
        low_water_watch(own);
    LIST_INSERT_HEAD(&endpoint->idle, pooled, next);
    endpoint->idle_count++;
    endpoint->upstream->idle_total++;
    if (!TAILQ_EMPTY(&endpoint->upstream->waiters))
        waiters_wake(endpoint->upstream);
}

void endpoint_idle_remove(struct endpoint *endpoint, struct pooled *pooled)
{
    assert(endpoint->idle_count > 0);
    LIST_REMOVE(pooled, next);
    if (--endpoint->idle_count < endpoint->idle_low)
        endpoint->idle_low = endpoint->idle_count;
    if (endpoint->upstream)
        endpoint->upstream->idle_total--;
}

struct pooled *endpoint_idle_take(struct endpoint *endpoint)
{
    struct pooled *pooled = LIST_FIRST(&endpoint->idle);
    if (pooled)
        endpoint_idle_remove(endpoint, pooled);
    return pooled;
}

int endpoint_stash_take(struct endpoint *endpoint)
{
    struct shelf *shelf = endpoint_own(endpoint)->shelf;
    if (!shelf_holds(shelf))
        return -1;
    return shelf_take(shelf, endpoint_now(endpoint), &endpoint->tally->connections_now);
}

static void idle_close(struct endpoint *endpoint)
{
    endpoint_ref(endpoint); /* what is closed may have held the last reference */
    for (struct pooled *pooled = endpoint_idle_take(endpoint); pooled;
         pooled = endpoint_idle_take(endpoint))
        pooled->close(pooled);
    endpoint_unref(endpoint);
}

void endpoint_idle_settle(struct endpoint_own *own)
{
    bool stashed = shelf_holds(own->shelf);
    if ((own->endpoint.idle_count == 0 && !stashed) || endpoint_serves(&own->endpoint))
        return;
    if (stashed)
        shelf_clear(own->shelf, &own->endpoint.tally->connections_now);
    idle_close(&own->endpoint);
}

/* Other threads may not know yet that it left; it is over all the same. */
static void endpoint_shelf_leave(struct endpoint_own *own)
{
    tally_count *connections_now = &own->endpoint.tally->connections_now;
    low_water_forget(own);
    if (shelf_holds(own->shelf))
        shelf_clear(own->shelf, connections_now);
    shelf_unref(own->shelf, connections_now);
    own->shelf = NULL;
}

void endpoint_leave(struct endpoint_own *own)
{
    own->endpoint.listed = false;
    endpoint_ref(&own->endpoint);
    if (own->endpoint.idle_count > 0)
        idle_close(&own->endpoint);
    endpoint_shelf_leave(own);
    endpoint_unref(&own->endpoint);
}
