/* Published ports: claimed against other clusters of the machine, and TCP ones held by a bound
 * socket each (steering_ports.h). */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/sockets.h"
#include "steering/steering_ports.h"

enum { RESERVE_NAME_BYTES = 128 };

#define RESERVE_PREFIX "reserve:"

struct steering_reserved { /* by a listener's text */
    struct steering_reserved *next;
    int fd;
    char text[];
};

enum steer_claim_kind steering_claim_kind(enum protocol protocol)
{
    return protocol == PROTOCOL_TCP ? STEER_CLAIM_TCP_PORT : STEER_CLAIM_UDP_PORT;
}

/* ---- the list ---------------------------------------------------------------------------------
 */

static const char *reserve_name(const char *text, char name[RESERVE_NAME_BYTES])
{
    snprintf(name, RESERVE_NAME_BYTES, RESERVE_PREFIX "%s", text);
    return name;
}

static struct steering_reserved **reserved_find(struct steering_ports *ports, const char *text)
{
    struct steering_reserved **at = &ports->reserved;
    while (*at && strcmp((*at)->text, text) != 0)
        at = &(*at)->next;
    return at;
}

/* Takes the descriptor over. */
static int reserved_add(struct steering_ports *ports, const char *text, int fd)
{
    size_t length = strlen(text) + 1;
    struct steering_reserved *reserved = malloc(sizeof *reserved + length);
    if (!reserved) {
        close(fd);
        return -ENOMEM;
    }
    reserved->fd = fd;
    memcpy(reserved->text, text, length);
    reserved->next = ports->reserved;
    ports->reserved = reserved;
    return 0;
}

static void reserved_drop(struct steering_ports *ports, struct steering_reserved **at, bool forget)
{
    struct steering_reserved *reserved = *at;
    char name[RESERVE_NAME_BYTES];
    *at = reserved->next;
    if (forget)
        ports->forget(ports->owner, reserve_name(reserved->text, name));
    fd_drop(&reserved->fd);
    free(reserved);
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static int reserve_bind(const struct listener *listener, int family, int *ret_fd)
{
    scoped_fd int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    int off = 0;
    struct sockaddr_storage at = listener->address;
    socklen_t length = sizeof(struct sockaddr_in);
    if (fd < 0)
        return -errno;
    at.ss_family = (sa_family_t)family;
    if (family == AF_INET) {
        ((struct sockaddr_in *)&at)->sin_port = htons(listener->port);
    } else {
        ((struct sockaddr_in6 *)&at)->sin6_port = htons(listener->port);
        length = sizeof(struct sockaddr_in6);
        bool any = listener->address.ss_family == AF_UNSPEC;
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? &off : &on, sizeof on);
    }
    /* Our own programs, which the kernel's programs give this option, may bind it beside us. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)&at, length) != 0)
        return -errno;
    *ret_fd = fd_take(&fd);
    return 0;
}

static int listener_reserve(struct steering_ports *ports, const struct listener *listener,
                            bool adopted)
{
    if (listener->protocol != PROTOCOL_TCP || *reserved_find(ports, listener->text))
        return 0;
    int fd = -1;
    int error;
    if (listener->address.ss_family == AF_UNSPEC) {
        error = reserve_bind(listener, AF_INET6, &fd);
        if (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL) /* a machine without IPv6 */
            error = reserve_bind(listener, AF_INET, &fd);
    } else {
        error = reserve_bind(listener, listener->address.ss_family, &fd);
    }
    if (error == -EADDRINUSE && adopted)
        return 0; /* by our own programs and the keeper's descriptor */
    if (error)
        return error;
    char name[RESERVE_NAME_BYTES];
    ports->keep(ports->owner, reserve_name(listener->text, name), fd);
    return reserved_add(ports, listener->text, fd);
}

static int listener_claim(struct steering_ports *ports, const struct listener *listener, char *why,
                          size_t why_size)
{
    struct steer_claim other = {0};
    uint32_t owner = listener->path == LISTENER_DIRECT ? ports->services[listener->service].home
                                                       : STEER_OWNER_GATEWAY;
    int error = steer_claim(ports->steer, steering_claim_kind(listener->protocol), listener->port,
                            owner, &other);
    if (error == -EEXIST && other.cluster == steer_cluster_number(ports->steer))
        return 0; /* a program of this cluster came first; the exact target decides */
    if (error == -EEXIST) {
        snprintf(why, why_size, "listen %s: another enginx cluster of this machine has that port",
                 listener->text);
        return -EADDRINUSE;
    }
    return error;
}

static void reserve_explain(const struct listener *listener, int error, char *why, size_t why_size)
{
    struct port_holder holder = {0};
    if (error == -EADDRINUSE)
        sockets_port_holder(false, listener->port, NULL, 0, &holder);
    if (holder.pid)
        snprintf(why, why_size, "listen %s: another program has that port: process %d (%s)",
                 listener->text, holder.pid, holder.name);
    else
        snprintf(why, why_size, "listen %s: %s", listener->text,
                 error == -EADDRINUSE ? "another program has that port" : strerror(-error));
}

int steering_listeners_open(struct steering_ports *ports, const struct topology *topology,
                            bool adopted, char *why, size_t why_size)
{
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        uint16_t target = listener_target(topology, listener);
        if (listener->path == LISTENER_DIRECT && listener->protocol == PROTOCOL_UDP && target &&
            target != listener->port) {
            snprintf(why, why_size,
                     "listen %s: UDP cannot be published under another port than the program's "
                     "(%u)",
                     listener->text, target);
            return -ENOTSUP;
        }
        int error = listener_claim(ports, listener, why, why_size);
        if (error)
            return error;
        error = listener_reserve(ports, listener, adopted);
        if (error) {
            reserve_explain(listener, error, why, why_size);
            return error;
        }
    }
    return 0;
}

/* ---- closing ----------------------------------------------------------------------------------
 */

void steering_listeners_close(struct steering_ports *ports, const struct topology *of)
{
    for (size_t i = 0; i < of->listener_count; i++) {
        const struct listener *listener = &of->listeners[i];
        if (table_get(ports->names, listener->text))
            continue;
        struct steering_reserved **at = reserved_find(ports, listener->text);
        if (*at)
            reserved_drop(ports, at, true);
        if (!(ports->stated[listener->protocol][listener->port / 8] & 1u << listener->port % 8))
            steer_release(ports->steer, steering_claim_kind(listener->protocol), listener->port);
    }
}

void steering_listeners_done(struct steering_ports *ports)
{
    while (ports->reserved)
        reserved_drop(ports, &ports->reserved, false);
}

/* Of two sockets that do not listen both can be had. */
bool steering_ports_found(struct steering_ports *ports, const char *name, int fd)
{
    const size_t prefix = strlen(RESERVE_PREFIX);
    if (strncmp(name, RESERVE_PREFIX, prefix) != 0)
        return false;
    bool stated = false;
    for (size_t i = 0; i < ports->topology->listener_count; i++)
        stated |= ports->topology->listeners[i].protocol == PROTOCOL_TCP &&
                  strcmp(ports->topology->listeners[i].text, name + prefix) == 0;
    if (!stated)
        return false;
    struct steering_reserved **at = reserved_find(ports, name + prefix);
    if (!*at)
        return reserved_add(ports, name + prefix, fd) == 0;
    fd_drop(&(*at)->fd);
    (*at)->fd = fd;
    return true;
}
