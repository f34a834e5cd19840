/* What a running program listens on, asked of the program itself: for when the keeper died with the
 * supervisor, so that nobody else has its sockets. In which order they are in the kernel's groups
 * nobody knows for sure then: its table tells in which they joined, but not whether one that has
 * left changed it since. Where it did, one instance gets what another's turn would have been. */
#include <errno.h>
#include <netinet/in.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/process.h"
#include "kernel/sockets.h"
#include "steering/notified.h"

struct recall {
    struct notified *slot;
    int pidfd;
    bool denied;
};

/* Is it one that the program serves others by, and that joined a group? */
static bool serves(int fd, struct share_address *ret_bound)
{
    struct sockaddr_storage address = {0}, other;
    socklen_t length = sizeof address, other_length = sizeof other;
    bool tcp = socket_option(fd, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_TCP;
    if ((!tcp && socket_option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_UDP) ||
        !socket_option(fd, SOL_SOCKET, SO_REUSEPORT) ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        !share_address_read(&address, tcp ? PROTOCOL_TCP : PROTOCOL_UDP, fd, ret_bound) ||
        !ret_bound->port)
        return false;
    if (tcp)
        return socket_option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 0;
    return getpeername(fd, (struct sockaddr *)&other, &other_length) < 0;
}

/* The port that was asked for: another one than its own where `listen` publishes it elsewhere. */
static uint16_t port_asked(const struct notified *slot, const struct share_address *bound)
{
    const struct topology *topology = slot->steering->setup.topology;
    uint16_t asked = bound->port;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->path != LISTENER_DIRECT || listener->port != bound->port ||
            (uint8_t)listener->protocol != bound->protocol ||
            !listener_leads(listener, slot->instance.service))
            continue;
        if (listener_target(topology, listener) == bound->port)
            return bound->port;
        asked = listener_target(topology, listener);
    }
    return asked;
}

static bool socket_recall(void *owner, pid_t pid, int number, uint64_t inode)
{
    (void)pid;
    struct recall *recall = owner;
    struct notified *slot = recall->slot;
    struct share *share = slot->steering->share;
    scoped_fd int fd = process_descriptor(recall->pidfd, number);
    recall->denied |= fd == -EPERM || fd == -EACCES;
    struct share_address bound;
    if (fd < 0 || !serves(fd, &bound) ||
        share_by_cookie(share, slot->instance.slot, socket_cookie(fd)))
        return !recall->denied;
    uint16_t asked = port_asked(slot, &bound);
    uint32_t age = 0;
    if (bound.protocol == PROTOCOL_TCP)
        (void)sockets_listening_before(bound.port, inode, &age);
    struct share_member *member =
        share_recall(share, slot->instance.slot, fd_take(&fd), asked, age + 1);
    uint16_t *learnt = &slot->steering->learnt[slot->instance.service][bound.protocol];
    if (member && !*learnt)
        *learnt = asked;
    return true;
}

void notified_recall(struct notified *slot)
{
    static pid_t pids[PROCESSES_MAX];
    const struct steering_setup *setup = &slot->steering->setup;
    if (slot->instance.guest)
        return;
    size_t count =
        setup->callbacks->processes(setup->owner, slot->instance.slot, pids, PROCESSES_MAX);
    struct recall recall = {.slot = slot};
    for (size_t i = 0; i < count && !recall.denied; i++) {
        scoped_fd int pidfd = process_open(pids[i]);
        recall.pidfd = pidfd;
        if (pidfd >= 0)
            (void)process_sockets_each(pids[i], socket_recall, &recall);
    }
    if (recall.denied)
        log_warn("socket-not-reachable",
                 "instance=%s.%u reason=ptrace-denied effect=\"not known until its next start\"",
                 notified_service(slot)->name, slot->instance.number);
}
