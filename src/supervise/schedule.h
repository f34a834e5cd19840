/* When a job is due. Pure: whoever asks says what time it is (milliseconds since 1970), so that
 * tests need no clock; the time zone is the process's (tzset(3)).
 *
 * A clock that jumps forward makes what fell into the jump due, once. One that is put back by less
 * than SCHEDULE_BACK_MS_MAX makes nothing due that was due already, so that a time which clocks
 * show twice counts once; one that is put back further was wrong before, and the schedule begins
 * anew. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "topology/topology.h"

enum { SCHEDULE_BACK_MS_MAX = 3 * 60 * 60 * 1000 };

struct schedule {
    uint64_t due_ms;    /* 0: never */
    uint64_t looked_ms; /* the last time it was looked at */
};

/* `last_ms`: the start of the last run, which what was missed since is measured by; 0: unknown. */
void schedule_begin(struct schedule *schedule, const struct service_job *job, uint64_t last_ms,
                    uint64_t now_ms);
/* Is it due? Then it is due again at the next time after that. */
bool schedule_look(struct schedule *schedule, const struct service_job *job, uint64_t now_ms);
/* A run has started out of its time: `every` counts from it. */
void schedule_started(struct schedule *schedule, const struct service_job *job, uint64_t now_ms);
/* The first moment after `after_ms` at which clocks show this second of the day, or where they pass
 * over it, the moment after. */
uint64_t schedule_at(uint32_t at_second, uint64_t after_ms);
