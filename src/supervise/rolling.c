#include "supervise/rolling.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervise/past.h"
#include "supervise/sleeping.h"
#include "supervise/supervisor.h"
#include "topology/addresses.h"

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

static void feed(struct unit *unit, enum rollout_event event);

/* ---- programs ---------------------------------------------------------------------------------
 */

static bool is_of_before(const struct instance *instance)
{
    return instance->runs == PROGRAM_BEFORE && instance->unit->rolling.before.service;
}

const struct service *rolling_service(const struct instance *instance)
{
    return is_of_before(instance) ? instance->unit->rolling.before.service
                                  : instance->unit->service;
}

const struct spawn_user *rolling_user(const struct instance *instance)
{
    return is_of_before(instance) ? &instance->unit->rolling.before.user : &instance->unit->user;
}

static bool texts_differ(const char *one, const char *other)
{
    return (one == NULL) != (other == NULL) || (one && strcmp(one, other) != 0);
}

static bool checks_differ(const struct service *one, const struct service *other)
{
    const struct service_gateway *a = &one->gateway, *b = &other->gateway;
    return one->check != other->check || texts_differ(a->check_path, b->check_path) ||
           texts_differ(a->check_host, b->check_host) ||
           texts_differ(a->check_match, b->check_match) ||
           texts_differ(a->check_send, b->check_send) ||
           texts_differ(a->check_expect, b->check_expect) ||
           a->check_status_low != b->check_status_low ||
           a->check_status_high != b->check_status_high;
}

enum check_kind rolling_check(const struct instance *instance)
{
    const struct service *service = rolling_service(instance);
    const struct service *now = instance->unit->service;
    bool gateway = check_by_gateway(service->check) || check_by_gateway(now->check);
    return service != now && gateway && checks_differ(service, now) ? CHECK_LISTEN : service->check;
}

bool rolling_needs(const struct unit *unit, const struct service *services, size_t count)
{
    const struct service *before = unit->rolling.before.service;
    return before && before >= services && before < services + count;
}

static uint32_t revision_of(const struct unit *unit, enum program_choice choice)
{
    const struct service_record *record = unit->record;
    return choice == PROGRAM_BEFORE ? record->revision_before : record->revision;
}

void rolling_takes(struct instance *instance)
{
    instance->runs = instance->aim;
    instance->record->revision = revision_of(instance->unit, instance->aim);
    instance->record->definition = rolling_service(instance)->definition;
    tally_errors(front_tally(instance->unit->supervisor->front), instance->slot,
                 &instance->requests_before, &instance->errors_before);
}

void rolling_adopts(struct instance *instance)
{
    const struct unit *unit = instance->unit;
    const struct service *before = unit->rolling.before.service;
    uint64_t definition = instance->record->definition;
    bool of_before =
        before && definition == before->definition && definition != unit->service->definition;
    instance->runs = instance->aim = of_before ? PROGRAM_BEFORE : PROGRAM_NOW;
    tally_errors(front_tally(unit->supervisor->front), instance->slot, &instance->requests_before,
                 &instance->errors_before);
}

/* ---- who is what ------------------------------------------------------------------------------
 */

static bool is_extra(const struct unit *unit, const struct instance *instance)
{
    return instance->number > unit->wanted;
}

/* Was it started from what the rollout leads to (on the way back: from the program before)? */
static bool is_led(const struct unit *unit, const struct instance *instance)
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
        bool extra = is_extra(unit, instance);
        facts.extras += extra;
        facts.replaced += !extra && instance->record->revision == unit->record->revision;
        facts.left += !extra && !is_going(instance) && !is_led(unit, instance);
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
        if (!instance || instance->life.goal == GOAL_RESTART || !is_led(unit, instance) ||
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
            (is_led(unit, instance) && !has_come(unit, instance)))
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
        if (instance && !is_going(instance) && !is_led(unit, instance) &&
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
        extras += is_extra(unit, instance) && serving && is_led(unit, instance);
        away += !is_extra(unit, instance) && !serving && is_led(unit, instance);
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
        if (!instance || is_going(instance) || is_led(unit, instance))
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
            is_led(unit, instance))
            instance_resume(instance);
    }
}

static void trim(struct unit *unit)
{
    unit->rolling.extra = 0;
    unit_trim(unit);
}

static void timers_stop(struct unit *unit)
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
    timers_stop(unit);
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
    feed(timer->owner, ROLLOUT_TIME);
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

static void feed(struct unit *unit, enum rollout_event event)
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
        feed(unit, ROLLOUT_FAILED);
        return;
    }
    if (rolling->rollout.state == ROLLOUT_SURGING)
        extras_replace(unit); /* another number became one beyond N, since it was scaled */
    if (is_ready(unit))
        feed(unit, ROLLOUT_READY);
}

void rolling_cancel(struct unit *unit)
{
    if (rollout_active(&unit->rolling.rollout))
        feed(unit, ROLLOUT_CANCEL);
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
        timers_stop(unit);
}

/* ---- is the new program good enough? ----------------------------------------------------------
 */

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
    if (instance->unit->rolling.before.service && !is_extra(instance->unit, instance))
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

/* ---- the beginning ----------------------------------------------------------------------------
 */

struct rollout_plan rolling_plan(const struct unit *unit)
{
    return (struct rollout_plan){.roll = unit->service->roll};
}

/* Who is not replaced yet stays what it is, if it should start again meanwhile. */
static void aims_set(struct unit *unit)
{
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        struct instance *instance = unit->instances[i];
        if (instance)
            instance->aim = is_led(unit, instance) ? unit->rolling.leads : instance->runs;
    }
}

static void launch(struct unit *unit, const struct rollout_plan *plan, bool back, const char *cause)
{
    struct rolling *rolling = &unit->rolling;
    struct loop *loop = unit->supervisor->loop;
    timers_stop(unit);
    rolling->plan = *plan;
    rolling->rollout = (struct rollout){.back = back};
    rolling->leads = back ? PROGRAM_BEFORE : PROGRAM_NOW;
    rolling->failed = false;
    unit->restarting = 0;
    unit->record->rollout_wall_ms = clock_wall_ms();
    if (!back)
        unit->record->rollout_why[0] = 0;
    aims_set(unit);
    log_info("roll-begins", "service=%s cause=\"%s\" revision=%u back=%d", unit->service->name,
             cause, unit->record->revision, back);
    if (plan->roll.within_ms && !back)
        timer_start(loop, &rolling->overdue, plan->roll.within_ms, overdue_due, unit);
    if (plan->roll.errors_percent && !back)
        timer_start(loop, &rolling->sample, SAMPLE_MS, sample_due, unit);
    feed(unit, ROLLOUT_BEGIN);
}

int rolling_begin(struct unit *unit, const struct rollout_plan *plan, const char *cause)
{
    struct rolling *rolling = &unit->rolling;
    struct service_record *record = unit->record;
    if (!unit->begun || unit->ended || unit->removed)
        return -ESRCH;
    if (rollout_active(&rolling->rollout))
        return -EBUSY;
    if (plan->canary_percent && rollout_surge(&plan->roll, unit->wanted) == 0 && unit->wanted < 2)
        return -EINVAL;
    sleeping_end(unit, "it is rolled");
    if (rolling->leads == PROGRAM_NOW)
        record->revision_before = record->revision;
    record->revision = ++record->revisions;
    launch(unit, plan, false, cause);
    return 0;
}

/* The text of what is known to be good: what ran before a rollout that is not over, or was turned
 * round; else what the service said until now. */
static void before_set(struct unit *unit, const struct service *was)
{
    struct rolling *rolling = &unit->rolling;
    bool unproven = rollout_active(&rolling->rollout) || rolling->leads == PROGRAM_BEFORE;
    if (unproven && rolling->before.service)
        return;
    rolling->before = (struct program){.service = was, .user = unit->user};
    unit->record->revision_before = unit->record->revision;
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i])
            unit->instances[i]->runs = PROGRAM_BEFORE;
}

/* The new definition is the one before: what runs it may stay. */
static void before_is_now(struct unit *unit)
{
    unit->record->revision = unit->record->revision_before;
    unit->rolling.before.service = NULL;
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i])
            unit->instances[i]->runs = PROGRAM_NOW;
}

void rolling_redefine(struct unit *unit, const struct service *service, const struct service *was)
{
    struct service_record *record = unit->record;
    if (unit->begun)
        before_set(unit, was);
    unit->service = service;
    unit->user = (struct spawn_user){0};
    int error = service->user ? spawn_user_find(service->user, service->group, &unit->user) : 0;
    if (error) /* it was looked up while the file was read */
        log_error("user-not-found", "service=%s error=\"%s\"", service->name, strerror(-error));
    if (!unit->begun)
        return;
    log_info("definition-changed", "service=%s", service->name);
    record->definition = service->definition;
    if (unit->rolling.before.service->definition == service->definition)
        before_is_now(unit);
    else
        record->revision = ++record->revisions;
    if (unit->ended)
        return;
    struct rollout_plan plan = rolling_plan(unit);
    launch(unit, &plan, false, "reload");
}

/* Those that live, and are of another revision than the record's. */
static bool any_adopted(const struct unit *unit)
{
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i] && unit->instances[i]->begun)
            return true;
    return false;
}

/* The way back was under way, and what it led to is not known any more. */
static void back_give_up(struct unit *unit)
{
    unit->record->rollout = rolling_replaced(unit) > 0 ? ROLLOUT_STOPPED : ROLLOUT_ROLLED_BACK;
    unit->rolling.rollout.outcome = unit->record->rollout;
    log_warn("roll-ended", "service=%s outcome=\"%s\" why=\"%s\"", unit->service->name,
             rollout_outcome_name(unit->record->rollout), unit->record->rollout_why);
}

void rolling_resume(struct unit *unit)
{
    struct rolling *rolling = &unit->rolling;
    struct service_record *record = unit->record;
    struct rollout_plan plan = rolling_plan(unit);
    bool known = rolling->before.service != NULL;
    bool changed = unit->outdated;
    unit->outdated = false;
    rolling->rollout.outcome = record->rollout;
    if (!any_adopted(unit)) {
        if (record->rollout == ROLLOUT_FORTH || record->rollout == ROLLOUT_BACK)
            record->rollout = rolling->rollout.outcome = ROLLOUT_CANCELLED;
    } else if (changed) {
        bool unproven = record->rollout == ROLLOUT_FORTH || record->rollout == ROLLOUT_BACK ||
                        record->rollout == ROLLOUT_ROLLED_BACK;
        if (!unproven || !known)
            record->revision_before = record->revision;
        record->revision = ++record->revisions;
        launch(unit, &plan, false, "the file changed");
    } else if (record->rollout == ROLLOUT_FORTH) {
        launch(unit, &plan, false, "it was under way");
    } else if (record->rollout == ROLLOUT_BACK && known) {
        launch(unit, &plan, true, "it was under way");
    } else if (record->rollout == ROLLOUT_BACK) {
        back_give_up(unit);
    } else if (record->rollout == ROLLOUT_ROLLED_BACK && known) {
        rolling->leads = PROGRAM_BEFORE;
        aims_set(unit);
    }
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
        *ret_led += is_led(unit, instance);
        *ret_others += !is_led(unit, instance);
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
        return unit->rolling.before.service && led && !is_led(unit, instance) ? 0 : weight;
    rollout_weights(rollout->share_percent, led, others, &of_led, &of_others);
    return weight * (is_led(unit, instance) ? of_led : of_others);
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
