#include "steering/steering_ports.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/table.h"
#include "kernel/sockets.h"

enum {
    HOME_FIRST = 0x7f560001, /* 127.86.0.1 … */
    HOME_LAST = 0x7f56fffe,  /* … 127.86.255.254 */
    HOME_TRIES = 4096,
    LOOPBACK = 0x7f000001,
    RESERVE_NAME_BYTES = 128,
};

#define RESERVE_PREFIX "reserve:"

static uint8_t wire_protocol(enum protocol protocol)
{
    return protocol == PROTOCOL_TCP ? STEER_TCP : STEER_UDP;
}

static enum steer_claim_kind claim_kind(enum protocol protocol)
{
    return protocol == PROTOCOL_TCP ? STEER_CLAIM_TCP_PORT : STEER_CLAIM_UDP_PORT;
}

/* ---- homes --------------------------------------------------------------------------------------
 */

/* The home that it had (the claim's owner is a hash of its name), else the first free from the
 * wanted one on. */
static int home_claim(struct steering_ports *ports, uint32_t wanted, const char *name,
                      uint32_t *ret_home)
{
    uint32_t owner = (uint32_t)hash_bytes(name, strlen(name), hash_seed());
    uint32_t home = wanted;
    for (int tries = 0; tries < HOME_TRIES; tries++) {
        int error = steer_claim(ports->steer, STEER_CLAIM_HOME, home, owner, NULL);
        if (!error)
            error = steer_home_set(ports->steer, home);
        if (error != -EEXIST) {
            *ret_home = home;
            return error;
        }
        home = home >= HOME_LAST ? HOME_FIRST : home + 1;
    }
    return -EADDRNOTAVAIL;
}

static int homes_claim(struct steering_ports *ports, const uint32_t *homes)
{
    for (size_t i = 0; i < ports->topology->service_count; i++) {
        int error = home_claim(ports, homes[i], ports->topology->services[i].name,
                               &ports->services[i].home);
        if (error)
            return error;
        if (ports->services[i].home != homes[i])
            log_warn("home-moved", "service=%s why=\"another cluster has its address\"",
                     ports->topology->services[i].name);
    }
    return 0;
}

/* ---- targets ------------------------------------------------------------------------------------
 */

static void target_set(struct steering_ports *ports, const struct steer_target_key *key,
                       uint32_t service, uint16_t port, uint16_t flags)
{
    struct steer_target target = {.service = service, .port = port, .flags = flags};
    int error = steer_target_set(ports->steer, key, &target);
    if (error)
        log_error("target-not-set", "service=%s port=%u error=\"%s\"",
                  ports->topology->services[service].name, key->port, strerror(-error));
}

static struct steer_target_key listener_key(const struct listener *listener)
{
    struct steer_target_key key = {.port = listener->port,
                                   .protocol = wire_protocol(listener->protocol)};
    if (listener->address.ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)&listener->address;
        key.family = 4;
        key.address = ntohl(four->sin_addr.s_addr);
    } else if (listener->address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&listener->address;
        key.family = 6;
        memcpy(key.address6, &six->sin6_addr, sizeof key.address6);
    }
    return key;
}

/* Does a `listen` publish this port at any address? Then the program's own port gives way. */
static bool port_is_published(const struct steering_ports *ports, enum protocol protocol,
                              uint16_t port)
{
    return ports->published[protocol][port / 8] & 1u << port % 8;
}

/* `listen` entries that lead to this port: those that say so, and those that wait for the first. */
static void listeners_lead(struct steering_ports *ports, uint32_t service,
                           const struct steering_port *port, bool first)
{
    size_t count;
    const uint32_t *list = links_of(ports->listeners, service, &count);
    for (size_t i = 0; i < count; i++) {
        const struct listener *listener = &ports->topology->listeners[list[i]];
        if (listener->protocol != port->protocol || !listener_leads(listener, service))
            continue;
        uint16_t target = listener_target(ports->topology, listener);
        if (target ? target != port->port : !first)
            continue;
        if (port->protocol == PROTOCOL_UDP && listener->port != port->port) {
            /* Answers would leave from the program's own port, and no client would take them. */
            log_error("listen-not-served",
                      "listen=%s service=%s port=%u why=\"UDP cannot be published under another "
                      "port than the program's\"",
                      listener->text, ports->topology->services[service].name, port->port);
            continue;
        }
        struct steer_target_key key = listener_key(listener);
        target_set(ports, &key, service, port->port, 0);
    }
}

/* Whoever uses the service is led to its home from the port at 127.0.0.1. */
static void uses_lead(struct steering_ports *ports, uint32_t service,
                      const struct steering_port *port)
{
    size_t count;
    const uint32_t *users = links_of(ports->users, service, &count);
    for (size_t i = 0; i < count; i++) {
        struct steer_use_key key = {
            .service = users[i], .port = port->port, .protocol = wire_protocol(port->protocol)};
        int error = steer_use_set(ports->steer, &key, ports->services[service].home);
        if (error)
            log_error("use-not-set", "service=%s uses=%s error=\"%s\"",
                      ports->topology->services[users[i]].name,
                      ports->topology->services[service].name, strerror(-error));
    }
}

/* The port as the program knows it, at all addresses of the machine: the first service to bind it
 * has it. */
static void plain_port_lead(struct steering_ports *ports, uint32_t service,
                            const struct steering_port *port)
{
    if (port_is_published(ports, port->protocol, port->port) ||
        steer_claim(ports->steer, claim_kind(port->protocol), port->port,
                    ports->services[service].home, NULL) != 0)
        return;
    struct steer_target_key key = {.port = port->port, .protocol = wire_protocol(port->protocol)};
    unsigned flags = ports->topology->services[service].publish ? 0 : STEER_TARGET_LOCAL;
    flags |= port->loopback ? STEER_TARGET_LOOPBACK : 0;
    target_set(ports, &key, service, port->port, (uint16_t)flags);
}

static struct steering_port *port_find(struct steering_service *service, enum protocol protocol,
                                       uint16_t port)
{
    for (size_t i = 0; i < service->port_count; i++)
        if (service->ports[i].port == port && service->ports[i].protocol == protocol)
            return &service->ports[i];
    return NULL;
}

/* The port is the service's; at first nobody is heard there. NULL: too many. */
static struct steering_port *port_add(struct steering_ports *ports, uint32_t service,
                                      enum protocol protocol, uint16_t port)
{
    struct steering_service *of = &ports->services[service];
    if (of->port_count == SERVICE_PORTS_MAX) {
        log_warn("port-not-learnt", "service=%s port=%u why=\"it has %d already\"",
                 ports->topology->services[service].name, port, SERVICE_PORTS_MAX);
        return NULL;
    }
    struct steering_port *added = &of->ports[of->port_count++];
    *added = (struct steering_port){.port = port, .protocol = protocol};
    return added;
}

static bool port_is_first(const struct steering_service *service, const struct steering_port *port)
{
    for (size_t i = 0; i < service->port_count; i++)
        if (service->ports[i].protocol == port->protocol)
            return &service->ports[i] == port;
    return false;
}

static void home_lead(struct steering_ports *ports, uint32_t service,
                      const struct steering_port *port)
{
    struct steer_target_key key = {.address = ports->services[service].home,
                                   .port = port->port,
                                   .protocol = wire_protocol(port->protocol),
                                   .family = 4};
    target_set(ports, &key, service, port->port, 0);
}

static void exact_address_lead(struct steering_ports *ports, uint32_t service,
                               const struct steering_port *port, uint32_t address)
{
    struct steer_target_key key = {.address = address,
                                   .port = port->port,
                                   .protocol = wire_protocol(port->protocol),
                                   .family = 4};
    target_set(ports, &key, service, port->port,
               ports->topology->services[service].publish ? 0 : STEER_TARGET_LOCAL);
}

/* All that leads to a port, whoever binds it where. */
static struct steering_port *port_lead(struct steering_ports *ports, uint32_t service,
                                       enum protocol protocol, uint16_t port)
{
    struct steering_port *known = port_find(&ports->services[service], protocol, port);
    if (known)
        return known;
    known = port_add(ports, service, protocol, port);
    if (!known)
        return NULL;
    home_lead(ports, service, known);
    listeners_lead(ports, service, known, port_is_first(&ports->services[service], known));
    uses_lead(ports, service, known);
    return known;
}

void steering_ports_learn(struct steering_ports *ports, uint32_t service, enum protocol protocol,
                          uint16_t port, uint32_t address)
{
    struct steering_port *known = port_lead(ports, service, protocol, port);
    if (!known)
        return;
    if (address != 0 && address != LOOPBACK) {
        if (address != STEER_ADDRESS_IPV6) /* the kernel's program has set that itself */
            exact_address_lead(ports, service, known, address);
        return;
    }
    bool loopback = address == LOOPBACK && (known->loopback || !known->heard);
    bool changed = !known->heard || loopback != known->loopback;
    known->heard = true;
    known->loopback = loopback;
    if (changed)
        plain_port_lead(ports, service, known);
}

void steering_ports_recall(struct steering_ports *ports, uint32_t service, enum protocol protocol,
                           uint16_t port)
{
    struct steering_port *known = port_lead(ports, service, protocol, port);
    if (known)
        known->heard = true;
}

/* What the file says about a service's ports holds before any program runs: whoever uses it is led
 * to its home, which refuses for as long as nobody listens; and of two programs with one port, the
 * first in the file has it. */
static void stated_ports_lead(struct steering_ports *ports, uint32_t service, bool adopted)
{
    const struct service *stated = &ports->topology->services[service];
    for (size_t i = 0; i < stated->port_count; i++) {
        struct steering_port *port =
            port_lead(ports, service, stated->ports[i].protocol, stated->ports[i].port);
        if (port && !adopted)
            plain_port_lead(ports, service, port);
    }
}

/* ---- published ports
 * ------------------------------------------------------------------------------ */

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

int steering_ports_gate(struct steering_ports *ports, const struct listener *listener, int fd)
{
    struct steer_target_key key = listener_key(listener);
    return steer_gate_set(ports->steer, &key, fd);
}

static const char *reserve_name(const struct listener *listener, char name[RESERVE_NAME_BYTES])
{
    snprintf(name, RESERVE_NAME_BYTES, RESERVE_PREFIX "%s", listener->text);
    return name;
}

static int listener_reserve(struct steering_ports *ports, size_t index, bool adopted)
{
    const struct listener *listener = &ports->topology->listeners[index];
    if (listener->protocol != PROTOCOL_TCP)
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
    ports->reserved[index] = fd;
    ports->keep(ports->owner, reserve_name(listener, name), fd);
    return 0;
}

static int listener_claim(struct steering_ports *ports, const struct listener *listener, char *why,
                          size_t why_size)
{
    struct steer_claim other = {0};
    uint32_t owner = listener->path == LISTENER_DIRECT ? ports->services[listener->service].home
                                                       : STEER_OWNER_GATEWAY;
    int error = steer_claim(ports->steer, claim_kind(listener->protocol), listener->port, owner,
                            &other);
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

static int listeners_begin(struct steering_ports *ports, bool adopted, char *why, size_t why_size)
{
    for (size_t i = 0; i < ports->topology->listener_count; i++) {
        const struct listener *listener = &ports->topology->listeners[i];
        uint16_t target = listener_target(ports->topology, listener);
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
        error = listener_reserve(ports, i, adopted);
        if (error) {
            reserve_explain(listener, error, why, why_size);
            return error;
        }
    }
    return 0;
}

bool steering_ports_found(struct steering_ports *ports, const char *name, int fd)
{
    const size_t prefix = strlen(RESERVE_PREFIX);
    if (strncmp(name, RESERVE_PREFIX, prefix) != 0)
        return false;
    int *reserved = table_get(ports->listener_names, name + prefix);
    if (!reserved)
        return false;
    fd_drop(reserved); /* of two that do not listen both can be had */
    *reserved = fd;
    return true;
}

/* What the topology tells in lists, to be found without a walk. */
static int listeners_index(struct steering_ports *ports)
{
    const struct topology *topology = ports->topology;
    ports->users = links_users_new(topology);
    ports->listeners = links_listeners_new(topology);
    ports->listener_names = table_new();
    if (!ports->users || !ports->listeners || !ports->listener_names)
        return -ENOMEM;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->address.ss_family == AF_UNSPEC)
            ports->published[listener->protocol][listener->port / 8] |=
                (uint8_t)(1u << listener->port % 8);
        if (table_add(ports->listener_names, listener->text, &ports->reserved[i], NULL) == -ENOMEM)
            return -ENOMEM;
    }
    return 0;
}

/* ---- life
 * ----------------------------------------------------------------------------------------- */

int steering_ports_init(struct steering_ports *ports, struct steer *steer,
                        const struct topology *topology, const uint32_t *homes, bool adopted,
                        steering_keep *keep, void *owner, char *why, size_t why_size)
{
    *ports =
        (struct steering_ports){.steer = steer, .topology = topology, .keep = keep, .owner = owner};
    ports->services = calloc(topology->service_count + 1, sizeof *ports->services);
    ports->reserved = calloc(topology->listener_count + 1, sizeof *ports->reserved);
    if (!ports->services || !ports->reserved)
        return -ENOMEM;
    for (size_t i = 0; i < topology->listener_count; i++)
        ports->reserved[i] = -1;
    if (listeners_index(ports) < 0)
        return -ENOMEM;
    int error = homes_claim(ports, homes);
    if (error) {
        snprintf(why, why_size, "home addresses: %s", strerror(-error));
        return error;
    }
    error = listeners_begin(ports, adopted, why, why_size);
    for (uint32_t i = 0; !error && i < topology->service_count; i++)
        stated_ports_lead(ports, i, adopted);
    return error;
}

void steering_ports_done(struct steering_ports *ports)
{
    for (size_t i = 0; ports->reserved && i < ports->topology->listener_count; i++)
        fd_drop(&ports->reserved[i]);
    links_free(ports->users);
    links_free(ports->listeners);
    table_free(ports->listener_names);
    free(ports->reserved);
    free(ports->services);
}
