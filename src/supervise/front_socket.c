/* Listening sockets of the gateway. Where the steering can lead connections of an address to any
 * socket (BPF), a TCP socket is bound to loopback at a port of the kernel's choice: the address
 * itself is held by the steering's reservation, programs may have the same port for themselves, and
 * a listener can move between the gateway and the direct path while both have sockets. Elsewhere,
 * and for UDP, whose answers must leave from the listener's port, it is bound to the address. */
#include "supervise/front_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/sockets.h"
#include "supervise/companions.h"

enum {
    BACKLOG = 4096, /* the kernel takes net.core.somaxconn when that is less */
    OWN_PROCESSES_MAX = 65536,
};

/* ---- names ----------------------------------------------------------------------------------- */

static void kept_name(const char *listener, uint32_t worker, char name[KEEPER_NAME_BYTES])
{
    snprintf(name, KEEPER_NAME_BYTES, FRONT_KEPT_LISTENER "%.150s#%u", listener, worker);
}

static struct front_socket *socket_find(const struct front *front, const char *name,
                                        uint32_t worker)
{
    struct front_socket *socket = front->sockets;
    while (socket && (socket->worker != worker || strcmp(socket->name, name) != 0))
        socket = socket->next;
    return socket;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void option_set(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

static socklen_t address_fill(const struct listener *listener, int family, bool hidden,
                              struct sockaddr_storage *ret_address)
{
    struct sockaddr_storage address = listener->address;
    uint16_t port = hidden ? 0 : htons(listener->port);
    address.ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        struct sockaddr_in *four = (struct sockaddr_in *)&address;
        four->sin_port = port;
        if (hidden)
            four->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *ret_address = address;
        return sizeof *four;
    }
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&address;
    six->sin6_port = port;
    if (hidden) /* ::ffff:127.0.0.1, so that it may be given packets of both families */
        six->sin6_addr =
            (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
    *ret_address = address;
    return sizeof *six;
}

/* 0 with *ret_fd, or -errno. `share`: with SO_REUSEPORT. */
static int socket_bind(const struct listener *listener, int family, bool hidden, bool share,
                       int *ret_fd)
{
    int type = listener->protocol == PROTOCOL_TCP ? SOCK_STREAM : SOCK_DGRAM;
    scoped_fd int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    struct sockaddr_storage address;
    socklen_t length = address_fill(listener, family, hidden, &address);
    bool any = listener->address.ss_family == AF_UNSPEC;
    if (family == AF_INET6)
        option_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, !any && !hidden);
    if (listener->protocol == PROTOCOL_TCP)
        option_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (share)
        option_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (bind(fd, (const struct sockaddr *)&address, length) < 0)
        return -errno;
    *ret_fd = fd_take(&fd);
    return 0;
}

/* Any address: an IPv6 socket for both families, where the machine has IPv6. */
static int socket_bind_any(const struct listener *listener, bool hidden, bool share, int *ret_fd)
{
    if (listener->address.ss_family != AF_UNSPEC)
        return socket_bind(listener, listener->address.ss_family, hidden, share, ret_fd);
    int error = socket_bind(listener, AF_INET6, hidden, share, ret_fd);
    if (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL)
        error = socket_bind(listener, AF_INET, hidden, share, ret_fd);
    return error;
}

/* Who has the listener's port, but for our own programs and ourselves. 0 or -errno. */
static int holder_find(const struct front *front, const struct listener *listener,
                       struct port_holder *ret_holder)
{
    const struct supervisor *supervisor = front->supervisor;
    scoped_memory pid_t *own = calloc(OWN_PROCESSES_MAX, sizeof *own);
    size_t count = 0;
    if (!own)
        return -ENOMEM;
    own[count++] = getpid();
    for (uint32_t slot = 0; slot < supervisor->slots_max && count < OWN_PROCESSES_MAX; slot++)
        if (supervisor->by_slot[slot])
            count += instance_processes(supervisor->by_slot[slot], own + count,
                                        OWN_PROCESSES_MAX - count);
    return sockets_port_holder(listener->protocol == PROTOCOL_UDP, listener->port, own, count,
                               ret_holder);
}

/* With SO_REUSEPORT two clusters of one user would get every other connection each: the first
 * socket of a listener asks without. Our own programs may have the port all the same. */
static int port_ask(const struct front *front, const struct listener *listener)
{
    struct port_holder holder;
    scoped_fd int fd = -1;
    int error = socket_bind_any(listener, false, false, &fd);
    if (!error && listener->protocol == PROTOCOL_TCP && listen(fd, 1) < 0)
        error = -errno;
    return error == -EADDRINUSE && holder_find(front, listener, &holder) == -ENOENT ? 0 : error;
}

static void error_explain(const struct front *front, const struct listener *listener, int error,
                          char *why, size_t why_size)
{
    struct port_holder holder;
    if (error == -EADDRINUSE && holder_find(front, listener, &holder) == 0 && holder.pid)
        snprintf(why, why_size, "listen %s: the port is taken by process %d (%s)", listener->text,
                 holder.pid, holder.name);
    else if (error == -EADDRINUSE)
        snprintf(why, why_size, "listen %s: another program has that port", listener->text);
    else if (error == -EACCES)
        snprintf(why, why_size, "listen %s: that port needs a right: %s", listener->text,
                 SOCKETS_PORT_HINT);
    else
        snprintf(why, why_size, "listen %s: %s", listener->text, strerror(-error));
}

static int socket_open(const struct front *front, const struct listener *listener, uint32_t worker,
                       int *ret_fd)
{
    const struct steering_operations *steering = front->supervisor->steering->operations;
    bool tcp = listener->protocol == PROTOCOL_TCP;
    bool hidden = tcp && steering->gate;
    int error = hidden || worker ? 0 : port_ask(front, listener);
    if (!error)
        error = socket_bind_any(listener, hidden, !hidden, ret_fd);
    if (!error && tcp && listen(*ret_fd, BACKLOG) < 0) {
        error = -errno;
        fd_drop(ret_fd);
    }
    return error;
}

/* ---- the list -------------------------------------------------------------------------------- */

/* Takes the descriptor over, and has it kept. 0 or -ENOMEM. */
static int socket_add(struct front *front, const struct listener *listener, uint32_t worker, int fd)
{
    struct front_socket *socket = calloc(1, sizeof *socket);
    if (!socket) {
        close(fd);
        return -ENOMEM;
    }
    *socket = (struct front_socket){.worker = worker, .fd = fd, .wanted = true};
    snprintf(socket->name, sizeof socket->name, "%s", listener->text);
    socket->next = front->sockets;
    front->sockets = socket;
    char name[KEEPER_NAME_BYTES];
    kept_name(socket->name, worker, name);
    companions_keep(front->supervisor, name, fd);
    return 0;
}

static uint32_t sockets_of(const struct front *front, const struct listener *listener)
{
    if (listener->path == LISTENER_DIRECT)
        return 0;
    return listener->protocol == PROTOCOL_UDP ? front->threads : 1;
}

void front_sockets_find(struct front *front, const struct topology *topology)
{
    char name[KEEPER_NAME_BYTES];
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        for (uint32_t worker = 0; worker < sockets_of(front, listener); worker++) {
            kept_name(listener->text, worker, name);
            int fd = companions_take_found(front->supervisor, name);
            if (fd >= 0)
                socket_add(front, listener, worker, fd);
        }
    }
}

/* One socket of the listener: as it is, or a new one. */
static int socket_want(struct front *front, const struct listener *listener, uint32_t worker)
{
    struct front_socket *known = socket_find(front, listener->text, worker);
    if (known) {
        known->wanted = true;
        known->retired = false;
        return 0;
    }
    int fd = -1;
    int error = socket_open(front, listener, worker, &fd);
    return error ? error : socket_add(front, listener, worker, fd);
}

int front_sockets_open(struct front *front, const struct topology *topology, char *why,
                       size_t why_size)
{
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        for (uint32_t worker = 0; worker < sockets_of(front, listener); worker++) {
            int error = socket_want(front, listener, worker);
            if (!error)
                continue;
            error_explain(front, listener, error, why, why_size);
            return error;
        }
    }
    return 0;
}

void front_sockets_retire(struct front *front, const struct topology *topology)
{
    for (struct front_socket *socket = front->sockets; socket; socket = socket->next)
        socket->wanted = false;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        for (uint32_t worker = 0; worker < sockets_of(front, listener); worker++) {
            struct front_socket *socket = socket_find(front, listener->text, worker);
            if (socket)
                socket->wanted = true;
        }
    }
    for (struct front_socket *socket = front->sockets; socket; socket = socket->next)
        socket->retired = !socket->wanted;
}

int front_sockets_gate(struct front *front, const struct topology *topology)
{
    struct steering *steering = front->supervisor->steering;
    for (size_t i = 0; i < topology->listener_count && steering->operations->gate; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->path == LISTENER_DIRECT || listener->protocol != PROTOCOL_TCP)
            continue;
        const struct front_socket *socket = socket_find(front, listener->text, 0);
        int error = socket ? steering->operations->gate(steering, listener, socket->fd) : -ENOENT;
        if (error)
            return error;
    }
    return 0;
}

void front_socket_free(struct front *front, struct front_socket *socket, bool leave)
{
    char name[KEEPER_NAME_BYTES];
    kept_name(socket->name, socket->worker, name);
    if (!leave)
        companions_forget(front->supervisor, name);
    fd_drop(&socket->fd);
    free(socket);
}
