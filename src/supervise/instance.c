#include "supervise/instance.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "kernel/process.h"
#include "kernel/sockets.h"
#include "supervise/launch.h"
#include "supervise/marks.h"
#include "supervise/supervisor.h"

enum {
    SWEEP_MS = 20,           /* how often a draining or dying instance is looked at again */
    PROCESSES_MAX = 4096,    /* of one instance, that are signalled one by one */
};

static void instance_feed(struct instance *instance, enum lifecycle_event event);
static void main_watch(struct instance *instance);

static struct supervisor *supervisor_of(const struct instance *instance)
{
    return instance->unit->supervisor;
}

static const struct steering_operations *steering_of(const struct instance *instance,
                                                     struct steering **ret_steering)
{
    *ret_steering = supervisor_of(instance)->steering;
    return (*ret_steering)->operations;
}

static void reason_set(struct instance *instance, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void reason_set(struct instance *instance, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(instance->reason, sizeof instance->reason, format, list);
    va_end(list);
}

struct instance *instance_new(struct unit *unit, uint32_t number, uint32_t slot)
{
    struct instance *instance = unit_reserve(unit, number) ? NULL : calloc(1, sizeof *instance);
    if (!instance)
        return NULL;
    instance->unit = unit;
    instance->number = number;
    instance->slot = slot;
    instance->pidfd = -1;
    instance->exit_status = -1;
    instance->healthy = true;
    instance->report.fd = instance->handover.fd = -1;
    instance->record = records_instance(unit->supervisor->records, slot);
    snprintf(instance->name, sizeof instance->name, "%s.%u", unit->service->name, number);
    return instance;
}

/* The process that watches and waits belong to is gone, or was never there. */
static void process_forget(struct instance *instance)
{
    struct loop *loop = supervisor_of(instance)->loop;
    struct watch *const watches[] = {&instance->report, &instance->handover};
    for (size_t i = 0; i < sizeof watches / sizeof watches[0]; i++) {
        watch_stop(loop, watches[i]);
        fd_drop(&watches[i]->fd);
    }
    watch_stop(loop, &instance->death);
    watch_stop(loop, &instance->emptied);
    fd_drop(&instance->pidfd);
    instance->pid = 0;
    instance->record->pid = 0;
    readiness_close(instance->readiness);
    instance->readiness = NULL;
    probe_free(instance->probe);
    instance->probe = NULL;
}

void instance_free(struct instance *instance)
{
    if (!instance)
        return;
    struct loop *loop = supervisor_of(instance)->loop;
    int32_t pid = instance->record->pid;
    process_forget(instance);
    instance->record->pid = pid; /* left to a later supervisor, if it lives */
    timer_stop(loop, &instance->deadline);
    timer_stop(loop, &instance->sweep);
    deferred_stop(loop, &instance->stillborn);
    output_close(instance->output, false);
    if (instance->grouped)
        cgroup_close(&instance->cgroup);
    free(instance);
}

/* Each start gets a cgroup of its own: on some kernels (seen on 6.18) a process that is cloned into a
 * cgroup that was killed once, is killed too. */
static void group_end(struct instance *instance)
{
    if (!instance->grouped || cgroup_remove(supervisor_of(instance)->cgroups, &instance->cgroup) < 0)
        return; /* still busy with the dead: tried again before the next start */
    instance->grouped = false;
}

/* It will have no output any more, or a new one. */
static void output_end(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    char name[KEEPER_NAME_BYTES];
    snprintf(name, sizeof name, KEEPER_OUTPUT_PREFIX "%s", instance->name);
    if (supervisor->keeper)
        keeper_drop(supervisor->keeper, name);
    output_close(instance->output, true);
    instance->output = NULL;
}

/* One that rests holds no group: of thousands that failed each would cost two descriptors. */
static void group_end_at_rest(struct instance *instance)
{
    if (!lifecycle_running(instance->life.state))
        group_end(instance);
}

void instance_discard(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    char path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    output_end(instance);
    static const char *const folders[] = {"notify", "data"}; /* data goes when it is empty */
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", supervisor->options.state_directory, folders[i],
                 instance->name);
        rmdir(path);
    }
    group_end(instance);
    uint32_t slot = instance->slot;
    uint32_t epoch = instance->record->epoch;
    instance_free(instance);
    supervisor_slot_free(supervisor, slot);
    records_instance(supervisor->records, slot)->epoch = epoch; /* never the same twice */
}

/* ---- its processes -------------------------------------------------------------------------- */

size_t instance_processes(const struct instance *instance, pid_t *ret_pids, size_t max)
{
    if (instance->grouped) {
        int count = cgroup_processes(&instance->cgroup, ret_pids, max);
        return count > 0 ? (size_t)count : 0;
    }
    char mark[INSTANCE_NAME_BYTES * 2];
    launch_mark(instance, mark, sizeof mark);
    const char *value = mark + strlen(LAUNCH_MARK "=");
    size_t count = marks_processes(supervisor_of(instance)->marks, value, ret_pids, max);
    if (count == 0 && instance->pid > 0 && !instance->main_ended && max) {
        ret_pids[0] = instance->pid; /* between clone and exec it has no mark yet */
        count = 1;
    }
    return count;
}

static bool instance_populated(const struct instance *instance)
{
    if (instance->grouped)
        return cgroup_populated(&instance->cgroup);
    pid_t one;
    return instance_processes(instance, &one, 1) > 0;
}

static void processes_signal(const struct instance *instance, int number)
{
    pid_t *pids = calloc(PROCESSES_MAX, sizeof *pids);
    size_t count = pids ? instance_processes(instance, pids, PROCESSES_MAX) : 0;
    for (size_t i = 0; i < count; i++)
        kill(pids[i], number);
    free(pids);
}

void instance_kill(struct instance *instance)
{
    if (!instance->grouped || cgroup_kill(&instance->cgroup) < 0)
        processes_signal(instance, SIGKILL);
}

/* ---- the end -------------------------------------------------------------------------------- */

const char *instance_exit_text(const struct instance *instance, char *text, size_t size)
{
    int status = instance->record->exit_status;
    if (status == -1)
        return NULL;
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        snprintf(text, size, "killed by SIG%s", name ? name : "?");
    } else {
        snprintf(text, size, "exited with status %d", WEXITSTATUS(status));
    }
    return text;
}

/* Whom it collided with, when it ended without having listened where it wanted to. */
static void collision_explain(struct instance *instance)
{
    struct port_holder holder;
    bool udp = instance->last_bind.protocol == PROTOCOL_UDP;
    if (instance->listened || !instance->binds ||
        sockets_port_holder(udp, instance->last_bind.port, NULL, 0, &holder) < 0)
        return;
    size_t length = strlen(instance->reason);
    if (holder.pid)
        snprintf(instance->reason + length, sizeof instance->reason - length,
                 "; %s port %u is taken by process %d (%s)", udp ? "udp" : "tcp",
                 instance->last_bind.port, holder.pid, holder.name);
    else
        snprintf(instance->reason + length, sizeof instance->reason - length,
                 "; %s port %u is taken by a process of user %u", udp ? "udp" : "tcp",
                 instance->last_bind.port, holder.uid);
}

/* No process of it is left. */
static void instance_ended(struct instance *instance)
{
    bool asked = instance->life.state == STATE_STOPPING;
    char text[64];
    struct cgroup_usage usage = {0};
    if (instance->grouped)
        cgroup_usage_read(supervisor_of(instance)->cgroups, &instance->cgroup, &usage);
    instance->record->exit_status = instance->exit_status;
    instance->life.clean = instance->exit_status != -1 && WIFEXITED(instance->exit_status) &&
                           WEXITSTATUS(instance->exit_status) == 0;
    if (instance->output)
        output_drain(instance->output);
    if (!asked && instance->executed) {
        const char *how = instance_exit_text(instance, text, sizeof text);
        reason_set(instance, "%s%s", how ? how : "ended", usage.oom_kills ? " (out of memory)" : "");
        collision_explain(instance);
    }
    log_info("instance-ended", "instance=%s pid=%d how=\"%s\"", instance->name, instance->pid,
             instance_exit_text(instance, text, sizeof text) ? text : "unknown");
    process_forget(instance);
    instance->port_count = 0;
    instance_feed(instance, EVENT_EXIT);
    group_end_at_rest(instance);
}

static void emptied_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct instance *instance = watch->owner;
    char text[256]; /* reading cgroup.events re-arms the notification */
    if (pread(watch->fd, text, sizeof text, 0) < 0 || cgroup_populated(&instance->cgroup))
        return;
    if (instance->main_ended)
        instance_ended(instance);
}

static void sweep_due(struct timer *timer);

static void sweep_start(struct instance *instance)
{
    if (timer_start(supervisor_of(instance)->loop, &instance->sweep, SWEEP_MS, sweep_due,
                    instance) < 0)
        log_error("no-memory", "instance=%s what=timer", instance->name);
}

/* The main process ended and others live on. A daemon that went into the background (it ended with
 * 0, unasked) goes on with the oldest of the others as its main process; whatever else is left over
 * is ended: with the stop signal when the instance is being stopped, since a shell that dies first
 * leaves the real program behind, at once otherwise. */
static bool main_replace(struct instance *instance)
{
    pid_t pids[64];
    size_t count = instance_processes(instance, pids, sizeof pids / sizeof pids[0]);
    pid_t oldest = 0;
    uint64_t oldest_ticks = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        uint64_t ticks = process_start_ticks(pids[i]);
        if (pids[i] != instance->pid && ticks && ticks < oldest_ticks) {
            oldest = pids[i];
            oldest_ticks = ticks;
        }
    }
    int pidfd = oldest ? process_open(oldest) : -ESRCH;
    if (pidfd < 0)
        return false;
    watch_stop(supervisor_of(instance)->loop, &instance->death);
    fd_drop(&instance->pidfd);
    log_info("instance-main", "instance=%s pid=%d was=%d", instance->name, oldest, instance->pid);
    instance->pid = oldest;
    instance->pidfd = pidfd;
    instance->record->pid = oldest;
    instance->record->start_ticks = oldest_ticks;
    instance->main_ended = false;
    instance->exit_stashed = false;
    main_watch(instance);
    return true;
}

static void main_ended(struct instance *instance)
{
    bool clean = instance->exit_status == 0;
    instance->main_ended = true;
    watch_stop(supervisor_of(instance)->loop, &instance->death);
    if (!instance_populated(instance)) {
        instance_ended(instance);
        return;
    }
    bool stopping = instance->life.state == STATE_STOPPING;
    if (clean && !stopping && main_replace(instance))
        return;
    if (stopping)
        processes_signal(instance, instance->unit->service->stop_signal);
    else
        instance_kill(instance);
    if (instance->grouped && !instance->emptied.active &&
        watch_start(supervisor_of(instance)->loop, &instance->emptied, instance->cgroup.watch_fd,
                    WATCH_PRIORITY, emptied_ready, instance) == 0 &&
        cgroup_populated(&instance->cgroup))
        return;
    sweep_start(instance); /* no notification to be had: look again */
}

static void death_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct instance *instance = watch->owner;
    siginfo_t info = {0};
    if (!instance->exit_stashed) {
        if (waitid(P_PIDFD, (id_t)instance->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid)
            instance->exit_status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8
                                                               : info.si_status & 0x7f;
        else if (process_exit_status(instance->pidfd, &instance->exit_status) < 0)
            instance->exit_status = -1; /* adopted, and the kernel does not tell (before 6.15) */
    }
    instance->exit_stashed = false;
    main_ended(instance);
}

static void main_watch(struct instance *instance)
{
    int error = watch_start(supervisor_of(instance)->loop, &instance->death, instance->pidfd,
                            WATCH_READ, death_ready, instance);
    if (error)
        log_error("watch-failed", "instance=%s error=\"%s\"", instance->name, strerror(-error));
}

void instance_reaped(struct instance *instance, int status)
{
    instance->exit_status = status;
    instance->exit_stashed = true; /* the pidfd is readable now: death_ready does the rest */
}

/* Draining: gone quiet? Ending without notifications: gone? */
static void sweep_due(struct timer *timer)
{
    struct instance *instance = timer->owner;
    struct steering *steering;
    if (instance->main_ended) {
        if (!instance_populated(instance)) {
            instance_ended(instance);
            return;
        }
        if (instance->life.state != STATE_STOPPING)
            instance_kill(instance);
        sweep_start(instance);
        return;
    }
    if (instance->life.state != STATE_DRAINING)
        return;
    int64_t live = 0;
    uint64_t total = 0;
    bool known = steering_of(instance, &steering)->counts(steering, instance->slot, &live, &total);
    if (known && live <= 0)
        instance_feed(instance, EVENT_QUIET);
    if (instance->life.state == STATE_DRAINING)
        sweep_start(instance);
}

/* ---- up ------------------------------------------------------------------------------------- */

static void instance_probed(void *owner, bool well, const char *why)
{
    struct instance *instance = owner;
    bool was = instance->healthy;
    instance->healthy = well;
    if (!well)
        reason_set(instance, "check: %s", why);
    if (instance->life.state == STATE_STARTING && well && instance->listened)
        instance_feed(instance, EVENT_READY);
    else if (was != well && instance->life.state == STATE_UP) {
        log_warn(well ? "instance-well" : "instance-ill", "instance=%s why=\"%s\"", instance->name,
                 why);
        if (well)
            instance->reason[0] = 0;
        unit_rotate(instance->unit);
        supervisor_note_change(supervisor_of(instance), instance->unit);
    }
}

static void probe_begin(struct instance *instance)
{
    const struct service *service = instance->unit->service;
    struct launch *launch = calloc(1, sizeof *launch);
    int error = launch ? launch_prepare(launch, instance, service->check_argv, instance->reason,
                                        sizeof instance->reason)
                       : -ENOMEM;
    if (error) {
        if (launch)
            launch_done(launch);
        free(launch);
    } else {
        launch->plan.output_fd = output_fd(instance->output);
        error = probe_start(supervisor_of(instance)->loop, launch, service, instance_probed,
                            instance, &instance->probe);
    }
    if (error)
        log_error("check-not-started", "instance=%s why=\"%s\" error=\"%s\"", instance->name,
                  instance->reason, strerror(-error));
}

static bool ports_complete(const struct instance *instance)
{
    const struct service *service = instance->unit->service;
    if (!service->listens)
        return instance->executed;
    if (!service->port_count)
        return instance->port_count > 0;
    for (size_t i = 0; i < service->port_count; i++) {
        bool found = false;
        for (size_t j = 0; j < instance->port_count; j++)
            found |= instance->ports[j].port == service->ports[i].port &&
                     instance->ports[j].protocol == service->ports[i].protocol;
        if (!found)
            return false;
    }
    return true;
}

/* Has it come far enough to be asked whether it is ready? */
static void instance_consider(struct instance *instance)
{
    if (instance->life.state != STATE_STARTING || instance->main_ended)
        return;
    const struct service *service = instance->unit->service;
    instance->listened = ports_complete(instance);
    if (!instance->listened)
        return;
    if (service->check == CHECK_EXEC && !instance->probe)
        probe_begin(instance);
    else if (service->check == CHECK_LISTEN)
        instance_feed(instance, EVENT_READY);
}

void instance_binds(struct instance *instance, const struct steering_listen *listen)
{
    instance->binds = true;
    instance->last_bind =
        (struct instance_port){.protocol = listen->protocol, .port = listen->port};
}

void instance_listens(struct instance *instance, const struct steering_listen *listen)
{
    if (listen->epoch != instance->record->epoch)
        return;
    for (size_t i = 0; i < instance->port_count; i++)
        if (instance->ports[i].port == listen->port &&
            instance->ports[i].protocol == listen->protocol)
            return;
    if (instance->port_count == INSTANCE_PORTS_MAX)
        return; /* further ones are steered, but not shown */
    instance->ports[instance->port_count++] =
        (struct instance_port){.protocol = listen->protocol, .port = listen->port};
    unit_learn(instance->unit, &instance->ports[instance->port_count - 1]);
    instance_consider(instance);
}

static void instance_notified(void *owner, const struct readiness_message *message)
{
    struct instance *instance = owner;
    if (message->status)
        snprintf(instance->status, sizeof instance->status, "%s", message->status);
    if (message->main_pid && message->main_pid != instance->pid)
        log_info("instance-main", "instance=%s told=%d", instance->name, message->main_pid);
    if (message->ready && instance->life.state == STATE_STARTING) {
        instance->listened = true;
        instance_feed(instance, EVENT_READY);
    }
    if (message->stopping && instance->life.state == STATE_UP)
        unit_rotate(instance->unit);
}

/* ---- the start ------------------------------------------------------------------------------ */

static void stillborn_call(struct deferred *deferred)
{
    struct instance *instance = deferred->owner;
    instance->exit_status = -1;
    instance->life.clean = false;
    if (instance->output)
        output_drain(instance->output);
    process_forget(instance);
    /* What it could not get enough of, others need meanwhile: the control socket to answer. */
    if (instance->life.blame == BLAME_MACHINE)
        output_end(instance);
    instance_feed(instance, EVENT_EXIT);
    group_end_at_rest(instance);
}

/* Whose fault an error at the start is. */
static enum lifecycle_blame blame_for(int error)
{
    switch (-error) {
    case ENOENT:
    case EACCES:
    case EISDIR:
    case ENOEXEC:
    case ENOTDIR:
    case EPERM:
        return BLAME_HOPELESS;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
    case ENOSPC:
        return BLAME_MACHINE;
    default:
        return BLAME_PROGRAM;
    }
}

/* It could not be started. The event comes after this turn, so that a start that fails at once does
 * not recurse through the lifecycle. */
static void instance_stillborn(struct instance *instance, int error)
{
    instance->life.blame = blame_for(error);
    log_warn("instance-not-started", "instance=%s why=\"%s\"", instance->name, instance->reason);
    deferred_start(supervisor_of(instance)->loop, &instance->stillborn, stillborn_call, instance);
}

static void report_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct instance *instance = watch->owner;
    enum spawn_step step = SPAWN_EXEC;
    int error = spawn_error(watch->fd, &step);
    if (error == -EAGAIN)
        return;
    watch_stop(supervisor_of(instance)->loop, watch);
    fd_drop(&watch->fd);
    if (error) { /* the child exits by itself; its end is noticed as any other's */
        instance->life.blame = blame_for(error);
        reason_set(instance, "%s: %s", spawn_step_name(step), strerror(-error));
        log_warn("instance-not-started", "instance=%s why=\"%s\"", instance->name,
                 instance->reason);
        return;
    }
    instance->executed = true;
    instance_consider(instance);
}

static void handover_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct instance *instance = watch->owner;
    int notify_fd = spawn_notify_receive(watch->fd);
    if (notify_fd == -EAGAIN)
        return;
    watch_stop(supervisor_of(instance)->loop, watch);
    fd_drop(&watch->fd);
    struct steering *steering;
    if (notify_fd >= 0)
        steering_of(instance, &steering)->started(steering, instance->slot, notify_fd);
    else
        log_warn("not-steered", "instance=%s error=\"%s\"", instance->name,
                 strerror(-notify_fd)); /* -EPIPE: the child failed, and reports why itself */
}

static int data_folder(const struct instance *instance, const char *kind, char *path, size_t size)
{
    const struct spawn_user *user = &instance->unit->user;
    const char *state = supervisor_of(instance)->options.state_directory;
    if (snprintf(path, size, "%s/%s/%s", state, kind, instance->name) >= (int)size)
        return -ENAMETOOLONG;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (user->change && chown(path, user->uid, user->gid) < 0)
        return -errno;
    return 0;
}

static int output_begin(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    const struct spawn_user *user = &instance->unit->user;
    if (instance->output)
        return 0;
    char path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    snprintf(path, sizeof path, "%s/output/%s", supervisor->options.state_directory,
             instance->name);
    struct output_setup setup = {.loop = supervisor->loop,
                                 .path = path,
                                 .source = instance->name,
                                 .hue = (int)instance->unit->service->index,
                                 .logger = &supervisor->logger,
                                 .console = &supervisor->console};
    int error = output_open(&setup, user->change ? user->uid : geteuid(),
                            user->change ? user->gid : getegid(), &instance->output);
    if (!error && supervisor->keeper) {
        char name[KEEPER_NAME_BYTES];
        snprintf(name, sizeof name, KEEPER_OUTPUT_PREFIX "%s", instance->name);
        keeper_put(supervisor->keeper, name, output_fd(instance->output));
    }
    return error;
}

static int readiness_begin(struct instance *instance, struct launch *launch)
{
    const struct spawn_user *user = &instance->unit->user;
    if (instance->unit->service->check != CHECK_NOTIFY)
        return 0;
    char path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    int error = data_folder(instance, "notify", path, sizeof path);
    size_t length = strlen(path);
    snprintf(path + length, sizeof path - length, "/socket");
    if (!error)
        error = readiness_open(supervisor_of(instance)->loop, path, user->uid, user->gid,
                               instance_notified, instance, &instance->readiness);
    return error ? error : launch_env_set(launch, "NOTIFY_SOCKET", path);
}

static void quota_warn(const struct instance *instance, unsigned failed)
{
    static const char *const names[] = {[CGROUP_MEMORY] = "memory", [CGROUP_CPU] = "cpu",
                                        [CGROUP_PIDS] = "tasks"};
    for (unsigned i = 0; i < CGROUP_CONTROLLERS; i++)
        if (failed & 1u << i)
            log_warn("quota-not-enforced", "instance=%s what=%s", instance->name, names[i]);
}

static int group_begin(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    const struct quota *quota = &instance->unit->service->quota;
    struct cgroup_quota wanted = {.memory_bytes = quota->memory_bytes,
                                  .cpu_percent = quota->cpu_percent,
                                  .tasks = quota->tasks};
    group_end(instance);
    if (instance->grouped)
        return -EBUSY;
    if (!supervisor->cgroups)
        return 0;
    unsigned failed = 0;
    int error =
        cgroup_open(supervisor->cgroups, instance->name, &wanted, &instance->cgroup, &failed);
    instance->grouped = error == 0;
    if (!error && !supervisor->adopted)
        quota_warn(instance, failed);
    return error;
}

static int steering_prepare(struct instance *instance)
{
    struct steering *steering;
    struct steering_instance joining = {
        .slot = instance->slot,
        .service = instance->unit->service->index,
        .number = instance->number,
        .epoch = instance->record->epoch,
        .address = instance->address,
        .cgroup_id = instance->grouped ? instance->cgroup.id : 0,
        .wanted = instance->unit->wanted,
    };
    return steering_of(instance, &steering)->prepare(steering, &joining);
}

/* The program's process begins; what the kernel must know of it before is known. */
static int process_begin(struct instance *instance, struct launch *launch)
{
    const struct service *service = instance->unit->service;
    struct supervisor *supervisor = supervisor_of(instance);
    struct steering *steering;
    struct service_port activation[SERVICE_PORTS_MAX];
    for (size_t i = 0; i < service->port_count; i++)
        if (service->ports[i].activation)
            activation[launch->plan.activation_count++] = service->ports[i];
    launch->plan.activation = activation;
    launch->plan.notify =
        steering_of(instance, &steering)->wants(steering, instance->slot, &launch->plan.wants);
    struct spawn_result result;
    enum spawn_step step = SPAWN_CLONE;
    int error = spawn(&launch->plan, &result, &step);
    if (error) {
        reason_set(instance, "%s: %s", spawn_step_name(step), strerror(-error));
        return error;
    }
    instance->pid = result.pid;
    instance->pidfd = result.pidfd;
    instance->record->pid = result.pid;
    instance->record->start_ticks = process_start_ticks(result.pid);
    main_watch(instance);
    watch_start(supervisor->loop, &instance->report, result.error_fd, WATCH_READ, report_ready,
                instance);
    instance->report.fd = result.error_fd;
    if (result.notify_socket >= 0) {
        watch_start(supervisor->loop, &instance->handover, result.notify_socket, WATCH_READ,
                    handover_ready, instance);
        instance->handover.fd = result.notify_socket;
    } else {
        steering->operations->started(steering, instance->slot, -1);
    }
    return 0;
}

static int instance_begin(struct instance *instance, struct launch *launch)
{
    char path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    int error = group_begin(instance);
    if (error) {
        reason_set(instance, "its cgroup: %s", strerror(-error));
        return error;
    }
    error = data_folder(instance, "data", path, sizeof path);
    if (!error)
        error = output_begin(instance);
    if (error) {
        reason_set(instance, "its folders in the state directory: %s", strerror(-error));
        return error;
    }
    error = launch_prepare(launch, instance, instance->unit->service->argv, instance->reason,
                           sizeof instance->reason);
    if (error)
        return error;
    error = readiness_begin(instance, launch);
    if (error) {
        reason_set(instance, "its notification socket: %s", strerror(-error));
        return error;
    }
    error = steering_prepare(instance);
    if (error) {
        reason_set(instance, "steering its sockets: %s", strerror(-error));
        return error;
    }
    scoped_fd int output = output_program_fd(instance->output);
    if (output < 0) {
        reason_set(instance, "its output: %s", strerror(-output));
        return output;
    }
    launch->plan.output_fd = output;
    return process_begin(instance, launch);
}

static void instance_spawn(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    struct launch launch = {0};
    instance->record->epoch++;
    instance->exit_status = -1;
    instance->exit_stashed = instance->main_ended = instance->executed = false;
    instance->listened = instance->binds = false;
    instance->port_count = 0;
    instance->healthy = instance->unit->service->check != CHECK_EXEC;
    instance->status[0] = 0;
    instance->started_ms = loop_now(supervisor->loop);
    instance->life.blame = BLAME_PROGRAM;
    int error = instance_begin(instance, &launch);
    if (error)
        instance_stillborn(instance, error);
    else
        log_info("instance-starting", "instance=%s pid=%d", instance->name, instance->pid);
    launch_done(&launch);
}

/* ---- the lifecycle's actions ------------------------------------------------------------------ */

static void failure_tell(struct instance *instance)
{
    size_t length = 0;
    const char *tail = instance->output ? output_tail(instance->output, &length) : "";
    log_error("instance-failed", "instance=%s failures=%u why=\"%s\"", instance->name,
              instance->life.failures, instance->reason);
    while (length) {
        const char *end = memchr(tail, '\n', length);
        size_t line = end ? (size_t)(end - tail) : length;
        log_error("instance-said", "instance=%s text=\"%.*s\"", instance->name, (int)line, tail);
        tail += line + (end ? 1 : 0);
        length -= line + (end ? 1 : 0);
    }
}

static void timeout_tell(struct instance *instance)
{
    const struct service *service = instance->unit->service;
    char waited[256] = "its READY=1";
    size_t at = 0;
    if (service->check == CHECK_EXEC && instance->listened)
        snprintf(waited, sizeof waited, "its check to pass");
    else if (service->check != CHECK_NOTIFY && !service->port_count)
        snprintf(waited, sizeof waited, "it to listen on a port (a program that listens nowhere "
                                        "needs `port none;`)");
    else if (service->check != CHECK_NOTIFY)
        for (size_t i = 0; i < service->port_count && at < sizeof waited; i++)
            at += (size_t)snprintf(waited + at, sizeof waited - at, "%s%s port %u",
                                   i ? " and " : "",
                                   service->ports[i].protocol == PROTOCOL_UDP ? "udp" : "tcp",
                                   service->ports[i].port);
    char listens[256] = "it listens nowhere";
    at = 0;
    for (size_t i = 0; i < instance->port_count && at < sizeof listens; i++)
        at += (size_t)snprintf(listens + at, sizeof listens - at, "%s%s port %u",
                               i ? ", " : "it listens on ",
                               instance->ports[i].protocol == PROTOCOL_UDP ? "udp" : "tcp",
                               instance->ports[i].port);
    reason_set(instance, "waited %u.%us for %s; %s", service->start_within_ms / 1000,
               service->start_within_ms % 1000 / 100, waited, listens);
    log_warn("instance-start-timeout", "instance=%s why=\"%s\"", instance->name, instance->reason);
}

static void deadline_due(struct timer *timer)
{
    instance_feed(timer->owner, EVENT_DEADLINE);
}

static void deadline_set(struct instance *instance)
{
    uint32_t wait_ms = lifecycle_deadline_ms(&instance->life, instance->unit->service);
    struct loop *loop = supervisor_of(instance)->loop;
    timer_stop(loop, &instance->deadline);
    if (wait_ms && timer_start(loop, &instance->deadline, wait_ms, deadline_due, instance) < 0)
        log_error("no-memory", "instance=%s what=timer", instance->name);
}

static void stop_signal_send(struct instance *instance)
{
    if (instance->pid > 0 && !instance->main_ended)
        kill(instance->pid, instance->unit->service->stop_signal);
}

/* The steering hears of the end before anything new begins. */
static void steering_gone(struct instance *instance)
{
    struct steering *steering;
    bool back = instance->life.state == STATE_STARTING || instance->life.state == STATE_BACKOFF;
    steering_of(instance, &steering)->gone(steering, instance->slot, back);
}

static void state_note(struct instance *instance, enum lifecycle_state was,
                       enum lifecycle_event event)
{
    struct instance_record *record = instance->record;
    record->state = instance->life.state;
    record->held = instance->life.goal == GOAL_HOLD;
    record->since_wall_ms = clock_wall_ms();
    if (instance->life.state == STATE_STARTING && was != STATE_IDLE)
        record->restarts++;
    if (instance->life.state == STATE_UP && was == STATE_STARTING) {
        instance->reason[0] = 0;
        log_info("instance-up", "instance=%s pid=%d ms=%llu", instance->name, instance->pid,
                 (unsigned long long)(loop_now(supervisor_of(instance)->loop) -
                                      instance->started_ms));
    } else if (was != instance->life.state) {
        log_debug("instance-state", "instance=%s from=%s to=%s event=%s", instance->name,
                  lifecycle_name(was), lifecycle_name(instance->life.state),
                  lifecycle_event_name(event));
    }
}

static void actions_carry_out(struct instance *instance, unsigned actions)
{
    if (actions & ACTION_TIMED_OUT)
        timeout_tell(instance);
    if (actions & ACTION_FAILED)
        failure_tell(instance);
    if (actions & ACTION_NO_DEADLINE)
        timer_stop(supervisor_of(instance)->loop, &instance->deadline);
    if (actions & ACTION_DEADLINE)
        deadline_set(instance);
    if (actions & ACTION_ROTATE)
        unit_rotate(instance->unit);
    if (actions & ACTION_SIGNAL)
        stop_signal_send(instance);
    if (actions & ACTION_KILL)
        instance_kill(instance);
    if (actions & ACTION_SPAWN)
        instance_spawn(instance);
    if (instance->life.state == STATE_DRAINING)
        sweep_start(instance);
}

static void instance_feed(struct instance *instance, enum lifecycle_event event)
{
    struct supervisor *supervisor = supervisor_of(instance);
    enum lifecycle_state was = instance->life.state;
    unsigned actions = lifecycle_step(&instance->life, event, loop_now(supervisor->loop),
                                      instance->unit->service, &supervisor->random);
    if (instance->life.state != was || (actions & ACTION_SPAWN))
        state_note(instance, was, event);
    if (event == EVENT_EXIT && lifecycle_running(was))
        steering_gone(instance);
    actions_carry_out(instance, actions);
    unit_changed(instance->unit, instance);
}

void instance_start(struct instance *instance)
{
    instance->life.goal = GOAL_RUN;
    instance_feed(instance, EVENT_START);
}

void instance_stop(struct instance *instance, enum lifecycle_goal goal, bool abrupt)
{
    instance->life.goal = goal;
    instance->life.abrupt = abrupt;
    instance_feed(instance, EVENT_STOP);
}

void instance_drain(struct instance *instance)
{
    instance->life.goal = GOAL_HOLD;
    instance_feed(instance, EVENT_DRAIN);
}

void instance_undrain(struct instance *instance)
{
    instance->life.goal = GOAL_RUN;
    instance_feed(instance, EVENT_UNDRAIN);
}

/* ---- taking over ----------------------------------------------------------------------------- */

/* Where an adopted instance listens: what it told a supervisor that is dead is asked of the kernel. */
static void ports_relearn(struct instance *instance)
{
    pid_t pids[64];
    uint16_t ports[INSTANCE_PORTS_MAX];
    size_t count = instance_processes(instance, pids, sizeof pids / sizeof pids[0]);
    count = sockets_listening(pids, count, ports, INSTANCE_PORTS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct steering_listen listen = {.slot = instance->slot,
                                         .epoch = instance->record->epoch,
                                         .protocol = PROTOCOL_TCP,
                                         .port = ports[i]};
        instance_listens(instance, &listen);
    }
}

int instance_adopt(struct instance *instance)
{
    struct instance_record *record = instance->record;
    struct steering *steering;
    int error = group_begin(instance);
    if (!error)
        error = output_begin(instance);
    if (!error)
        error = steering_prepare(instance);
    int pidfd = error ? error : process_open(record->pid);
    if (pidfd < 0)
        return pidfd;
    if (process_start_ticks(record->pid) != record->start_ticks) {
        close(pidfd);
        return -ESRCH;
    }
    instance->pid = record->pid;
    instance->pidfd = pidfd;
    instance->executed = true;
    instance->started_ms = loop_now(supervisor_of(instance)->loop);
    instance->life = (struct lifecycle){
        .state = record->state,
        .goal = record->held ? GOAL_HOLD : GOAL_RUN,
        .entered_ms = loop_now(supervisor_of(instance)->loop),
    };
    instance->listened = record->state != STATE_STARTING;
    main_watch(instance);
    steering_of(instance, &steering)->started(steering, instance->slot, -1);
    ports_relearn(instance);
    deadline_set(instance);
    return 0;
}
