#include "steering/steering_ports.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/table.h"

enum {
    HOME_FIRST = 0x7f560001, /* 127.86.0.1 … */
    HOME_LAST = 0x7f56fffe,  /* … 127.86.255.254 */
    HOME_TRIES = 4096,
    LOOPBACK = 0x7f000001,
};

static uint8_t wire_protocol(enum protocol protocol)
{
    return protocol == PROTOCOL_TCP ? STEER_TCP : STEER_UDP;
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

/* Of those services that have none yet. */
static int homes_claim(struct steering_ports *ports, const struct topology *topology,
                       const uint32_t *homes)
{
    for (size_t i = 0; i < topology->service_count; i++) {
        const char *name = topology->services[i].name;
        if (topology->services[i].absent || ports->services[i].home)
            continue;
        int error = home_claim(ports, homes[i], name, &ports->services[i].home);
        if (error)
            return error;
        if (ports->services[i].home != homes[i])
            log_warn("home-moved", "service=%s why=\"another cluster has its address\"", name);
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
        ports->led[list[i]] = true;
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
        steer_claim(ports->steer, steering_claim_kind(port->protocol), port->port,
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
    for (size_t i = 0; i < stated->port_count && !stated->absent; i++) {
        struct steering_port *port =
            port_lead(ports, service, stated->ports[i].protocol, stated->ports[i].port);
        if (port && !adopted)
            plain_port_lead(ports, service, port);
    }
}

int steering_ports_gate(struct steering_ports *ports, const struct listener *listener, int fd)
{
    struct steer_target_key key = listener_key(listener);
    return steer_gate_set(ports->steer, &key, fd);
}

/* ---- another topology
 * ----------------------------------------------------------------------------- */

static void published_learn(struct steering_ports *ports)
{
    const struct topology *topology = ports->topology;
    memset(ports->published, 0, sizeof ports->published);
    memset(ports->stated, 0, sizeof ports->stated);
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        uint8_t bit = (uint8_t)(1u << listener->port % 8);
        ports->stated[listener->protocol][listener->port / 8] |= bit;
        if (listener->address.ss_family == AF_UNSPEC)
            ports->published[listener->protocol][listener->port / 8] |= bit;
    }
}

static void next_drop(struct steering_ports *ports)
{
    links_free(ports->next_users);
    links_free(ports->next_listeners);
    free(ports->next_led);
    table_free(ports->next_names);
    ports->next_users = ports->next_listeners = NULL;
    ports->next_led = NULL;
    ports->next_names = NULL;
}

static int names_learn(struct table *names, const struct topology *topology)
{
    int error = names ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < topology->listener_count; i++)
        if (table_add(names, topology->listeners[i].text, &topology->listeners[i], NULL) == -ENOMEM)
            error = -ENOMEM;
    return error;
}

int steering_ports_open(struct steering_ports *ports, const struct topology *next,
                        const uint32_t *homes, bool adopted, char *why, size_t why_size)
{
    assert(next->service_count <= ports->services_max);
    next_drop(ports);
    ports->next_users = links_users_new(next);
    ports->next_listeners = links_listeners_new(next);
    ports->next_led = calloc(next->listener_count + 1, sizeof *ports->next_led);
    ports->next_names = table_new();
    if (!ports->next_users || !ports->next_listeners || !ports->next_led ||
        names_learn(ports->next_names, next))
        return -ENOMEM;
    int error = homes_claim(ports, next, homes);
    if (error) {
        snprintf(why, why_size, "home addresses: %s", strerror(-error));
        return error;
    }
    return steering_listeners_open(ports, next, adopted, why, why_size);
}

/* What the services of the topology before used, and use no more. */
static void uses_forget(struct steering_ports *ports, const struct topology *before)
{
    for (uint32_t i = 0; before && i < before->service_count; i++) {
        const struct service *was = &before->services[i], *now = &ports->topology->services[i];
        for (size_t k = 0; k < was->uses_count; k++) {
            bool still = false;
            for (size_t m = 0; m < now->uses_count && !now->absent; m++)
                still |= now->uses[m] == was->uses[k];
            const struct steering_service *used = &ports->services[was->uses[k]];
            for (size_t m = 0; m < used->port_count && !still; m++) {
                struct steer_use_key key = {.service = i,
                                            .port = used->ports[m].port,
                                            .protocol = wire_protocol(used->ports[m].protocol)};
                steer_use_remove(ports->steer, &key);
            }
        }
    }
}

/* Targets of listeners that are gone, or do not know yet where they lead. Those of the gateway are
 * set by whoever has its sockets. */
static void targets_forget(struct steering_ports *ports, const struct topology *before)
{
    const struct topology *now = ports->topology;
    for (size_t i = 0; before && i < before->listener_count; i++) {
        const struct listener *same = table_get(ports->names, before->listeners[i].text);
        if (same && (same->path != LISTENER_DIRECT || ports->led[same - now->listeners]))
            continue;
        struct steer_target_key key = listener_key(&before->listeners[i]);
        steer_target_remove(ports->steer, &key);
    }
}

static void plain_ports_lead(struct steering_ports *ports)
{
    for (uint32_t i = 0; i < ports->topology->service_count; i++) {
        struct steering_service *service = &ports->services[i];
        for (size_t k = 0; k < service->port_count && !ports->topology->services[i].absent; k++)
            if (service->ports[k].heard)
                plain_port_lead(ports, i, &service->ports[k]);
    }
}

void steering_ports_use(struct steering_ports *ports, const struct topology *next)
{
    const struct topology *before = ports->topology;
    links_free(ports->users);
    links_free(ports->listeners);
    free(ports->led);
    table_free(ports->names);
    ports->topology = next;
    ports->users = ports->next_users;
    ports->listeners = ports->next_listeners;
    ports->led = ports->next_led;
    ports->names = ports->next_names;
    ports->next_users = ports->next_listeners = NULL;
    ports->next_led = NULL;
    ports->next_names = NULL;
    published_learn(ports);
    uses_forget(ports, before);
    for (uint32_t i = 0; i < next->service_count; i++) {
        struct steering_service *service = &ports->services[i];
        for (size_t k = 0; k < service->port_count && !next->services[i].absent; k++) {
            listeners_lead(ports, i, &service->ports[k],
                           port_is_first(service, &service->ports[k]));
            uses_lead(ports, i, &service->ports[k]);
        }
    }
    targets_forget(ports, before);
    if (before)
        steering_listeners_close(ports, before);
    plain_ports_lead(ports);
    for (uint32_t i = 0; i < next->service_count; i++)
        stated_ports_lead(ports, i, ports->adopted);
}

void steering_ports_abandon(struct steering_ports *ports, const struct topology *next)
{
    const struct topology *now = ports->topology;
    next_drop(ports);
    steering_listeners_close(ports, next);
    plain_ports_lead(ports); /* whose claims went with those of listeners */
    for (uint32_t i = 0; i < next->service_count; i++)
        if (!next->services[i].absent && (i >= now->service_count || now->services[i].absent))
            steering_ports_forget(ports, i);
}

void steering_ports_forget(struct steering_ports *ports, uint32_t service)
{
    struct steering_service *of = &ports->services[service];
    for (size_t i = 0; i < of->port_count; i++) {
        const struct steering_port *port = &of->ports[i];
        uint8_t protocol = wire_protocol(port->protocol);
        struct steer_target_key at_home = {
            .address = of->home, .port = port->port, .protocol = protocol, .family = 4};
        struct steer_target_key plain = {.port = port->port, .protocol = protocol};
        struct steer_claim claim;
        steer_target_remove(ports->steer, &at_home);
        if (port_is_published(ports, port->protocol, port->port) ||
            !steer_claim_find(ports->steer, steering_claim_kind(port->protocol), port->port,
                              &claim) ||
            claim.owner != of->home)
            continue;
        steer_target_remove(ports->steer, &plain);
        steer_release(ports->steer, steering_claim_kind(port->protocol), port->port);
    }
    if (of->home) {
        steer_home_remove(ports->steer, of->home);
        steer_release(ports->steer, STEER_CLAIM_HOME, of->home);
    }
    *of = (struct steering_service){0};
}

/* ---- life
 * ----------------------------------------------------------------------------------------- */

int steering_ports_init(struct steering_ports *ports, const struct steering_ports_setup *setup,
                        char *why, size_t why_size)
{
    *ports = (struct steering_ports){.steer = setup->steer,
                                     .adopted = setup->adopted,
                                     .services_max = setup->services_max,
                                     .keep = setup->keep,
                                     .forget = setup->forget,
                                     .owner = setup->owner};
    ports->services = calloc(setup->services_max + 1, sizeof *ports->services);
    if (!ports->services)
        return -ENOMEM;
    int error =
        steering_ports_open(ports, setup->topology, setup->homes, setup->adopted, why, why_size);
    if (!error)
        steering_ports_use(ports, setup->topology);
    ports->adopted = false; /* what comes from now on is not from before us */
    return error;
}

void steering_ports_done(struct steering_ports *ports)
{
    steering_listeners_done(ports);
    next_drop(ports);
    links_free(ports->users);
    links_free(ports->listeners);
    table_free(ports->names);
    free(ports->led);
    free(ports->services);
}
