#include "supervise/instance_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/scoped.h"
#include "supervise/unit.h"

/* ---- who is what ----------------------------------------------------------------------------- */

static const char *name_of(enum endpoint_role role)
{
    const char *name = endpoint_role_name(role);
    return name ? name : "unknown";
}

static bool role_give(struct instance *instance, enum endpoint_role role, const char *why)
{
    enum endpoint_role was = instance->role;
    if (was == role)
        return false;
    instance->role = role;
    if (role == ROLE_DEPOSED)
        log_warn("primary-deposed",
                 "instance=%s why=\"it says that it is the primary, and another one is\"",
                 instance->name);
    else
        log_info("instance-role", "instance=%s role=%s was=%s%s%s%s", instance->name, name_of(role),
                 name_of(was), *why ? " why=\"" : "", why, *why ? "\"" : "");
    return true;
}

/* The unit's roles, after one of its instances said another; `why` is about that one. */
static void roles_settle(const struct instance *instance, const char *why)
{
    struct unit *unit = instance->unit;
    uint32_t count = unit->instance_count;
    scoped_memory struct claim **claims = calloc(count ? count : 1, sizeof *claims);
    if (!claims) /* with the next answer */
        return;
    bool had = false, changed = false;
    for (uint32_t i = 0; i < count; i++) {
        struct instance *each = unit->instances[i];
        claims[i] = each ? &each->claim : NULL;
        had |= each && each->role == ROLE_PRIMARY;
    }
    uint32_t first = primacy_judge(&unit->primacy, claims, count);
    for (uint32_t i = 0; i < count; i++)
        if (claims[i])
            changed |= role_give(unit->instances[i], claim_role(claims[i], i == first),
                                 unit->instances[i] == instance ? why : "");
    if (had && first == PRIMACY_NOBODY)
        log_warn("no-primary", "service=%s instead=\"connections to it wait\"",
                 unit->service->name);
    if (changed) {
        front_unit_write(unit->supervisor->front, unit);
        supervisor_note_change(unit->supervisor, unit);
    }
}

void instance_role_told(struct instance *instance, const struct role_answer *answer,
                        const char *why)
{
    if (instance->main_ended || instance->unit->service->role.check == ROLE_CHECK_NONE)
        return;
    claim_take(&instance->claim, answer, &instance->unit->primacy);
    roles_settle(instance, why);
}

/* ---- asking by a command --------------------------------------------------------------------- */

static void role_probed(void *owner, bool well, const char *text)
{
    struct instance *instance = owner;
    struct role_answer answer;
    if (well && role_answer_word(text, strlen(text), &answer))
        instance_role_told(instance, &answer, "");
    else
        instance_role_told(instance, NULL,
                           well ? "its command prints neither `primary` nor `replica`" : text);
}

void instance_role_begin(struct instance *instance)
{
    const struct service_role *role = &instance->unit->service->role;
    if (role->check != ROLE_CHECK_EXEC || instance->role_probe || instance->main_ended)
        return;
    const struct probe_plan plan = {
        .every_ms = role->every_ms,
        .timeout_ms = role->timeout_ms,
        .rise = 1,
        .fall = role->fall,
        .answers = true,
    };
    int error =
        instance_probe_start(instance, role->argv, &plan, role_probed, &instance->role_probe);
    if (error)
        log_error("role-not-asked", "instance=%s why=\"%s\" error=\"%s\"", instance->name,
                  instance->reason, strerror(-error));
}

void instance_role_resettle(struct instance *instance)
{
    probe_free(instance->role_probe);
    instance->role_probe = NULL;
    if (instance->unit->service->role.check == ROLE_CHECK_NONE) {
        instance->claim = (struct claim){0};
        instance->role = ROLE_NONE;
    } else if (instance->listened) {
        instance_role_begin(instance);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

void instance_role_forget(struct instance *instance)
{
    probe_free(instance->role_probe);
    instance->role_probe = NULL;
    if (instance->claim.role == ROLE_NONE)
        return;
    claim_take(&instance->claim, NULL, &instance->unit->primacy);
    roles_settle(instance, "its process ended");
}

void instance_role_adopt(struct instance *instance, enum endpoint_role role, uint32_t term)
{
    const struct role_answer was = {
        .role = role == ROLE_REPLICA ? ROLE_REPLICA : ROLE_PRIMARY,
        .term = term,
    };
    if (role == ROLE_NONE || instance->unit->service->role.check == ROLE_CHECK_NONE)
        return;
    instance->role = role;
    claim_take(&instance->claim, &was, &instance->unit->primacy);
    if (role == ROLE_DEPOSED) /* older than that of the primary, whoever is adopted first */
        instance->claim.since = 0;
}
