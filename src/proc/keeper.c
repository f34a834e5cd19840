#include "proc/keeper.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "proc/message.h"
#include "proc/role.h"

_Static_assert((int)KEEPER_NAME_BYTES <= (int)MESSAGE_NAME_BYTES, "a name fits a message");

enum {
    KEEPER_QUEUE_MAX = 2 * KEEPER_DESCRIPTORS_MAX,
    KEEPER_RETRY_MS = 50, /* after too many descriptors were on their way */
    KEEPER_END_MS = 1000,
    KEEPER_BACKLOG = 16,
};

#define KEEPER_SOCKET "keeper" /* in the state directory */

struct queued {
    STAILQ_ENTRY(queued) next;
    struct message message; /* owns its descriptor */
};

struct keeper {
    struct loop *loop;
    int socket;    /* -1: taken over, or broken */
    int pidfd;     /* -1: unknown */
    int directory; /* O_PATH, of the state */
    pid_t pid;
    uint32_t refused;
    int refused_error;
    struct watch messages; /* of the socket */
    struct watch death;    /* of the pidfd */
    struct timer retry;
    STAILQ_HEAD(, queued) queue;
    size_t queue_count;
    keeper_lost *lost;
    void *owner;
};

/* ---- the way to it -------------------------------------------------------------------------- */

/* Through /proc/self/fd, since a state directory's path may be longer than a socket address. */
static void address_fill(int directory, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/" KEEPER_SOCKET,
             directory);
}

/* The connected socket; or -errno: -ENOENT, -ECONNREFUSED: no keeper lives. When many have
 * connected just now it waits for its turn: a non-blocking connect would fail (unix(7)), and could
 * not be polled for. */
static int socket_connect(int directory)
{
    struct sockaddr_un address;
    address_fill(directory, &address);
    scoped_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct timeval wait = {.tv_sec = KEEPER_ANSWER_MS / 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return -errno;
    return fd_take(&fd);
}

/* The socket at which the new keeper will wait. It is bound here because the keeper itself has no
 * right to touch the file system. */
static int socket_listen(int directory)
{
    struct sockaddr_un address;
    address_fill(directory, &address);
    scoped_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (unlinkat(directory, KEEPER_SOCKET, 0) < 0 && errno != ENOENT))
        return -errno;
    /* The mode of the socket's inode before bind is the mode of the file: no moment is open. */
    if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, KEEPER_BACKLOG) < 0)
        return -errno;
    return fd_take(&fd);
}

static pid_t socket_peer(int socket)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ? 0 : peer.pid;
}

/* ---- leaving -------------------------------------------------------------------------------- */

static void queue_remove_first(struct keeper *keeper)
{
    struct queued *first = STAILQ_FIRST(&keeper->queue);
    STAILQ_REMOVE_HEAD(&keeper->queue, next);
    keeper->queue_count--;
    fd_drop(&first->message.fd);
    free(first);
}

/* Disconnects, and forgets what was still to be sent. */
static void keeper_disconnect(struct keeper *keeper)
{
    watch_stop(keeper->loop, &keeper->messages);
    timer_stop(keeper->loop, &keeper->retry);
    while (!STAILQ_EMPTY(&keeper->queue))
        queue_remove_first(keeper);
    fd_drop(&keeper->socket);
}

static void keeper_free(struct keeper *keeper)
{
    keeper_disconnect(keeper);
    watch_stop(keeper->loop, &keeper->death);
    fd_drop(&keeper->pidfd);
    fd_drop(&keeper->directory);
    free(keeper);
}

static void keeper_kill(const struct keeper *keeper)
{
    if (keeper->pidfd >= 0)
        pidfd_send_signal(keeper->pidfd, SIGKILL, NULL, 0);
}

/* Takes the exit status when it is our child; a keeper that we found is somebody else's. */
static void keeper_reap(const struct keeper *keeper)
{
    if (keeper->pidfd >= 0)
        waitid(P_PIDFD, (id_t)keeper->pidfd, &(siginfo_t){0}, WEXITED | WNOHANG);
}

/* Waits until its process is gone, or for `wait_ms`. */
static void keeper_await_death(const struct keeper *keeper, int wait_ms)
{
    struct pollfd death = {.fd = keeper->pidfd, .events = POLLIN};
    if (keeper->pidfd >= 0)
        poll(&death, 1, wait_ms);
    keeper_reap(keeper);
}

/* ---- while connected ------------------------------------------------------------------------ */

/* The connection is of no use any more: the keeper died, or broke the table of messages. It is
 * killed in any case, so that there is one thing to wait for: its death. */
static void keeper_broken(struct keeper *keeper)
{
    keeper_disconnect(keeper);
    if (keeper->death.active)
        keeper_kill(keeper);
    else
        keeper->lost(keeper->owner); /* may free it */
}

static void keeper_died(struct watch *watch, unsigned events)
{
    (void)events;
    struct keeper *keeper = watch->owner;
    watch_stop(keeper->loop, watch);
    keeper_reap(keeper);
    keeper_disconnect(keeper);
    keeper->lost(keeper->owner); /* may free it */
}

static void keeper_taken_over(struct keeper *keeper)
{
    log_error("keeper-taken-over", "pid=%d", (int)keeper->pid);
    keeper_disconnect(keeper);
    watch_stop(keeper->loop, &keeper->death);
}

static void queue_flush(struct keeper *keeper);

static void retry_due(struct timer *timer)
{
    queue_flush(timer->owner);
}

static void queue_flush(struct keeper *keeper)
{
    int error = 0;
    while (!error && !STAILQ_EMPTY(&keeper->queue)) {
        error =
            message_send(keeper->socket, PARTY_SUPERVISOR, &STAILQ_FIRST(&keeper->queue)->message);
        if (!error)
            queue_remove_first(keeper);
    }
    if (error == -ETOOMANYREFS) {
        watch_change(keeper->loop, &keeper->messages, WATCH_READ);
        timer_start(keeper->loop, &keeper->retry, KEEPER_RETRY_MS, retry_due, keeper);
    } else {
        watch_change(keeper->loop, &keeper->messages,
                     error == -EAGAIN ? WATCH_READ | WATCH_WRITE : WATCH_READ);
    }
}

static void messages_ready(struct watch *watch, unsigned events)
{
    struct keeper *keeper = watch->owner;
    char packet[MESSAGE_NAME_BYTES + 64]; /* a bigger one is not for us: -EPROTO */
    struct message message;
    int error = 0;
    while (!error) {
        error = message_receive(watch->fd, PARTY_KEEPER, PARTY_SUPERVISOR, packet, sizeof packet,
                                &message);
        if (error)
            break;
        fd_drop(&message.fd);
        if (message.kind == MESSAGE_REPLACED) {
            keeper_taken_over(keeper);
            return;
        }
        if (message.kind != MESSAGE_REFUSED) {
            error = -EPROTO;
            break;
        }
        keeper->refused++;
        keeper->refused_error = -(int)message.number;
        if ((keeper->refused & (keeper->refused - 1)) == 0) /* the 1st, 2nd, 4th, 8th … */
            log_error("keeper-refused", "name=%s error=\"%s\" count=%u", message.name,
                      strerror((int)message.number), keeper->refused);
    }
    if (error != -EAGAIN)
        keeper_broken(keeper);
    else if (events & WATCH_WRITE)
        queue_flush(keeper);
}

/* ---- the first words ------------------------------------------------------------------------ */

/* Receives what the keeper holds until it says that this was all. 0 or -errno. */
static int found_receive(struct keeper *keeper, keeper_found *found)
{
    char packet[MESSAGE_NAME_BYTES + 64];
    uint64_t until_ms = clock_monotonic_ms() + KEEPER_ANSWER_MS;
    uint64_t received = 0;
    for (;;) {
        struct message message;
        int error = message_receive(keeper->socket, PARTY_KEEPER, PARTY_SUPERVISOR, packet,
                                    sizeof packet, &message);
        if (error == -EAGAIN) {
            uint64_t now_ms = clock_monotonic_ms();
            struct pollfd more = {.fd = keeper->socket, .events = POLLIN};
            if (now_ms >= until_ms || poll(&more, 1, (int)(until_ms - now_ms)) == 0)
                return -ETIMEDOUT;
            continue;
        }
        if (error)
            return error;
        if (message.kind == MESSAGE_FOUND_ALL) {
            if (message.number != received)
                log_error("keeper-descriptors-missing", "held=%llu received=%llu",
                          (unsigned long long)message.number, (unsigned long long)received);
            return 0;
        }
        if (message.kind != MESSAGE_FOUND) {
            fd_drop(&message.fd);
            return -EPROTO;
        }
        if (message.fd < 0) /* we are at our limit; the keeper goes on holding it */
            continue;
        received++;
        found(keeper->owner, message.name, message.fd);
    }
}

/* Says hello on a connected socket. 0, or -errno with the socket closed. */
static int keeper_greet(struct keeper *keeper, keeper_found *found)
{
    if (!keeper->pid)
        keeper->pid = socket_peer(keeper->socket);
    if (keeper->pidfd < 0 && keeper->pid > 0)
        keeper->pidfd = pidfd_open(keeper->pid, 0);
    struct message hello;
    message_init(&hello, MESSAGE_HELLO, "");
    hello.number = MESSAGE_VERSION;
    int error = message_send(keeper->socket, PARTY_SUPERVISOR, &hello);
    if (!error)
        error = found_receive(keeper, found);
    if (error)
        fd_drop(&keeper->socket);
    return error;
}

static int keeper_spawn(struct keeper *keeper, const char *exe)
{
    scoped_fd int listener = socket_listen(keeper->directory);
    if (listener < 0)
        return listener;
    const char *none[] = {NULL};
    pid_t pid = role_start(exe, "keeper", none, listener);
    if (pid < 0)
        return pid;
    keeper->pid = pid;
    keeper->pidfd = pidfd_open(pid, 0);
    if (keeper->pidfd < 0)
        return -errno;
    keeper->socket = socket_connect(keeper->directory);
    return keeper->socket < 0 ? keeper->socket : 0;
}

/* Greets the keeper that lives, if one does; *ret_found. One that does not answer is put to death:
 * what it holds is lost, but a cluster without a keeper would lose it at the next crash as well. */
static int keeper_find(struct keeper *keeper, keeper_found *found, bool *ret_found)
{
    *ret_found = false;
    keeper->socket = socket_connect(keeper->directory);
    if (keeper->socket == -ENOENT || keeper->socket == -ECONNREFUSED) {
        keeper->socket = -1;
        return 0;
    }
    if (keeper->socket < 0)
        return keeper->socket;
    int error = keeper_greet(keeper, found);
    *ret_found = !error;
    if (!error)
        return 0;
    log_warn("keeper-silent", "pid=%d error=\"%s\" instead=\"a new one\"", (int)keeper->pid,
             strerror(-error));
    keeper_kill(keeper);
    keeper_await_death(keeper, KEEPER_END_MS);
    fd_drop(&keeper->pidfd);
    keeper->pid = 0;
    return 0;
}

static int keeper_watch(struct keeper *keeper)
{
    int error = watch_start(keeper->loop, &keeper->messages, keeper->socket, WATCH_READ,
                            messages_ready, keeper);
    if (!error && keeper->pidfd >= 0)
        error = watch_start(keeper->loop, &keeper->death, keeper->pidfd, WATCH_READ, keeper_died,
                            keeper);
    return error;
}

int keeper_start(struct loop *loop, const char *state_directory, const char *exe,
                 keeper_found *found, keeper_lost *lost, void *owner, struct keeper **ret_keeper)
{
    struct keeper *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return -ENOMEM;
    *keeper = (struct keeper){
        .loop = loop, .socket = -1, .pidfd = -1, .directory = -1, .lost = lost, .owner = owner};
    STAILQ_INIT(&keeper->queue);
    keeper->directory = open(state_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    bool lives = false;
    int error = keeper->directory < 0 ? -errno : keeper_find(keeper, found, &lives);
    if (!error && !lives)
        error = keeper_spawn(keeper, exe);
    if (!error && !lives)
        error = keeper_greet(keeper, found);
    if (!error)
        error = keeper_watch(keeper);
    if (error) {
        if (!lives && keeper->pidfd >= 0) { /* our own, which did not come to life */
            keeper_kill(keeper);
            keeper_await_death(keeper, KEEPER_END_MS);
        }
        if (keeper->socket < 0)
            keeper->socket = -1; /* it held an -errno */
        keeper_free(keeper);
        return error;
    }
    *ret_keeper = keeper;
    return 0;
}

/* ---- use ------------------------------------------------------------------------------------ */

/* Sends, or puts into the queue; the order of all messages is kept. */
static int keeper_tell(struct keeper *keeper, const struct message *message)
{
    if (keeper->socket < 0)
        return -EPIPE;
    if (STAILQ_EMPTY(&keeper->queue)) {
        int error = message_send(keeper->socket, PARTY_SUPERVISOR, message);
        if (error != -EAGAIN && error != -ETOOMANYREFS)
            return error;
    }
    if (keeper->queue_count >= KEEPER_QUEUE_MAX)
        return -EAGAIN;
    struct queued *queued = malloc(sizeof *queued);
    if (!queued)
        return -ENOMEM;
    queued->message = *message;
    if (message->fd >= 0)
        queued->message.fd = fcntl(message->fd, F_DUPFD_CLOEXEC, ROLE_FD);
    if (message->fd >= 0 && queued->message.fd < 0) {
        int error = -errno;
        free(queued);
        return error;
    }
    STAILQ_INSERT_TAIL(&keeper->queue, queued, next);
    keeper->queue_count++;
    if (keeper->queue_count == 1)
        queue_flush(keeper);
    return 0;
}

int keeper_put(struct keeper *keeper, const char *name, int fd)
{
    assert(fd >= 0 && *name);
    struct message message;
    int error = message_init(&message, MESSAGE_PUT, name);
    message.fd = fd;
    return error ? error : keeper_tell(keeper, &message);
}

int keeper_drop(struct keeper *keeper, const char *name)
{
    assert(*name);
    struct message message;
    int error = message_init(&message, MESSAGE_DROP, name);
    return error ? error : keeper_tell(keeper, &message);
}

void keeper_leave(struct keeper *keeper)
{
    if (!keeper)
        return;
    if (keeper->socket >= 0 && !STAILQ_EMPTY(&keeper->queue))
        queue_flush(keeper);
    keeper_free(keeper);
}

void keeper_end(struct keeper *keeper)
{
    if (!keeper)
        return;
    if (keeper->socket >= 0) {
        struct message message;
        message_init(&message, MESSAGE_END, "");
        if (message_send(keeper->socket, PARTY_SUPERVISOR, &message))
            keeper_kill(keeper);
        keeper_await_death(keeper, KEEPER_END_MS);
        unlinkat(keeper->directory, KEEPER_SOCKET, 0);
    }
    keeper_free(keeper);
}

pid_t keeper_pid(const struct keeper *keeper)
{
    return keeper->pid;
}

uint32_t keeper_refused(const struct keeper *keeper, int *ret_error)
{
    if (ret_error)
        *ret_error = keeper->refused_error;
    return keeper->refused;
}

size_t keeper_waiting(const struct keeper *keeper)
{
    return keeper->queue_count;
}
