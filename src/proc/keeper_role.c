/* The keeper's own process. It is idle unless a supervisor puts or drops something, or there is
 * none and instances write output or ask what they ask a supervisor. Peers come in two states: a
 * stranger has connected and not said hello; the supervisor has. A stranger who says anything else
 * is dropped and changes nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/table.h"
#include "base/trim.h"
#include "kernel/seccomp.h"
#include "proc/keeper.h"
#include "proc/logger.h"
#include "proc/logpipe.h"
#include "proc/message.h"
#include "proc/role.h"

enum {
    HELD_BUCKETS = 512,
    STRANGERS_MAX = 4,
    BACKLOG = 16,
    DESCRIPTORS_SPARE = 24, /* beside what is held: our own, peers, and one just received */
    PACKETS_A_TURN_MAX = 64,
    CALLS_A_TURN_MAX = 32,          /* of one program */
    PACKETS_OF_REPLACED_MAX = 4096, /* more than a socket holds */
    ACCEPT_PAUSE_MS = 1000,         /* after an accept that failed: the kernel has no descriptors */
    FOUND_PAUSE_MS = 50,            /* after too many descriptors were on their way */
};

struct held {
    TAILQ_ENTRY(held) order; /* of their first put, in which they are given back */
    LIST_ENTRY(held) chain;
    int fd;
    struct watch watch; /* of output or calls; active only without a supervisor */
    uint32_t calls;     /* that are in it, when it is such a memfd */
    char name[];
};

struct peer { /* free: not watch.active */
    struct watch watch;
};

/* The process has one of these. Static memory costs nothing until it is touched. */
static struct {
    struct loop *loop;
    struct watch listener;
    struct timer pause;
    uid_t owner; /* whose supervisors we serve */
    size_t held_max;
    size_t held_count;
    TAILQ_HEAD(, held) held;
    LIST_HEAD(, held) buckets[HELD_BUCKETS];
    struct peer strangers[STRANGERS_MAX];
    size_t stranger_next; /* the one that gives way when all are taken */
    struct peer supervisor;
    bool giving;              /* it is being told what we hold */
    struct held *giving_next; /* NULL: only the end is left to say */
    struct timer giving_pause;
    struct timer patience; /* with calls, until somebody must answer them */
    struct logpipe logger;
    char packet[MESSAGE_PACKET_BYTES_MAX];
    char output[LOGGER_CHUNK_BYTES_MAX];
} keeper;

/* ---- output of instances, while there is no supervisor -------------------------------------- */

static void output_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct held *held = watch->owner;
    ssize_t count = read(held->fd, keeper.output, sizeof keeper.output);
    if (count > 0)
        logpipe_write(&keeper.logger, held->name + strlen(KEEPER_OUTPUT_PREFIX), keeper.output,
                      (size_t)count);
    else if (count == 0 || (errno != EAGAIN && errno != EINTR))
        watch_stop(keeper.loop, watch); /* no FIFO that we or the program hold open */
}

static void output_start(struct held *held)
{
    size_t prefix = strlen(KEEPER_OUTPUT_PREFIX);
    if (strncmp(held->name, KEEPER_OUTPUT_PREFIX, prefix) != 0 || !held->name[prefix])
        return;
    if (!held->watch.active) /* a descriptor that cannot be waited for is just held */
        watch_start(keeper.loop, &held->watch, held->fd, WATCH_READ, output_ready, held);
}

static void outputs_start(void)
{
    struct held *held;
    TAILQ_FOREACH (held, &keeper.held, order) {
        output_start(held);
    }
}

/* ---- what is held --------------------------------------------------------------------------- */

static size_t bucket_of(const char *name)
{
    return hash_bytes(name, strlen(name), hash_seed()) % HELD_BUCKETS;
}

static struct held *held_find(const char *name)
{
    struct held *held;
    LIST_FOREACH (held, &keeper.buckets[bucket_of(name)], chain) {
        if (!strcmp(held->name, name))
            return held;
    }
    return NULL;
}

static struct held *held_new(const char *name)
{
    size_t name_bytes = strlen(name) + 1;
    struct held *held = calloc(1, sizeof *held + name_bytes);
    if (!held)
        return NULL;
    memcpy(held->name, name, name_bytes);
    held->fd = -1;
    TAILQ_INSERT_TAIL(&keeper.held, held, order);
    LIST_INSERT_HEAD(&keeper.buckets[bucket_of(name)], held, chain);
    keeper.held_count++;
    return held;
}

/* The logger's pipe is a duplicate of the descriptor held under its name. */
static void logger_follow(const struct held *held, bool gone)
{
    if (strcmp(held->name, KEEPER_LOGGER) != 0)
        return;
    logpipe_done(&keeper.logger);
    int fd = gone ? -1 : fcntl(held->fd, F_DUPFD_CLOEXEC, ROLE_FD + 1);
    logpipe_init(&keeper.logger, keeper.loop, fd, PARTY_KEEPER);
}

/* 0 or -errno; takes the descriptor in any case. */
static int held_put(const char *name, int fd)
{
    scoped_fd int taken = fd;
    if (taken < 0)
        return -EMFILE;
    struct held *held = held_find(name);
    if (!held) {
        if (keeper.held_count >= keeper.held_max)
            return keeper.held_max < KEEPER_DESCRIPTORS_MAX ? -EMFILE : -ENOSPC;
        held = held_new(name);
    }
    if (!held)
        return -ENOMEM;
    watch_stop(keeper.loop, &held->watch);
    fd_drop(&held->fd);
    held->fd = fd_take(&taken);
    held->calls = 0;
    logger_follow(held, false);
    return 0;
}

static void held_drop(const char *name)
{
    struct held *held = held_find(name);
    if (!held)
        return;
    logger_follow(held, true);
    watch_stop(keeper.loop, &held->watch);
    TAILQ_REMOVE(&keeper.held, held, order);
    LIST_REMOVE(held, chain);
    keeper.held_count--;
    close(held->fd);
    free(held);
}

/* ---- calls of programs, while there is no supervisor ---------------------------------------- */

/* Keeps a call of the program whose notifications `held` is. 0 or -errno. */
static int call_keep(const struct held *held, const struct seccomp_request *request)
{
    char name[KEEPER_NAME_BYTES];
    snprintf(name, sizeof name, KEEPER_CALLS_PREFIX "%s",
             held->name + strlen(KEEPER_NOTIFY_PREFIX));
    struct held *calls = held_find(name);
    if (!calls) {
        int fd = memfd_create("enginx-calls", MFD_CLOEXEC);
        int error = fd < 0 ? -errno : held_put(name, fd);
        calls = error ? NULL : held_find(name);
        if (!calls)
            return error;
    }
    if (calls->calls >= KEEPER_CALLS_MAX)
        return -ENOSPC;
    off_t place = (off_t)(calls->calls * sizeof *request);
    if (pwrite(calls->fd, request, sizeof *request, place) != (ssize_t)sizeof *request)
        return -EIO;
    calls->calls++;
    return 0;
}

/* Where a socket is bound, and how it is shared, only a supervisor knows. A connection goes where
 * it would without us, and a socket's name is its own. */
static void call_serve(const struct held *held, const struct seccomp_request *request)
{
    bool waits = request->call == SECCOMP_CALL_BIND || request->call == SECCOMP_CALL_LISTEN;
    if (!waits || call_keep(held, request) < 0)
        seccomp_continue(held->fd, request->id);
}

static void calls_ready(struct watch *watch, unsigned events)
{
    struct held *held = watch->owner;
    int error = events & WATCH_READ ? 0 : -EPIPE; /* the last program under that filter is gone */
    for (int i = 0; i < CALLS_A_TURN_MAX && (!error || error == -ENOENT); i++) {
        struct seccomp_request request;
        error = seccomp_receive(held->fd, &request);
        if (!error)
            call_serve(held, &request);
    }
    if (error && error != -ENOENT && error != -EAGAIN)
        watch_stop(keeper.loop, watch);
}

static void patience_over(struct timer *timer)
{
    (void)timer;
    struct held *held;
    TAILQ_FOREACH (held, &keeper.held, order) {
        if (strncmp(held->name, KEEPER_NOTIFY_PREFIX, strlen(KEEPER_NOTIFY_PREFIX)) == 0 &&
            !held->watch.active)
            watch_start(keeper.loop, &held->watch, held->fd, WATCH_READ, calls_ready, held);
    }
}

/* ---- the supervisor ------------------------------------------------------------------------- */

static void peer_drop(struct peer *peer)
{
    if (!peer->watch.active)
        return;
    int fd = peer->watch.fd;
    watch_stop(keeper.loop, &peer->watch);
    close(fd);
}

static void watches_stop(void)
{
    struct held *held;
    TAILQ_FOREACH (held, &keeper.held, order) {
        watch_stop(keeper.loop, &held->watch);
    }
}

static void supervisor_gone(void)
{
    peer_drop(&keeper.supervisor);
    timer_stop(keeper.loop, &keeper.giving_pause);
    keeper.giving = false;
    outputs_start();
    timer_start(keeper.loop, &keeper.patience, KEEPER_PATIENCE_MS, patience_over, NULL);
}

static int found_send(void)
{
    struct message message;
    if (!keeper.giving_next) {
        message_init(&message, MESSAGE_FOUND_ALL, "");
        message.number = keeper.held_count;
    } else {
        message_init(&message, MESSAGE_FOUND, keeper.giving_next->name);
        message.fd = keeper.giving_next->fd;
    }
    return message_send(keeper.supervisor.watch.fd, PARTY_KEEPER, &message);
}

static void giving_go_on(struct timer *timer);

/* Gives a duplicate of each descriptor, as fast as the supervisor takes them. Nothing that it sends
 * is read meanwhile, so the list stands still. */
static void giving_step(void)
{
    struct watch *watch = &keeper.supervisor.watch;
    for (;;) {
        int error = found_send();
        if (error == -EAGAIN) {
            watch_change(keeper.loop, watch, WATCH_WRITE);
            return;
        }
        if (error == -ETOOMANYREFS) {
            watch_change(keeper.loop, watch, 0);
            timer_start(keeper.loop, &keeper.giving_pause, FOUND_PAUSE_MS, giving_go_on, NULL);
            return;
        }
        if (error) {
            supervisor_gone();
            return;
        }
        if (!keeper.giving_next)
            break;
        keeper.giving_next = TAILQ_NEXT(keeper.giving_next, order);
    }
    keeper.giving = false;
    watch_change(keeper.loop, watch, WATCH_READ);
}

static void giving_go_on(struct timer *timer)
{
    (void)timer;
    giving_step();
}

static void refuse(const char *name, int error)
{
    struct message message;
    if (message_init(&message, MESSAGE_REFUSED, name))
        return;
    message.number = (uint64_t)-error;
    /* One whose queue of answers is full does not read them; it is not worth waiting for. */
    message_send(keeper.supervisor.watch.fd, PARTY_KEEPER, &message);
}

/* 0, or -errno: the supervisor is to be dropped. */
static int supervisor_obey(void)
{
    struct message message;
    int error = message_receive(keeper.supervisor.watch.fd, PARTY_SUPERVISOR, PARTY_KEEPER,
                                keeper.packet, sizeof keeper.packet, &message);
    if (error)
        return error;
    switch ((int)message.kind) { /* the others are not for us; the table refused them already */
    case MESSAGE_PUT:
        error = held_put(message.name, fd_take(&message.fd));
        if (error)
            refuse(message.name, error);
        return 0;
    case MESSAGE_DROP:
        held_drop(message.name);
        return 0;
    case MESSAGE_END:
        _exit(EXIT_SUCCESS); /* nothing to tidy up; the kernel closes what was held */
    default:
        return -EPROTO;
    }
}

static void supervisor_ready(struct watch *watch, unsigned events)
{
    (void)watch;
    if (keeper.giving) {
        if (events & (WATCH_ERROR | WATCH_HANGUP))
            supervisor_gone();
        else
            giving_step();
        return;
    }
    /* What it had still sent before it died counts, so the end is taken from the stream. */
    int error = 0;
    for (int i = 0; i < PACKETS_A_TURN_MAX && !error; i++)
        error = supervisor_obey();
    if (error && error != -EAGAIN)
        supervisor_gone();
}

/* ---- strangers ------------------------------------------------------------------------------ */

/* The stranger becomes the supervisor, in place of the one before. */
static void supervisor_take(int fd)
{
    if (keeper.supervisor.watch.active) {
        /* A supervisor that crashed and was started again can be here before its end was seen; what
         * it had put counts. One that lives and goes on sending is cut off at some point. */
        for (int i = 0; i < PACKETS_OF_REPLACED_MAX && !supervisor_obey(); i++)
            continue;
        struct message replaced;
        message_init(&replaced, MESSAGE_REPLACED, "");
        message_send(keeper.supervisor.watch.fd, PARTY_KEEPER, &replaced);
        timer_stop(keeper.loop, &keeper.giving_pause);
        peer_drop(&keeper.supervisor);
    }
    watches_stop();
    timer_stop(keeper.loop, &keeper.patience);
    keeper.giving = true;
    keeper.giving_next = TAILQ_FIRST(&keeper.held);
    if (watch_start(keeper.loop, &keeper.supervisor.watch, fd, WATCH_READ, supervisor_ready,
                    NULL)) {
        close(fd);
        supervisor_gone();
        return;
    }
    giving_step();
}

static void stranger_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct peer *peer = watch->owner;
    struct message message;
    int error = message_receive(watch->fd, PARTY_SUPERVISOR, PARTY_KEEPER, keeper.packet,
                                sizeof keeper.packet, &message);
    if (error == -EAGAIN)
        return;
    bool hello = !error && message.kind == MESSAGE_HELLO && message.number == MESSAGE_VERSION;
    if (!error)
        fd_drop(&message.fd);
    if (!hello) {
        peer_drop(peer);
        return;
    }
    int fd = watch->fd;
    watch_stop(keeper.loop, watch);
    supervisor_take(fd);
}

static bool peer_allowed(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == keeper.owner || peer.uid == 0);
}

/* A free place; when there is none the longest waiting stranger gives way. */
static struct peer *stranger_place(void)
{
    for (size_t i = 0; i < STRANGERS_MAX; i++)
        if (!keeper.strangers[i].watch.active)
            return &keeper.strangers[i];
    struct peer *peer = &keeper.strangers[keeper.stranger_next];
    keeper.stranger_next = (keeper.stranger_next + 1) % STRANGERS_MAX;
    peer_drop(peer);
    return peer;
}

static void listener_ready(struct watch *watch, unsigned events);

static void pause_over(struct timer *timer)
{
    (void)timer;
    watch_start(keeper.loop, &keeper.listener, ROLE_FD, WATCH_READ, listener_ready, NULL);
}

static void listener_ready(struct watch *watch, unsigned events)
{
    (void)events;
    scoped_fd int fd = accept4(ROLE_FD, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return;
        watch_stop(keeper.loop, watch); /* else it would be ready again and again */
        timer_start(keeper.loop, &keeper.pause, ACCEPT_PAUSE_MS, pause_over, NULL);
        return;
    }
    if (!peer_allowed(fd))
        return;
    struct peer *peer = stranger_place();
    if (!watch_start(keeper.loop, &peer->watch, fd, WATCH_READ, stranger_ready, peer))
        fd_take(&fd);
}

/* ---- the process ---------------------------------------------------------------------------- */

/* Raises the limit of descriptors as far as it may; how many can be held then. */
static size_t held_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 0;
    rlim_t wanted = KEEPER_DESCRIPTORS_MAX + DESCRIPTORS_SPARE;
    if (limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur >= wanted)
        return KEEPER_DESCRIPTORS_MAX;
    return limit.rlim_cur > DESCRIPTORS_SPARE ? (size_t)limit.rlim_cur - DESCRIPTORS_SPARE : 0;
}

static const int calls[] = {
    SYS_epoll_ctl,  SYS_epoll_pwait, SYS_accept4, SYS_getsockopt, SYS_recvmsg,      SYS_sendmsg,
    SYS_fcntl,      SYS_ioctl,       SYS_ppoll,   SYS_pwrite64,   SYS_memfd_create,
#ifdef SYS_poll
    SYS_poll,
#endif
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
};

static int setup(void)
{
    keeper.owner = geteuid();
    keeper.held_max = held_limit();
    int error = role_confine(1);
    if (error)
        return error;
    role_detach();
    TAILQ_INIT(&keeper.held);
    keeper.loop = loop_new();
    if (!keeper.loop)
        return -ENOMEM;
    logpipe_init(&keeper.logger, keeper.loop, -1, PARTY_KEEPER);
    /* Once more, and by us: from now on SO_PEERCRED tells our pid to those who connect. */
    if (listen(ROLE_FD, BACKLOG) < 0)
        return -errno;
    error = watch_start(keeper.loop, &keeper.listener, ROLE_FD, WATCH_READ, listener_ready, NULL);
    return error ? error : role_lock(-1, calls, sizeof calls / sizeof *calls);
}

int keeper_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    int error = setup();
    memory_trim();
    if (!error)
        error = loop_run(keeper.loop);
    log_error("keeper-failed", "error=\"%s\"", strerror(-error));
    return EXIT_FAILURE;
}
