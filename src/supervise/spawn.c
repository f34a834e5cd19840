#include "supervise/spawn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/process.h"
#include "supervise/spawn_child.h"

const char *spawn_step_name(enum spawn_step step)
{
    static const char *const names[] = {
        [SPAWN_CLONE] = "start a process",
        [SPAWN_CGROUP] = "join the control group",
        [SPAWN_OUTPUT] = "redirect input and output",
        [SPAWN_LIMITS] = "set the limits",
        [SPAWN_DIRECTORY] = "change to the directory",
        [SPAWN_NOTIFY] = "install the system call filter",
        [SPAWN_USER] = "change the user",
        [SPAWN_ACTIVATION] = "open the port to hand over",
        [SPAWN_EXEC] = "run the program",
    };
    assert((size_t)step < sizeof names / sizeof *names);
    return names[step];
}

const char *spawn_error_text(const struct spawn_plan *plan, enum spawn_step step, int error,
                             char *text, size_t size)
{
    bool exec = step == SPAWN_EXEC;
    if (exec && error == -ENOEXEC)
        snprintf(text, size, "%s is not executable: exec format", plan->program);
    else if (exec && error == -EACCES)
        snprintf(text, size, "%s is not executable: permission denied", plan->program);
    else if (exec && error == -ENOENT && access(plan->program, F_OK) == 0)
        snprintf(text, size, "%s: the interpreter that it names is not there", plan->program);
    else if (exec)
        snprintf(text, size, "%s: %s", plan->program, strerror(-error));
    else if (step == SPAWN_DIRECTORY)
        snprintf(text, size, "cannot change to the directory %s: %s", plan->directory,
                 strerror(-error));
    else
        snprintf(text, size, "cannot %s: %s", spawn_step_name(step), strerror(-error));
    return text;
}

/* ---- the environment of socket activation
 * -------------------------------------------------------- */

enum {
    LISTEN_VARIABLES = 3,
    LISTEN_FDS_BYTES = 32,
    LISTEN_NAME_BYTES = 16, /* "tcp-65535:" */
};

struct activation_text { /* what the added variables consist of */
    char fds[LISTEN_FDS_BYTES];
    char names[LISTEN_FDS_BYTES + LISTEN_NAME_BYTES * SERVICE_PORTS_MAX];
    char pid[LISTEN_FDS_BYTES];
};

static const char listen_pid_name[] = "LISTEN_PID=";

static void activation_write(const struct spawn_plan *plan, struct activation_text *text)
{
    snprintf(text->fds, sizeof text->fds, "LISTEN_FDS=%zu", plan->activation_count);
    snprintf(text->pid, sizeof text->pid, "%s", listen_pid_name);
    size_t length = (size_t)snprintf(text->names, sizeof text->names, "LISTEN_FDNAMES=");
    for (size_t at = 0; at < plan->activation_count; at++)
        length += (size_t)snprintf(text->names + length, sizeof text->names - length, "%s%s-%u",
                                   at ? ":" : "",
                                   plan->activation[at].protocol == PROTOCOL_TCP ? "tcp" : "udp",
                                   plan->activation[at].port);
}

/* The plan's environment without what enginx itself may have been handed (LISTEN_…), and with what
 * it hands over. A list for the caller to free; NULL: no memory. */
static char **environment_build(const struct spawn_plan *plan, struct activation_text *text)
{
    size_t count = 0, kept = 0;
    while (plan->env[count])
        count++;
    char **env = calloc(count + LISTEN_VARIABLES + 1, sizeof *env);
    if (!env)
        return NULL;
    for (size_t at = 0; at < count; at++)
        if (strncmp(plan->env[at], "LISTEN_FDS=", 11) != 0 &&
            strncmp(plan->env[at], "LISTEN_PID=", 11) != 0 &&
            strncmp(plan->env[at], "LISTEN_FDNAMES=", 15) != 0)
            env[kept++] = plan->env[at];
    activation_write(plan, text);
    env[kept++] = text->fds;
    env[kept++] = text->names;
    env[kept++] = text->pid;
    return env;
}

/* ---- the process
 * --------------------------------------------------------------------------------- */

/* Clones straight into the cgroup, so that no moment passes in which the child is elsewhere. */
static pid_t clone_into(const struct cgroup *cgroup, int *ret_pidfd)
{
    struct clone_args arguments = {
        .flags = CLONE_PIDFD,
        .pidfd = (uint64_t)(uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    if (cgroup && cgroup->fd >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (unsigned)cgroup->fd;
    }
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

/* Kernels and sandboxes that refuse clone3 (container runtimes answer ENOSYS or EPERM), and groups
 * that may be joined only by writing. The child joins the cgroup itself. */
static bool clone_refused(int error)
{
    return error == ENOSYS || error == EPERM || error == EINVAL || error == EACCES ||
           error == EOPNOTSUPP || error == EBUSY;
}

static pid_t fork_plainly(int *ret_pidfd)
{
    pid_t pid = fork();
    if (pid > 0) {
        *ret_pidfd = process_open(pid); /* it is our child, not yet reaped: the pid is its own */
        if (*ret_pidfd < 0) {
            int error = -*ret_pidfd;
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            errno = error;
            return -1;
        }
    }
    return pid;
}

/* Runs the child's half in a new process. 0 or -errno. */
static int process_start(struct spawn_child *child, pid_t *ret_pid, int *ret_pidfd)
{
    const struct cgroup *cgroup = child->plan->cgroup;
    pid_t pid = clone_into(cgroup, ret_pidfd);
    if (pid < 0 && clone_refused(errno)) {
        child->join_v2 = cgroup && cgroup->fd >= 0;
        pid = fork_plainly(ret_pidfd);
    }
    if (pid < 0)
        return -errno;
    if (pid == 0)
        spawn_child_run(child);
    *ret_pid = pid;
    return 0;
}

/* The caller's end and the child's end of what they speak through. */
struct ends {
    int error_read, error_write;
    int notify_ours, notify_childs;
};

static void ends_close(struct ends *ends)
{
    fd_drop(&ends->error_read);
    fd_drop(&ends->error_write);
    fd_drop(&ends->notify_ours);
    fd_drop(&ends->notify_childs);
}

static int ends_open(struct ends *ends, bool notify)
{
    int pair[2];
    *ends = (struct ends){-1, -1, -1, -1};
    if (pipe2(pair, O_CLOEXEC))
        return -errno;
    ends->error_read = pair[0];
    ends->error_write = pair[1];
    bool failed = fcntl(ends->error_read, F_SETFL, O_NONBLOCK) != 0;
    if (!failed && notify) {
        failed = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0;
        if (!failed) {
            ends->notify_ours = pair[0];
            ends->notify_childs = pair[1];
            failed = fcntl(ends->notify_ours, F_SETFL, O_NONBLOCK) != 0;
        }
    }
    if (!failed)
        return 0;
    int error = -errno;
    ends_close(ends);
    return error;
}

int spawn(const struct spawn_plan *plan, struct spawn_result *ret_result, enum spawn_step *ret_step)
{
    assert(plan->activation_count <= SERVICE_PORTS_MAX);
    assert(plan->program[0] == '/');
    *ret_step = SPAWN_CLONE;
    struct activation_text text;
    scoped_memory char **env = NULL;
    if (plan->activation_count && !(env = environment_build(plan, &text)))
        return -ENOMEM;
    struct ends ends;
    int error = ends_open(&ends, plan->notify);
    if (error)
        return error;
    struct spawn_child child = {
        .plan = plan,
        .env = env ? env : plan->env,
        .listen_pid = env ? text.pid + sizeof listen_pid_name - 1 : NULL,
        .error_fd = ends.error_write,
        .notify_socket = ends.notify_childs,
    };
    struct spawn_result result = {.pidfd = -1};
    error = process_start(&child, &result.pid, &result.pidfd);
    if (!error) {
        result.error_fd = fd_take(&ends.error_read);
        result.notify_socket = fd_take(&ends.notify_ours);
        *ret_result = result;
    }
    ends_close(&ends);
    return error;
}

int spawn_error(int error_fd, enum spawn_step *ret_step)
{
    struct spawn_report report;
    ssize_t length = read(error_fd, &report, sizeof report);
    if (length == 0)
        return 0;
    if (length < 0)
        return errno == EAGAIN ? -EINPROGRESS : -errno;
    assert(length == (ssize_t)sizeof report); /* a pipe does not split so little */
    *ret_step = (enum spawn_step)report.step;
    return report.error;
}

int spawn_notify_receive(int notify_socket)
{
    char byte;
    struct iovec part = {&byte, 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.bytes};
    ssize_t length = recvmsg(notify_socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (length < 0)
        return errno == ECONNRESET ? -EPIPE : -errno;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (length == 0 || !header || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(int)))
        return -EPIPE;
    int fd;
    memcpy(&fd, CMSG_DATA(header), sizeof fd);
    if (send(notify_socket, &byte, 1, MSG_NOSIGNAL) != 1) {
        close(fd);
        return -EPIPE;
    }
    return fd;
}
