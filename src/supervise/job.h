/* A job at run time: a unit with one instance, which is started when it is due, and not when it has
 * ended. So it is started, stopped, counted, and found again after a crash as any instance is. What
 * is here says when, what happens when a run is under way at that time, how long one may take, and
 * what became of the last ones. A run lasts until its last process has ended. Owned by the unit;
 * the supervisor's thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "event/loop.h"
#include "supervise/job_history.h"
#include "supervise/schedule.h"
#include "topology/topology.h"

struct instance;
struct unit;

struct job {
    struct unit *unit;
    struct schedule schedule;
    struct timer look;    /* at the schedule */
    struct timer overdue; /* `timeout` */
    bool runs;            /* a run is under way */
    bool waits;           /* another one begins when it is over */
    bool late;            /* it took too long */
    uint64_t begin_wall_ms;
    struct job_history *history;
};

/* The unit has begun, with what was adopted. 0 or -ENOMEM. */
int job_begin(struct unit *unit);
/* It is due at no time any more; what runs is the unit's to end. */
void job_rest(struct unit *unit);
void job_free(struct unit *unit);
/* Removes histories of jobs that the file does not have; `all`: of all. */
struct supervisor;
void jobs_trim(struct supervisor *supervisor, bool all);
/* Its settings are others. */
void job_adapt(struct unit *unit);
/* Its instance changed its state. */
void job_changed(struct unit *unit, const struct instance *instance);
/* Runs it now, if `unit` (NULL: there is none) is a job's. NULL, with the run's number; else what
 * is wrong, in words. */
const char *job_run_now(struct unit *unit, uint64_t *ret_number);
/* Is the run of that number over? Then *ret_error is how it failed; unchanged: it did not. */
bool job_over(const struct unit *unit, uint64_t number, const char **ret_error);
/* The run before the last one by so many; NULL: there was none, or it is forgotten. */
const struct job_run *job_past(const struct job *job, uint32_t back);
