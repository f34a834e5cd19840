#include "supervise/rollout.h"

#include <assert.h>
#include <stddef.h>

static const char *const state_names[ROLLOUT_STATES] = {
    [ROLLOUT_REST] = "rest",         [ROLLOUT_SURGING] = "surging",
    [ROLLOUT_CANARY] = "canary",     [ROLLOUT_REPLACING] = "replacing",
    [ROLLOUT_PAUSING] = "pausing",   [ROLLOUT_TRIMMING] = "trimming",
    [ROLLOUT_WATCHING] = "watching",
};

static const char *const outcome_names[ROLLOUT_OUTCOMES] = {
    [ROLLOUT_NONE] = "none",
    [ROLLOUT_FORTH] = "rolling",
    [ROLLOUT_BACK] = "rolling back",
    [ROLLOUT_DONE] = "done",
    [ROLLOUT_ROLLED_BACK] = "rolled back",
    [ROLLOUT_STOPPED] = "stopped",
    [ROLLOUT_CANCELLED] = "cancelled",
};

const char *rollout_name(enum rollout_state state)
{
    assert(state < ROLLOUT_STATES);
    return state_names[state];
}

const char *rollout_outcome_name(enum rollout_outcome outcome)
{
    return outcome < ROLLOUT_OUTCOMES ? outcome_names[outcome] : "unknown";
}

bool rollout_moves(const struct rollout *rollout)
{
    return rollout->state != ROLLOUT_REST && rollout->state != ROLLOUT_WATCHING;
}

uint32_t rollout_time_ms(const struct rollout *rollout, const struct rollout_plan *plan)
{
    switch (rollout->state) {
    case ROLLOUT_CANARY:
        return plan->step_ms;
    case ROLLOUT_PAUSING:
        return plan->roll.pause_ms;
    case ROLLOUT_WATCHING:
        return plan->roll.watch_ms;
    case ROLLOUT_REST:
    case ROLLOUT_SURGING:
    case ROLLOUT_REPLACING:
    case ROLLOUT_TRIMMING:
    case ROLLOUT_STATES:
        break;
    }
    return 0;
}

/* ---- steps ------------------------------------------------------------------------------------
 */

struct step {
    struct rollout *rollout;
    const struct rollout_plan *plan;
    const struct rollout_facts *facts;
};

static unsigned become(const struct step *step, enum rollout_state state, unsigned actions)
{
    step->rollout->state = state;
    return actions;
}

static unsigned end(const struct step *step, enum rollout_outcome outcome)
{
    step->rollout->outcome = outcome;
    return become(step, ROLLOUT_REST, ROLLOUT_DO_END);
}

static unsigned end_back(const struct step *step)
{
    bool whole = step->facts->can_return || step->facts->replaced == 0;
    return end(step, whole ? ROLLOUT_ROLLED_BACK : ROLLOUT_STOPPED);
}

/* Nobody is left to be replaced, and nobody is there too much. */
static unsigned finish(const struct step *step)
{
    if (step->rollout->back)
        return end_back(step);
    if (step->plan->roll.watch_ms)
        return become(step, ROLLOUT_WATCHING, ROLLOUT_DO_TIME);
    return end(step, ROLLOUT_DONE);
}

static unsigned go_on(const struct step *step)
{
    if (step->facts->left > 0)
        return become(step, ROLLOUT_REPLACING, ROLLOUT_DO_REPLACE);
    if (step->facts->extras > 0)
        return become(step, ROLLOUT_TRIMMING, ROLLOUT_DO_TRIM);
    return finish(step);
}

static unsigned begin(const struct step *step)
{
    struct rollout *rollout = step->rollout;
    rollout->outcome = rollout->back ? ROLLOUT_BACK : ROLLOUT_FORTH;
    rollout->tried = rollout->back || step->plan->canary_percent == 0;
    rollout->share_percent = 100;
    if (step->facts->surge > 0 && step->facts->left > 0)
        return become(step, ROLLOUT_SURGING, ROLLOUT_DO_SURGE);
    return go_on(step);
}

/* Some of the new program are up: those beyond N, or the first of the others. */
static unsigned some_ready(const struct step *step)
{
    struct rollout *rollout = step->rollout;
    if (!rollout->tried && step->facts->left > 0) {
        rollout->tried = true;
        rollout->share_percent = step->plan->canary_percent;
        return become(step, ROLLOUT_CANARY, ROLLOUT_DO_SHARE | ROLLOUT_DO_TIME);
    }
    if (!rollout->back && step->plan->roll.pause_ms && step->facts->left > 0)
        return become(step, ROLLOUT_PAUSING, ROLLOUT_DO_TIME);
    return go_on(step);
}

static unsigned share_grow(const struct step *step)
{
    struct rollout *rollout = step->rollout;
    rollout->share_percent *= 2;
    if (rollout->share_percent < 100)
        return ROLLOUT_DO_SHARE | ROLLOUT_DO_TIME;
    rollout->share_percent = 100;
    return ROLLOUT_DO_SHARE | go_on(step);
}

static unsigned watched(const struct step *step)
{
    return end(step, ROLLOUT_DONE);
}

/* From where it is, the other way. What was replaced is put back, with instances beyond N of the
 * program before, so that there are not fewer meanwhile. */
static unsigned turn(const struct step *step)
{
    struct rollout *rollout = step->rollout;
    if (rollout->back)
        return 0;
    rollout->back = rollout->tried = true;
    rollout->outcome = ROLLOUT_BACK;
    rollout->share_percent = 100;
    unsigned turned = ROLLOUT_DO_TURN | ROLLOUT_DO_SHARE;
    if (step->facts->can_return)
        return turned | (step->facts->replaced > 0 && step->facts->surge > 0
                             ? become(step, ROLLOUT_SURGING, ROLLOUT_DO_SURGE)
                             : become(step, ROLLOUT_REPLACING, ROLLOUT_DO_REPLACE));
    if (step->facts->extras > 0)
        return turned | become(step, ROLLOUT_TRIMMING, ROLLOUT_DO_TRIM);
    return turned | end_back(step);
}

static unsigned cancel(const struct step *step)
{
    return end(step, ROLLOUT_CANCELLED);
}

typedef unsigned step_call(const struct step *step);

static step_call *const steps[ROLLOUT_STATES][ROLLOUT_EVENTS] = {
    [ROLLOUT_REST] = {[ROLLOUT_BEGIN] = begin},
    [ROLLOUT_SURGING] =
        {[ROLLOUT_READY] = some_ready, [ROLLOUT_FAILED] = turn, [ROLLOUT_CANCEL] = cancel},
    [ROLLOUT_CANARY] =
        {[ROLLOUT_TIME] = share_grow, [ROLLOUT_FAILED] = turn, [ROLLOUT_CANCEL] = cancel},
    [ROLLOUT_REPLACING] =
        {[ROLLOUT_READY] = some_ready, [ROLLOUT_FAILED] = turn, [ROLLOUT_CANCEL] = cancel},
    [ROLLOUT_PAUSING] =
        {[ROLLOUT_TIME] = go_on, [ROLLOUT_FAILED] = turn, [ROLLOUT_CANCEL] = cancel},
    [ROLLOUT_TRIMMING] =
        {[ROLLOUT_READY] = finish, [ROLLOUT_FAILED] = turn, [ROLLOUT_CANCEL] = cancel},
    [ROLLOUT_WATCHING] =
        {[ROLLOUT_TIME] = watched, [ROLLOUT_FAILED] = turn, [ROLLOUT_CANCEL] = cancel},
};

unsigned rollout_step(struct rollout *rollout, enum rollout_event event,
                      const struct rollout_plan *plan, const struct rollout_facts *facts)
{
    assert(rollout->state < ROLLOUT_STATES && event < ROLLOUT_EVENTS);
    const struct step step = {.rollout = rollout, .plan = plan, .facts = facts};
    step_call *call = steps[rollout->state][event];
    return call ? call(&step) : 0;
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

uint32_t rollout_surge(const struct service_roll *roll, uint32_t wanted)
{
    if (roll->surge == ROLL_SURGE_BY_NUMBER)
        return wanted > 1 ? 1 : 0;
    return roll->surge;
}

uint32_t rollout_unavailable(const struct service_roll *roll, uint32_t surge)
{
    return surge == 0 && roll->unavailable == 0 ? 1 : roll->unavailable;
}

/* fresh * a : others * b = share : 100 - share */
void rollout_weights(uint32_t share_percent, uint32_t fresh, uint32_t others, uint32_t *ret_fresh,
                     uint32_t *ret_others)
{
    bool all = share_percent >= 100 || fresh == 0 || others == 0;
    *ret_fresh = all ? 1 : share_percent * others;
    *ret_others = all ? 1 : (100 - share_percent) * fresh;
}

bool rollout_errors_exceed(uint32_t errors_percent, uint64_t requests, uint64_t errors)
{
    return errors_percent && requests >= ROLLOUT_REQUESTS_MIN &&
           errors * 100 > requests * errors_percent;
}
