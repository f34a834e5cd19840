#include "supervise/front_private.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/process.h"
#include "proc/role.h"
#include "supervise/companions.h"

enum {
    QUEUE_BYTES = 1024 * 1024, /* asked of the kernel; it may give less */
    SEND_AGAIN_MS = 20,        /* when too many descriptors were on their way */
    /* One that lived so long is started again at once, and one that did not a few times, too. */
    LIVED_MS = 200,
    AT_ONCE_MAX = 5,
    PAUSE_MIN_MS = 100,
    PAUSE_MAX_MS = 5000,
    END_MS = 1000, /* for what was killed to be gone */
};

/* ---- saying ----------------------------------------------------------------------------------
 */

static const enum message_kind handed_kinds[HANDED_COUNT] = {
    [HANDED_BOARD] = MESSAGE_BOARD, [HANDED_BELL] = MESSAGE_BELL,
    [HANDED_TALLY] = MESSAGE_TALLY, [HANDED_TICKETS] = MESSAGE_TICKETS,
    [HANDED_BANS] = MESSAGE_BANS,   [HANDED_JOURNAL] = MESSAGE_JOURNAL,
    [HANDED_WAKE] = MESSAGE_WAKE,
};

static int say(const struct front *front, enum message_kind kind, const char *name, uint64_t number,
               int fd)
{
    struct message message;
    int error = message_init(&message, kind, name);
    if (error)
        return error;
    message.number = number;
    message.fd = fd;
    return message_send(front->socket, PARTY_SUPERVISOR, &message);
}

static int handed_fd(const struct front *front, enum front_handed what)
{
    const struct logger *logger = front->supervisor->logger;
    switch (what) {
    case HANDED_BOARD:
        return front->board_fd;
    case HANDED_BELL:
        return front->bell;
    case HANDED_TALLY:
        return front->tally_fd;
    case HANDED_TICKETS:
        return front->tickets_fd;
    case HANDED_BANS:
        return front->bans_fd;
    case HANDED_WAKE:
        return front->wake;
    case HANDED_JOURNAL:
        return logger ? logger_fd(logger) : -1;
    case HANDED_COUNT:
        break;
    }
    return -1;
}

static int tell_handed(struct front *front)
{
    for (int i = 0; i < HANDED_COUNT; i++) {
        int fd = handed_fd(front, (enum front_handed)i);
        if (front->handed & 1u << i || fd < 0)
            continue;
        int error = say(front, handed_kinds[i], "", i == HANDED_TALLY ? front->lane : 0, fd);
        if (error)
            return error;
        front->handed |= 1u << i;
    }
    return 0;
}

static int tell_sockets(struct front *front)
{
    for (struct front_socket *socket = front->sockets; socket; socket = socket->next) {
        if (socket->sent || socket->retired)
            continue;
        int error = say(front, MESSAGE_LISTENER, socket->name, socket->worker, socket->fd);
        if (error)
            return error;
        socket->sent = true;
    }
    return 0;
}

/* The folders come before the generation that they are of. */
static int tell_directories(const struct front *front, struct front_generation *generation)
{
    while (generation->directories_sent < generation->directory_count) {
        uint32_t place = generation->directories_sent;
        int error = say(front, MESSAGE_DIRECTORY, "", place, generation->directories[place]);
        if (error)
            return error;
        generation->directories_sent++;
    }
    return 0;
}

/* The same of caches' files, for those that have one. */
static int tell_caches(const struct front *front, struct front_generation *generation)
{
    while (generation->caches_sent < generation->cache_count) {
        uint32_t place = generation->caches_sent;
        int fd = generation->caches[place];
        int error = fd < 0 ? 0 : say(front, MESSAGE_CACHE, "", place, fd);
        if (error)
            return error;
        generation->caches_sent++;
    }
    return 0;
}

static int tell_generation(struct front *front, struct front_generation *generation)
{
    if (generation->stage == STAGE_TO_SEND) {
        int error = tell_directories(front, generation);
        if (!error)
            error = tell_caches(front, generation);
        if (!error)
            error = say(front, MESSAGE_GENERATION, "", generation->number, generation->bundle_fd);
        if (error)
            return error;
        generation->stage = STAGE_PREPARING;
    }
    if (generation->stage == STAGE_TO_COMMIT) {
        int error = say(front, MESSAGE_COMMIT, "", generation->number, -1);
        if (error)
            return error;
        generation->stage = STAGE_COMMITTING;
    }
    return 0;
}

/* Is another socket of that name to be told of later? One `unlisten` is for all of them. */
static bool told_later(const struct front_socket *socket)
{
    for (const struct front_socket *other = socket->next; other; other = other->next)
        if (other->retired && strcmp(other->name, socket->name) == 0)
            return true;
    return false;
}

/* Sockets that no configuration has any more, once the one in use has none of them. */
static int tell_retired(struct front *front)
{
    struct front_socket **at = &front->sockets;
    while (*at && front->current.stage == STAGE_COMMITTED) {
        struct front_socket *socket = *at;
        if (!socket->retired) {
            at = &socket->next;
            continue;
        }
        int error = socket->sent && !told_later(socket)
                        ? say(front, MESSAGE_UNLISTEN, socket->name, 0, -1)
                        : 0;
        if (error)
            return error;
        *at = socket->next;
        front_socket_free(front, socket, false);
    }
    return 0;
}

static void again_due(struct timer *timer);

void front_tell(struct front *front)
{
    if (!front->pid)
        return;
    int error = tell_handed(front);
    if (!error)
        error = front_elders_tell(front);
    if (!error)
        error = tell_sockets(front);
    if (!error)
        error = tell_generation(front, &front->current);
    if (!error && front->current.stage == STAGE_COMMITTED) /* one after the other */
        error = tell_generation(front, &front->next);
    if (!error)
        error = tell_retired(front);
    struct loop *loop = front->supervisor->loop;
    watch_change(loop, &front->messages, error == -EAGAIN ? WATCH_READ | WATCH_WRITE : WATCH_READ);
    if (error == -ETOOMANYREFS)
        timer_start(loop, &front->again, SEND_AGAIN_MS, again_due, front);
    else if (error && error != -EAGAIN && error != -EPIPE) /* -EPIPE: its death is seen as well */
        log_error("gateway-not-told", "error=\"%s\"", strerror(-error));
}

/* ---- hearing ---------------------------------------------------------------------------------
 */

static void process_forget(struct front *front)
{
    struct loop *loop = front->supervisor->loop;
    watch_stop(loop, &front->messages);
    watch_stop(loop, &front->death);
    timer_stop(loop, &front->again);
    fd_drop(&front->socket);
    fd_drop(&front->pidfd);
    front->pid = 0;
    front->handed = 0;
    front_elders_retell(front);
    records_gateway(front->supervisor->records)->pid = 0;
    for (struct front_socket *socket = front->sockets; socket; socket = socket->next)
        socket->sent = false;
}

static void messages_ready(struct watch *watch, unsigned events)
{
    struct front *front = watch->owner;
    char packet[16 + MESSAGE_NAME_BYTES + 4096];
    struct message message;
    int error = 0;
    while (!(error = message_receive(watch->fd, PARTY_GATEWAY, PARTY_SUPERVISOR, packet,
                                     sizeof packet, &message))) {
        fd_drop(&message.fd);
        front_heard(front, &message);
        if (!front->pid) /* what it said ended it */
            return;
    }
    if (error == -EPROTO) { /* it does not know what it says: nothing of it can be relied on */
        log_error("gateway-broken", "pid=%d why=\"its messages break the table\"", front->pid);
        pidfd_send_signal(front->pidfd, SIGKILL, NULL, 0);
    }
    if (error != -EAGAIN)
        watch_stop(front->supervisor->loop, watch); /* its death is seen at the pidfd */
    else if (events & WATCH_WRITE)
        front_tell(front);
}

/* ---- life ------------------------------------------------------------------------------------
 */

static void process_retry(struct front *front)
{
    uint32_t pause_ms = 0;
    if (front->failures > AT_ONCE_MAX) {
        uint32_t doublings = front->failures - AT_ONCE_MAX - 1;
        pause_ms = doublings > 6 ? PAUSE_MAX_MS : (uint32_t)PAUSE_MIN_MS << doublings;
    }
    if (pause_ms > PAUSE_MAX_MS)
        pause_ms = PAUSE_MAX_MS;
    if (!pause_ms && front_process_start(front) == 0)
        return;
    timer_start(front->supervisor->loop, &front->again, pause_ms ? pause_ms : PAUSE_MIN_MS,
                again_due, front);
}

static void again_due(struct timer *timer)
{
    struct front *front = timer->owner;
    if (front->pid) {
        front_tell(front);
    } else {
        int error = front_process_start(front);
        if (error) {
            front->failures++;
            log_error("gateway-not-started", "error=\"%s\"", strerror(-error));
            timer_start(front->supervisor->loop, timer, PAUSE_MAX_MS, again_due, front);
        }
    }
}

static void death_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct front *front = watch->owner;
    siginfo_t info = {0};
    pid_t pid = front->pid;
    waitid(P_PIDFD, (id_t)front->pidfd, &info, WEXITED | WNOHANG);
    uint64_t lived_ms = loop_now(front->supervisor->loop) - front->started_ms;
    front->failures = lived_ms < LIVED_MS ? front->failures + 1 : 0;
    process_forget(front);
    log_warn("gateway-lost", "pid=%d %s=%d lived_ms=%llu instead=\"connections wait for the next\"",
             pid, info.si_code == CLD_EXITED ? "status" : "signal", info.si_status,
             (unsigned long long)lived_ms);
    front_lost(front);
    process_retry(front);
}

/* Takes the socket and watches it and the process. */
static int process_watch(struct front *front, pid_t pid, int *socket, int *pidfd)
{
    struct loop *loop = front->supervisor->loop;
    front->socket = fd_take(socket);
    front->pidfd = fd_take(pidfd);
    front->started_ms = loop_now(loop);
    int error = watch_start(loop, &front->death, front->pidfd, WATCH_READ, death_ready, front);
    if (!error)
        error =
            watch_start(loop, &front->messages, front->socket, WATCH_READ, messages_ready, front);
    front->pid = pid;
    if (error) {
        pidfd_send_signal(front->pidfd, SIGKILL, NULL, 0);
        process_forget(front);
    }
    return error;
}

int front_process_start(struct front *front)
{
    assert(!front->pid);
    struct supervisor *supervisor = front->supervisor;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    scoped_fd int ours = pair[0];
    scoped_fd int theirs = pair[1];
    int bytes = QUEUE_BYTES;
    if (setsockopt(ours, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
        setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
    static const char *const none[] = {NULL};
    pid_t pid = role_start(supervisor->options.exe, "gateway", none, theirs);
    if (pid < 0)
        return pid;
    scoped_fd int pidfd = pidfd_open(pid, 0);
    if (pidfd < 0)
        return -errno;
    companions_keep(supervisor, FRONT_KEPT_SOCKET, ours);
    int error = process_watch(front, pid, &ours, &pidfd);
    if (error)
        return error;
    struct gateway_record *record = records_gateway(supervisor->records);
    record->start_ticks = process_start_ticks(pid);
    record->lane = front->lane;
    record->pid = pid;
    log_info("gateway-starting", "pid=%d threads=%u", pid, front->threads);
    front_tell(front);
    return 0;
}

void front_process_kill(int pidfd)
{
    struct pollfd death = {.fd = pidfd, .events = POLLIN};
    pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
    poll(&death, 1, END_MS);
}

static bool socket_lives(int fd)
{
    struct pollfd state = {.fd = fd};
    return poll(&state, 1, 0) == 0;
}

bool front_process_adopt(struct front *front, bool memory_kept)
{
    struct supervisor *supervisor = front->supervisor;
    const struct gateway_record *record = records_gateway(supervisor->records);
    scoped_fd int socket = companions_take_found(supervisor, FRONT_KEPT_SOCKET);
    pid_t pid = record->pid;
    if (pid <= 0)
        return false;
    scoped_fd int pidfd = process_open(pid);
    bool same = pidfd >= 0 && process_start_ticks(pid) == record->start_ticks;
    if (!same)
        return false;
    if (socket < 0 || !memory_kept || !socket_lives(socket)) {
        front_process_kill(pidfd); /* nobody can speak to it any more */
        return false;
    }
    companions_keep(supervisor, FRONT_KEPT_SOCKET, socket); /* a later keeper needs it again */
    if (process_watch(front, pid, &socket, &pidfd))
        return false;
    front->lane = record->lane;
    front->handed = ((1u << HANDED_COUNT) - 1) & ~(1u << HANDED_JOURNAL); /* it may be another */
    for (struct front_socket *each = front->sockets; each; each = each->next)
        each->sent = true; /* those that the keeper had; the others are opened later */
    log_info("gateway-adopted", "pid=%d", pid);
    return true;
}

void front_process_orphan_end(struct supervisor *supervisor)
{
    struct gateway_record *record = records_gateway(supervisor->records);
    scoped_fd int pidfd = record->pid > 0 ? process_open(record->pid) : -1;
    if (pidfd >= 0 && process_start_ticks(record->pid) == record->start_ticks) {
        log_info("gateway-ended", "pid=%d why=\"nothing needs it any more\"", record->pid);
        front_process_kill(pidfd);
    }
    record->pid = 0;
    front_elders_orphan_end(supervisor);
}

void front_process_end(struct front *front)
{
    if (front->pid) {
        front_process_kill(front->pidfd);
        waitid(P_PIDFD, (id_t)front->pidfd, &(siginfo_t){0}, WEXITED | WNOHANG);
    }
    companions_forget(front->supervisor, FRONT_KEPT_SOCKET);
    process_forget(front);
}

void front_process_abandon(const struct front *front, uint32_t number)
{
    int error = front->pid ? say(front, MESSAGE_ABANDON, "", number, -1) : 0;
    if (error) /* it goes on preparing, and nobody will ask it to commit */
        log_warn("gateway-not-told", "what=abandon error=\"%s\"", strerror(-error));
}

void front_process_leave(struct front *front)
{
    struct gateway_record *record = records_gateway(front->supervisor->records);
    pid_t pid = record->pid;
    process_forget(front);
    record->pid = pid;
}
