#include "control/roll.h"

#include <stdio.h>

#include "base/clock.h"
#include "control/text.h"
#include "supervise/supervisor.h"

enum { STEP_MS = 30000, ROLL_MS_MAX = 604800000 };

static bool number_read(const json_t *request, const char *key, json_int_t max, uint32_t *value)
{
    const json_t *field = json_object_get(request, key);
    if (!field)
        return true;
    json_int_t number = json_integer_value(field);
    if (!json_is_integer(field) || number < 0 || number > max)
        return false;
    *value = (uint32_t)number;
    return true;
}

bool roll_plan_read(const json_t *request, struct rollout_plan *plan, const char **ret_why)
{
    struct service_roll *roll = &plan->roll;
    bool fine = number_read(request, "surge", SERVICE_INSTANCES_MAX, &roll->surge) &&
                number_read(request, "unavailable", SERVICE_INSTANCES_MAX, &roll->unavailable) &&
                number_read(request, "within", ROLL_MS_MAX, &roll->within_ms) &&
                number_read(request, "pause", ROLL_MS_MAX, &roll->pause_ms) &&
                number_read(request, "watch", ROLL_MS_MAX, &roll->watch_ms) &&
                number_read(request, "errors", 100, &roll->errors_percent);
    plan->step_ms = STEP_MS;
    fine = fine && number_read(request, "canary", 99, &plan->canary_percent) &&
           number_read(request, "step", ROLL_MS_MAX, &plan->step_ms);
    if (!fine)
        *ret_why = "a number of the request is out of its bounds";
    return fine;
}

static json_t *time_json(uint64_t wall_ms)
{
    char text[CLOCK_TEXT_BYTES];
    return wall_ms ? json_string(clock_format(wall_ms, text)) : json_null();
}

json_t *roll_status(const struct unit *unit)
{
    const struct service_record *record = unit->record;
    const struct rollout *rollout = &unit->rolling.rollout;
    bool active = rollout_active(rollout);
    if (!record || record->rollout == ROLLOUT_NONE)
        return json_null();
    json_t *object = json_object();
    json_object_set_new(object, "state", json_string(rollout_outcome_name(record->rollout)));
    json_object_set_new(object, "step",
                        active ? json_string(rollout_name(rollout->state)) : json_null());
    json_object_set_new(object, "since", time_json(record->rollout_wall_ms));
    json_object_set_new(object, "replaced", json_integer(rolling_replaced(unit)));
    json_object_set_new(object, "of", json_integer(unit->wanted));
    json_object_set_new(object, "share_percent",
                        rollout->state == ROLLOUT_CANARY ? json_integer(rollout->share_percent)
                                                         : json_null());
    json_object_set_new(object, "why",
                        json_text(record->rollout_why[0] ? record->rollout_why : NULL));
    return object;
}

const char *roll_error(const struct unit *unit)
{
    static char text[RECORD_WHY_BYTES + RECORD_NAME_BYTES + 128];
    const char *name = unit->service->name, *why = unit->record->rollout_why;
    switch (unit->rolling.rollout.outcome) {
    case ROLLOUT_ROLLED_BACK:
        snprintf(text, sizeof text, "%s was rolled back, what ran before runs on: %s", name, why);
        return text;
    case ROLLOUT_STOPPED:
        snprintf(text, sizeof text, "the roll of %s was stopped, what was replaced stays: %s", name,
                 why);
        return text;
    case ROLLOUT_CANCELLED:
        snprintf(text, sizeof text, "the roll of %s was cancelled", name);
        return text;
    case ROLLOUT_NONE:
    case ROLLOUT_FORTH:
    case ROLLOUT_BACK:
    case ROLLOUT_DONE:
    case ROLLOUT_OUTCOMES:
        break;
    }
    return NULL;
}
