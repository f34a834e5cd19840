/* A circuit breaker: it stops asking a service of which too much fails, so that those who ask get
 * an answer at once and the service gets rest, and finds out with few requests whether it is well
 * again.
 *
 *            trips                    rested
 *   closed ─────────▶ open ─────────────────────▶ half-open
 *      ▲                ▲                           │   │
 *      │                └──── a probe failed ───────┘   │
 *      └─────────────────── enough probes were good ────┘
 *
 * closed: everything passes; it trips when of the tries that ended within `within_ms` so many, and
 * such a share, have failed. open: nothing passes for `open_ms`. half-open: so many probes pass as
 * must be good; one that fails opens it again; those that do not come back in `open_ms` are given
 * up, and others pass.
 *
 * Each change begins an epoch. A try belongs to that in which it passed, and says nothing in
 * another: what was slow to fail does not open a breaker that was closed meanwhile.
 *
 * A value; pure. Who keeps one for several threads, and counts: breakers.h. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "topology/topology.h"

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN, BREAKER_STATES };
enum breaker_event {
    BREAKER_TRIPS,        /* too many failed */
    BREAKER_RESTED,       /* it was open for long enough */
    BREAKER_PROVED,       /* enough probes were good */
    BREAKER_PROBE_FAILED, /* one was not */
    BREAKER_EVENTS
};

struct breaker { /* zero-initialised: closed */
    enum breaker_state state;
    uint32_t epoch;
    uint64_t until_ms;    /* open: until then; half-open: then the probes are given up */
    uint32_t probes_out;  /* half-open: under way */
    uint32_t probes_good; /* half-open */
};

struct breaker_counts { /* of tries that ended in the window, of this epoch */
    uint64_t tries;
    uint64_t failures;
};

/* The table. A state that an event means nothing in stays. */
enum breaker_state breaker_next(enum breaker_state state, enum breaker_event event);
/* "closed", "open", "half-open". */
const char *breaker_state_name(enum breaker_state state);

/* May one pass? Half-open: it is a probe then. */
bool breaker_passes(struct breaker *breaker, const struct service_breaker *settings,
                    uint64_t now_ms);
/* What passed in `epoch` was good; true: it closed the breaker. Of interest for probes alone. */
bool breaker_good(struct breaker *breaker, const struct service_breaker *settings, uint32_t epoch);
/* It failed, and is in `counts`; true: that opened the breaker. */
bool breaker_bad(struct breaker *breaker, const struct service_breaker *settings, uint32_t epoch,
                 const struct breaker_counts *counts, uint64_t now_ms);
/* A probe ended that says nothing: another may pass. */
void breaker_unused(struct breaker *breaker, uint32_t epoch);
