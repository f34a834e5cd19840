#include "supervise/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/process.h"
#include "supervise/launch.h"

/* One round: spawn → the command ends (or is killed when its time is over) → count → wait. */
struct probe {
    struct loop *loop;
    struct probe_plan plan;
    struct launch *launch;
    probe_call *call;
    void *owner;
    struct watch end;
    struct timer timer; /* the command's time while it runs, the pause between two otherwise */
    pid_t pid;
    int pidfd;
    int answer_fd; /* what the command prints is read from it; -1: that is output */
    bool late;
    bool exit_stashed; /* somebody else reaped the command: this is how it ended */
    int exit_status;
    uint32_t good; /* in a row */
    uint32_t bad;
};

static void round_begin(struct probe *probe);

static void pause_over(struct timer *timer)
{
    round_begin(timer->owner);
}

static void round_end(struct probe *probe, bool well, const char *why)
{
    const struct probe_plan *plan = &probe->plan;
    /* Until it was well for the first time it is asked more often: a start should not wait long. */
    uint32_t pause_ms =
        probe->good || probe->bad >= plan->fall ? plan->every_ms : plan->every_ms / 10;
    probe->good = well ? probe->good + 1 : 0;
    probe->bad = well ? 0 : probe->bad + 1;
    timer_start(probe->loop, &probe->timer, pause_ms, pause_over, probe);
    if (plan->answers && well)
        probe->call(probe->owner, true, why);
    else if (!plan->answers && probe->good == plan->rise)
        probe->call(probe->owner, true, "");
    else if (probe->bad == plan->fall)
        probe->call(probe->owner, false, why);
}

/* The command and what it started: it is the leader of a session and a group of its own. */
static void command_kill(struct probe *probe)
{
    pidfd_send_signal(probe->pidfd, SIGKILL, NULL, 0);
    if (!probe->exit_stashed) /* else the number may be somebody else's by now */
        kill(-probe->pid, SIGKILL);
}

static void command_late(struct timer *timer)
{
    struct probe *probe = timer->owner;
    probe->late = true;
    command_kill(probe);
}

/* How the command ended, a wait(2) status; -1: unknown. */
static int command_status(struct probe *probe)
{
    siginfo_t info = {0};
    int status = -1;
    if (probe->exit_stashed)
        return probe->exit_status;
    if (waitid(P_PIDFD, (id_t)probe->pidfd, &info, WEXITED | WNOHANG) == 0 && info.si_pid)
        return info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
    return process_exit_status(probe->pidfd, &status) == 0 ? status : -1;
}

/* Cut where it is too long; "" for one whose output is not read. */
static void answer_read(struct probe *probe, char text[PROBE_ANSWER_BYTES_MAX])
{
    ssize_t count =
        probe->answer_fd < 0 ? 0 : read(probe->answer_fd, text, PROBE_ANSWER_BYTES_MAX - 1);
    text[count > 0 ? count : 0] = 0;
    fd_drop(&probe->answer_fd);
}

static void command_ended(struct watch *watch, unsigned events)
{
    (void)events;
    struct probe *probe = watch->owner;
    int status = command_status(probe);
    watch_stop(probe->loop, &probe->end);
    timer_stop(probe->loop, &probe->timer);
    fd_drop(&probe->pidfd);
    probe->pid = 0;
    char why[PROBE_ANSWER_BYTES_MAX];
    answer_read(probe, why);
    if (status == 0 && !probe->late)
        (void)why; /* what it printed */
    else if (probe->late)
        snprintf(why, sizeof why, "took longer than %u ms", probe->plan.timeout_ms);
    else if (status == -1)
        snprintf(why, sizeof why, "ended, and nobody knows how");
    else
        snprintf(why, sizeof why, "%s %d",
                 WIFEXITED(status) ? "exited with status" : "killed by signal",
                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    round_end(probe, status == 0 && !probe->late, why);
}

static void round_begin(struct probe *probe)
{
    struct spawn_result result;
    enum spawn_step step = SPAWN_CLONE;
    int ends[2] = {-1, -1};
    struct spawn_plan plan = probe->launch->plan;
    int error = probe->plan.answers && pipe2(ends, O_CLOEXEC) < 0 ? -errno : 0;
    if (ends[0] >= 0) {
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        plan.answer_fd = ends[1];
    }
    if (!error)
        error = spawn(&plan, &result, &step);
    fd_drop(&ends[1]);
    probe->answer_fd = ends[0];
    if (!error) {
        close(result.error_fd); /* a command that cannot be executed exits with a status, too */
        error =
            watch_start(probe->loop, &probe->end, result.pidfd, WATCH_READ, command_ended, probe);
        if (error) {
            kill(result.pid, SIGKILL);
            close(result.pidfd);
        }
    }
    if (error) {
        fd_drop(&probe->answer_fd);
        round_end(probe, false, strerror(-error));
        return;
    }
    probe->pid = result.pid;
    probe->pidfd = result.pidfd;
    probe->late = probe->exit_stashed = false;
    timer_start(probe->loop, &probe->timer, probe->plan.timeout_ms, command_late, probe);
}

int probe_start(struct loop *loop, struct launch *launch, const struct probe_plan *plan,
                probe_call *call, void *owner, struct probe **ret_probe)
{
    struct probe *probe = calloc(1, sizeof *probe);
    launch->plan.output_fd = fcntl(launch->plan.output_fd, F_DUPFD_CLOEXEC, 0);
    int error = launch->plan.output_fd < 0 ? -errno : probe ? 0 : -ENOMEM;
    if (error) {
        fd_drop(&launch->plan.output_fd);
        launch_done(launch);
        free(launch);
        free(probe);
        return error;
    }
    *probe = (struct probe){.loop = loop,
                            .plan = *plan,
                            .launch = launch,
                            .call = call,
                            .owner = owner,
                            .pidfd = -1,
                            .answer_fd = -1};
    *ret_probe = probe;
    round_begin(probe);
    return 0;
}

void probe_free(struct probe *probe)
{
    if (!probe)
        return;
    watch_stop(probe->loop, &probe->end);
    timer_stop(probe->loop, &probe->timer);
    if (probe->pid)
        command_kill(probe);
    fd_drop(&probe->pidfd);
    fd_drop(&probe->answer_fd);
    fd_drop(&probe->launch->plan.output_fd);
    launch_done(probe->launch);
    free(probe->launch);
    free(probe);
}

pid_t probe_session(const struct probe *probe)
{
    return probe->pid;
}

bool probe_reaped(struct probe *probe, pid_t pid, int status)
{
    if (probe->pid != pid || !pid)
        return false;
    probe->exit_status = status;
    probe->exit_stashed = true; /* the pidfd is readable now: command_ended does the rest */
    return true;
}
