/* A rollout: how a service's instances are replaced by such of a new program, as a state machine
 * without side effects: rolling.c feeds it events and carries out the actions that it names.
 * Nothing here knows instances, so that tests need none.
 *
 *            BEGIN           READY             TIME             READY            READY
 *   rest ──────────▶ surging ─────▶ canary ──────────▶ replacing ─────▶ trimming ─────▶ watching
 *    ▲  │                                               ▲      │ READY   ▲             │
 *    │  └ without surge ────────────────────────────────┘      ▼         │             │
 *    │                                          TIME └───── pausing ─────┘ none left   │
 *    └──────────────────────────────── TIME (done) ────────────────────────────────────┘
 *
 * - rest: nothing is rolled. Numbers 1 … N are instances of the service; there are no others.
 * - surging: so many instances more than are wanted (`surge`) are started, of the new program,
 * under the numbers after N; nothing else changes until each is up and healthy.
 * - canary: what is up of the new program gets a share of the traffic that doubles with each step,
 *   until it is what its number gives it anyway. Only when somebody asked for it.
 * - replacing: some of the others (as many as are there too much, and as `unavailable` allows) are
 *   taken out of rotation, drained, stopped and started as the new program, under their numbers.
 * - pausing: they are up; `pause` goes by before the next.
 * - trimming: all are of the new program; those beyond N are drained, and go.
 * - watching: all is as it shall be, and the new program is looked at for a while (`watch`).
 *
 * What fails in any of these states — an instance of the new program ends, does not come up in
 * time, its check fails, too many of its answers are errors, the time for all of it is over — turns
 * the rollout round: the same way is gone with the program before as the one that is led to, from
 * whatever there is. On the way back nothing can fail any more: what does not come up is left to
 * its life cycle. When the program before is not known, or is the same (the file on disk is
 * another, its definition is not), what was replaced stays, and the others are left alone.
 *
 * Instances under their old numbers are never two at a time, so that whatever belongs to a number —
 * its address, its data folder, its weight — has one owner; those beyond N have numbers of their
 * own. After a crash of the supervisor each instance's record says what it was started from, and
 * which numbers are beyond N: the rollout begins anew with what it finds, or goes back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "topology/topology.h"

enum rollout_state {
    ROLLOUT_REST,
    ROLLOUT_SURGING,
    ROLLOUT_CANARY,
    ROLLOUT_REPLACING,
    ROLLOUT_PAUSING,
    ROLLOUT_TRIMMING,
    ROLLOUT_WATCHING,
    ROLLOUT_STATES,
};

enum rollout_event {
    ROLLOUT_BEGIN,  /* somebody asked for it; `back` may be set, to go on with a way back */
    ROLLOUT_READY,  /* what the state waits for is there */
    ROLLOUT_TIME,   /* the state's time (rollout_time_ms) is over */
    ROLLOUT_FAILED, /* the new program is not good enough */
    ROLLOUT_CANCEL, /* the service ends */
    ROLLOUT_EVENTS,
};

enum rollout_action {                              /* a set */
                      ROLLOUT_DO_SURGE = 1 << 0,   /* instances beyond N are wanted */
                      ROLLOUT_DO_REPLACE = 1 << 1, /* the next of 1 … N */
                      ROLLOUT_DO_TRIM = 1 << 2,    /* none beyond N is wanted */
                      ROLLOUT_DO_TIME = 1 << 3,    /* (re)start the state's time */
                      ROLLOUT_DO_TURN = 1 << 4,    /* the program before is led to from now on */
                      ROLLOUT_DO_SHARE = 1 << 5,   /* shares of the traffic have changed */
                      ROLLOUT_DO_END = 1 << 6,     /* it is over: `outcome` */
};

enum rollout_outcome {                    /* stands in records: numbers stay */
                       ROLLOUT_NONE = 0,  /* there was none */
                       ROLLOUT_FORTH = 1, /* under way to the new program */
                       ROLLOUT_BACK = 2,  /* under way back */
                       ROLLOUT_DONE = 3,
                       ROLLOUT_ROLLED_BACK = 4, /* what ran before runs */
                       ROLLOUT_STOPPED =
                           5, /* it failed, and what was replaced could not be put back */
                       ROLLOUT_CANCELLED = 6,
                       ROLLOUT_OUTCOMES,
};

struct rollout_plan { /* as the service says, or whoever asked for this one */
    struct service_roll roll;
    uint32_t canary_percent; /* first share of the traffic; 0: none is asked for */
    uint32_t step_ms;        /* until the share doubles */
};

struct rollout_facts { /* of the moment */
    uint32_t surge;    /* instances that may be added */
    uint32_t extras;   /* beyond N that are there */
    uint32_t replaced; /* of 1 … N, that were started from the new program */
    uint32_t left;     /* of 1 … N, that are to be replaced (on the way back: put back) */
    bool can_return;   /* the program before is known, and another */
};

struct rollout {
    enum rollout_state state;
    bool back;                    /* the way back */
    bool tried;                   /* the canary was out, or none is asked for */
    uint32_t share_percent;       /* in ROLLOUT_CANARY: of the new program */
    enum rollout_outcome outcome; /* of this one, or of the last */
};

/* Feeds an event; the set of actions to carry out (0: it means nothing in this state). */
unsigned rollout_step(struct rollout *rollout, enum rollout_event event,
                      const struct rollout_plan *plan, const struct rollout_facts *facts);
/* How long the state lasts; 0: until what it waits for is there. */
uint32_t rollout_time_ms(const struct rollout *rollout, const struct rollout_plan *plan);

/* Is any instance on its way? */
bool rollout_moves(const struct rollout *rollout);
static inline bool rollout_active(const struct rollout *rollout)
{
    return rollout->state != ROLLOUT_REST;
}

const char *rollout_name(enum rollout_state state);
const char *rollout_outcome_name(enum rollout_outcome outcome); /* "rolled back" */

/* How many further instances a service of `wanted` shall have meanwhile: stated, else one, but none
 * for a service of one instance, whose program may not be one that can run twice. */
uint32_t rollout_surge(const struct service_roll *roll, uint32_t wanted);
/* How many of them may be out of service at a time. */
uint32_t rollout_unavailable(const struct service_roll *roll, uint32_t surge);

/* The weights of an instance of the new program and of another, so that `fresh` and `others` of
 * them get shares of share_percent and the rest. */
void rollout_weights(uint32_t share_percent, uint32_t fresh, uint32_t others, uint32_t *ret_fresh,
                     uint32_t *ret_others);
/* Are so many errors among so many requests too many? Few requests say nothing. */
enum { ROLLOUT_REQUESTS_MIN = 20 };
bool rollout_errors_exceed(uint32_t errors_percent, uint64_t requests, uint64_t errors);
