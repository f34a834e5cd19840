#include "gateway/gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/trim.h"
#include "event/signals.h"
#include "gateway/breaks.h"
#include "gateway/build.h"
#include "gateway/caches.h"
#include "gateway/core/ban_news.h"
#include "gateway/core/opener.h"
#include "gateway/http/file_type.h"
#include "gateway/metrics.h"
#include "gateway/sockets.h"
#include "gateway/threads.h"
#include "proc/message.h"
#include "proc/report.h"
#include "proc/role.h"
#include "upstream/bans.h"
#include "upstream/checker.h"
#include "upstream/resolver.h"
#include "upstream/stash.h"

enum { PACKETS_A_TURN_MAX = 64, BAN_WHY_BYTES = 256 };

/* The process has one of these. */
static struct {
    struct loop *loop;
    struct watch supervisor;
    struct board *board;
    struct tally *tally;
    struct bans *bans; /* NULL: not given */
    struct ban_news *ban_news;
    struct watch banned;
    uint32_t lane; /* of the tally */
    struct tls_tickets *tickets;
    int bell;    /* -1: not given yet */
    int wake;    /* an eventfd: somebody came to a service that sleeps; -1: not given yet */
    int journal; /* the logger's socket; -1: none */
    struct watch bell_watch;
    struct timer tickets_due;
    struct sockets *sockets;
    int directories[DIRECTORIES_MAX]; /* of the next generation; -1: none */
    int elders[TALLY_THREADS_MAX];    /* by thread: sessions of the gateway before; -1: none */
    int heirs[TALLY_THREADS_MAX];     /* by thread: whom ours go to; -1: nobody */
    struct watch opener;
    struct caches caches;
    int cache_files[CACHES_MAX]; /* of the next generation; -1: none */
    struct resolved *resolved;
    struct breaks breaks;
    struct stash *stash; /* NULL: one thread */
    struct resolver *resolver;
    struct checker *checker;
    struct metrics *metrics; /* NULL: nobody listens for it */
    int metrics_fd;
    uint32_t descriptors_max; /* 0: unknown, or too many to count */
    struct threads *threads;
    struct generation *prepared;  /* waits for its commit; NULL: none */
    struct generation *switching; /* committed, not used by all workers yet */
    struct generation *current;
    bool draining;
    char packet[MESSAGE_PACKET_BYTES_MAX];
} gateway = {.bell = -1, .wake = -1, .journal = -1, .metrics_fd = -1};

/* ---- to the supervisor and the logger ----------------------------------------------------------
 */

static void tell(enum message_kind kind, uint64_t number, const char *text)
{
    struct message message;
    message_init(&message, kind, "");
    message.number = number;
    message.bytes = text;
    message.length = text ? strlen(text) : 0;
    int error = message_send(ROLE_FD, PARTY_GATEWAY, &message);
    if (error && error != -EPIPE) /* the supervisor died: a new one asks anew */
        log_warn("not-told", "message=%s error=\"%s\"", message_name(kind), strerror(-error));
}

/* "TIME level role event …": the logger adds a time of its own. Some are the supervisor's to tell,
 * unless it is not there, or far behind. Any thread's. */
static void log_send(void *context, enum log_level level, const char *line, size_t length)
{
    (void)context;
    struct message message;
    /* One that drains has a successor, whose word counts. */
    if (!gateway.draining && report_make(line, length, level, &message) &&
        !message_send(ROLE_FD, PARTY_GATEWAY, &message))
        return;
    const char *space = memchr(line, ' ', length);
    if (gateway.journal < 0 || !space)
        return;
    message_init(&message, MESSAGE_CHUNK, "enginx");
    message.bytes = space + 1;
    message.length = length - (size_t)(space + 1 - line);
    message_send(gateway.journal, PARTY_GATEWAY, &message); /* a full queue loses it */
}

static void health_told(void *owner, uint32_t slot, uint32_t epoch, bool well, const char *why)
{
    (void)owner;
    uint64_t number = (uint64_t)slot << 32 | epoch;
    tell(well ? MESSAGE_WELL : MESSAGE_ILL, number, well ? NULL : why);
}

static void role_told(void *owner, uint32_t slot, uint32_t epoch, const char *word, const char *why)
{
    (void)owner;
    uint64_t number = (uint64_t)slot << 32 | epoch;
    if (*word)
        tell(MESSAGE_IS, number, word);
    else
        tell(MESSAGE_IS_UNKNOWN, number, why);
}

static void break_told(const char *service, enum breaker_state state, const char *why)
{
    struct message message;
    if (message_init(&message, MESSAGE_BREAKER, service))
        return;
    message.number = state;
    message.bytes = why;
    message.length = strlen(why);
    /* One that drains has a successor, whose word counts. */
    int error = gateway.draining ? 0 : message_send(ROLE_FD, PARTY_GATEWAY, &message);
    if (error)
        log_warn("breaker-changed", "service=%s state=%s", service, breaker_state_name(state));
}

static void ban_told(const struct ban_told *told)
{
    char client[BAN_TEXT_BYTES], why[BAN_WHY_BYTES];
    struct message message;
    ban_client_text(told->ban.client, client);
    if (message_init(&message, MESSAGE_BANNED, client))
        return;
    message.number = (uint64_t)told->untold << 32 | told->seconds;
    message.bytes = why;
    message.length = (size_t)snprintf(why, sizeof why, "too many %s at %s",
                                      ban_why_text(told->ban.why), told->listener);
    if (gateway.draining || message_send(ROLE_FD, PARTY_GATEWAY, &message))
        log_warn("client-banned", "client=%s why=\"%s\"", client, why);
}

/* ---- generations -------------------------------------------------------------------------------
 */

static const struct listener *metrics_listener(const struct generation *generation, int *ret_fd)
{
    for (size_t i = 0; i < generation->plan_count; i++) {
        if (generation->plans[i].listener->kind != LISTENER_METRICS)
            continue;
        *ret_fd = generation->plans[i].fds[0];
        return generation->plans[i].listener;
    }
    *ret_fd = -1;
    return NULL;
}

static void metrics_follow(const struct generation *generation)
{
    int fd;
    metrics_listener(generation, &fd);
    if (fd != gateway.metrics_fd) {
        metrics_free(gateway.metrics);
        const struct metrics_sources sources = {gateway.board, gateway.tally, gateway.bans};
        gateway.metrics = fd < 0 ? NULL : metrics_new(gateway.loop, fd, &sources);
        gateway.metrics_fd = gateway.metrics ? fd : -1;
        if (fd >= 0 && !gateway.metrics)
            log_error("no-metrics", "error=\"%s\"", strerror(errno));
    }
    if (gateway.metrics)
        metrics_settle(gateway.metrics, generation);
}

/* Every worker uses it: what the main thread does follows. */
static void switched(void *owner, uint32_t number)
{
    (void)owner;
    struct generation *before = gateway.current;
    gateway.current = gateway.switching;
    gateway.switching = NULL;
    metrics_follow(gateway.current);
    caches_settle(&gateway.caches, gateway.current->topology);
    int error = resolver_settle(gateway.resolver, gateway.current->topology);
    if (!error)
        error = checker_settle(gateway.checker, gateway.current->topology,
                               (struct tls_client *const *)gateway.current->tls_to);
    if (error)
        log_error("checks-not-settled", "error=\"%s\"", strerror(-error));
    if (!before) /* the first: it has begun */
        memory_trim();
    generation_unref(before);
    log_info("generation", "number=%u", number);
    tell(MESSAGE_COMMITTED, number, NULL);
}

static void resolved_changed(void *owner)
{
    (void)owner;
    if (gateway.threads)
        threads_wake(gateway.threads);
}

static void drained(void *owner)
{
    (void)owner;
    tally_lane_end(gateway.tally, gateway.lane);
    loop_stop(gateway.loop);
}

static void bell_rings(struct watch *watch, unsigned events)
{
    (void)watch, (void)events;
    checker_news(gateway.checker);
}

static void tickets_rotate(struct timer *timer)
{
    int error = tls_tickets_rotate(gateway.tickets);
    if (error)
        log_error("tickets-not-rotated", "error=\"%s\"", strerror(-error));
    timer_start(gateway.loop, timer, TLS_TICKET_ROTATE_MS, tickets_rotate, NULL);
}

/* ---- the sandbox -------------------------------------------------------------------------------
 */

static const int calls[] = {
    SYS_accept4,         SYS_socket,
    SYS_connect,         SYS_bind,
    SYS_shutdown,        SYS_sendto,
    SYS_recvfrom,        SYS_sendmsg,
    SYS_recvmsg,         SYS_sendmmsg,
    SYS_recvmmsg,        SYS_setsockopt,
    SYS_getsockopt,      SYS_getsockname,
    SYS_getpeername,     SYS_readv,
    SYS_writev,          SYS_splice,
    SYS_pipe2,           SYS_dup3,
    SYS_fcntl,           SYS_newfstatat, /* fstat(3) of a bundle */
    SYS_pread64,         SYS_pwrite64,   /* of caches' files, and their size */
    SYS_fallocate,       SYS_ftruncate,
    SYS_epoll_create1,   SYS_epoll_ctl,
    SYS_epoll_pwait,     SYS_eventfd2,
    SYS_ppoll,           SYS_clone,
    SYS_clone3,          SYS_mprotect,
    SYS_set_robust_list, SYS_rseq,
    SYS_sched_yield,     SYS_sched_getaffinity,
    SYS_prctl,           SYS_getrusage,
    SYS_sigaltstack,     SYS_nanosleep,
    SYS_clock_nanosleep, SYS_socketpair, /* to the opener */
    SYS_sendfile,        SYS_getdents64, /* of folders that it opened */
    SYS_ioctl,           SYS_lseek,
    SYS_fstat,           SYS_memfd_create, /* for caches' large bodies */
#ifdef SYS_epoll_wait
    SYS_epoll_wait,      SYS_poll,
#endif
};

/* What needs files or rights is done before: resolver_new has read resolv.conf and hosts. */
static int confine(void)
{
    return role_lock_network(calls, sizeof calls / sizeof *calls);
}

/* ---- the beginning: with the first generation --------------------------------------------------
 */

static int parts_make(void)
{
    gateway.resolved = resolved_new();
    if (gateway.resolved)
        gateway.resolver =
            resolver_new(gateway.loop, gateway.resolved, gateway.tally, resolved_changed, NULL);
    if (gateway.resolver)
        gateway.checker = checker_new(
            gateway.loop, gateway.board, gateway.resolved, gateway.resolver, gateway.tally,
            gateway.lane * tally_sizes(gateway.tally)->threads, health_told, role_told, NULL);
    if (!gateway.tickets)
        gateway.tickets = tls_tickets_new(-1);
    return gateway.checker && gateway.tickets ? 0 : -ENOMEM;
}

static int breakers_make(void)
{
    gateway.breaks = (struct breaks){
        .breakers = breakers_new(tally_sizes(gateway.tally)->threads),
        .board = gateway.board,
        .tally = gateway.tally,
        .thread = gateway.lane * tally_sizes(gateway.tally)->threads,
        .call = break_told,
    };
    return gateway.breaks.breakers ? breaks_start(&gateway.breaks, gateway.loop) : -ENOMEM;
}

static void banned(struct watch *watch, unsigned events)
{
    (void)watch, (void)events;
    ban_news_take(gateway.ban_news, ban_told);
}

static int ban_news_make(void)
{
    gateway.ban_news = ban_news_new();
    return gateway.ban_news ? watch_start(gateway.loop, &gateway.banned,
                                          ban_news_fd(gateway.ban_news), WATCH_READ, banned, NULL)
                            : -ENOMEM;
}

static int stash_make(void)
{
    if (tally_sizes(gateway.tally)->threads > 1)
        gateway.stash = stash_new();
    return gateway.stash || tally_sizes(gateway.tally)->threads == 1 ? 0 : -ENOMEM;
}

static int parts_start(const struct generation *first)
{
    int error = watch_start(gateway.loop, &gateway.bell_watch, gateway.bell,
                            WATCH_READ | (unsigned)WATCH_EDGE, bell_rings, NULL);
    if (!error)
        error = timer_start(gateway.loop, &gateway.tickets_due, TLS_TICKET_ROTATE_MS,
                            tickets_rotate, NULL);
    if (error)
        return error;
    struct threads_setup setup = {
        .loop = gateway.loop,
        .count = tally_sizes(gateway.tally)->threads,
        .lane = gateway.lane,
        .connections_max = first->topology->gateway.connections_max,
        .descriptors_max = gateway.descriptors_max,
        .board = gateway.board,
        .tally = gateway.tally,
        .resolved = gateway.resolved,
        .bans = gateway.bans,
        .ban_news = gateway.ban_news,
        .breakers = gateway.breaks.breakers,
        .stash = gateway.stash,
        .bell = gateway.bell,
        .wake_fd = gateway.wake,
        .logger_fd = gateway.journal,
        .elders = gateway.elders,
        .switched = switched,
        .drained = drained,
    };
    return threads_new(&setup, &gateway.threads);
}

/* 0 or -errno: this process is of no use. */
static int begin(void)
{
    if (gateway.threads)
        return 0;
    if (!gateway.board || !gateway.tally || gateway.bell < 0)
        return -EPROTO;
    tally_lane_begin(gateway.tally, gateway.lane);
    int error = parts_make();
    if (!error)
        error = stash_make();
    if (!error)
        error = breakers_make();
    if (!error)
        error = ban_news_make();
    if (!error)
        error = confine();
    return error ? error : parts_start(gateway.prepared);
}

static int generation_prepare(const struct message *message)
{
    char why[BUILD_WHY_BYTES];
    struct build_setup setup = {
        .bundle_fd = message->fd,
        .number = (uint32_t)message->number,
        .tally = gateway.tally,
        .sockets = gateway.sockets,
        .tickets = gateway.tickets,
        .directories = gateway.directories,
        .caches = &gateway.caches,
        .cache_files = gateway.cache_files,
    };
    generation_unref(gateway.prepared);
    gateway.prepared = NULL;
    int error = gateway.tally ? 0 : -EPROTO;
    if (!error && !gateway.tickets)
        gateway.tickets = tls_tickets_new(-1);
    if (error)
        return error;
    error = generation_build(&setup, &gateway.prepared, why);
    if (error) {
        tell(MESSAGE_REJECTED, message->number, why);
        return 0;
    }
    error = begin();
    if (!error)
        tell(MESSAGE_PREPARED, message->number, NULL);
    return error;
}

static void generation_commit(uint64_t number)
{
    if (!gateway.prepared || gateway.prepared->number != number || gateway.switching) {
        log_error("commit-refused", "number=%llu", (unsigned long long)number);
        return;
    }
    gateway.switching = gateway.prepared;
    gateway.prepared = NULL;
    threads_switch(gateway.threads, gateway.switching);
}

/* ---- messages ----------------------------------------------------------------------------------
 */

static int board_take(int fd)
{
    return gateway.board ? -EPROTO : board_open(fd, false, &gateway.board);
}

static int tally_take(const struct message *message)
{
    if (gateway.tally || message->number >= TALLY_LANES)
        return -EPROTO;
    gateway.lane = (uint32_t)message->number;
    return tally_open(message->fd, true, &gateway.tally);
}

static int tickets_take(int fd)
{
    if (gateway.tickets)
        return -EPROTO;
    gateway.tickets = tls_tickets_new(fd);
    return gateway.tickets ? 0 : -errno;
}

static void listener_take(struct message *message)
{
    int error = message->fd < 0 ? -EMFILE
                                : sockets_put(gateway.sockets, message->name, message->number,
                                              fd_take(&message->fd));
    if (error)
        log_error("listener-not-taken", "name=%s error=\"%s\"", message->name, strerror(-error));
}

/* A folder of files of the generation that comes next. */
static int directory_take(struct message *message)
{
    if (message->number >= DIRECTORIES_MAX)
        return -EPROTO;
    fd_drop(&gateway.directories[message->number]);
    gateway.directories[message->number] = fd_take(&message->fd);
    return 0;
}

/* A socket for each thread, to the gateway before or to the next. */
static int relative_take(int relatives[TALLY_THREADS_MAX], struct message *message)
{
    if (message->number >= TALLY_THREADS_MAX)
        return -EPROTO;
    fd_drop(&relatives[message->number]);
    relatives[message->number] = fd_take(&message->fd);
    return 0;
}

/* A cache's file, the same. */
static int cache_file_take(struct message *message)
{
    if (message->number >= CACHES_MAX)
        return -EPROTO;
    fd_drop(&gateway.cache_files[message->number]);
    gateway.cache_files[message->number] = fd_take(&message->fd);
    return 0;
}

/* A new logger takes the place of the old one under the same number, which the workers know. */
static void journal_take(struct message *message)
{
    if (gateway.journal < 0)
        gateway.journal = fd_take(&message->fd);
    else if (message->fd >= 0 && dup3(message->fd, gateway.journal, O_CLOEXEC) < 0)
        log_error("journal-not-taken", "error=\"%s\"", strerror(errno));
}

/* Another gateway has taken over: what is open here goes on to its end, and nothing else. */
static void drain(void)
{
    if (!gateway.threads) {
        loop_stop(gateway.loop);
        return;
    }
    if (gateway.draining)
        return;
    gateway.draining = true;
    log_info("draining", "generation=%u", gateway.current ? gateway.current->number : 0);
    watch_stop(gateway.loop, &gateway.bell_watch);
    timer_stop(gateway.loop, &gateway.tickets_due);
    checker_free(gateway.checker);
    gateway.checker = NULL;
    metrics_free(gateway.metrics);
    gateway.metrics = NULL;
    threads_drain(gateway.threads, gateway.heirs);
}

/* 0 or -errno: nothing can go on. */
static int obey(struct message *message)
{
    switch ((int)message->kind) {
    case MESSAGE_BOARD:
        return board_take(message->fd);
    case MESSAGE_TALLY:
        return tally_take(message);
    case MESSAGE_TICKETS:
        return tickets_take(message->fd);
    case MESSAGE_BANS:
        return gateway.bans ? -EPROTO : bans_open(message->fd, &gateway.bans);
    case MESSAGE_BELL:
        fd_drop(&gateway.bell);
        gateway.bell = fd_take(&message->fd);
        return 0;
    case MESSAGE_WAKE:
        fd_drop(&gateway.wake);
        gateway.wake = fd_take(&message->fd);
        return 0;
    case MESSAGE_JOURNAL:
        journal_take(message);
        return 0;
    case MESSAGE_LISTENER:
        listener_take(message);
        return 0;
    case MESSAGE_UNLISTEN:
        sockets_drop(gateway.sockets, message->name);
        return 0;
    case MESSAGE_DIRECTORY:
        return directory_take(message);
    case MESSAGE_PURGE:
        tell(MESSAGE_PURGED,
             caches_purge(&gateway.caches, message->name, message->bytes, message->length), NULL);
        return 0;
    case MESSAGE_CACHE:
        return cache_file_take(message);
    case MESSAGE_GENERATION:
        return generation_prepare(message);
    case MESSAGE_COMMIT:
        generation_commit(message->number);
        return 0;
    case MESSAGE_ABANDON:
        generation_unref(gateway.prepared);
        gateway.prepared = NULL;
        return 0;
    case MESSAGE_ELDER:
        return relative_take(gateway.elders, message);
    case MESSAGE_HEIR:
        return relative_take(gateway.heirs, message);
    case MESSAGE_DRAIN:
        drain();
        return 0;
    default:
        return -EPROTO;
    }
}

static void supervisor_ready(struct watch *watch, unsigned events)
{
    (void)events;
    for (int i = 0; i < PACKETS_A_TURN_MAX; i++) {
        struct message message;
        int error = message_receive(ROLE_FD, PARTY_SUPERVISOR, PARTY_GATEWAY, gateway.packet,
                                    sizeof gateway.packet, &message);
        if (error == -EAGAIN)
            return;
        if (error == -EPIPE) { /* it died, and the keeper; what is served is until the next one */
            if (!gateway.current && !gateway.switching)
                _exit(EXIT_FAILURE); /* nothing to serve, and nobody to say what */
            watch_stop(gateway.loop, watch);
            return;
        }
        if (!error)
            error = obey(&message);
        if (error) {
            log_error("gateway-broken", "error=\"%s\"", strerror(-error));
            _exit(EXIT_FAILURE);
        }
        fd_drop(&message.fd);
    }
}

/* ---- the process -------------------------------------------------------------------------------
 */

static void signal_came(void *owner, int number, int sender)
{
    (void)owner, (void)sender;
    if (number == SIGQUIT)
        drain();
    else
        loop_stop(gateway.loop);
}

/* Asked here, since the sandbox does not let it be asked later. */
static void descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < INT_MAX)
        gateway.descriptors_max = (uint32_t)limit.rlim_cur;
}

/* Without it no file could be opened any more: the next gateway has one. */
static void opener_gone(struct watch *watch, unsigned events)
{
    (void)watch, (void)events;
    log_error("opener-gone", "instead=\"the gateway starts again\"");
    _exit(EXIT_FAILURE);
}

static int setup(void)
{
    descriptors_raise();
    memset(gateway.directories, -1, sizeof gateway.directories);
    memset(gateway.cache_files, -1, sizeof gateway.cache_files);
    memset(gateway.elders, -1, sizeof gateway.elders);
    memset(gateway.heirs, -1, sizeof gateway.heirs);
    int error = role_confine(0);
    if (error)
        return error;
    role_detach();
    int opener = opener_start();
    if (opener < 0)
        return opener;
    file_types_load("/etc/mime.types");
    log_setup("gateway", getenv("ENGINX_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, log_send, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* of a file of a cache: EFBIG says it, too */
    gateway.loop = loop_new();
    gateway.sockets = sockets_new();
    if (!gateway.loop || !gateway.sockets)
        return -ENOMEM;
    const int numbers[] = {SIGTERM, SIGINT, SIGQUIT, 0};
    if (!signals_new(gateway.loop, numbers, signal_came, NULL))
        return -errno;
    error = watch_start(gateway.loop, &gateway.opener, opener, WATCH_READ, opener_gone, NULL);
    if (error)
        return error;
    return watch_start(gateway.loop, &gateway.supervisor, ROLE_FD, WATCH_READ, supervisor_ready,
                       NULL);
}

int gateway_main(int argc, char **argv)
{
    (void)argc, (void)argv;
    int error = setup();
    if (!error)
        error = loop_run(gateway.loop);
    if (error)
        log_error("gateway-ended", "error=\"%s\"", strerror(-error));
    /* Not by return: threads run, and the kernel closes everything. */
    _exit(error ? EXIT_FAILURE : EXIT_SUCCESS);
}
