#include "supervise/upgrade.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "proc/role.h"
#include "supervise/supervisor.h"

enum { ANSWER_BYTES_MAX = 8192 };

struct upgrade { /* an executable on trial */
    struct supervisor *supervisor;
    char *executable;
    upgrade_tried *done; /* NULL: nobody waits */
    void *owner;
    int socket, pidfd;
    struct watch answers;
    struct timer late;
    char answer[ANSWER_BYTES_MAX];
    size_t length;
};

static void trial_free(struct upgrade *trial)
{
    struct supervisor *supervisor = trial->supervisor;
    watch_stop(supervisor->loop, &trial->answers);
    timer_stop(supervisor->loop, &trial->late);
    fd_drop(&trial->socket);
    fd_drop(&trial->pidfd);
    free(trial->executable);
    free(trial);
    supervisor->trial = NULL;
}

static void trial_over(struct upgrade *trial, int error, const char *why)
{
    struct supervisor *supervisor = trial->supervisor;
    upgrade_tried *done = trial->done;
    void *owner = trial->owner;
    if (error) {
        log_error("upgrade-refused", "executable=%s why=\"%.*s\"", trial->executable,
                  (int)strcspn(why, "\n"), why);
    } else {
        log_info("upgrading", "executable=%s from=%s to=%s", trial->executable, ENGINX_VERSION,
                 why);
        supervisor->upgrade_to = trial->executable;
        trial->executable = NULL;
    }
    pidfd_send_signal(trial->pidfd, SIGKILL, NULL, 0); /* reaped with the other children */
    trial_free(trial);
    if (done)
        done(owner, error, why);
    supervisor_note_change(supervisor, NULL);
}

static void trial_answered(struct upgrade *trial)
{
    json_error_t where;
    json_t *answer = json_loadb(trial->answer, trial->length, JSON_REJECT_DUPLICATES, &where);
    const char *version = json_string_value(json_object_get(answer, "version"));
    const char *error = json_string_value(json_object_get(answer, "error"));
    if (!version)
        trial_over(trial, -EINVAL, "it is no executable of enginx that could take over");
    else
        trial_over(trial, error ? -EINVAL : 0, error ? error : version);
    json_decref(answer);
}

static void answers_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct upgrade *trial = watch->owner;
    ssize_t count = recv(trial->socket, trial->answer + trial->length,
                         sizeof trial->answer - trial->length, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count > 0 && trial->length + (size_t)count < sizeof trial->answer)
        trial->length += (size_t)count;
    else
        trial_answered(trial);
}

static void trial_late(struct timer *timer)
{
    trial_over(timer->owner, -ETIMEDOUT, "it does not answer");
}

static int trial_start(struct upgrade *trial)
{
    struct supervisor *supervisor = trial->supervisor;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    trial->socket = pair[0];
    scoped_fd int theirs = pair[1];
    const char *const arguments[] = {
        supervisor->options.state_directory, supervisor->topology->file,
        supervisor->options.name ? supervisor->options.name : "", NULL};
    pid_t pid = role_start(trial->executable, "trial", arguments, theirs);
    if (pid < 0)
        return pid;
    trial->pidfd = pidfd_open(pid, 0);
    if (trial->pidfd < 0)
        return -errno;
    int error = watch_start(supervisor->loop, &trial->answers, trial->socket, WATCH_READ,
                            answers_ready, trial);
    return error ? error
                 : timer_start(supervisor->loop, &trial->late, UPGRADE_TRIAL_MS, trial_late, trial);
}

static const char *refusal(const struct supervisor *supervisor)
{
    pid_t pids[FRONT_ELDERS_MAX];
    if (supervisor->ending)
        return "the cluster is going down";
    if (supervisor->trial || supervisor->upgrade_to)
        return "an upgrade is under way";
    if (supervisor->options.past.watched)
        return "the last upgrade is being watched still";
    if (supervisor->reload)
        return "a reload is under way";
    if (front_elders(supervisor->front, pids) == FRONT_ELDERS_MAX)
        return "two gateways of earlier upgrades have connections still: wait for these to end, or "
               "end the processes";
    return NULL;
}

int upgrade_begin(struct supervisor *supervisor, const char *executable, upgrade_tried *done,
                  void *owner, char why[UPGRADE_WHY_BYTES])
{
    const char *refused = refusal(supervisor);
    if (refused) {
        snprintf(why, UPGRADE_WHY_BYTES, "%s", refused);
        return -EBUSY;
    }
    struct upgrade *trial = calloc(1, sizeof *trial);
    if (trial)
        trial->executable = strdup(executable);
    if (!trial || !trial->executable) {
        free(trial);
        snprintf(why, UPGRADE_WHY_BYTES, "no memory");
        return -ENOMEM;
    }
    trial->supervisor = supervisor;
    trial->done = done;
    trial->owner = owner;
    trial->socket = trial->pidfd = -1;
    int error = trial_start(trial);
    if (error) {
        snprintf(why, UPGRADE_WHY_BYTES, "%s: %s", executable, strerror(-error));
        trial_free(trial);
        return error;
    }
    supervisor->trial = trial;
    return 0;
}

void upgrade_disown(struct supervisor *supervisor, const void *owner)
{
    if (supervisor->trial && supervisor->trial->owner == owner)
        supervisor->trial->done = NULL;
}

bool upgrade_ready(const struct supervisor *supervisor)
{
    return (supervisor->upgrade_to || supervisor->leaving) && !supervisor->reload &&
           (!supervisor->keeper || keeper_waiting(supervisor->keeper) == 0);
}

void upgrade_end(struct supervisor *supervisor)
{
    if (supervisor->trial)
        trial_free(supervisor->trial);
    free(supervisor->upgrade_to);
    supervisor->upgrade_to = NULL;
}
