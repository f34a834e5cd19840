#include "gateway/core/opener.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/landlock.h"
#include "kernel/packet.h"
#include "kernel/syscalls.h"

enum {
    RACES_MAX = 8, /* -EAGAIN: something was renamed while `..` was looked at */
    STACK_BYTES = 64 * 1024,
};

struct request {
    uint32_t sequence;
    char path[OPENER_PATH_BYTES]; /* ended by 0; only that much is sent */
};

struct answer {
    uint32_t sequence;
    int32_t error;
};

static int control_fd = -1; /* of the process; set before there are threads */

/* As packet_receive (kernel/packet.h), of which an opener's packet has one descriptor at most. */
static ssize_t receive(int socket, void *bytes, size_t size, int *ret_fd)
{
    struct packet_descriptors descriptors;
    ssize_t length = packet_receive(socket, bytes, size, 0, &descriptors);
    *ret_fd = descriptors.fd;
    return length;
}

static int send_one(int socket, const void *bytes, size_t length, int fd)
{
    const struct iovec part = {(void *)(uintptr_t)bytes, length};
    return packet_send(socket, &part, 1, 0, fd);
}

/* ---- the process ------------------------------------------------------------------------------
 */

static atomic_uint threads_now;

static int beneath_open(int directory_fd, const char *path, int *ret_fd)
{
    /* Without O_NONBLOCK a FIFO that lies there would hold us up. */
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    for (int i = 0; i < RACES_MAX; i++) {
        *ret_fd = (int)syscall(SYS_openat2, directory_fd, *path ? path : ".", &how, sizeof how);
        if (*ret_fd >= 0 || errno != EAGAIN)
            break;
    }
    return *ret_fd < 0 ? -errno : 0;
}

/* False: the worker is gone, or speaks nonsense. */
static bool request_serve(int socket)
{
    struct request request;
    scoped_fd int directory = -1;
    ssize_t length = receive(socket, &request, sizeof request, &directory);
    if (length <= (ssize_t)offsetof(struct request, path) ||
        ((const char *)&request)[length - 1] != 0)
        return false;
    scoped_fd int fd = -1;
    struct answer answer = {.sequence = request.sequence, .error = -EBADF};
    if (directory >= 0)
        answer.error = beneath_open(directory, request.path, &fd);
    return send_one(socket, &answer, sizeof answer, fd) == 0;
}

static void *worker_serve(void *argument)
{
    int socket = (int)(intptr_t)argument;
    while (request_serve(socket))
        ;
    close(socket);
    atomic_fetch_sub(&threads_now, 1);
    return NULL;
}

static void worker_add(int socket)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    bool full = atomic_fetch_add(&threads_now, 1) >= OPENER_THREADS_MAX;
    if (full || pthread_create(&thread, &attributes, worker_serve, (void *)(intptr_t)socket)) {
        atomic_fetch_sub(&threads_now, 1);
        close(socket); /* its worker is told so by that */
    }
    pthread_attr_destroy(&attributes);
}

static int confine(void)
{
    static const int calls[] = {
        SYS_openat2, SYS_recvmsg,         SYS_sendmsg,
        SYS_clone,   SYS_clone3,          SYS_mprotect,
        SYS_rseq,    SYS_set_robust_list, SYS_sched_getaffinity,
    };
    int error = landlock_confine_reading();
    if (error && error != -ENOSYS && error != -EOPNOTSUPP)
        return error;
#ifndef __SANITIZE_ADDRESS__ /* whose runtime makes calls of its own */
    error = syscalls_allow(calls, sizeof calls / sizeof *calls);
#else
    (void)calls;
#endif
    return error == -ENOTSUP || error == -ENOSYS || error == -EINVAL ? 0 : error;
}

static _Noreturn void opener_main(int socket)
{
    prctl(PR_SET_NAME, "enginx-opener", 0, 0, 0);
    for (int number = 1; number < SIGRTMAX; number++) /* ended by its socket, and by nothing else */
        signal(number,
               number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGPIPE
                   ? SIG_IGN
                   : SIG_DFL);
    if (dup2(socket, STDIN_FILENO) < 0 || close_range(STDERR_FILENO + 1, ~0u, 0) < 0 || confine())
        _exit(1);
    for (;;) {
        char byte;
        int fd = -1;
        ssize_t length = receive(STDIN_FILENO, &byte, sizeof byte, &fd);
        if (length <= 0)
            _exit(0);
        if (fd >= 0)
            worker_add(fd);
    }
}

int opener_start(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0)
        opener_main(pair[1]);
    int error = pid < 0 ? -errno : 0;
    close(pair[1]);
    if (error) {
        close(pair[0]);
        return error;
    }
    control_fd = pair[0];
    return control_fd;
}

/* ---- the worker's side ------------------------------------------------------------------------
 */

static int opener_connect(struct opener *opener)
{
    if (opener->fd)
        return 0;
    int pair[2];
    if (control_fd < 0)
        return -ENOSYS;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    scoped_fd int ours = pair[0];
    scoped_fd int theirs = pair[1];
    const struct timeval wait = {.tv_sec = OPENER_WAIT_MS / 1000,
                                 .tv_usec = OPENER_WAIT_MS % 1000 * 1000};
    if (setsockopt(ours, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0)
        return -errno;
    int error = send_one(control_fd, "", 1, theirs);
    if (!error)
        opener->fd = fd_take(&ours);
    return error;
}

void opener_done(struct opener *opener)
{
    if (opener->fd)
        close(opener->fd);
    opener->fd = 0;
}

static int answer_take(struct opener *opener, int *ret_fd)
{
    struct answer answer;
    scoped_fd int fd = -1;
    ssize_t length = receive(opener->fd, &answer, sizeof answer, &fd);
    if (length == -EAGAIN)
        return -ETIMEDOUT;
    if (length < 0)
        return (int)length;
    if (length != sizeof answer || answer.sequence != opener->sequence)
        return -EPIPE;
    if (!answer.error && fd < 0) /* the kernel could not install it */
        return -EMFILE;
    *ret_fd = fd_take(&fd);
    return answer.error;
}

int opener_open(struct opener *opener, int directory_fd, const char *path, int *ret_fd)
{
    struct request request;
    request.sequence = ++opener->sequence;
    size_t length = strlen(path) + 1;
    if (length > sizeof request.path)
        return -ENAMETOOLONG;
    memcpy(request.path, path, length);
    int error = opener_connect(opener);
    if (!error)
        error =
            send_one(opener->fd, &request, offsetof(struct request, path) + length, directory_fd);
    if (!error)
        error = answer_take(opener, ret_fd);
    if (error == -ETIMEDOUT || error == -EPIPE || error == -ECONNRESET)
        opener_done(opener); /* what comes late belongs to nobody; the next has a new one */
    return error;
}
