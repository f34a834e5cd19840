#include "supervise/lifecycle.h"

#include <assert.h>

static const char *const state_names[STATE_COUNT] = {
    [STATE_IDLE] = "idle",           [STATE_STARTING] = "starting", [STATE_UP] = "up",
    [STATE_DRAINING] = "draining",   [STATE_STOPPING] = "stopping", [STATE_BACKOFF] = "backoff",
    [STATE_FAILED] = "failed",       [STATE_GONE] = "gone",         [STATE_PREPARING] = "preparing",
    [STATE_FINISHING] = "finishing",
};

static const char *const event_names[EVENT_COUNT] = {
    [EVENT_START] = "start",       [EVENT_READY] = "ready",       [EVENT_EXIT] = "exit",
    [EVENT_DRAIN] = "drain",       [EVENT_UNDRAIN] = "undrain",   [EVENT_STOP] = "stop",
    [EVENT_QUIET] = "quiet",       [EVENT_DEADLINE] = "deadline", [EVENT_PREPARED] = "prepared",
    [EVENT_FINISHED] = "finished",
};

/* Where an event leads, when that does not depend on anything else. Rows that are empty mean that
 * the event says nothing in that state. EVENT_EXIT, EVENT_FINISHED, and EVENT_STOP of what
 * runs, are decided by after_exit, after_end and after_stop, since they depend on the goal and the
 * policy; EVENT_READY by after_ready. */
struct edge {
    bool valid;
    enum lifecycle_state next;
    unsigned actions;
};

static const struct edge edges[STATE_COUNT][EVENT_COUNT] =
    {
        [STATE_IDLE] =
            {
                [EVENT_START] = {true, STATE_STARTING, ACTION_SPAWN | ACTION_DEADLINE},
            },
        [STATE_PREPARING] =
            {
                [EVENT_PREPARED] = {true, STATE_STARTING, ACTION_SPAWN | ACTION_DEADLINE},
                [EVENT_DEADLINE] = {true, STATE_STOPPING,
                                    ACTION_TIMED_OUT | ACTION_SIGNAL | ACTION_DEADLINE},
            },
        [STATE_FINISHING] =
            {
                [EVENT_DEADLINE] = {true, STATE_FINISHING, ACTION_KILL},
            },
        [STATE_STARTING] =
            {
                [EVENT_READY] = {true, STATE_UP, ACTION_ROTATE | ACTION_NO_DEADLINE},
                [EVENT_DEADLINE] = {true, STATE_STOPPING,
                                    ACTION_TIMED_OUT | ACTION_SIGNAL | ACTION_DEADLINE},
            },
        [STATE_UP] =
            {
                [EVENT_DRAIN] = {true, STATE_DRAINING, ACTION_ROTATE},
            },
        [STATE_DRAINING] =
            {
                [EVENT_UNDRAIN] = {true, STATE_UP, ACTION_ROTATE | ACTION_NO_DEADLINE},
                [EVENT_QUIET] = {true, STATE_STOPPING, ACTION_SIGNAL | ACTION_DEADLINE},
                [EVENT_DEADLINE] = {true, STATE_STOPPING, ACTION_SIGNAL | ACTION_DEADLINE},
            },
        [STATE_STOPPING] =
            {
                [EVENT_DEADLINE] = {true, STATE_STOPPING, ACTION_KILL},
            },
        [STATE_BACKOFF] =
            {
                [EVENT_START] = {true, STATE_STARTING, ACTION_SPAWN | ACTION_DEADLINE},
                [EVENT_DEADLINE] = {true, STATE_STARTING, ACTION_SPAWN | ACTION_DEADLINE},
            },
        [STATE_FAILED] =
            {
                [EVENT_START] = {true, STATE_STARTING, ACTION_SPAWN | ACTION_DEADLINE},
            },
};

const char *lifecycle_name(enum lifecycle_state state)
{
    assert(state < STATE_COUNT);
    return state_names[state];
}

const char *lifecycle_event_name(enum lifecycle_event event)
{
    assert(event < EVENT_COUNT);
    return event_names[event];
}

bool lifecycle_running(enum lifecycle_state state)
{
    return state == STATE_PREPARING || state == STATE_STARTING || state == STATE_UP ||
           state == STATE_DRAINING || state == STATE_STOPPING || state == STATE_FINISHING;
}

uint32_t lifecycle_deadline_ms(const struct lifecycle *lifecycle, const struct service *service)
{
    switch (lifecycle->state) {
    case STATE_PREPARING:
    case STATE_FINISHING:
        return lifecycle->step_ms;
    case STATE_STARTING:
        return service->start_within_ms;
    case STATE_DRAINING:
        return lifecycle->goal == GOAL_HOLD ? 0 : service->stop_drain_ms;
    case STATE_STOPPING:
        return service->stop_within_ms ? service->stop_within_ms : 1; /* 0: at once */
    case STATE_BACKOFF:
        return lifecycle->pause_ms;
    case STATE_IDLE:
    case STATE_UP:
    case STATE_FAILED:
    case STATE_GONE:
    case STATE_COUNT:
        break;
    }
    return 0;
}

/* The pause before the next start: none after a good run, then doubling from the minimum to the
 * maximum; jitter takes away up to a quarter, so that instances that fail together do not come back
 * together. */
static uint32_t pause_of(uint32_t failures, const struct service *service,
                         struct random_state *random)
{
    if (failures <= 1)
        return 0;
    uint64_t pause = service->backoff_min_ms;
    for (uint32_t i = 2; i < failures && pause < service->backoff_max_ms; i++)
        pause *= 2;
    if (pause > service->backoff_max_ms)
        pause = service->backoff_max_ms;
    return (uint32_t)(pause - random_below(random, pause / 4 + 1));
}

static unsigned become(struct lifecycle *lifecycle, enum lifecycle_state next, unsigned actions,
                       uint64_t now_ms)
{
    lifecycle->state = next;
    lifecycle->entered_ms = now_ms;
    return actions;
}

static enum lifecycle_goal goal_to_run(const struct lifecycle *lifecycle)
{
    return lifecycle->held ? GOAL_HOLD : GOAL_RUN;
}

/* It ended by itself, or could not be started. */
static unsigned after_unasked_exit(struct lifecycle *lifecycle, uint64_t now_ms,
                                   const struct service *service, struct random_state *random)
{
    lifecycle->failures = lifecycle->ran_well ? 1 : lifecycle->failures + 1;
    bool again = service->restart == RESTART_ALWAYS ||
                 (service->restart == RESTART_ON_FAILURE && !lifecycle->clean);
    if (!again && (lifecycle->clean || service->job)) /* a job has its next run before it */
        return become(lifecycle, STATE_IDLE, ACTION_NO_DEADLINE, now_ms);
    bool exhausted = service->restart_tries && lifecycle->failures >= service->restart_tries;
    if (lifecycle->blame != BLAME_PROGRAM)
        exhausted = lifecycle->blame == BLAME_HOPELESS;
    if (!again || exhausted)
        return become(lifecycle, STATE_FAILED, ACTION_FAILED | ACTION_NO_DEADLINE, now_ms);
    lifecycle->pause_ms = pause_of(lifecycle->failures, service, random);
    if (!lifecycle->pause_ms)
        return become(lifecycle, STATE_STARTING, ACTION_SPAWN | ACTION_DEADLINE, now_ms);
    return become(lifecycle, STATE_BACKOFF, ACTION_DEADLINE, now_ms);
}

/* Nothing of it is left, and nothing is to follow. */
static unsigned after_end(struct lifecycle *lifecycle, uint64_t now_ms,
                          const struct service *service, struct random_state *random)
{
    switch (lifecycle->goal) {
    case GOAL_REMOVE:
        return become(lifecycle, STATE_GONE, ACTION_RELEASE | ACTION_NO_DEADLINE, now_ms);
    case GOAL_REST:
        return become(lifecycle, STATE_IDLE, ACTION_NO_DEADLINE, now_ms);
    case GOAL_RESTART:
        lifecycle->goal = goal_to_run(lifecycle);
        lifecycle->failures = 0;
        return become(lifecycle, STATE_STARTING, ACTION_SPAWN | ACTION_DEADLINE, now_ms);
    case GOAL_HOLD:
    case GOAL_RUN:
        break;
    }
    return after_unasked_exit(lifecycle, now_ms, service, random);
}

static unsigned after_exit(struct lifecycle *lifecycle, uint64_t now_ms,
                           const struct service *service, struct random_state *random)
{
    enum lifecycle_state was = lifecycle->state;
    unsigned rotate = was == STATE_UP ? ACTION_ROTATE : 0;
    lifecycle->ran_well = (was == STATE_UP || was == STATE_DRAINING) &&
                          now_ms - lifecycle->entered_ms >= service->restart_reset_ms;
    if (!lifecycle->finishes)
        return rotate | after_end(lifecycle, now_ms, service, random);
    return become(lifecycle, STATE_FINISHING, rotate | ACTION_FINISH | ACTION_NO_DEADLINE, now_ms);
}

static unsigned after_ready(struct lifecycle *lifecycle, uint64_t now_ms)
{
    if (lifecycle->goal == GOAL_HOLD)
        return become(lifecycle, STATE_DRAINING, ACTION_NO_DEADLINE, now_ms);
    return become(lifecycle, STATE_UP, ACTION_ROTATE | ACTION_NO_DEADLINE, now_ms);
}

unsigned lifecycle_prepare(struct lifecycle *lifecycle, unsigned actions)
{
    assert(lifecycle->state == STATE_STARTING && actions & ACTION_SPAWN);
    lifecycle->state = STATE_PREPARING;
    return (actions & ~(unsigned)(ACTION_SPAWN | ACTION_DEADLINE)) | ACTION_PREPARE |
           ACTION_NO_DEADLINE;
}

/* Somebody asked it to end. What has no process is at its goal at once. */
static unsigned after_stop(struct lifecycle *lifecycle, uint64_t now_ms)
{
    switch (lifecycle->state) {
    case STATE_UP:
        if (!lifecycle->abrupt)
            return become(lifecycle, STATE_DRAINING, ACTION_ROTATE | ACTION_DEADLINE, now_ms);
        return become(lifecycle, STATE_STOPPING, ACTION_ROTATE | ACTION_SIGNAL | ACTION_DEADLINE,
                      now_ms);
    case STATE_DRAINING: /* drained until now, or asked again */
        if (!lifecycle->abrupt)
            return ACTION_DEADLINE;
        return become(lifecycle, STATE_STOPPING, ACTION_SIGNAL | ACTION_DEADLINE, now_ms);
    case STATE_PREPARING:
    case STATE_STARTING:
        return become(lifecycle, STATE_STOPPING, ACTION_SIGNAL | ACTION_DEADLINE, now_ms);
    case STATE_IDLE:
    case STATE_BACKOFF:
    case STATE_FAILED:
        if (lifecycle->goal == GOAL_REMOVE)
            return become(lifecycle, STATE_GONE, ACTION_RELEASE | ACTION_NO_DEADLINE, now_ms);
        if (lifecycle->goal == GOAL_RESTART) {
            lifecycle->goal = goal_to_run(lifecycle);
            lifecycle->failures = 0;
            return become(lifecycle, STATE_STARTING, ACTION_SPAWN | ACTION_DEADLINE, now_ms);
        }
        if (lifecycle->state == STATE_FAILED)
            return ACTION_NO_DEADLINE; /* keeps its reason for people to see */
        return become(lifecycle, STATE_IDLE, ACTION_NO_DEADLINE, now_ms);
    case STATE_STOPPING:
    case STATE_FINISHING:
    case STATE_GONE:
    case STATE_COUNT:
        break;
    }
    return 0;
}

unsigned lifecycle_step(struct lifecycle *lifecycle, enum lifecycle_event event, uint64_t now_ms,
                        const struct service *service, struct random_state *random)
{
    assert(lifecycle->state < STATE_COUNT && event < EVENT_COUNT);
    if (event == EVENT_EXIT)
        return lifecycle_running(lifecycle->state) && lifecycle->state != STATE_FINISHING
                   ? after_exit(lifecycle, now_ms, service, random)
                   : 0;
    if (event == EVENT_FINISHED)
        return lifecycle->state == STATE_FINISHING ? after_end(lifecycle, now_ms, service, random)
                                                   : 0;
    if (event == EVENT_STOP)
        return after_stop(lifecycle, now_ms);
    const struct edge *edge = &edges[lifecycle->state][event];
    if (!edge->valid)
        return 0;
    if (event == EVENT_READY)
        return after_ready(lifecycle, now_ms);
    if (event == EVENT_QUIET && lifecycle->goal == GOAL_HOLD)
        return 0; /* drained on request: it runs on */
    if (event == EVENT_UNDRAIN && lifecycle->goal == GOAL_HOLD)
        return ACTION_NO_DEADLINE; /* it was to stop, and goes back to being drained */
    if (event == EVENT_START && lifecycle->state == STATE_FAILED)
        lifecycle->failures = 0;
    return become(lifecycle, edge->next, edge->actions, now_ms);
}
