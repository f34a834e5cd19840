/* The life of an instance, as a state machine without side effects: the supervisor feeds it events
 * and carries out the actions that it names. Nothing here knows processes, so that tests need none.
 *
 *       START             PREPARED           READY       DRAIN           QUIET
 *   idle ────▶ preparing ───────────▶ starting ─────▶ up ───────▶ draining ─────▶ stopping
 *    │             │                      ▲                          │ UNDRAIN
 *    └─────────────│─ without steps ──────┘          up ◀────────────┘
 *
 *                                                FINISHED
 *   any of these ─── EXIT ───▶ finishing ──────┬──────────▶ idle      (it rests)
 *                  └─ without steps, or with   ├──────────▶ preparing (or starting: restart)
 *                     nothing to finish ───────┼──────────▶ backoff   (then the same)
 *                                              ├──────────▶ failed
 *                                              └──────────▶ gone      (removed)
 *
 * - idle: no process, and none wanted now: not begun yet, waiting for what it uses, stopped, or it
 *   ended by itself and shall not be restarted.
 * - preparing: the steps before its start (`before-start`) run, one after the other, or it waits
 *   for another instance that runs one for all of them. A step that fails is an end as the
 *   program's would be: a failed start. Bounded by each step's `timeout=`.
 * - starting: the process was started; its check has not passed yet. Bounded by `start within`.
 * - up: the check passed; it is in rotation while it is healthy.
 * - draining: out of rotation, its connections go on. It was asked to drain and stays so, or it is
 *   on its way to stopping and leaves when the last connection ends or the time is over.
 * - stopping: the stop signal was sent, to the program or to a step before its start; after `stop
 *   within` everything in its cgroup is killed.
 * - finishing: nothing of the program is left, and the steps after its end (`after-stop`) run. What
 *   comes then is decided when they are done, by how the program ended; their own end decides
 *   nothing. Bounded by each step's `timeout=`, when it is killed.
 * - backoff: it ended unasked and will be started again when the pause is over.
 * - failed: it ended too often in a row; somebody must act (`enginx restart`).
 * - gone: it was removed (scaled down); its slot is free.
 *
 * What shall come after the end of its processes is the goal, which is set when somebody asks, not
 * when the processes have ended: that way a crash in the midst of a restart is no special case.
 *
 * Who was asked to drain is held: whatever ends it and starts it again, it is drained when it is
 * ready, until somebody says otherwise. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/random.h"
#include "topology/topology.h"

enum lifecycle_state {
    STATE_IDLE,
    STATE_STARTING,
    STATE_UP,
    STATE_DRAINING,
    STATE_STOPPING,
    STATE_BACKOFF,
    STATE_FAILED,
    STATE_GONE, /* the numbers stand in records: further ones follow */
    STATE_PREPARING,
    STATE_FINISHING,
    STATE_COUNT,
};

enum lifecycle_goal {
    GOAL_RUN,     /* be up */
    GOAL_HOLD,    /* be drained, and run on */
    GOAL_REST,    /* be idle */
    GOAL_RESTART, /* end, then be up */
    GOAL_REMOVE,  /* end for good */
};

enum lifecycle_event {
    EVENT_START,    /* begin: what it uses is up */
    EVENT_PREPARED, /* the steps before its start are done */
    EVENT_FINISHED, /* the steps after its end are done */
    EVENT_READY,    /* the check passed */
    EVENT_EXIT,     /* no process of it is left (or none could be started) */
    EVENT_DRAIN,    /* somebody asked it to drain and run on */
    EVENT_UNDRAIN,  /* … and to come back */
    EVENT_STOP,     /* somebody asked it to end: the goal was set to what comes after */
    EVENT_QUIET,    /* draining, and no connection is left */
    EVENT_DEADLINE, /* the time that the state's entry set is over */
    EVENT_COUNT,
};

enum lifecycle_action {                         /* a set */
                        ACTION_SPAWN = 1 << 0,  /* start the process */
                        ACTION_ROTATE = 1 << 1, /* membership of the rotation changed */
                        ACTION_SIGNAL = 1 << 2, /* send the stop signal */
                        ACTION_KILL = 1 << 3,   /* kill everything in its cgroup */
                        ACTION_DEADLINE = 1
                                          << 4, /* (re)start the deadline: lifecycle_deadline_ms */
                        ACTION_NO_DEADLINE = 1 << 5,
                        ACTION_FAILED = 1 << 6,    /* tell people why */
                        ACTION_RELEASE = 1 << 7,   /* free the slot */
                        ACTION_TIMED_OUT = 1 << 8, /* tell what it waited for */
                        ACTION_PREPARE = 1 << 9,   /* run the steps before its start */
                        ACTION_FINISH = 1 << 10,   /* run the steps after its end */
};

enum lifecycle_blame {                 /* for an end that nobody asked for */
                       BLAME_PROGRAM,  /* it ended by itself */
                       BLAME_HOPELESS, /* it cannot be started, and trying again will not help: no
                                          such program */
                       BLAME_MACHINE,  /* descriptors, memory or processes ran out: it will be tried
                                          for ever */
};

struct lifecycle {
    enum lifecycle_state state;
    enum lifecycle_goal goal;
    uint32_t failures;          /* ends in a row that did not come after a good run */
    uint64_t entered_ms;        /* when it came into this state, loop time */
    uint32_t pause_ms;          /* of the backoff that it is in */
    uint32_t step_ms;           /* that the step under way may take; 0: none is */
    bool abrupt;                /* skip draining: everything goes down */
    bool held;                  /* somebody asked it to drain, and not to come back yet */
    bool clean;                 /* the last end was an exit with status 0 */
    bool finishes;              /* steps are to follow that end */
    bool ran_well;              /* it came after a good run */
    enum lifecycle_blame blame; /* for the last end */
};

/* Feeds an event; the set of actions to carry out (0: the event means nothing in this state).
 * `service` gives the policy. For EVENT_EXIT set lifecycle.clean, .blame and .finishes before. */
unsigned lifecycle_step(struct lifecycle *lifecycle, enum lifecycle_event event, uint64_t now_ms,
                        const struct service *service, struct random_state *random);

/* A start was decided (ACTION_SPAWN of anything but EVENT_PREPARED), and what is started has steps
 * before it: they come first. The set of actions instead of `actions`. */
unsigned lifecycle_prepare(struct lifecycle *lifecycle, unsigned actions);

/* How long the current state may last; 0: for ever. */
uint32_t lifecycle_deadline_ms(const struct lifecycle *lifecycle, const struct service *service);

const char *lifecycle_name(enum lifecycle_state state);
const char *lifecycle_event_name(enum lifecycle_event event);

/* Has a process (or one that is on its way)? */
bool lifecycle_running(enum lifecycle_state state);
