/* Ports of a cluster under the direct path: which targets exist in the kernel's map for what the
 * programs listen on, what `listen` publishes, and what services use; homes and published ports are
 * claimed against other clusters of the machine, and published TCP ports are held by a bound socket
 * each, so that a stranger's server is noticed, and refused where it does not ask to share.
 *
 * Owned by steering_bpf.c, in the supervisor's thread. Functions return 0 or -errno. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/table.h"
#include "kernel/steer.h"
#include "topology/links.h"
#include "topology/topology.h"

struct steering_port { /* that a service's programs listen on */
    uint16_t port;
    enum protocol protocol;
    bool heard;    /* a program listens there; else it is only stated */
    bool loopback; /* heard so far only at loopback addresses */
};

struct steering_service {
    uint32_t home;
    struct steering_port ports[SERVICE_PORTS_MAX];
    size_t port_count;
};

typedef void steering_keep(void *owner, const char *name, int fd);
typedef void steering_forget(void *owner, const char *name);

struct steering_ports {
    struct steer *steer;
    const struct topology *topology;
    struct links *users;     /* of each service */
    struct links *listeners; /* of each service */
    bool *led;               /* by listener: it has a target that leads to its service */
    struct table *names;     /* a listener's text to the listener */
    struct links *next_users, *next_listeners; /* of a topology that was opened */
    bool *next_led;
    struct table *next_names;
    uint8_t stated[2][(UINT16_MAX + 1) / 8];    /* by protocol: ports that any listener has */
    uint8_t published[2][(UINT16_MAX + 1) / 8]; /* by protocol: ports published at any address */
    struct steering_service *services;
    uint32_t services_max;
    struct steering_reserved *reserved; /* steering_listeners.c */
    bool adopted;
    steering_keep *keep;
    steering_forget *forget;
    void *owner;
};

struct steering_ports_setup {
    struct steer *steer;
    const struct topology *topology;
    const uint32_t *homes;
    uint32_t services_max;
    bool adopted; /* our own programs may be in the way of the reservations; the keeper has those */
    steering_keep *keep;
    steering_forget *forget;
    void *owner;
};

/* Claims homes and published ports and sets what is known beforehand. -EADDRINUSE: a published port
 * is taken; -ENOTSUP: a published port that cannot be had; `why` names it. */
int steering_ports_init(struct steering_ports *ports, const struct steering_ports_setup *setup,
                        char *why, size_t why_size);
void steering_ports_done(struct steering_ports *ports);

/* Another topology, whose services have the same places: claims and reserves what it needs beside
 * what there is (errors as above); then it is used, and what only the one before needed is given
 * back; or abandoned. */
int steering_ports_open(struct steering_ports *ports, const struct topology *next,
                        const uint32_t *homes, bool adopted, char *why, size_t why_size);
void steering_ports_use(struct steering_ports *ports, const struct topology *next);
void steering_ports_abandon(struct steering_ports *ports, const struct topology *next);
/* The service is gone for good, and its place free. */
void steering_ports_forget(struct steering_ports *ports, uint32_t service);

/* A program of the service listens there; `address` as in struct steer_event. */
void steering_ports_learn(struct steering_ports *ports, uint32_t service, enum protocol protocol,
                          uint16_t port, uint32_t address);
/* The same for what was there before this supervisor: the kernel's targets are right already. */
void steering_ports_recall(struct steering_ports *ports, uint32_t service, enum protocol protocol,
                           uint16_t port);

/* The listener's connections are the gateway's, by this socket. */
int steering_ports_gate(struct steering_ports *ports, const struct listener *listener, int fd);

/* A descriptor "reserve:…" that the keeper had. False: no such listener any more. */
bool steering_ports_found(struct steering_ports *ports, const char *name, int fd);

/* ---- steering_listeners.c ---------------------------------------------------------------------
 */

enum steer_claim_kind steering_claim_kind(enum protocol protocol);
int steering_listeners_open(struct steering_ports *ports, const struct topology *topology,
                            bool adopted, char *why, size_t why_size);
/* Gives back what the listeners of `of` have, and those of the topology in use have not. */
void steering_listeners_close(struct steering_ports *ports, const struct topology *of);
void steering_listeners_done(struct steering_ports *ports);
