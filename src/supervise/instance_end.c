#include "supervise/instance_private.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/process.h"
#include "kernel/sockets.h"
#include "supervise/launch.h"
#include "supervise/marks.h"

enum {
    SWEEP_MS = 20, /* how often a draining or dying instance is looked at again */
    REPLACE_TRIES = 4,
    PROCESSES_MAX = 4096, /* of one instance, that are signalled one by one */
};

/* ---- its processes -------------------------------------------------------------------------- */

/* Its processes where there are no cgroups, by their marks. */
static size_t processes_by_mark(const struct instance *instance, bool sure, pid_t *ret_pids,
                                size_t max)
{
    char mark[INSTANCE_NAME_BYTES * 2];
    struct supervisor *supervisor = supervisor_of(instance);
    launch_mark(instance, mark, sizeof mark);
    if (instance->walks_before == marks_walks(supervisor->marks))
        marks_forget(supervisor->marks);
    if (sure)
        marks_make_sure(supervisor->marks);
    return marks_processes(supervisor->marks, mark + strlen(LAUNCH_MARK "="),
                           instance->record->session, ret_pids, max);
}

static size_t processes_by_group(const struct instance *instance, pid_t *ret_pids, size_t max)
{
    int count = cgroup_processes(&instance->cgroup, ret_pids, max);
    return count > 0 ? (size_t)count : 0;
}

size_t instance_processes(const struct instance *instance, pid_t *ret_pids, size_t max)
{
    return instance->grouped ? processes_by_group(instance, ret_pids, max)
                             : processes_by_mark(instance, false, ret_pids, max);
}

/* For what decides on life and death. */
static size_t processes_surely(const struct instance *instance, pid_t *ret_pids, size_t max)
{
    return instance->grouped ? processes_by_group(instance, ret_pids, max)
                             : processes_by_mark(instance, true, ret_pids, max);
}

static bool instance_populated(const struct instance *instance)
{
    pid_t one;
    return instance->grouped ? cgroup_populated(&instance->cgroup)
                             : processes_surely(instance, &one, 1) > 0;
}

static void processes_signal(const struct instance *instance, int number)
{
    pid_t *pids = calloc(PROCESSES_MAX, sizeof *pids);
    size_t count = pids ? processes_surely(instance, pids, PROCESSES_MAX) : 0;
    for (size_t i = 0; i < count; i++)
        kill(pids[i], number);
    free(pids);
}

void instance_kill(struct instance *instance)
{
    instance->killed = true;
    if (!instance->grouped || cgroup_kill(&instance->cgroup) < 0)
        processes_signal(instance, SIGKILL);
}

/* ---- the end -------------------------------------------------------------------------------- */

const char *instance_status_text(int status, const char *cause, char *text, size_t size)
{
    if (status == -1)
        return NULL;
    if (WIFSIGNALED(status)) {
        const char *name = sigabbrev_np(WTERMSIG(status));
        snprintf(text, size, "killed by SIG%s%s", name ? name : "?", cause);
    } else {
        snprintf(text, size, "exited with status %d%s", WEXITSTATUS(status), cause);
    }
    return text;
}

const char *instance_exit_text(const struct instance *instance, char *text, size_t size)
{
    char cause[64] = "";
    if (instance->record->out_of_memory && instance->memory_peak_bytes)
        snprintf(cause, sizeof cause, " (out of memory at %.1f MiB)",
                 (double)instance->memory_peak_bytes / 1048576);
    else if (instance->record->out_of_memory)
        snprintf(cause, sizeof cause, " (out of memory)");
    return instance_status_text(instance->record->exit_status, cause, text, size);
}

bool instance_hopeless(const struct instance *instance)
{
    if (instance->unit->service->job) /* whose runs may fail, each for itself */
        return false;
    return instance->life.state == STATE_FAILED ||
           (instance->life.state == STATE_BACKOFF &&
            instance->life.failures >= INSTANCE_HOPELESS_FAILURES);
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

/* By SIGKILL, or as a shell ends whose program was: with 128 + the signal. */
static bool ended_by_kill(int status)
{
    return WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL
                               : WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGKILL;
}

/* No process of it is left. */
static void instance_ended(struct instance *instance)
{
    bool asked = instance->life.state == STATE_STOPPING;
    char text[64];
    if (instance->steps) {
        instance_step_ended(instance);
        return;
    }
    struct cgroup_usage usage = {0};
    if (instance->grouped)
        cgroup_usage_read(supervisor_of(instance)->cgroups, &instance->cgroup, &usage);
    instance->record->exit_status = instance->exit_status;
    instance->memory_peak_bytes = usage.memory_peak_bytes;
    instance->record->out_of_memory = usage.oom_kills && ended_by_kill(instance->exit_status);
    instance->life.clean = instance->exit_status != -1 && WIFEXITED(instance->exit_status) &&
                           WEXITSTATUS(instance->exit_status) == 0;
    if (instance->output)
        output_drain(instance->output);
    if (!asked && instance->executed) {
        const char *how = instance_exit_text(instance, text, sizeof text);
        instance_reason_set(instance, "%s", how ? how : "ended");
        collision_explain(instance);
    }
    log_info("instance-ended", "instance=%s pid=%d how=\"%s\"", instance->name, instance->pid,
             instance_exit_text(instance, text, sizeof text) ? text : "unknown");
    instance_process_forget(instance);
    instance->port_count = 0;
    instance_feed(instance, EVENT_EXIT);
    if (!lifecycle_running(instance->life.state))
        instance_group_end(instance); /* of thousands that failed each would cost two descriptors */
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

void instance_sweep_start(struct instance *instance)
{
    if (timer_start(supervisor_of(instance)->loop, &instance->sweep, SWEEP_MS, sweep_due,
                    instance) < 0)
        log_error("no-memory", "instance=%s what=timer", instance->name);
}

static bool probe_has(const struct probe *probe, pid_t session)
{
    pid_t checking = probe ? probe_session(probe) : 0;
    return checking && session == checking;
}

/* The oldest of its processes besides the main one; 0: there is none. */
static pid_t process_oldest(const struct instance *instance, uint64_t *ret_ticks)
{
    pid_t pids[64];
    size_t count = processes_surely(instance, pids, sizeof pids / sizeof pids[0]);
    pid_t oldest = 0;
    *ret_ticks = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        uint64_t ticks = process_start_ticks(pids[i]);
        pid_t session = getsid(pids[i]);
        bool check = probe_has(instance->probe, session) ||
                     probe_has(instance->role_probe, session); /* looks at it, and is not it */
        if (pids[i] != instance->pid && !check && ticks && ticks < *ret_ticks) {
            oldest = pids[i];
            *ret_ticks = ticks;
        }
    }
    return oldest;
}

/* The instance's main process is this one from now on. `pidfd` is taken over. 0 or -errno. */
static int main_become(struct instance *instance, pid_t pid, int pidfd, uint64_t start_ticks)
{
    struct instance_record *record = instance->record;
    watch_stop(supervisor_of(instance)->loop, &instance->death);
    fd_drop(&instance->pidfd);
    log_info("instance-main", "instance=%s pid=%d was=%d", instance->name, pid, instance->pid);
    instance->pid = pid;
    instance->pidfd = pidfd;
    record->start_ticks = start_ticks;
    record->pid = pid; /* last: a record with a pid is whole */
    instance->main_ended = false;
    instance->exit_stashed = false;
    front_unit_write(supervisor_of(instance)->front, instance->unit);
    return instance_main_watch(instance);
}

/* The main process ended and others live on. A daemon that went into the background (it ended with
 * 0, unasked) goes on with the oldest of the others as its main process; whatever else is left over
 * is ended: with the stop signal when the instance is being stopped, since a shell that dies first
 * leaves the real program behind, at once otherwise. */
static bool main_replace(struct instance *instance)
{
    uint64_t ticks = 0;
    pid_t oldest = 0;
    int pidfd = -1;
    /* A daemon forks twice, and the process in between may end while we look. */
    for (int tries = 0; tries < REPLACE_TRIES && pidfd < 0; tries++) {
        marks_forget(supervisor_of(instance)->marks);
        oldest = process_oldest(instance, &ticks);
        pidfd = oldest ? process_open(oldest) : -1;
    }
    return pidfd >= 0 && main_become(instance, oldest, pidfd, ticks) == 0;
}

static bool process_is_ours(const struct instance *instance, pid_t pid)
{
    bool ours = false;
    pid_t *pids = calloc(PROCESSES_MAX, sizeof *pids);
    size_t count = pids ? processes_surely(instance, pids, PROCESSES_MAX) : 0;
    for (size_t i = 0; i < count && !ours; i++)
        ours = pids[i] == pid;
    free(pids);
    return ours;
}

void instance_main_told(struct instance *instance, pid_t pid)
{
    if (instance->main_ended || instance->pid <= 0 || pid == instance->pid)
        return;
    /* Opened before it is looked for: the descriptor is of the process that is found. */
    int pidfd = process_open(pid);
    uint64_t ticks = process_start_ticks(pid);
    if (pidfd < 0 || !ticks || !process_is_ours(instance, pid)) {
        log_event(instance->main_refused ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARN,
                  "instance-main-refused", "instance=%s told=%d why=\"it is no process of it\"",
                  instance->name, pid);
        instance->main_refused = true; /* told once for each start */
        fd_drop(&pidfd);
        return;
    }
    instance->main_told = true;
    (void)main_become(instance, pid, pidfd, ticks); /* a failure is logged there */
}

void instance_main_ended(struct instance *instance)
{
    bool clean = instance->exit_status == 0;
    instance->main_ended = true;
    front_unit_write(supervisor_of(instance)->front, instance->unit); /* before anything else */
    watch_stop(supervisor_of(instance)->loop, &instance->death);
    instance_report_take(
        instance); /* a child that failed at once may be seen to end before it is heard */
    if (!instance_populated(instance)) {
        instance_role_forget(instance);
        instance_ended(instance);
        return;
    }
    bool stopping = instance->life.state == STATE_STOPPING;
    if (clean && !stopping && !instance->steps && !instance->main_told && main_replace(instance))
        return;
    instance->main_ended = true;
    instance_role_forget(instance);
    probe_free(instance->probe); /* one that runs just now would count as a process of it */
    instance->probe = NULL;
    if (stopping)
        processes_signal(instance, rolling_service(instance)->stop_signal);
    else
        instance_kill(instance);
    if (instance->grouped && !instance->emptied.active &&
        watch_start(supervisor_of(instance)->loop, &instance->emptied, instance->cgroup.watch_fd,
                    WATCH_PRIORITY, emptied_ready, instance) == 0 &&
        cgroup_populated(&instance->cgroup))
        return;
    instance_sweep_start(instance); /* no notification to be had: look again */
}

/* The status of one that is not our child, since it was adopted: the kernel tells it from 6.15 on,
 * once whoever is the parent now has reaped it; until then /proc does. -1: unknown. */
static int status_of_adopted(const struct instance *instance)
{
    int status = -1;
    for (int tries = 0; tries < 2; tries++) { /* it may be reaped between the two questions */
        if (process_exit_status(instance->pidfd, &status) == 0 ||
            process_zombie_status(instance->pid, instance->record->start_ticks, &status) == 0)
            return status;
    }
    return -1;
}

static void death_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct instance *instance = watch->owner;
    siginfo_t info = {0};
    pid_t ended = instance->pid;
    readiness_take_all(instance->readiness);
    if (instance->pid != ended)
        return; /* before it ended, another was named in its place */
    if (!instance->exit_stashed) {
        if (waitid(P_PIDFD, (id_t)instance->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid)
            instance->exit_status =
                info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
        else
            instance->exit_status = status_of_adopted(instance);
    }
    instance->exit_stashed = false;
    instance_main_ended(instance);
}

int instance_main_watch(struct instance *instance)
{
    int error = watch_start(supervisor_of(instance)->loop, &instance->death, instance->pidfd,
                            WATCH_READ, death_ready, instance);
    if (error)
        log_error("watch-failed", "instance=%s error=\"%s\"", instance->name, strerror(-error));
    return error;
}

bool instance_reaped(struct instance *instance, pid_t pid, int status)
{
    if (instance->pid != pid || instance->main_ended)
        return (instance->probe && probe_reaped(instance->probe, pid, status)) ||
               (instance->role_probe && probe_reaped(instance->role_probe, pid, status));
    instance->exit_status = status;
    instance->exit_stashed = true; /* the pidfd is readable now: death_ready does the rest */
    return true;
}

bool instance_connections(const struct instance *instance, int64_t *ret_live, uint64_t *ret_total)
{
    struct steering *steering;
    const struct tally *tally = front_tally(supervisor_of(instance)->front);
    if (!tally || !unit_only_by_gateway(instance->unit))
        return steering_of(instance, &steering)
            ->counts(steering, instance->slot, ret_live, ret_total);
    struct tally_endpoint sum;
    tally_endpoint_sum(tally, instance->slot, &sum);
    *ret_live = (int64_t)sum.connections_now;
    *ret_total = sum.connections;
    return true;
}

/* Does nothing of it go on any more? Connections that the gateway keeps for later are nothing. */
static bool instance_quiet(const struct instance *instance)
{
    const struct tally *tally = front_tally(supervisor_of(instance)->front);
    int64_t live = 0;
    uint64_t total = 0;
    if (tally && unit_only_by_gateway(instance->unit))
        return tally_requests_now(tally, instance->slot) == 0;
    return instance_connections(instance, &live, &total) && live <= 0;
}

/* Draining: gone quiet? Ending without notifications: gone? */
static void sweep_due(struct timer *timer)
{
    struct instance *instance = timer->owner;
    if (instance->main_ended) {
        if (!instance_populated(instance)) {
            instance_ended(instance);
            return;
        }
        if (instance->life.state != STATE_STOPPING || instance->killed)
            instance_kill(instance); /* again: what forked meanwhile was missed */
        instance_sweep_start(instance);
        return;
    }
    if (instance->life.state != STATE_DRAINING || instance->life.goal == GOAL_HOLD)
        return;
    if (instance_quiet(instance))
        instance_feed(instance, EVENT_QUIET);
    if (instance->life.state == STATE_DRAINING)
        instance_sweep_start(instance);
}
