/* Gateways that another has taken over from, after an upgrade of enginx itself. Until the new one
 * serves, the old one goes on as ever; then it is told to drain: it takes no more connections, and
 * ends with the last of those that it has, be that a WebSocket that lives for days. Both read the
 * same board; each counts in a lane of its own of the tally. The records name them, so that a
 * supervisor that is started after a crash knows of them. */
#include "supervise/front_private.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/process.h"
#include "supervise/companions.h"

_Static_assert((int)FRONT_ELDERS_MAX == (int)RECORD_ELDERS_MAX, "each has its record");
_Static_assert((int)FRONT_ELDERS_MAX < (int)TALLY_LANES, "each has its lane, and so has the next");

enum { LANE_NONE = UINT32_MAX }; /* it counts in memory that is not ours any more */

static struct elder_record *record_of(const struct front_elder *elder)
{
    struct front *front = elder->front;
    return &records_gateway(front->supervisor->records)->elders[elder - front->elders];
}

static void pairs_close(struct front_elder *elder)
{
    for (uint32_t i = 0; i < TALLY_THREADS_MAX; i++) {
        fd_drop(&elder->from[i]);
        fd_drop(&elder->to[i]);
    }
}

/* Without descriptors for them its sessions end with it. */
static void pairs_open(struct front_elder *elder)
{
    for (uint32_t i = 0; i < elder->front->threads; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
            return;
        elder->from[i] = pair[0];
        elder->to[i] = pair[1];
    }
}

static void elder_clear(struct front_elder *elder, struct front *front)
{
    *elder = (struct front_elder){.front = front, .pidfd = -1, .socket = -1};
    memset(elder->from, -1, sizeof elder->from);
    memset(elder->to, -1, sizeof elder->to);
}

static void elder_forget(struct front_elder *elder)
{
    pairs_close(elder);
    watch_stop(elder->front->supervisor->loop, &elder->death);
    fd_drop(&elder->pidfd);
    fd_drop(&elder->socket);
    elder->pid = 0;
}

static void elder_ended(struct watch *watch, unsigned events)
{
    (void)events;
    struct front_elder *elder = watch->owner;
    struct elder_record *record = record_of(elder);
    siginfo_t info = {0};
    waitid(P_PIDFD, (id_t)elder->pidfd, &info, WEXITED | WNOHANG);
    if (info.si_code == CLD_KILLED || info.si_code == CLD_DUMPED)
        log_warn("gateway-lost", "pid=%d signal=%d instead=\"what it drained is cut\"", elder->pid,
                 info.si_status);
    else
        log_info("gateway-drained", "pid=%d", elder->pid);
    if (record->lane != LANE_NONE)
        tally_lane_end(elder->front->tally, record->lane);
    record->pid = 0;
    elder_forget(elder);
    supervisor_note_change(elder->front->supervisor, NULL);
}

/* Watches the process of a record, if it is still that one. */
static bool elder_watch(struct front_elder *elder)
{
    struct elder_record *record = record_of(elder);
    scoped_fd int pidfd = process_open(record->pid);
    if (pidfd < 0 || process_start_ticks(record->pid) != record->start_ticks)
        return false;
    elder->pidfd = fd_take(&pidfd);
    elder->pid = record->pid;
    return watch_start(elder->front->supervisor->loop, &elder->death, elder->pidfd, WATCH_READ,
                       elder_ended, elder) == 0;
}

/* The place of a new one; when all are taken, the first has to end. */
static struct front_elder *elder_place(struct front *front)
{
    for (struct front_elder *elder = front->elders; elder < front->elders + FRONT_ELDERS_MAX;
         elder++)
        if (!elder->pid)
            return elder;
    struct front_elder *first = front->elders;
    log_warn("gateway-ended", "pid=%d why=\"too many drain already\"", first->pid);
    pidfd_send_signal(first->pidfd, SIGKILL, NULL, 0);
    elder_forget(first);
    return first;
}

/* The process that served the executable before us. */
static void elder_take(struct front *front, bool memory_kept)
{
    struct supervisor *supervisor = front->supervisor;
    struct gateway_record *gateway = records_gateway(supervisor->records);
    scoped_fd int socket = companions_take_found(supervisor, FRONT_KEPT_SOCKET);
    if (gateway->pid <= 0)
        return;
    struct front_elder *elder = elder_place(front);
    elder_clear(elder, front);
    *record_of(elder) = (struct elder_record){.pid = gateway->pid,
                                              .lane = memory_kept ? gateway->lane : LANE_NONE,
                                              .start_ticks = gateway->start_ticks};
    gateway->pid = 0;
    if (elder_watch(elder)) {
        elder->socket = fd_take(&socket);
        if (memory_kept && elder->socket >= 0)
            pairs_open(elder);
        log_info("gateway-replaced", "pid=%d", elder->pid);
        return;
    }
    record_of(elder)->pid = 0;
    elder_forget(elder);
}

static uint32_t lane_free(const struct front *front)
{
    uint32_t taken = 0;
    for (const struct front_elder *elder = front->elders; elder < front->elders + FRONT_ELDERS_MAX;
         elder++)
        if (elder->pid && record_of(elder)->lane != LANE_NONE)
            taken |= 1u << record_of(elder)->lane;
    uint32_t lane = 0;
    while (taken >> lane & 1)
        lane++;
    return lane;
}

/* Nobody but itself has its sockets any more, so none could be bound in their places. */
static void elder_end(struct front_elder *elder)
{
    log_warn("gateway-ended", "pid=%d why=\"the keeper died\"", elder->pid);
    front_process_kill(elder->pidfd);
    record_of(elder)->pid = 0;
    elder_forget(elder);
}

void front_elders_find(struct front *front, bool memory_kept)
{
    /* The keeper died with the supervisor: neither its memory nor a socket is left. */
    bool alone = !memory_kept && !front->sockets;
    for (struct front_elder *elder = front->elders; elder < front->elders + FRONT_ELDERS_MAX;
         elder++) {
        elder_clear(elder, front);
        struct elder_record *record = record_of(elder);
        if (record->pid > 0 && !elder_watch(elder)) {
            if (memory_kept && record->lane != LANE_NONE)
                tally_lane_end(front->tally, record->lane);
            record->pid = 0;
            elder_forget(elder);
        }
        if (elder->pid && alone)
            elder_end(elder);
        else if (elder->pid && !memory_kept)
            record->lane = LANE_NONE;
    }
    struct gateway_record *gateway = records_gateway(front->supervisor->records);
    if (!alone && (front->supervisor->options.upgraded || gateway->left))
        elder_take(front, memory_kept);
    gateway->left = 0;
    front->lane = lane_free(front);
}

static int message_say(int socket, enum message_kind kind, uint64_t number, int fd)
{
    struct message message;
    message_init(&message, kind, "");
    message.number = number;
    message.fd = fd;
    return message_send(socket, PARTY_SUPERVISOR, &message);
}

int front_elders_tell(struct front *front)
{
    for (struct front_elder *elder = front->elders; elder < front->elders + FRONT_ELDERS_MAX;
         elder++) {
        while (elder->pid && elder->to_sent < TALLY_THREADS_MAX && elder->to[elder->to_sent] >= 0) {
            uint32_t thread = elder->to_sent;
            int error = message_say(front->socket, MESSAGE_ELDER, thread, elder->to[thread]);
            if (error)
                return error;
            elder->to_sent++;
        }
    }
    return 0;
}

void front_elders_retell(struct front *front)
{
    for (size_t i = 0; i < FRONT_ELDERS_MAX; i++)
        front->elders[i].to_sent = 0;
}

/* Who lost its socket, or does not read it, hears the signal, which means the same but for the
 * sessions, which then end. */
static void elder_drain(struct front_elder *elder)
{
    int error = elder->socket < 0 ? -ENOTCONN : 0;
    for (uint32_t i = 0; !error && i < TALLY_THREADS_MAX && elder->from[i] >= 0; i++)
        error = message_say(elder->socket, MESSAGE_HEIR, i, elder->from[i]);
    if (!error)
        error = message_say(elder->socket, MESSAGE_DRAIN, 0, -1);
    if (error)
        pidfd_send_signal(elder->pidfd, SIGQUIT, NULL, 0);
    elder->told = true;
    pairs_close(elder);
    fd_drop(&elder->socket);
}

void front_elders_drain(struct front *front)
{
    for (size_t i = 0; i < FRONT_ELDERS_MAX; i++)
        if (front->elders[i].pid && !front->elders[i].told)
            elder_drain(&front->elders[i]);
}

void front_elders_end(struct front *front, bool leave)
{
    for (struct front_elder *elder = front->elders; elder < front->elders + FRONT_ELDERS_MAX;
         elder++) {
        if (!elder->pid)
            continue;
        if (!leave) {
            pidfd_send_signal(elder->pidfd, SIGKILL, NULL, 0);
            record_of(elder)->pid = 0;
        }
        elder_forget(elder);
    }
}

void front_elders_orphan_end(struct supervisor *supervisor)
{
    struct gateway_record *gateway = records_gateway(supervisor->records);
    for (size_t i = 0; i < RECORD_ELDERS_MAX; i++) {
        struct elder_record *record = &gateway->elders[i];
        scoped_fd int pidfd = record->pid > 0 ? process_open(record->pid) : -1;
        if (pidfd >= 0 && process_start_ticks(record->pid) == record->start_ticks)
            front_process_kill(pidfd);
        record->pid = 0;
    }
}

size_t front_elders(const struct front *front, pid_t ret_pids[FRONT_ELDERS_MAX])
{
    size_t count = 0;
    for (size_t i = 0; front && i < FRONT_ELDERS_MAX; i++)
        if (front->elders[i].pid)
            ret_pids[count++] = front->elders[i].pid;
    return count;
}
