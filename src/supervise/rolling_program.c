#include "supervise/rolling_private.h"

#include <string.h>

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
    rolling_errors_begin(instance);
}

void rolling_adopts(struct instance *instance)
{
    const struct unit *unit = instance->unit;
    const struct service *before = unit->rolling.before.service;
    uint64_t definition = instance->record->definition;
    bool of_before =
        before && definition == before->definition && definition != unit->service->definition;
    instance->runs = instance->aim = of_before ? PROGRAM_BEFORE : PROGRAM_NOW;
    rolling_errors_begin(instance);
}
