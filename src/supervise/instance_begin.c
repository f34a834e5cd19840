#include "supervise/instance_private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/process.h"
#include "supervise/launch.h"
#include "supervise/marks.h"
#include "supervise/quota.h"

/* ---- the start ------------------------------------------------------------------------------ */

static void stillborn_call(struct deferred *deferred)
{
    struct instance *instance = deferred->owner;
    instance->exit_status = -1;
    instance->life.clean = false;
    instance_process_forget(instance);
    instance_output_end(instance); /* what is not there needs no descriptors: others may */
    instance_group_end(instance);
    if (instance->steps)
        instance_step_ended(instance);
    else
        instance_feed(instance, EVENT_EXIT);
}

/* Tells why it was not started, once for each reason: what is tried for ever must not flood the
 * log. */
static void not_started_tell(struct instance *instance)
{
    bool told = strcmp(instance->told, instance->reason) == 0;
    log_event(told ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN, "instance-not-started",
              "instance=%s why=\"%s\"", instance->name, instance->reason);
    snprintf(instance->told, sizeof instance->told, "%s", instance->reason);
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
    case EBUSY: /* what was killed has not gone yet */
        return BLAME_MACHINE;
    default:
        return BLAME_PROGRAM;
    }
}

/* It could not be started. The event comes after this turn, so that a start that fails at once does
 * not recurse through the lifecycle. */
void instance_stillborn(struct instance *instance, int error)
{
    if (error) {
        instance->life.blame = blame_for(error);
        not_started_tell(instance);
    }
    deferred_start(supervisor_of(instance)->loop, &instance->stillborn, stillborn_call, instance);
}

/* Reads the child's word on its exec, if it has been spoken. */
void instance_report_take(struct instance *instance)
{
    enum spawn_step step = SPAWN_EXEC;
    int error = instance->report.fd < 0 ? -EINPROGRESS : spawn_error(instance->report.fd, &step);
    if (error == -EINPROGRESS)
        return;
    watch_stop(supervisor_of(instance)->loop, &instance->report);
    fd_drop(&instance->report.fd);
    if (error) { /* the child exits by itself; its end is noticed as any other's */
        instance->life.blame = blame_for(error);
        instance_reason_set(instance, "%s: %s", spawn_step_name(step), strerror(-error));
        not_started_tell(instance);
        return;
    }
    instance->executed = true;
}

static void report_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct instance *instance = watch->owner;
    instance_report_take(instance);
    if (instance->executed)
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

static int data_folder(const struct instance *instance, char *path, size_t size)
{
    const struct spawn_user *user = rolling_user(instance);
    const char *state = supervisor_of(instance)->options.state_directory;
    if (snprintf(path, size, "%s/data/%s", state, instance->name) >= (int)size)
        return -ENAMETOOLONG;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return -errno;
    if (user->change && chown(path, user->uid, user->gid) < 0)
        return -errno;
    return 0;
}

int instance_output_begin(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    const struct spawn_user *user = rolling_user(instance);
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

/* Its notification socket; `path` gets where it is. The folder stays ours, so that the instance's
 * user cannot put a link to somebody else's file in the socket's place. */
int instance_readiness_listen(struct instance *instance, char *path, size_t size)
{
    const struct spawn_user *user = rolling_user(instance);
    const char *state = supervisor_of(instance)->options.state_directory;
    int length = snprintf(path, size, "%s/notify/%s", state, instance->name);
    if (length >= (int)(size - sizeof "/socket"))
        return -ENAMETOOLONG;
    if (mkdir(path, 0711) < 0 && errno != EEXIST)
        return -errno;
    chmod(path, 0711); /* whatever the umask */
    strcat(path, "/socket");
    return readiness_open(supervisor_of(instance)->loop, path, user->change ? user->uid : geteuid(),
                          user->change ? user->gid : getegid(), instance_notified, instance,
                          &instance->readiness);
}

static int readiness_begin(struct instance *instance, struct launch *launch)
{
    if (rolling_check(instance) != CHECK_NOTIFY)
        return 0;
    char path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    int error = instance_readiness_listen(instance, path, sizeof path);
    return error ? error : launch_env_set(launch, "NOTIFY_SOCKET", path);
}

int instance_group_begin(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    struct cgroup_quota wanted = quota_limits(&rolling_service(instance)->quota);
    instance_group_end(instance);
    if (instance->grouped)
        return -EBUSY;
    if (!supervisor->cgroups)
        return 0;
    unsigned failed = 0;
    int error =
        cgroup_open(supervisor->cgroups, instance->name, &wanted, &instance->cgroup, &failed);
    instance->grouped = error == 0;
    if (!error && !supervisor->adopted)
        supervisor_quota_warn(supervisor, instance->name, failed);
    return error;
}

int instance_steering_prepare(struct instance *instance)
{
    struct steering *steering;
    struct steering_instance joining = {
        .slot = instance->slot,
        .service = instance->unit->service->index,
        .number = instance->number,
        .epoch = instance->record->epoch,
        .address = instance->address,
        .cgroup_id = instance->grouped ? instance->cgroup.id : 0,
        .wanted = unit_seats_kept(instance->unit),
        .guest = instance->steps != STEPS_NONE,
    };
    return steering_of(instance, &steering)->prepare(steering, &joining);
}

/* Takes over the descriptors of a process that was just started, and watches them. */
static int process_take(struct instance *instance, const struct spawn_result *result)
{
    struct loop *loop = supervisor_of(instance)->loop;
    instance->pid = result->pid;
    instance->pidfd = result->pidfd;
    instance->record->start_ticks = process_start_ticks(result->pid);
    instance->record->session = result->pid;
    instance->record->step = instance->steps ? (uint16_t)(instance->step + 1) : 0;
    instance->ran = true;
    instance->record->pid = result->pid; /* last: a record with a pid is whole */
    int error = instance_main_watch(instance);
    if (!error)
        error = watch_start(loop, &instance->report, result->error_fd, WATCH_READ, report_ready,
                            instance);
    instance->report.fd = result->error_fd;
    if (!error && result->notify_socket >= 0)
        error = watch_start(loop, &instance->handover, result->notify_socket, WATCH_READ,
                            handover_ready, instance);
    instance->handover.fd = result->notify_socket;
    return error;
}

/* The program's process begins; what the kernel must know of it before is known. */
static int process_begin(struct instance *instance, struct launch *launch)
{
    const struct service *service = rolling_service(instance);
    struct steering *steering;
    struct service_port activation[SERVICE_PORTS_MAX];
    for (size_t i = 0; i < service->port_count; i++)
        if (service->ports[i].activation && !instance->steps)
            activation[launch->plan.activation_count++] = service->ports[i];
    launch->plan.activation = activation;
    launch->plan.notify =
        steering_of(instance, &steering)->wants(steering, instance->slot, &launch->plan.wants);
    struct spawn_result result;
    enum spawn_step step = SPAWN_CLONE;
    int error = spawn(&launch->plan, &result, &step);
    if (error) {
        instance_reason_set(instance, "%s: %s", spawn_step_name(step), strerror(-error));
        return error;
    }
    error = process_take(instance, &result);
    if (error) {
        instance_reason_set(instance, "watching its process: %s", strerror(-error));
        pidfd_send_signal(instance->pidfd, SIGKILL, NULL, 0);
        return error; /* what was opened goes with process_forget */
    }
    if (result.notify_socket < 0)
        steering->operations->started(steering, instance->slot, -1);
    return 0;
}

static int instance_begin(struct instance *instance, struct launch *launch)
{
    char path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    int error = instance_group_begin(instance);
    if (error) {
        instance_reason_set(instance, "its cgroup: %s", strerror(-error));
        return error;
    }
    error = data_folder(instance, path, sizeof path);
    if (!error)
        error = instance_output_begin(instance);
    if (error) {
        instance_reason_set(instance, "its folders in the state directory: %s", strerror(-error));
        return error;
    }
    const struct service_step *step = instance_step(instance);
    error = launch_prepare(launch, instance, step ? step->argv : rolling_service(instance)->argv,
                           instance->reason, sizeof instance->reason);
    if (error)
        return error;
    error = step ? instance_step_env(instance, launch) : readiness_begin(instance, launch);
    if (error) {
        instance_reason_set(instance, "its notification socket: %s", strerror(-error));
        return error;
    }
    error = instance_steering_prepare(instance);
    if (error) {
        instance_reason_set(instance, "steering its sockets: %s", strerror(-error));
        return error;
    }
    scoped_fd int output = output_program_fd(instance->output);
    if (output < 0) {
        instance_reason_set(instance, "its output: %s", strerror(-output));
        return output;
    }
    launch->plan.output_fd = output;
    return process_begin(instance, launch);
}

void instance_spawn(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    struct launch launch = {0};
    instance->record->epoch++;
    instance->begun = true;
    instance->exit_status = -1;
    instance->exit_stashed = instance->main_ended = instance->main_told = false;
    instance->main_refused = false;
    instance->executed = false;
    instance->listened = instance->binds = instance->leaving = instance->killed = false;
    instance->port_count = 0;
    enum check_kind check = rolling_check(instance);
    instance->healthy = check != CHECK_EXEC && !check_by_gateway(check);
    instance->status[0] = 0;
    instance->started_ms = loop_now(supervisor->loop);
    instance->walks_before = marks_walks(supervisor->marks);
    instance->life.blame = BLAME_PROGRAM;
    int error = instance_begin(instance, &launch);
    if (error)
        instance_stillborn(instance, error);
    else if (instance->steps)
        log_info("step-starting", "instance=%s pid=%d step=\"%s\"", instance->name, instance->pid,
                 instance_step(instance)->text);
    else
        log_info("instance-starting", "instance=%s pid=%d", instance->name, instance->pid);
    launch_done(&launch);
}
