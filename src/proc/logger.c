#include "proc/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/scoped.h"
#include "proc/logpipe.h"
#include "proc/message.h"
#include "proc/role.h"

_Static_assert((int)LOGGER_CHUNK_BYTES_MAX <= (int)MESSAGE_BYTES_MAX &&
                   (int)LOGGER_SOURCE_BYTES <= (int)MESSAGE_NAME_BYTES,
               "a chunk fits a message");

enum { LOGGER_QUEUE_BYTES = 1024 * 1024 }; /* asked of the kernel; it may give less */

struct logger {
    struct loop *loop;
    struct logpipe pipe;
    struct watch gone; /* of the pidfd, or, adopted, of the socket's hang-up */
    int pidfd;         /* -1: adopted */
    pid_t pid;
    logger_lost *lost;
    void *owner;
};

int logger_send(int fd, const char *source, const char *bytes, size_t length)
{
    struct message message;
    int error = message_init(&message, MESSAGE_CHUNK, source);
    if (error)
        return error;
    message.bytes = bytes;
    message.length = length;
    return message_send(fd, PARTY_SUPERVISOR, &message);
}

/* mkdir -p: parents 0755, the last 0750. */
static int directory_make(const char *directory)
{
    char path[PATH_MAX];
    size_t length = strlen(directory);
    if (length >= sizeof path)
        return -ENAMETOOLONG;
    memcpy(path, directory, length + 1);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            return -errno;
        *slash = '/';
    }
    if (mkdir(path, 0750) == 0)
        return 0;
    struct stat status;
    if (errno != EEXIST || stat(path, &status) < 0)
        return -errno;
    return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
}

static void queue_enlarge(int fd)
{
    int bytes = LOGGER_QUEUE_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static void logger_gone(struct watch *watch, unsigned events)
{
    struct logger *logger = watch->owner;
    if (logger->pidfd < 0 && !(events & (WATCH_HANGUP | WATCH_ERROR)))
        return;
    watch_stop(logger->loop, watch);
    if (logger->pidfd >= 0)
        waitid(P_PIDFD, (id_t)logger->pidfd, &(siginfo_t){0}, WEXITED | WNOHANG);
    logger->lost(logger->owner); /* may free it */
}

static int logger_new(struct loop *loop, int *fd, logger_lost *lost, void *owner,
                      struct logger **ret_logger)
{
    struct logger *logger = calloc(1, sizeof *logger);
    if (!logger)
        return -ENOMEM;
    *logger = (struct logger){.loop = loop, .pidfd = -1, .lost = lost, .owner = owner};
    logpipe_init(&logger->pipe, loop, fd_take(fd), PARTY_SUPERVISOR);
    *ret_logger = logger;
    return 0;
}

int logger_start(struct loop *loop, const struct logger_options *options, const char *exe,
                 logger_lost *lost, void *owner, struct logger **ret_logger)
{
    int error = directory_make(options->directory);
    if (error)
        return error;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    scoped_fd int ours = pair[0];
    scoped_fd int theirs = pair[1];
    queue_enlarge(ours);
    char bytes_max[24], files_max[16];
    snprintf(bytes_max, sizeof bytes_max, "%" PRIu64, options->file_bytes_max);
    snprintf(files_max, sizeof files_max, "%" PRIu32, options->files_max);
    const char *args[] = {options->directory, bytes_max, files_max, NULL};
    struct logger *logger;
    error = logger_new(loop, &ours, lost, owner, &logger);
    if (error)
        return error;
    pid_t pid = role_start(exe, "logger", args, theirs);
    if (pid < 0) {
        logger_free(logger);
        return pid;
    }
    logger->pid = pid;
    logger->pidfd = pidfd_open(pid, 0);
    error = logger->pidfd < 0
                ? -errno
                : watch_start(loop, &logger->gone, logger->pidfd, WATCH_READ, logger_gone, logger);
    if (error) {
        logger_free(logger);
        return error;
    }
    *ret_logger = logger;
    return 0;
}

int logger_adopt(struct loop *loop, int fd, pid_t pid, logger_lost *lost, void *owner,
                 struct logger **ret_logger)
{
    scoped_fd int taken = fd;
    struct pollfd state = {.fd = fd};
    if (poll(&state, 1, 0) < 0)
        return -errno;
    if (state.revents)
        return -ESRCH;
    struct logger *logger;
    int error = logger_new(loop, &taken, lost, owner, &logger);
    if (error)
        return error;
    /* A watch of its own number: the pipe's watch is of the same descriptor, and epoll knows a
     * descriptor once. */
    logger->pid = pid;
    scoped_fd int again = fcntl(logger->pipe.fd, F_DUPFD_CLOEXEC, 3);
    error = again < 0 ? -errno : watch_start(loop, &logger->gone, again, 0, logger_gone, logger);
    if (error) {
        logger_free(logger);
        return error;
    }
    fd_take(&again);
    *ret_logger = logger;
    return 0;
}

void logger_free(struct logger *logger)
{
    if (!logger)
        return;
    int adopted = logger->pidfd < 0 && logger->gone.fd > 0 ? logger->gone.fd : -1;
    watch_stop(logger->loop, &logger->gone);
    fd_drop(&adopted);
    logpipe_done(&logger->pipe);
    fd_drop(&logger->pidfd);
    free(logger);
}

void logger_write(struct logger *logger, const char *source, const char *bytes, size_t length)
{
    logpipe_write(&logger->pipe, source, bytes, length);
}

bool logger_behind(const struct logger *logger)
{
    return logpipe_behind(&logger->pipe);
}

int logger_fd(const struct logger *logger)
{
    return logger->pipe.fd;
}

pid_t logger_pid(const struct logger *logger)
{
    return logger->pid;
}
