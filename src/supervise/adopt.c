#include "supervise/adopt.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kernel/process.h"
#include "supervise/marks.h"
#include "supervise/supervisor.h"

enum { LEFTOVERS_MAX = 256 };

/* Does the record name a process that lives and is the same one? */
static bool record_alive(const struct instance_record *record)
{
    return record->pid > 0 && process_start_ticks(record->pid) == record->start_ticks &&
           lifecycle_running(record->state);
}

/* True: the record's instance is ours now, and runs; or it does not run any more (*ret_alive), is
 * wanted, and what waits in its kept listener waits for its next start. */
static bool record_adopt(struct supervisor *supervisor, uint32_t slot, bool *ret_alive)
{
    struct instance_record *record = records_instance(supervisor->records, slot);
    struct unit *unit = supervisor_unit(supervisor, record->service);
    *ret_alive = record_alive(record);
    bool known = unit && record->number && record->number <= SERVICE_INSTANCES_MAX &&
                 !unit_instance(unit, record->number);
    if (!known || (!*ret_alive && record->number > unit->wanted))
        return false;
    struct instance *instance = instance_new(unit, record->number, slot);
    if (!instance)
        return false;
    rolling_adopts(instance);
    int error = unit_place(unit, instance);
    if (!error)
        error = *ret_alive ? instance_adopt(instance) : instance_expect(instance);
    if (!error) {
        unit->outdated |= *ret_alive && unit->record->definition != unit->service->definition;
        return true;
    }
    log_warn("not-adopted", "instance=%s pid=%d error=\"%s\"", instance->name, record->pid,
             strerror(-error));
    if (unit_instance(unit, record->number) == instance)
        unit->instances[record->number - 1] = NULL;
    supervisor->by_slot[slot] = NULL;
    instance_free(instance);
    return false;
}

/* Where there are no cgroups to be cleared: ends what a record names that nobody takes over. */
static void leftover_end(const struct supervisor *supervisor, const struct instance_record *record)
{
    char mark[INSTANCE_NAME_BYTES * 2];
    pid_t pids[LEFTOVERS_MAX];
    if (supervisor->cgroups)
        return;
    snprintf(mark, sizeof mark, "%s/%s.%u", supervisor->topology->name, record->service,
             record->number);
    marks_make_sure(supervisor->marks);
    size_t count = marks_processes(supervisor->marks, mark, 0, pids, LEFTOVERS_MAX - 1);
    if (record_alive(record))
        pids[count++] = record->pid; /* it may have written over its mark */
    for (size_t i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    if (count)
        log_warn("leftover-ended", "instance=%s.%u processes=%zu", record->service, record->number,
                 count);
}

/* The files of an instance that will not come back. The data folder is the program's own and stays.
 */
static void files_clear(const struct supervisor *supervisor, const struct instance_record *record)
{
    const struct unit *unit = supervisor_unit(supervisor, record->service);
    char name[INSTANCE_NAME_BYTES], path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    char held[KEEPER_NAME_BYTES];
    if (unit && record->number <= unit->wanted)
        return;
    snprintf(name, sizeof name, "%.*s.%u", RECORD_NAME_BYTES, record->service, record->number);
    snprintf(held, sizeof held, KEEPER_OUTPUT_PREFIX "%s", name);
    if (supervisor->keeper)
        keeper_drop(supervisor->keeper, held);
    static const struct {
        const char *folder, *file;
    } files[] = {{"output", ""}, {"notify", "/socket"}, {"notify", ""}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, "%s/%s/%s%s", supervisor->options.state_directory,
                 files[i].folder, name, files[i].file);
        remove(path);
    }
}

unsigned adopt_instances(struct supervisor *supervisor)
{
    unsigned adopted = 0;
    for (uint32_t slot = 0; slot < supervisor->slots_max; slot++) {
        struct instance_record *record = records_instance(supervisor->records, slot);
        if (!record->service[0])
            continue;
        bool alive = false;
        if (record_adopt(supervisor, slot, &alive)) {
            adopted += alive;
            continue;
        }
        leftover_end(supervisor, record);
        files_clear(supervisor, record);
        uint32_t epoch = record->epoch;
        *record = (struct instance_record){.epoch = epoch};
    }
    return adopted;
}

void adopt_begin(struct supervisor *supervisor)
{
    for (uint32_t slot = 0; slot < supervisor->slots_max; slot++)
        if (supervisor->by_slot[slot])
            instance_adopted(supervisor->by_slot[slot]);
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        if (supervisor->units[i].instance_count)
            unit_rotate(&supervisor->units[i]);
}

static void group_clear(void *owner, const char *name)
{
    struct supervisor *supervisor = owner;
    char service[RECORD_NAME_BYTES];
    const char *dot = strrchr(name, '.');
    if (!dot || (size_t)(dot - name) >= sizeof service)
        return;
    snprintf(service, sizeof service, "%.*s", (int)(dot - name), name);
    const struct unit *unit = supervisor_unit(supervisor, service);
    if (unit && unit_instance(unit, (uint32_t)strtoul(dot + 1, NULL, 10)))
        return;
    struct cgroup group;
    unsigned failed = 0;
    struct cgroup_quota none = {0};
    if (cgroup_open(supervisor->cgroups, name, &none, &group, &failed) < 0)
        return;
    if (cgroup_populated(&group))
        log_warn("leftover-ended", "group=%s", name);
    cgroup_kill(&group);
    for (int tries = 0; tries < 200 && cgroup_remove(supervisor->cgroups, &group) == -EBUSY;
         tries++)
        loop_turn(supervisor->loop, 5); /* the kernel needs a moment to end what was killed */
    cgroup_close(&group);
}

void adopt_clear(struct supervisor *supervisor)
{
    if (supervisor->cgroups)
        cgroups_each(supervisor->cgroups, group_clear, supervisor);
}
