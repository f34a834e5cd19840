/* The scaler: how many instances a service should have, from what was seen of them. A controller
 * without side effects: who looks, and what becomes of the answer, is scaling.c's, so tests need
 * neither processes nor a clock.
 *
 * Each rule of the service (topology.h, struct service_scale) says how many instances would bring
 * its figure to its mark: as many as there are, times figure / mark. The largest answer counts.
 * Within TOLERANCE of the mark nothing changes.
 *
 *   more:  when more were wanted for SCALER_RISE_MS on end, and all that were asked for before are
 * up; at most twice as many as before at a time. fewer: when fewer were wanted for `cool-down=` on
 * end; as many as the busiest look of that time asked for, at most half of them leave at a time.
 *   none:  of a service that may sleep (low 0), when nothing was under way for `idle=` and one is
 * left.
 *
 * A ceiling, if the cluster's quota is short, takes precedence over all of it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "topology/topology.h"

enum {
    SCALER_RISE_MS = 3000,
    SCALER_WHY_BYTES = 96,
};

struct scaler_look { /* what is seen now; means are those of the instances that are up */
    uint64_t now_ms;
    uint32_t wanted; /* asked for now; 0: it sleeps */
    uint32_t up;
    uint32_t ceiling;      /* no more than so many: the cluster is short; UINT32_MAX: no matter */
    double cpu_percent;    /* of its quota, or of one core; mean */
    double memory_percent; /* of its quota; mean */
    double connections;    /* mean */
    double latency_us;     /* at the rule's quantile */
    bool timed;            /* there were requests whose latency is known */
    double held;           /* requests that wait for an instance, in all */
    bool active;           /* something is, or was since the last look, under way */
};

struct scaler {        /* zeroed: nothing was seen yet */
    uint64_t above_ms; /* since when more are wanted; 0: they are not */
    uint64_t below_ms; /* since when fewer are wanted; 0: they are not */
    uint32_t below_most;
    uint64_t quiet_ms; /* since when nothing was under way; 0: something is */
};

struct scaler_answer {
    uint32_t wanted; /* the look's: no change */
    char why[SCALER_WHY_BYTES];
};

void scaler_step(struct scaler *scaler, const struct service_scale *rules,
                 const struct scaler_look *look, struct scaler_answer *ret_answer);
