#include "upstream/breaker.h"

#include <assert.h>

/* ---- the table ------------------------------------------------------------------------------ */

enum breaker_state breaker_next(enum breaker_state state, enum breaker_event event)
{
    static const enum breaker_state next[BREAKER_STATES][BREAKER_EVENTS] = {
        [BREAKER_CLOSED] = {[BREAKER_TRIPS] = BREAKER_OPEN,
                            [BREAKER_RESTED] = BREAKER_CLOSED,
                            [BREAKER_PROVED] = BREAKER_CLOSED,
                            [BREAKER_PROBE_FAILED] = BREAKER_CLOSED},
        [BREAKER_OPEN] = {[BREAKER_TRIPS] = BREAKER_OPEN,
                          [BREAKER_RESTED] = BREAKER_HALF_OPEN,
                          [BREAKER_PROVED] = BREAKER_OPEN,
                          [BREAKER_PROBE_FAILED] = BREAKER_OPEN},
        [BREAKER_HALF_OPEN] = {[BREAKER_TRIPS] = BREAKER_HALF_OPEN,
                               [BREAKER_RESTED] = BREAKER_HALF_OPEN,
                               [BREAKER_PROVED] = BREAKER_CLOSED,
                               [BREAKER_PROBE_FAILED] = BREAKER_OPEN},
    };
    assert(state < BREAKER_STATES && event < BREAKER_EVENTS);
    return next[state][event];
}

const char *breaker_state_name(enum breaker_state state)
{
    static const char *const names[BREAKER_STATES] = {
        [BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_HALF_OPEN] = "half-open"};
    return names[state];
}

/* False: it stays as it is. */
static bool step(struct breaker *breaker, enum breaker_event event, uint64_t until_ms)
{
    enum breaker_state next = breaker_next(breaker->state, event);
    if (next == breaker->state)
        return false;
    *breaker = (struct breaker){.state = next, .epoch = breaker->epoch + 1, .until_ms = until_ms};
    return true;
}

/* ---- passing -------------------------------------------------------------------------------- */

static bool probe_passes(struct breaker *breaker, const struct service_breaker *settings,
                         uint64_t now_ms)
{
    if (now_ms >= breaker->until_ms) {
        breaker->probes_out = 0;
        breaker->until_ms = now_ms + settings->open_ms;
    }
    if (breaker->probes_out + breaker->probes_good >= settings->probes)
        return false;
    breaker->probes_out++;
    return true;
}

bool breaker_passes(struct breaker *breaker, const struct service_breaker *settings,
                    uint64_t now_ms)
{
    if (breaker->state == BREAKER_OPEN && now_ms >= breaker->until_ms)
        step(breaker, BREAKER_RESTED, now_ms + settings->open_ms);
    if (breaker->state == BREAKER_HALF_OPEN)
        return probe_passes(breaker, settings, now_ms);
    return breaker->state == BREAKER_CLOSED;
}

/* ---- outcomes ------------------------------------------------------------------------------- */

static bool probe_back(struct breaker *breaker, uint32_t epoch)
{
    if (epoch != breaker->epoch || breaker->state != BREAKER_HALF_OPEN)
        return false;
    if (breaker->probes_out > 0)
        breaker->probes_out--;
    return true;
}

bool breaker_good(struct breaker *breaker, const struct service_breaker *settings, uint32_t epoch)
{
    if (!probe_back(breaker, epoch) || ++breaker->probes_good < settings->probes)
        return false;
    return step(breaker, BREAKER_PROVED, 0);
}

static bool too_many(const struct service_breaker *settings, const struct breaker_counts *counts)
{
    return counts->failures >= settings->failures &&
           counts->failures * 100 >= counts->tries * settings->errors_percent;
}

bool breaker_bad(struct breaker *breaker, const struct service_breaker *settings, uint32_t epoch,
                 const struct breaker_counts *counts, uint64_t now_ms)
{
    uint64_t until_ms = now_ms + settings->open_ms;
    if (epoch != breaker->epoch)
        return false;
    if (breaker->state == BREAKER_HALF_OPEN)
        return step(breaker, BREAKER_PROBE_FAILED, until_ms);
    return too_many(settings, counts) && step(breaker, BREAKER_TRIPS, until_ms);
}

void breaker_unused(struct breaker *breaker, uint32_t epoch)
{
    probe_back(breaker, epoch);
}
