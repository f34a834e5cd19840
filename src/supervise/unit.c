#include "supervise/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "supervise/sleeping.h"
#include "supervise/supervisor.h"
#include "topology/addresses.h"

static uint32_t address_of(const struct unit *unit, uint32_t number)
{
    uint32_t block = unit->block + (number - 1) / INSTANCES_PER_BLOCK;
    return addresses_block(block) + (number - 1) % INSTANCES_PER_BLOCK + 1;
}

/* Addresses for so many instances: the blocks that it had, or more, which must adjoin. Instances
 * that run keep their addresses, so a unit that outgrows its blocks can only do so at the start. */
static int blocks_take(struct unit *unit, uint32_t instances)
{
    uint32_t needed = addresses_blocks_needed(instances);
    if (!unit->blocks && needed < unit->record->blocks)
        needed = unit->record->blocks; /* adopted instances may live in any of them */
    struct steering *steering = unit->supervisor->steering;
    if (needed <= unit->blocks)
        return 0;
    if (unit->blocks)
        return -ERANGE;
    uint32_t preferred = unit->record->blocks >= needed ? unit->record->block : UINT32_MAX;
    int error = steering->operations->block(steering, needed, preferred, &unit->block);
    if (error)
        return error;
    unit->blocks = needed;
    unit->record->block = unit->block;
    unit->record->blocks = needed;
    return 0;
}

/* Room for instances up to that number; most services have few. */
static int room_make(struct unit *unit, uint32_t number)
{
    if (number <= unit->instance_room)
        return 0;
    uint32_t room = unit->instance_room ? unit->instance_room : 1;
    while (room < number)
        room *= 2;
    struct instance **instances = reallocarray(unit->instances, room, sizeof *instances);
    if (!instances)
        return -ENOMEM;
    memset(instances + unit->instance_room, 0, (room - unit->instance_room) * sizeof *instances);
    unit->instances = instances;
    unit->instance_room = room;
    return 0;
}

int unit_init(struct unit *unit, struct supervisor *supervisor, const struct service *service)
{
    *unit = (struct unit){.supervisor = supervisor, .service = service};
    const struct steering_operations *operations = supervisor->steering->operations;
    unit->home = operations->home ? operations->home(supervisor->steering, service->index)
                                  : supervisor->homes[service->index];
    unit->record = records_service_take(supervisor->records, service->name);
    if (!unit->record)
        return -ENOSPC;
    /* A number that was set by hand holds over a crash, unless the file has changed since. */
    bool same = unit->record->stated == service->instances && unit->record->wanted;
    unit->wanted = same ? unit->record->wanted : service->instances;
    if (service->scale.high && unit->wanted > service->scale.high)
        unit->wanted = service->scale.high;
    unit->record->wanted = unit->wanted;
    unit->record->stated = service->instances;
    int error = room_make(unit, unit->wanted);
    if (error)
        return error;
    if (service->user)
        error = spawn_user_find(service->user, service->group, &unit->user);
    uint32_t most = service_instances_most(service);
    return error ? error : blocks_take(unit, unit->wanted > most ? unit->wanted : most);
}

void unit_done(struct unit *unit)
{
    sleeping_forget(unit);
    job_free(unit);
    rolling_done(unit);
    for (uint32_t i = 0; unit->instances && i < unit->instance_count; i++)
        instance_free(unit->instances[i]);
    free(unit->instances);
    unit->instances = NULL;
    unit->instance_room = unit->instance_count = 0;
}

void unit_blocks_give(struct unit *unit)
{
    struct steering *steering = unit->supervisor->steering;
    if (unit->blocks)
        steering->operations->unblock(steering, unit->block, unit->blocks);
    unit->blocks = 0;
}

void unit_clear(struct unit *unit, struct supervisor *supervisor, const struct service *absent)
{
    *unit =
        (struct unit){.supervisor = supervisor, .service = absent, .begun = true, .settled = true};
}

struct instance *unit_only(const struct unit *unit)
{
    struct instance *only = NULL;
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        struct instance *instance = unit->instances[i];
        if (!instance || instance->life.state == STATE_GONE || instance->life.goal == GOAL_REMOVE)
            continue;
        if (only)
            return NULL;
        only = instance;
    }
    return only;
}

struct instance *unit_instance(const struct unit *unit, uint32_t number)
{
    return number && number <= unit->instance_count ? unit->instances[number - 1] : NULL;
}

/* The instance of that number, made when there is none. NULL: no slot or memory. */
static struct instance *instance_make(struct unit *unit, uint32_t number)
{
    struct supervisor *supervisor = unit->supervisor;
    struct instance *instance = unit_instance(unit, number);
    if (instance)
        return instance;
    uint32_t slot = supervisor_slot_take(supervisor);
    if (slot == UINT32_MAX)
        return NULL;
    instance = instance_new(unit, number, slot);
    if (!instance || unit_place(unit, instance) < 0) {
        instance_free(instance);
        return NULL;
    }
    struct instance_record *record = instance->record;
    *record = (struct instance_record){.number = number, .exit_status = -1, .epoch = record->epoch};
    memcpy(record->service, unit->record->name, sizeof record->service);
    instance->runs = instance->aim = unit->rolling.leads;
    return instance;
}

int unit_place(struct unit *unit, struct instance *instance)
{
    int error = room_make(unit, instance->number);
    if (error)
        return error;
    unit->instances[instance->number - 1] = instance;
    if (unit->instance_count < instance->number)
        unit->instance_count = instance->number;
    unit->supervisor->by_slot[instance->slot] = instance;
    instance->address = address_of(unit, instance->number);
    return 0;
}

uint32_t unit_seats(const struct unit *unit)
{
    uint32_t seats = unit->wanted + unit->rolling.extra;
    uint32_t room = unit->blocks * INSTANCES_PER_BLOCK; /* no more than it has addresses */
    if (room > SERVICE_INSTANCES_MAX)
        room = SERVICE_INSTANCES_MAX;
    return seats > room && room >= unit->wanted ? room : seats;
}

uint32_t unit_seats_kept(const struct unit *unit)
{
    uint32_t seats = unit_seats(unit);
    const struct instance *only = seats == 1 ? unit_only(unit) : NULL;
    return only && only->life.held ? 0 : seats;
}

void unit_trim(struct unit *unit)
{
    for (uint32_t i = unit->instance_count; i-- > unit_seats(unit);)
        if (unit->instances[i] && unit->instances[i]->life.goal != GOAL_REMOVE)
            instance_stop(unit->instances[i], GOAL_REMOVE, false);
}

void unit_fill(struct unit *unit)
{
    unit->filling = false;
    if (unit->ended)
        return;
    uint32_t seats = unit_seats(unit);
    for (uint32_t number = 1; number <= seats; number++) {
        struct instance *instance = instance_make(unit, number);
        if (!instance) {
            log_error("no-slot", "service=%s instance=%u", unit->service->name, number);
            return;
        }
        if (unit->service->job) /* it is started when it is due */
            continue;
        if (!unit->begun || instance->life.state != STATE_IDLE || instance->life.goal != GOAL_RUN ||
            instance->begun)
            continue;
        if (!supervisor_may_start(unit->supervisor)) {
            unit->filling = true;
            break;
        }
        instance_start(instance);
    }
    if (unit->filling)
        supervisor_note_change(unit->supervisor, unit);
}

/* None of its instances runs: what is done once for each start of the service is to be done. */
static void unit_unprepare(struct unit *unit)
{
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i] && unit->instances[i]->pid)
            return;
    memset(unit->record->prepared, 0, sizeof unit->record->prepared);
}

void unit_begin(struct unit *unit)
{
    if (unit->begun)
        return;
    unit->begun = true;
    supervisor_note_change(unit->supervisor, unit);
    unit_unprepare(unit);
    if (!unit->service->job)
        rolling_resume(unit);
    else
        unit->outdated = false; /* the next run is of what the file says now */
    unit_trim(unit);            /* adopted ones, of a file that wanted more */
    unit_fill(unit);
    unit->record->definition = unit->service->definition;
    if (unit->service->job && job_begin(unit) < 0)
        log_error("no-memory", "job=%s", unit->service->name);
}

bool unit_ready(const struct unit *unit)
{
    bool any = false;
    for (uint32_t i = 0; i < unit->instance_count; i++)
        any |= unit->instances[i] && unit->instances[i]->life.state == STATE_UP;
    return any || !unit->wanted || unit->asleep; /* who sleeps is woken by a connection */
}

int unit_scale_check(const struct unit *unit, uint32_t wanted)
{
    if (wanted > SERVICE_INSTANCES_MAX ||
        (unit->blocks && addresses_blocks_needed(wanted) > unit->blocks))
        return -ERANGE;
    if (wanted > unit->instance_count &&
        wanted - unit->instance_count > supervisor_slots_free(unit->supervisor))
        return -ENOSPC;
    return 0;
}

/* 0: none, for a service that is gone, or served elsewhere now. */
static int unit_want(struct unit *unit, uint32_t wanted)
{
    int error = unit_scale_check(unit, wanted);
    if (!error)
        error = blocks_take(unit, wanted);
    if (error)
        return error;
    struct steering *steering = unit->supervisor->steering;
    unit->wanted = unit->record->wanted = wanted;
    steering->operations->wanted(steering, unit->service->index, unit_seats_kept(unit));
    unit_trim(unit);
    unit_fill(unit);
    supervisor_note_change(unit->supervisor, unit);
    return 0;
}

int unit_scale(struct unit *unit, uint32_t wanted)
{
    sleeping_end(unit, "it is scaled");
    return wanted ? unit_want(unit, wanted) : -ERANGE;
}

/* A number that the scaler found is as good under other bounds that it is within. */
static bool within_range(const struct unit *unit, const struct service *service)
{
    return service->scale.high && unit->wanted >= service->instances;
}

static void unit_bound(struct unit *unit, const struct service *service)
{
    int error = unit_want(unit, service->scale.high);
    if (error)
        log_error("not-scaled", "service=%s instances=%u error=\"%s\"", service->name,
                  service->scale.high, strerror(-error));
}

/* A job has nothing that would have to be replaced: the next run is of what the file says now. */
static void job_redefine(struct unit *unit, const struct service *service)
{
    unit->service = service;
    unit->user = (struct spawn_user){0};
    unit->record->definition = service->definition;
    int error = service->user ? spawn_user_find(service->user, service->group, &unit->user) : 0;
    if (error) /* it was looked up while the file was read */
        log_error("user-not-found", "job=%s error=\"%s\"", service->name, strerror(-error));
    job_adapt(unit);
}

void unit_adapt(struct unit *unit, const struct service *service, const struct service *was)
{
    bool redefined = service->definition != was->definition;
    if (service->job) {
        job_redefine(unit, service);
        supervisor_note_change(unit->supervisor, unit);
        return;
    }
    if (redefined || service->scale.low || !service->scale.high)
        sleeping_end(unit, "its configuration changed");
    unit->sleepless &= !redefined;
    if (redefined)
        rolling_redefine(unit, service, was);
    else
        unit->service = service;
    if (service->scale.high && unit->wanted > service->scale.high)
        unit_bound(unit, service);
    else if (service->instances != was->instances && !within_range(unit, service)) {
        unit->record->stated = service->instances;
        int error = unit_want(unit, service->instances);
        if (error)
            log_error("not-scaled", "service=%s instances=%u error=\"%s\"", service->name,
                      service->instances, strerror(-error));
    }
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i])
            instance_resettle(unit->instances[i]);
    if (unit->instance_count)
        unit_rotate(unit);
    supervisor_note_change(unit->supervisor, unit);
}

void unit_remove(struct unit *unit, const struct service *absent)
{
    rolling_forget(unit);
    sleeping_forget(unit);
    unit->asleep = false;
    unit->service = absent;
    unit->removed = true;
    job_rest(unit);
    unit->restarting = 0;
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i])
            instance_resettle(unit->instances[i]);
    unit_want(unit, 0);
    supervisor_note_change(unit->supervisor, unit);
}

/* One that is being removed stays on its way. */
static bool restartable(const struct instance *instance)
{
    return instance && instance->life.goal != GOAL_REMOVE && instance->life.state != STATE_GONE;
}

/* The next instance of a rolling restart after `number`; none: it is over. */
static void restart_next(struct unit *unit, uint32_t number)
{
    while (++number <= unit->instance_count) {
        struct instance *instance = unit->instances[number - 1];
        if (!restartable(instance))
            continue;
        unit->restarting = number;
        instance_stop(instance, GOAL_RESTART, false);
        return;
    }
    unit->restarting = 0;
}

void unit_restart(struct unit *unit, uint32_t number)
{
    sleeping_end(unit, "it is restarted");
    if (!unit->begun || unit->ended ||
        unit->service->job) /* what waits for others has nothing to be restarted */
        return;
    if (number) {
        struct instance *instance = unit_instance(unit, number);
        if (restartable(instance))
            instance_stop(instance, GOAL_RESTART, false);
    } else if (!unit->restarting) {
        restart_next(unit, 0);
    }
    supervisor_note_change(unit->supervisor, unit);
}

void unit_end(struct unit *unit, bool kill)
{
    unit->ended = true;
    unit->restarting = 0;
    sleeping_forget(unit);
    unit->asleep = false;
    rolling_cancel(unit);
    job_rest(unit);
    unit->filling = false;
    if (unit->begun)
        unit_rotate(unit); /* all of them at once, before the first is told to stop */
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        struct instance *instance = unit->instances[i];
        if (!instance)
            continue;
        instance_stop(instance, GOAL_REST, true);
        if (kill && lifecycle_running(instance->life.state))
            instance_kill(instance);
    }
    supervisor_note_change(unit->supervisor, unit); /* also when there was nothing to end */
}

bool unit_at_rest(const struct unit *unit)
{
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i] && lifecycle_running(unit->instances[i]->life.state))
            return false;
    return true;
}

bool unit_settled(const struct unit *unit)
{
    if (unit->restarting || unit->filling || rollout_moves(&unit->rolling.rollout))
        return false;
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        const struct instance *instance = unit->instances[i];
        if (!instance)
            continue;
        if (instance->life.goal == GOAL_RESTART || instance->life.goal == GOAL_REMOVE)
            return false;
        enum lifecycle_state state = instance->life.state;
        if (state == STATE_PREPARING || state == STATE_STARTING || state == STATE_STOPPING ||
            state == STATE_FINISHING || state == STATE_BACKOFF)
            return false;
    }
    return unit->begun || unit->ended;
}

void unit_learn(struct unit *unit, const struct instance_port *port)
{
    for (size_t i = 0; i < unit->port_count; i++)
        if (unit->ports[i].port == port->port && unit->ports[i].protocol == port->protocol)
            return;
    if (unit->port_count < INSTANCE_PORTS_MAX)
        unit->ports[unit->port_count++] = *port;
}

uint32_t unit_weight(const struct unit *unit, uint32_t number)
{
    const struct service *service = unit->service;
    bool weighted = service->balance == BALANCE_WEIGHTED && number <= service->weight_count;
    uint32_t weight = weighted ? service->weights[number - 1] : 1;
    const struct instance *instance = unit_instance(unit, number);
    return instance ? rolling_weight(instance, weight) : weight;
}

static uint32_t weight_of(const struct unit *unit, const struct instance *instance)
{
    if (instance->life.state != STATE_UP || !instance->healthy || instance->leaving || unit->ended)
        return 0;
    return unit_weight(unit, instance->number);
}

bool unit_only_by_gateway(const struct unit *unit)
{
    const struct supervisor *supervisor = unit->supervisor;
    size_t count, users;
    const uint32_t *list = links_of(supervisor->listeners, unit->service->index, &count);
    links_of(supervisor->users, unit->service->index, &users);
    bool only = count > 0 && users == 0 && !unit->service->publish;
    for (size_t i = 0; i < count; i++)
        only &= supervisor->topology->listeners[list[i]].path != LISTENER_DIRECT;
    return only;
}

void unit_rotate(struct unit *unit)
{
    struct steering *steering = unit->supervisor->steering;
    front_unit_write(unit->supervisor->front, unit); /* also before its signal, or its start */
    struct rotation_member members[SERVICE_INSTANCES_MAX];
    uint32_t numbers[SERVICE_INSTANCES_MAX];
    size_t count = 0;
    if (unit->out)
        return;
    unit->out = unit->ended;
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        const struct instance *instance = unit->instances[i];
        if (!instance || instance->life.state == STATE_GONE)
            continue;
        members[count] =
            (struct rotation_member){.slot = instance->slot, .weight = weight_of(unit, instance)};
        numbers[count++] = instance->number;
    }
    int error =
        steering->operations->rotate(steering, unit->service->index, members, numbers, count);
    if (error)
        log_error("rotation-not-set", "service=%s error=\"%s\"", unit->service->name,
                  strerror(-error));
}

void unit_changed(struct unit *unit, struct instance *instance)
{
    enum lifecycle_state state = instance->life.state;
    bool over = state == STATE_UP || state == STATE_GONE || state == STATE_IDLE ||
                (state == STATE_DRAINING && instance->life.goal == GOAL_HOLD);
    if (unit->restarting == instance->number && state == STATE_FAILED) {
        log_error("restart-stopped", "service=%s instance=%u why=\"it failed; the others run on\"",
                  unit->service->name, instance->number);
        unit->restarting = 0;
    } else if (unit->restarting == instance->number && over &&
               instance->life.goal != GOAL_RESTART) {
        restart_next(unit, instance->number);
    }
    instance_steps_settle(instance);
    sleeping_settle(unit);
    job_changed(unit, instance);
    supervisor_note_change(unit->supervisor, unit);
}

void unit_sweep(struct unit *unit)
{
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        struct instance *instance = unit->instances[i];
        if (!instance || instance->life.state != STATE_GONE)
            continue;
        unit->instances[i] = NULL;
        instance_discard(instance);
    }
    while (unit->instance_count && !unit->instances[unit->instance_count - 1])
        unit->instance_count--;
    front_unit_write(unit->supervisor->front, unit); /* before a slot that is free now is used */
    unit_fill(unit); /* scaled up again before the last of that number was gone */
}
