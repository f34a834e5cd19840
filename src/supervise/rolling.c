#include "supervise/rolling_private.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervise/past.h"
#include "topology/addresses.h"

/* ---- who is what ------------------------------------------------------------------------------
 */

bool rolling_is_extra(const struct unit *unit, const struct instance *instance)
{
    return instance->number > unit->wanted;
}

bool rolling_is_led(const struct unit *unit, const struct instance *instance)
{
    bool back = unit->rolling.rollout.back;
    return instance->record->revision ==
           (back ? unit->record->revision_before : unit->record->revision);
}

static bool is_going(const struct instance *instance)
{
    return instance->life.goal == GOAL_REMOVE || instance->life.state == STATE_GONE;
}

static bool is_serving(const struct instance *instance)
{
    return instance->life.state == STATE_UP && instance->healthy && !instance->leaving;
}

/* It came as far as it is asked to. */
static bool has_come(const struct unit *unit, const struct instance *instance)
{
    const struct lifecycle *life = &instance->life;
    if (is_serving(instance) || (life->state == STATE_DRAINING && life->goal == GOAL_HOLD))
        return true;
    if (life->state == STATE_IDLE && instance->begun && life->clean)
        return true; /* it did its work, and need not be started again */
    return unit->rolling.rollout.back && (life->state == STATE_UP || instance_hopeless(instance));
}

static bool anybody_serves(const struct unit *unit)
{
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i] && is_serving(unit->instances[i]))
            return true;
    return false;
}

/* What there are addresses, slots and numbers for. Where nobody serves nobody is to be replaced
 * without a gap. */
static uint32_t surge_possible(const struct unit *unit)
{
    uint32_t surge = rollout_surge(&unit->rolling.plan.roll, unit->wanted);
    uint32_t room = unit->blocks * INSTANCES_PER_BLOCK;
    if (room > SERVICE_INSTANCES_MAX)
        room = SERVICE_INSTANCES_MAX;
    room = room > unit->wanted ? room - unit->wanted : 0;
    uint32_t slots = supervisor_slots_free(unit->supervisor) + unit->rolling.extra;
    if (surge > room)
        surge = room;
    if (surge > slots)
        surge = slots;
    return anybody_serves(unit) ? surge : 0;
}

static struct rollout_facts facts_of(const struct unit *unit)
{
    const struct program *before = &unit->rolling.before;
    struct rollout_facts facts = {.surge = surge_possible(unit),
                                  .can_return = before->service != NULL};
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        const struct instance *instance = unit->instances[i];
        if (!instance || instance->life.state == STATE_GONE)
            continue;
        bool extra = rolling_is_extra(unit, instance);
        facts.extras += extra;
        facts.replaced += !extra && instance->record->revision == unit->record->revision;
        facts.left += !extra && !is_going(instance) && !rolling_is_led(unit, instance);
    }
    return facts;
}

uint32_t rolling_replaced(const struct unit *unit)
{
    return facts_of(unit).replaced;
}

/* ---- what the rollout waits for ---------------------------------------------------------------
 */

static bool extras_ready(const struct unit *unit)
{
    for (uint32_t number = unit->wanted + 1; number <= unit_seats(unit); number++) {
        const struct instance *instance = unit_instance(unit, number);
        if (!instance || instance->life.goal == GOAL_RESTART || !rolling_is_led(unit, instance) ||
            !has_come(unit, instance))
            return false;
    }
    return true;
}

static bool replaced_ready(const struct unit *unit)
{
    for (uint32_t number = 1; number <= unit->wanted; number++) {
        const struct instance *instance = unit_instance(unit, number);
        if (!instance || instance->life.goal == GOAL_RESTART ||
            (rolling_is_led(unit, instance) && !has_come(unit, instance)))
            return false;
    }
    return true;
}

static bool extras_gone(const struct unit *unit)
{
    return unit->instance_count <= unit->wanted;
}

static bool is_ready(const struct unit *unit)
{
    switch (unit->rolling.rollout.state) {
    case ROLLOUT_SURGING:
        return extras_ready(unit);
    case ROLLOUT_REPLACING:
        return replaced_ready(unit);
    case ROLLOUT_TRIMMING:
        return extras_gone(unit);
    case ROLLOUT_REST:
    case ROLLOUT_CANARY:
    case ROLLOUT_PAUSING:
    case ROLLOUT_WATCHING:
    case ROLLOUT_STATES:
        break;
    }
    return false;
}

/* ---- what it does -----------------------------------------------------------------------------
 */

static void replace(struct unit *unit, struct instance *instance)
{
    instance->aim = unit->rolling.leads;
    log_info("roll-replaces", "instance=%s", instance->name);
    instance_stop(instance, GOAL_RESTART, false);
}

/* Those beyond N that are of another program than they should be now. */
static void extras_replace(struct unit *unit)
{
    for (uint32_t number = unit->wanted + 1; number <= unit_seats(unit); number++) {
        struct instance *instance = unit_instance(unit, number);
        if (instance && !is_going(instance) && !rolling_is_led(unit, instance) &&
            instance->life.goal != GOAL_RESTART)
            replace(unit, instance);
    }
}

static void seats_tell(const struct unit *unit)
{
    struct steering *steering = unit->supervisor->steering;
    steering->operations->wanted(steering, unit->service->index, unit_seats_kept(unit));
}

static void surge(struct unit *unit, uint32_t extra)
{
    unit->rolling.extra = extra;
    seats_tell(unit);
    extras_replace(unit);
    unit_fill(unit);
}

/* So many of those that serve may be taken out now. */
static int64_t budget_of(const struct unit *unit)
{
    uint32_t extras = 0, away = 0;
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        const struct instance *instance = unit->instances[i];
        if (!instance)
            continue;
        bool serving = is_serving(instance);
        extras += rolling_is_extra(unit, instance) && serving && rolling_is_led(unit, instance);
        away += !rolling_is_extra(unit, instance) && !serving && rolling_is_led(unit, instance);
    }
    const struct rollout_plan *plan = &unit->rolling.plan;
    return (int64_t)extras + rollout_unavailable(&plan->roll, unit->rolling.extra) - away;
}

/* The next: who serves nobody at once, the others as far as there are enough without them. */
static void replace_some(struct unit *unit)
{
    int64_t budget = budget_of(unit);
    struct instance *first = NULL;
    bool any = false;
    for (uint32_t number = 1; number <= unit->wanted; number++) {
        struct instance *instance = unit_instance(unit, number);
        if (!instance || is_going(instance) || rolling_is_led(unit, instance))
            continue;
        first = first ? first : instance;
        if (is_serving(instance) && budget-- <= 0)
            continue;
        any = true;
        replace(unit, instance);
    }
    if (first && !any)
        replace(unit, first);
}

/* The program before is what is led to. Who was only being drained comes back. */
static void turn(struct unit *unit)
{
    struct rolling *rolling = &unit->rolling;
    log_warn("roll-turned", "service=%s why=\"%s\"", unit->service->name,
             unit->record->rollout_why);
    if (rolling->before.service)
        rolling->leads = PROGRAM_BEFORE;
    for (uint32_t number = 1; number <= unit->wanted; number++) {
        struct instance *instance = unit_instance(unit, number);
        if (!instance || is_going(instance))
            continue;
        instance->aim = rolling->leads;
        if (instance->life.state == STATE_DRAINING && instance->life.goal == GOAL_RESTART &&
            rolling_is_led(unit, instance))
            instance_resume(instance);
    }
}

static void trim(struct unit *unit)
{
    unit->rolling.extra = 0;
    unit_trim(unit);
}

void rolling_timers_stop(struct unit *unit)
{
    struct loop *loop = unit->supervisor->loop;
    timer_stop(loop, &unit->rolling.time);
    timer_stop(loop, &unit->rolling.overdue);
    timer_stop(loop, &unit->rolling.sample);
}

/* It is over: what runs is what instances are started from until somebody says otherwise. */
static void end(struct unit *unit)
{
    struct rolling *rolling = &unit->rolling;
    struct service_record *record = unit->record;
    enum rollout_outcome outcome = rolling->rollout.outcome;
    rolling_timers_stop(unit);
    rolling->extra = 0;
    rolling->ended++;
    if (outcome == ROLLOUT_DONE) {
        rolling->before.service = NULL;
        rolling->leads = PROGRAM_NOW;
    }
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        struct instance *instance = unit->instances[i];
        if (!instance)
            continue;
        instance->aim = rolling->leads;
        if (outcome == ROLLOUT_DONE)
            instance->runs = PROGRAM_NOW;
    }
    record->rollout_wall_ms = clock_wall_ms();
    if (outcome != ROLLOUT_CANCELLED)
        seats_tell(unit);
    log_event(outcome == ROLLOUT_DONE ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "roll-ended",
              "service=%s outcome=\"%s\" why=\"%s\"", unit->service->name,
              rollout_outcome_name(outcome), record->rollout_why);
    past_sweep(unit->supervisor);
}

static void time_due(struct timer *timer)
{
    rolling_feed(timer->owner, ROLLOUT_TIME);
}

static void carry_out(struct unit *unit, unsigned actions, const struct rollout_facts *facts)
{
    struct rolling *rolling = &unit->rolling;
    struct loop *loop = unit->supervisor->loop;
    timer_stop(loop, &rolling->time);
    if (actions & ROLLOUT_DO_TURN)
        turn(unit);
    if (actions & ROLLOUT_DO_SURGE)
        surge(unit, facts->surge);
    if (actions & ROLLOUT_DO_SHARE)
        unit_rotate(unit);
    if (actions & ROLLOUT_DO_REPLACE)
        replace_some(unit);
    if (actions & ROLLOUT_DO_TRIM)
        trim(unit);
    if (actions & ROLLOUT_DO_TIME)
        timer_start(loop, &rolling->time, rollout_time_ms(&rolling->rollout, &rolling->plan),
                    time_due, unit);
    if (actions & ROLLOUT_DO_END)
        end(unit);
}

void rolling_feed(struct unit *unit, enum rollout_event event)
{
    struct rolling *rolling = &unit->rolling;
    struct rollout_facts facts = facts_of(unit);
    enum rollout_state was = rolling->rollout.state;
    unsigned actions = rollout_step(&rolling->rollout, event, &rolling->plan, &facts);
    unit->record->rollout = rolling->rollout.outcome;
    if (rolling->rollout.state != was)
        log_info("roll-step", "service=%s step=%s back=%d replaced=%u left=%u extra=%u",
                 unit->service->name, rollout_name(rolling->rollout.state), rolling->rollout.back,
                 facts.replaced, facts.left, facts.extras);
    if (actions)
        carry_out(unit, actions, &facts);
    supervisor_note_change(unit->supervisor, unit);
}

void rolling_tend(struct unit *unit)
{
    struct rolling *rolling = &unit->rolling;
    if (!rollout_active(&rolling->rollout))
        return;
    if (rolling->failed && !rolling->rollout.back) {
        rolling_feed(unit, ROLLOUT_FAILED);
        return;
    }
    if (rolling->rollout.state == ROLLOUT_SURGING)
        extras_replace(unit); /* another number became one beyond N, since it was scaled */
    if (is_ready(unit))
        rolling_feed(unit, ROLLOUT_READY);
}

void rolling_cancel(struct unit *unit)
{
    if (rollout_active(&unit->rolling.rollout))
        rolling_feed(unit, ROLLOUT_CANCEL);
}

void rolling_forget(struct unit *unit)
{
    rolling_cancel(unit);
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i])
            unit->instances[i]->runs = unit->instances[i]->aim = PROGRAM_NOW;
    unit->rolling.before.service = NULL;
    unit->rolling.leads = PROGRAM_NOW;
}

void rolling_done(struct unit *unit)
{
    if (unit->supervisor)
        rolling_timers_stop(unit);
}

/* ---- shares -----------------------------------------------------------------------------------
 */

static void served_count(const struct unit *unit, uint32_t *ret_led, uint32_t *ret_others)
{
    *ret_led = *ret_others = 0;
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        const struct instance *instance = unit->instances[i];
        if (!instance || !is_serving(instance))
            continue;
        *ret_led += rolling_is_led(unit, instance);
        *ret_others += !rolling_is_led(unit, instance);
    }
}

/* On the way back, what is not good enough gets nothing while there are others. */
uint32_t rolling_weight(const struct instance *instance, uint32_t weight)
{
    const struct unit *unit = instance->unit;
    const struct rollout *rollout = &unit->rolling.rollout;
    uint32_t led, others, of_led, of_others;
    if (!rollout->back && rollout->state != ROLLOUT_CANARY)
        return weight;
    if (!rollout_active(rollout))
        return weight;
    served_count(unit, &led, &others);
    if (rollout->back)
        return unit->rolling.before.service && led && !rolling_is_led(unit, instance) ? 0 : weight;
    rollout_weights(rollout->share_percent, led, others, &of_led, &of_others);
    return weight * (rolling_is_led(unit, instance) ? of_led : of_others);
}

/* ---- words ------------------------------------------------------------------------------------
 */

void rolling_text(const struct unit *unit, char *text, size_t size)
{
    const struct rolling *rolling = &unit->rolling;
    const struct rollout *rollout = &rolling->rollout;
    struct rollout_facts facts = facts_of(unit);
    uint32_t done = rollout->back ? unit->wanted - facts.replaced : facts.replaced;
    int length =
        snprintf(text, size, "%.100s: %u of %u %s, %s", unit->service->name, done, unit->wanted,
                 rollout->back ? "as before" : "replaced", rollout_name(rollout->state));
    if (rollout->state == ROLLOUT_CANARY && length > 0 && (size_t)length < size)
        length += snprintf(text + length, size - (size_t)length, " %u%%", rollout->share_percent);
    if (rollout->back && length > 0 && (size_t)length < size)
        snprintf(text + length, size - (size_t)length, " (going back: %s)",
                 unit->record->rollout_why);
}
