#include "supervise/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "base/table.h"
#include "base/trim.h"
#include "supervise/adopt.h"
#include "supervise/companions.h"
#include "supervise/job.h"
#include "supervise/last_good.h"
#include "supervise/marks.h"
#include "supervise/past.h"
#include "supervise/quota.h"
#include "supervise/reload.h"
#include "supervise/scaling.h"
#include "topology/addresses.h"
#include "topology/place.h"

/* ---- what the steering asks of us -------------------------------------------------------------
 */

static struct instance *instance_of(const struct supervisor *supervisor, uint32_t slot)
{
    return slot < supervisor->slots_max ? supervisor->by_slot[slot] : NULL;
}

static void steering_binds(void *owner, const struct steering_listen *listen)
{
    struct instance *instance = instance_of(owner, listen->slot);
    if (instance)
        instance_binds(instance, listen);
}

static void steering_opens(void *owner, const struct steering_listen *listen)
{
    struct instance *instance = instance_of(owner, listen->slot);
    if (instance)
        instance_opens(instance, listen);
}

static void steering_listens(void *owner, const struct steering_listen *listen)
{
    struct instance *instance = instance_of(owner, listen->slot);
    if (instance)
        instance_listens(instance, listen);
}

static size_t steering_processes(void *owner, uint32_t slot, pid_t *ret_pids, size_t max)
{
    const struct instance *instance = instance_of(owner, slot);
    return instance ? instance_processes(instance, ret_pids, max) : 0;
}

static void steering_processes_anew(void *owner)
{
    const struct supervisor *supervisor = owner;
    if (supervisor->marks)
        marks_forget(supervisor->marks);
}

static void steering_keep(void *owner, const char *name, int fd)
{
    companions_keep(owner, name, fd);
}

static void steering_forget(void *owner, const char *name)
{
    companions_forget(owner, name);
}

static const struct steering_callbacks callbacks = {
    .binds = steering_binds,
    .opens = steering_opens,
    .listens = steering_listens,
    .processes = steering_processes,
    .processes_anew = steering_processes_anew,
    .keep = steering_keep,
    .forget = steering_forget,
};

/* ---- slots ------------------------------------------------------------------------------------
 */

uint32_t supervisor_slot_take(struct supervisor *supervisor)
{
    for (uint32_t i = 0; i < supervisor->slots_max; i++) {
        uint32_t slot = (supervisor->slot_next + i) % supervisor->slots_max;
        if (supervisor->by_slot[slot] || records_instance(supervisor->records, slot)->service[0])
            continue;
        supervisor->slot_next = slot + 1;
        return slot;
    }
    return UINT32_MAX;
}

uint32_t supervisor_slots_free(const struct supervisor *supervisor)
{
    uint32_t count = 0;
    for (uint32_t slot = 0; slot < supervisor->slots_max; slot++)
        count +=
            !supervisor->by_slot[slot] && !records_instance(supervisor->records, slot)->service[0];
    return count;
}

void supervisor_slot_free(struct supervisor *supervisor, uint32_t slot)
{
    supervisor->by_slot[slot] = NULL;
    *records_instance(supervisor->records, slot) = (struct instance_record){0};
}

/* ---- the beginning ------------------------------------------------------------------------------
 */

/* As many descriptors as the hard limit allows: an instance needs four. */
static void descriptors_raise(struct supervisor *supervisor)
{
    struct rlimit *inherited = &supervisor->descriptors_inherited;
    if (getrlimit(RLIMIT_NOFILE, inherited) < 0)
        *inherited = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
    struct rlimit raised = {inherited->rlim_max, inherited->rlim_max};
    if (inherited->rlim_cur < raised.rlim_cur)
        setrlimit(RLIMIT_NOFILE, &raised);
}

static int folders_make(const struct supervisor_options *options)
{
    static const char *const names[] = {"output", "data", "notify"};
    char path[STATE_PATH_BYTES_MAX + 16];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", options->state_directory, names[i]);
        if (mkdir(path, 0711) < 0 && errno != EEXIST)
            return -errno;
        chmod(path, 0711); /* whatever the umask: instances of other users must come through */
    }
    return 0;
}

static uint32_t slots_needed(const struct topology *topology)
{
    uint64_t sum = SLOTS_SPARE;
    for (size_t i = 0; i < topology->service_count; i++)
        sum += service_instances_most(&topology->services[i]);
    return sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum;
}

static int names_learn(struct supervisor *supervisor)
{
    const struct topology *topology = supervisor->topology;
    supervisor->names = table_new();
    int error = supervisor->names ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < topology->service_count; i++)
        if (!topology->services[i].absent)
            error = table_add(supervisor->names, topology->services[i].name, &topology->services[i],
                              NULL);
    return error;
}

/* Services stand where their records do, over reloads and crashes. */
static int services_place(struct supervisor *supervisor)
{
    struct topology *topology = supervisor->topology;
    scoped_memory uint32_t *places = calloc(topology->service_count + 1, sizeof *places);
    size_t count = 0;
    if (!places)
        return -ENOMEM;
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service_record *record =
            records_service_take(supervisor->records, topology->services[i].name);
        if (!record)
            return -ENOSPC;
        places[i] = records_service_number(supervisor->records, record);
        if (count <= places[i])
            count = places[i] + 1;
    }
    return topology_place(topology, places, count, NULL);
}

static bool service_stated(void *owner, const char *name)
{
    const struct supervisor *supervisor = owner;
    return table_get(supervisor->names, name) != NULL;
}

static int records_begin(struct supervisor *supervisor)
{
    char path[STATE_PATH_BYTES_MAX + 16];
    bool fresh = true;
    snprintf(path, sizeof path, "%s/records", supervisor->options.state_directory);
    uint32_t services = (uint32_t)supervisor->topology->service_count;
    int error = records_open(path, services + services / 4 + 64, slots_needed(supervisor->topology),
                             &supervisor->records, &fresh);
    supervisor->fresh = fresh;
    if (error)
        return error;
    records_services_keep(supervisor->records, service_stated, supervisor);
    supervisor->services_max = records_services_max(supervisor->records);
    supervisor->slots_max = records_slots_max(supervisor->records);
    supervisor->by_slot = calloc(supervisor->slots_max, sizeof *supervisor->by_slot);
    if (!supervisor->by_slot)
        return -ENOMEM;
    error = services_place(supervisor);
    table_free(supervisor->names); /* they point to where services stood before */
    supervisor->names = NULL;
    return error ? error : names_learn(supervisor);
}

void supervisor_quota_warn(const struct supervisor *supervisor, const char *instance,
                           unsigned failed)
{
    for (enum cgroup_controller i = 0; i < CGROUP_CONTROLLERS; i++) {
        const char *lack = cgroups_lack(supervisor->cgroups, i);
        if (failed & 1u << i)
            log_warn("quota-not-enforced", "%s=%s what=%s why=\"%s\"",
                     *instance ? "instance" : "cluster",
                     *instance ? instance : supervisor->topology->name, quota_words[i],
                     *lack ? lack : "the kernel does not take this value");
    }
}

static void cgroups_begin(struct supervisor *supervisor)
{
    const struct topology *topology = supervisor->topology;
    int error = cgroups_open(supervisor->options.cgroup_base, topology->name, &supervisor->cgroups,
                             supervisor->cgroups_why, sizeof supervisor->cgroups_why);
    if (error) {
        supervisor->cgroups = NULL;
        log_warn("no-cgroups",
                 "why=\"%s\" instead=\"processes are found by their environment, "
                 "quotas of memory, cpu, tasks and io are not enforced\"",
                 supervisor->cgroups_why);
        return;
    }
    struct cgroup_quota quota = quota_limits(&topology->quota);
    unsigned failed = 0;
    (void)cgroups_quota_set(supervisor->cgroups, &quota, &failed);
    supervisor_quota_warn(supervisor, "", failed);
}

static int steering_begin(struct supervisor *supervisor, char *why, size_t why_size)
{
    struct steering_setup setup = {
        .loop = supervisor->loop,
        .topology = supervisor->topology,
        .homes = supervisor->homes,
        .cgroup_path = supervisor->cgroups ? cgroups_path(supervisor->cgroups) : NULL,
        .slots_max = supervisor->slots_max,
        .services_max = supervisor->services_max,
        .privileged = supervisor->privileged,
        .callbacks = &callbacks,
        .owner = supervisor,
    };
    bool adopted = false;
    int error = steering_new(&setup, &supervisor->steering, &adopted, supervisor->steering_why,
                             sizeof supervisor->steering_why);
    if (error)
        snprintf(why, why_size, "%s", supervisor->steering_why);
    else
        log_info("steering", "mechanism=%s adopted=%d why=\"%s\"",
                 supervisor->steering->operations->name, adopted, supervisor->steering_why);
    return error;
}

static int units_begin(struct supervisor *supervisor, char *why, size_t why_size)
{
    struct topology *topology = supervisor->topology;
    supervisor->units = calloc(supervisor->services_max + 1, sizeof *supervisor->units);
    /* Those being looked at, and those noted meanwhile. */
    supervisor->noted = calloc(2 * supervisor->services_max + 1, sizeof(struct unit *));
    supervisor->users = links_users_new(topology);
    supervisor->listeners = links_listeners_new(topology);
    if (!supervisor->units || !supervisor->noted || !supervisor->users || !supervisor->listeners)
        return -ENOMEM;
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service *service = &topology->services[i];
        if (service->absent) {
            unit_clear(&supervisor->units[i], supervisor, service);
            continue;
        }
        int error = unit_init(&supervisor->units[i], supervisor, service);
        supervisor->unsettled++;
        if (!error)
            continue;
        bool user = service->user && (error == -ENOENT || error == -ESRCH);
        snprintf(why, why_size, "service %s: %s", service->name,
                 user ? "there is no such user or group" : strerror(-error));
        return error;
    }
    return 0;
}

/* The steps of the beginning, each with what it is called when it fails. */
static int supervisor_assemble(struct supervisor *supervisor, char *why, size_t why_size)
{
    struct topology *topology = supervisor->topology;
    int error = folders_make(&supervisor->options);
    if (error) {
        snprintf(why, why_size, "the state directory %s: %s", supervisor->options.state_directory,
                 strerror(-error));
        return error;
    }
    supervisor->marks = marks_new(supervisor->loop);
    error = supervisor->marks ? names_learn(supervisor) : -ENOMEM;
    if (!error)
        error = records_begin(supervisor);
    if (error) {
        snprintf(why, why_size, "the records in %s: %s", supervisor->options.state_directory,
                 strerror(-error));
        return error;
    }
    supervisor->homes = calloc(supervisor->services_max + 1, sizeof *supervisor->homes);
    supervisor->log_directory = strdup(supervisor->options.log_directory);
    supervisor->options.log_directory = supervisor->log_directory;
    if (!supervisor->homes || !supervisor->log_directory)
        return -ENOMEM;
    addresses_homes(topology, supervisor->homes);
    cgroups_begin(supervisor);
    error = companions_start(supervisor);
    if (error) {
        snprintf(why, why_size, "the keeper and the logger (logs go to %s): %s",
                 supervisor->options.log_directory, strerror(-error));
        return error;
    }
    supervisor->generation = ++records_gateway(supervisor->records)->generation;
    error = steering_begin(supervisor, why, why_size);
    return error ? error : units_begin(supervisor, why, why_size);
}

int supervisor_new(struct loop *loop, const struct supervisor_options *options,
                   struct supervisor **ret_supervisor, char *why, size_t why_size)
{
    struct supervisor *supervisor = calloc(1, sizeof *supervisor);
    if (!supervisor)
        return -ENOMEM;
    *supervisor = (struct supervisor){.loop = loop,
                                      .topology = options->topology,
                                      .options = *options,
                                      .console = options->console,
                                      .privileged = geteuid() == 0,
                                      .started_wall_ms = clock_wall_ms(),
                                      .bundle_fd = fcntl(options->bundle_fd, F_DUPFD_CLOEXEC, 0)};
    random_init(&supervisor->random);
    descriptors_raise(supervisor);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    int error = supervisor_assemble(supervisor, why, why_size);
    if (error) {
        if (!*why)
            snprintf(why, why_size, "%s", strerror(-error));
        supervisor_free(supervisor, !supervisor->fresh); /* instances may run */
        return error;
    }
    past_find(supervisor);
    unsigned adopted = adopt_instances(supervisor);
    supervisor->adopted = adopted > 0;
    error = front_start(supervisor, why, why_size);
    if (error) {
        supervisor_free(supervisor, !supervisor->fresh);
        return error;
    }
    companions_settle_found(supervisor);
    adopt_begin(supervisor);
    adopt_clear(supervisor);
    for (size_t i = 0; i < options->topology->service_count; i++)
        unit_fill(&supervisor->units[i]); /* idle for now, and to be seen in `status` */
    if (adopted)
        log_info("adopted", "instances=%u", adopted);
    error = front_wait(supervisor->front, why, why_size);
    if (error) {
        supervisor_free(supervisor, !supervisor->fresh);
        return error;
    }
    *ret_supervisor = supervisor;
    return 0;
}

/* What lies in the state directory and is the cluster's, when it goes down for good. The data
 * folders of instances are the programs' own and stay. The keeper removes its socket itself, unless
 * it was killed and no new one had been started. */
static void folders_remove(struct supervisor *supervisor)
{
    static const char *const names[] = {"records", "output", "notify", "keeper"};
    char path[STATE_PATH_BYTES_MAX + 16];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", supervisor->options.state_directory, names[i]);
        remove(path);
    }
    jobs_trim(supervisor, true);
}

static void units_end(struct supervisor *supervisor, bool leave)
{
    for (size_t i = 0; supervisor->units && i < supervisor->topology->service_count; i++) {
        struct unit *unit = &supervisor->units[i];
        for (uint32_t j = 0; !leave && j < unit->instance_count; j++) {
            struct instance *instance = unit->instances[j];
            unit->instances[j] = NULL;
            if (instance)
                instance_discard(instance);
        }
        unit_done(unit);
    }
}

void supervisor_free(struct supervisor *supervisor, bool leave)
{
    if (!supervisor)
        return;
    reload_cancel(supervisor);
    upgrade_end(supervisor);
    if (leave && supervisor->leaving && supervisor->records)
        records_gateway(supervisor->records)->left = 1;
    scaling_end(supervisor);
    units_end(supervisor, leave);
    front_end(supervisor, leave);
    if (supervisor->steering)
        supervisor->steering->operations->end(supervisor->steering, leave);
    companions_end(supervisor, leave);
    if (supervisor->cgroups && !leave)
        cgroups_destroy(supervisor->cgroups); /* stays while something of it lives on */
    cgroups_close(supervisor->cgroups);
    if (!leave && supervisor->records)
        folders_remove(supervisor);
    deferred_stop(supervisor->loop, &supervisor->change);
    records_close(supervisor->records);
    marks_free(supervisor->marks);
    links_free(supervisor->users);
    links_free(supervisor->listeners);
    free(supervisor->noted);
    table_free(supervisor->names);
    free(supervisor->units);
    free(supervisor->by_slot);
    free(supervisor->homes);
    free(supervisor->listener_looks);
    free(supervisor->log_directory);
    past_end(supervisor);
    topology_free(supervisor->topology);
    fd_drop(&supervisor->options.bundle_fd);
    fd_drop(&supervisor->bundle_fd);
    free(supervisor);
}

/* ---- order ------------------------------------------------------------------------------------
 */

struct unit *supervisor_unit(const struct supervisor *supervisor, const char *name)
{
    const struct service *service = table_get(supervisor->names, name);
    return service ? &supervisor->units[service->index] : NULL;
}

static bool uses_ready(const struct supervisor *supervisor, const struct service *service)
{
    for (size_t i = 0; i < service->uses_count; i++)
        if (!unit_ready(&supervisor->units[service->uses[i]]))
            return false;
    return true;
}

static void unit_try(struct supervisor *supervisor, const struct service *service)
{
    struct unit *unit = &supervisor->units[service->index];
    if (!unit->begun && !unit->ended && uses_ready(supervisor, service))
        unit_begin(unit);
}

/* Goes on with the units that had no chance to begin yet, as far as this turn's starts go. Those
 * whose uses are not ready are passed: they begin when these change. */
static void units_try(struct supervisor *supervisor)
{
    const struct topology *topology = supervisor->topology;
    while (supervisor->begin_next < topology->start_count && supervisor->starts_left)
        unit_try(supervisor, &topology->services[topology->start_order[supervisor->begin_next++]]);
    if (supervisor->begin_next < topology->start_count)
        supervisor_note_change(supervisor, NULL);
}

void supervisor_begin(struct supervisor *supervisor)
{
    jobs_trim(supervisor, false);
    supervisor->starts_left = STARTS_PER_TURN_MAX;
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        if (supervisor->units[i].instance_count) /* adopted ones may be ready, or settled */
            supervisor_note_change(supervisor, &supervisor->units[i]);
    units_try(supervisor);
    scaling_settle(supervisor);
}

static void users_try(struct supervisor *supervisor, const struct unit *unit)
{
    size_t count;
    const uint32_t *users = links_of(supervisor->users, unit->service->index, &count);
    for (size_t i = 0; i < count; i++)
        unit_try(supervisor, &supervisor->topology->services[users[i]]);
}

/* Going down: has nothing that uses the unit a process any more? A unit that rests goes on resting,
 * so each user is passed once. */
static bool unit_needed(const struct supervisor *supervisor, struct unit *unit)
{
    size_t count;
    const uint32_t *users = links_of(supervisor->users, unit->service->index, &count);
    while (unit->users_passed < count) {
        const struct unit *user = &supervisor->units[users[unit->users_passed]];
        if (!user->ended || !unit_at_rest(user))
            return true;
        unit->users_passed++;
    }
    return false;
}

static void unit_end_if_free(struct supervisor *supervisor, struct unit *unit)
{
    if (!unit->ended && (supervisor->killing || !unit_needed(supervisor, unit)))
        unit_end(unit, supervisor->killing);
}

static void used_end(struct supervisor *supervisor, const struct unit *unit)
{
    const struct service *service = unit->service;
    if (!unit->ended || !unit_at_rest(unit))
        return;
    for (size_t i = 0; i < service->uses_count; i++)
        unit_end_if_free(supervisor, &supervisor->units[service->uses[i]]);
}

void supervisor_end(struct supervisor *supervisor)
{
    if (supervisor->ending && !supervisor->killing) {
        supervisor->killing = true;
        log_warn("killing", "%s", "");
        for (size_t i = 0; i < supervisor->topology->service_count; i++)
            unit_end(&supervisor->units[i], true);
    }
    supervisor->ending = true;
    supervisor->leaving = false; /* there will be nothing to be left */
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        unit_end_if_free(supervisor, &supervisor->units[i]);
    supervisor_note_change(supervisor, NULL);
}

void supervisor_leave(struct supervisor *supervisor)
{
    supervisor->leaving = !supervisor->ending;
    supervisor_note_change(supervisor, NULL);
}

bool supervisor_at_rest(const struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        if (!supervisor->units[i].ended || !unit_at_rest(&supervisor->units[i]))
            return false;
    return supervisor->ending;
}

bool supervisor_settled(const struct supervisor *supervisor)
{
    size_t unsettled = supervisor->unsettled;
    for (size_t i = 0; i < supervisor->noted_count; i++) {
        const struct unit *unit = supervisor->noted[i];
        unsettled -= !unit->settled;
        unsettled += !unit_settled(unit);
    }
    return unsettled == 0;
}

/* ---- changes ----------------------------------------------------------------------------------
 */

bool supervisor_may_start(struct supervisor *supervisor)
{
    if (!supervisor->starts_left)
        return false;
    supervisor->starts_left--;
    return true;
}

static void unit_look(struct supervisor *supervisor, struct unit *unit)
{
    unit->noted = false;
    unit_sweep(unit);
    rolling_tend(unit);
    if (unit->removed && !unit->instance_count) {
        supervisor_unit_forget(supervisor, unit);
        return;
    }
    if (supervisor->ending)
        used_end(supervisor, unit);
    else if (unit_ready(unit))
        users_try(supervisor, unit);
    supervisor->unsettled -= !unit->settled;
    unit->settled = unit_settled(unit);
    supervisor->unsettled += !unit->settled;
    front_unit_write(supervisor->front, unit);
}

static void change_call(struct deferred *deferred)
{
    struct supervisor *supervisor = deferred->owner;
    supervisor->starts_left = STARTS_PER_TURN_MAX;
    /* What is noted meanwhile is looked at in the next turn, so that a turn ends. */
    size_t count = supervisor->noted_count;
    for (size_t i = 0; i < count; i++)
        unit_look(supervisor, supervisor->noted[i]);
    supervisor->noted_count -= count;
    if (supervisor->noted_count)
        memmove(supervisor->noted, supervisor->noted + count,
                supervisor->noted_count * sizeof(struct unit *));
    if (!supervisor->ending)
        units_try(supervisor);
    if (!supervisor->ready_told && supervisor_settled(supervisor)) {
        supervisor->ready_told = true;
        memory_trim();
        log_info("ready", "cluster=%s ms=%llu", supervisor->topology->name,
                 (unsigned long long)(clock_wall_ms() - supervisor->started_wall_ms));
    }
    last_good_look(supervisor);
    if (supervisor->changed)
        supervisor->changed(supervisor->changed_owner);
}

void supervisor_note_change(struct supervisor *supervisor, struct unit *unit)
{
    if (unit && !unit->noted) {
        unit->noted = true;
        supervisor->noted[supervisor->noted_count++] = unit;
    }
    deferred_start(supervisor->loop, &supervisor->change, change_call, supervisor);
}

/* ---- children ---------------------------------------------------------------------------------
 */

enum { REAPED_AT_ONCE_MAX = 64 };

struct reaped {
    pid_t pid;
    int status;
};

static void reaped_tell(struct supervisor *supervisor, const struct reaped *reaped, size_t count)
{
    for (uint32_t slot = 0; slot < supervisor->slots_max; slot++) {
        struct instance *instance = supervisor->by_slot[slot];
        for (size_t i = 0; instance && i < count; i++)
            instance_reaped(instance, reaped[i].pid, reaped[i].status);
    }
}

/* As subreaper (and as PID 1) everything that is orphaned below us ends as our child. Many at a
 * time are told to their instances in one walk. */
void supervisor_reap(struct supervisor *supervisor)
{
    struct reaped reaped[REAPED_AT_ONCE_MAX];
    size_t count;
    do {
        count = 0;
        while (count < REAPED_AT_ONCE_MAX &&
               (reaped[count].pid = waitpid(-1, &reaped[count].status, WNOHANG)) > 0)
            count++;
        if (count)
            reaped_tell(supervisor, reaped, count);
    } while (count == REAPED_AT_ONCE_MAX);
}
