#include "supervise/spawn_child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "event/signals.h"

/* ---- descriptors --------------------------------------------------------------------------------
 */

/* Moves the descriptor out of the way of 0–2 and of those that are handed over. */
static int descriptor_raise(int *fd)
{
    int raised = fcntl(*fd, F_DUPFD_CLOEXEC, SPAWN_OWN_FIRST);
    if (raised < 0)
        return -errno;
    *fd = raised;
    return 0;
}

/* Closes what enginx has open, but for what the child still speaks through. At once, and not with
 * exec: a child that waits for an answer must see that enginx is gone, so neither it nor its
 * siblings may hold the other end. */
static int descriptors_close(const struct spawn_child *child)
{
    int first = child->error_fd, second = child->notify_socket;
    if (second >= 0 && second < first) {
        first = child->notify_socket;
        second = child->error_fd;
    }
    int error = close_range(STDERR_FILENO + 1, (unsigned)first - 1, 0);
    if (!error && second >= 0 && second > first + 1)
        error = close_range((unsigned)first + 1, (unsigned)second - 1, 0);
    if (!error)
        error = close_range((unsigned)(second > first ? second : first) + 1, ~0u, 0);
    return error ? -errno : 0;
}

static int descriptors_set(struct spawn_child *child)
{
    int output = child->plan->output_fd < 0 ? STDOUT_FILENO : child->plan->output_fd;
    if (child->plan->answer_fd > 0)
        output = child->plan->answer_fd;
    int errors = child->plan->output_fd < 0 ? STDERR_FILENO : child->plan->output_fd;
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0)
        return -errno;
    int error = descriptor_raise(&nothing);
    if (!error)
        error = descriptor_raise(&output);
    if (!error)
        error = descriptor_raise(&errors);
    if (error)
        return error;
    if (dup2(nothing, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
        dup2(errors, STDERR_FILENO) < 0)
        return -errno;
    return descriptors_close(child);
}

/* ---- groups, limits, directory
 * ------------------------------------------------------------------- */

static int cgroups_join(struct spawn_child *child)
{
    const struct spawn_plan *plan = child->plan;
    int error = child->join_v2 ? cgroup_join(plan->cgroup) : 0;
    if (!error && plan->cgroup && plan->cgroups)
        error = cgroup_join_v1(plan->cgroups, plan->cgroup);
    return error;
}

static int limits_set(struct spawn_child *child)
{
    const struct spawn_plan *plan = child->plan;
    if (plan->descriptors && setrlimit(RLIMIT_NOFILE, plan->descriptors))
        return -errno;
    for (size_t at = 0; at < plan->limit_count; at++) {
        struct rlimit limit = {plan->limits[at].value, plan->limits[at].value};
        if (setrlimit((__rlimit_resource_t)plan->limits[at].resource, &limit))
            return -errno;
    }
    if (plan->umask >= 0)
        umask((mode_t)plan->umask);
    return 0;
}

static int directory_change(struct spawn_child *child)
{
    return child->plan->directory && chdir(child->plan->directory) ? -errno : 0;
}

/* ---- the filter
 * ---------------------------------------------------------------------------------- */

static int descriptor_send(int socket, int fd)
{
    char byte = 0;
    struct iovec part = {&byte, 1};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.bytes};
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int filter_install(struct spawn_child *child)
{
    if (child->notify_socket < 0)
        return 0;
    int fd = seccomp_install(&child->plan->wants, child->plan->privileged);
    if (fd < 0)
        return fd;
    int error = descriptor_send(child->notify_socket, fd);
    close(fd);
    if (error)
        return error;
    char go_on;
    ssize_t length;
    do
        length = read(child->notify_socket, &go_on, 1);
    while (length < 0 && errno == EINTR);
    return length == 1 ? 0 : length < 0 ? -errno : -EPIPE; /* enginx is gone */
}

/* ---- sockets to hand over
 * ------------------------------------------------------------------------ */

/* Binds to any address: [::] for both families, 0.0.0.0 where there is no IPv6. */
static int socket_bind(int fd, int family, uint16_t port)
{
    int yes = 1, no = 0;
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes))
        return -errno;
    int answer;
    if (family == AF_INET6) {
        if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof no))
            return -errno;
        answer = bind(fd, (const struct sockaddr *)&six, sizeof six);
    } else {
        answer = bind(fd, (const struct sockaddr *)&four, sizeof four);
    }
    return answer ? -errno : 0;
}

/* Opens one socket as descriptor `place`. */
static int socket_open(const struct service_port *port, int family, int place)
{
    bool tcp = port->protocol == PROTOCOL_TCP;
    int fd = socket(family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (fd != place) { /* before bind and listen, so that steering is told the final number */
        int moved = dup3(fd, place, O_CLOEXEC);
        int error = -errno;
        close(fd);
        if (moved < 0)
            return error;
    }
    int error = socket_bind(place, family, port->port);
    if (!error && tcp && listen(place, SOMAXCONN))
        error = -errno;
    /* Last, since steering may have put another socket in its place. */
    if (!error && fcntl(place, F_SETFD, 0))
        error = -errno;
    if (error)
        close(place);
    return error;
}

static void digits_write(char text[SPAWN_PID_BYTES], unsigned number)
{
    char reversed[SPAWN_PID_BYTES];
    int count = 0;
    do
        reversed[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *text++ = reversed[--count];
    *text = 0;
}

static int sockets_open(struct spawn_child *child)
{
    const struct spawn_plan *plan = child->plan;
    for (size_t at = 0; at < plan->activation_count; at++) {
        int place = SPAWN_HANDED_FIRST + (int)at;
        int error = socket_open(&plan->activation[at], AF_INET6, place);
        if (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL)
            error = socket_open(&plan->activation[at], AF_INET, place);
        if (error)
            return error;
    }
    if (child->listen_pid)
        digits_write(child->listen_pid, (unsigned)getpid());
    return 0;
}

/* ---- user, and the order of it all
 * --------------------------------------------------------------- */

/* By system call: glibc's wrappers would look for other threads to change too. */
static int user_change(struct spawn_child *child)
{
    const struct spawn_user *user = child->plan->user;
    if (!user || !user->change)
        return 0;
    if (syscall(SYS_setgroups, (size_t)user->group_count, user->groups) ||
        syscall(SYS_setresgid, user->gid, user->gid, user->gid) ||
        syscall(SYS_setresuid, user->uid, user->uid, user->uid))
        return -errno;
    return 0;
}

static int program_exec(struct spawn_child *child)
{
    execve(child->plan->program, child->plan->argv, child->env);
    return -errno;
}

/* Must not be reached by a caller that forgets it: a child that failed may only end. */
static _Noreturn void child_fail(const struct spawn_child *child, enum spawn_step step, int error)
{
    struct spawn_report report = {.step = (int)step, .error = error};
    ssize_t written = write(child->error_fd, &report, sizeof report);
    (void)written; /* nobody is left to tell */
    _exit(SPAWN_EXIT_STATUS);
}

_Noreturn void spawn_child_run(struct spawn_child *child)
{
    static const struct {
        enum spawn_step step;
        int (*run)(struct spawn_child *child);
    } steps[] = {
        {SPAWN_CGROUP, cgroups_join},   {SPAWN_OUTPUT, descriptors_set},
        {SPAWN_LIMITS, limits_set},     {SPAWN_DIRECTORY, directory_change},
        {SPAWN_NOTIFY, filter_install}, {SPAWN_ACTIVATION, sockets_open},
        {SPAWN_USER, user_change},      {SPAWN_EXEC, program_exec},
    };
    setsid();
    signals_unblock_all();
    int error = descriptor_raise(&child->error_fd);
    if (!error && child->notify_socket >= 0)
        error = descriptor_raise(&child->notify_socket);
    if (error)
        child_fail(child, SPAWN_OUTPUT, error);
    for (size_t at = 0; at < sizeof steps / sizeof *steps; at++) {
        error = steps[at].run(child);
        if (error)
            child_fail(child, steps[at].step, error);
    }
    _exit(SPAWN_EXIT_STATUS); /* not reached: exec succeeds or gives an error */
}
