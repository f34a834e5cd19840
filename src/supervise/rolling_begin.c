#include "supervise/rolling_private.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervise/sleeping.h"

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
            instance->aim = rolling_is_led(unit, instance) ? unit->rolling.leads : instance->runs;
    }
}

static void launch(struct unit *unit, const struct rollout_plan *plan, bool back, const char *cause)
{
    struct rolling *rolling = &unit->rolling;
    rolling_timers_stop(unit);
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
    if (!back)
        rolling_proof_begin(unit);
    rolling_feed(unit, ROLLOUT_BEGIN);
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
