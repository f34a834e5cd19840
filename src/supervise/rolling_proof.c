#include "supervise/rolling_private.h"

#include <stdio.h>

enum { SAMPLE_MS = 200 };

/* What the gateway counted of whoever had the slot, since it was made. */
static void tally_errors(const struct tally *tally, uint32_t slot, uint64_t *ret_requests,
                         uint64_t *ret_errors)
{
    struct tally_endpoint sum = {0};
    if (tally)
        tally_endpoint_sum(tally, slot, &sum);
    *ret_requests = sum.requests;
    *ret_errors = sum.status[5] + sum.failures + sum.failures_connect;
}

void rolling_errors_begin(struct instance *instance)
{
    tally_errors(front_tally(instance->unit->supervisor->front), instance->slot,
                 &instance->requests_before, &instance->errors_before);
}

static void fail(struct unit *unit, const char *why)
{
    if (unit->rolling.failed || unit->rolling.rollout.back)
        return;
    unit->rolling.failed = true;
    snprintf(unit->record->rollout_why, sizeof unit->record->rollout_why, "%s", why);
    supervisor_note_change(unit->supervisor, unit);
}

static bool is_tried(const struct instance *instance)
{
    const struct rollout *rollout = &instance->unit->rolling.rollout;
    return rollout_active(rollout) && !rollout->back &&
           instance->record->revision == instance->unit->record->revision;
}

/* A machine without memory says nothing of the program, unless it goes on saying it. */
static bool exit_tells(const struct instance *instance)
{
    const struct lifecycle *life = &instance->life;
    if (life->clean && instance->unit->service->restart != RESTART_ALWAYS)
        return false;
    return life->blame != BLAME_MACHINE || instance_hopeless(instance);
}

bool rolling_fails(struct instance *instance, enum lifecycle_event event, enum lifecycle_state was,
                   enum lifecycle_goal goal_was)
{
    bool unasked = (goal_was == GOAL_RUN || goal_was == GOAL_HOLD) && was != STATE_STOPPING;
    bool late = event == EVENT_DEADLINE && (was == STATE_PREPARING || was == STATE_STARTING);
    bool ended = event == EVENT_EXIT && lifecycle_running(was) && exit_tells(instance);
    if (!is_tried(instance) || !unasked || !(late || ended))
        return false;
    if (instance->unit->rolling.before.service && !rolling_is_extra(instance->unit, instance))
        instance->aim = PROGRAM_BEFORE;
    return true;
}

void rolling_blame(struct instance *instance, const char *why)
{
    char text[RECORD_WHY_BYTES];
    snprintf(text, sizeof text, "%.80s: %.160s", instance->name, why[0] ? why : "it ended");
    fail(instance->unit, text);
}

void rolling_ill(struct instance *instance, const char *why)
{
    if (is_tried(instance))
        rolling_blame(instance, why);
}

static void errors_look(struct unit *unit)
{
    const struct tally *tally = front_tally(unit->supervisor->front);
    uint64_t requests = 0, errors = 0;
    for (uint32_t i = 0; tally && i < unit->instance_count; i++) {
        const struct instance *instance = unit->instances[i];
        uint64_t requests_now, errors_now;
        if (!instance || !is_tried(instance))
            continue;
        tally_errors(tally, instance->slot, &requests_now, &errors_now);
        requests += requests_now - instance->requests_before;
        errors += errors_now - instance->errors_before;
    }
    uint32_t bound = unit->rolling.plan.roll.errors_percent;
    if (!rollout_errors_exceed(bound, requests, errors))
        return;
    char why[RECORD_WHY_BYTES];
    snprintf(why, sizeof why,
             "of %llu requests to the new instances %llu went wrong (5xx, or no answer): more than "
             "%u%%",
             (unsigned long long)requests, (unsigned long long)errors, bound);
    fail(unit, why);
}

static void sample_due(struct timer *timer)
{
    struct unit *unit = timer->owner;
    errors_look(unit);
    if (!unit->rolling.failed && !unit->rolling.rollout.back)
        timer_start(unit->supervisor->loop, timer, SAMPLE_MS, sample_due, unit);
}

static void overdue_due(struct timer *timer)
{
    struct unit *unit = timer->owner;
    char why[RECORD_WHY_BYTES];
    snprintf(why, sizeof why, "it was not over within %u.%us",
             unit->rolling.plan.roll.within_ms / 1000,
             unit->rolling.plan.roll.within_ms % 1000 / 100);
    fail(unit, why);
}

void rolling_proof_begin(struct unit *unit)
{
    struct rolling *rolling = &unit->rolling;
    struct loop *loop = unit->supervisor->loop;
    if (rolling->plan.roll.within_ms)
        timer_start(loop, &rolling->overdue, rolling->plan.roll.within_ms, overdue_due, unit);
    if (rolling->plan.roll.errors_percent)
        timer_start(loop, &rolling->sample, SAMPLE_MS, sample_due, unit);
}
