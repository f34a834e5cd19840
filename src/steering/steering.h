/* Steering: how an instance's sockets join its service, and who gets a new connection. One
 * interface for the supervisor, two mechanisms behind it: BPF (steering_bpf.c, privileged,
 * kernel/steer.h) and seccomp notification with classic BPF (steering_seccomp.c, no privileges),
 * and none at all where neither can be had (programs then run as they would without enginx).
 *
 * A mechanism knows the topology and the homes; it learns ports from what instances do, keeps the
 * targets (home, own port, published ports, uses) right by itself, and tells the supervisor through
 * the callbacks. Slots are given by the supervisor; a slot is one instance's for its whole life,
 * over restarts. All calls are made by the supervisor's thread; none blocks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "event/loop.h"
#include "kernel/seccomp.h"
#include "topology/topology.h"
#include "upstream/rotation.h"

struct steering_listen { /* what an instance did */
    uint32_t slot;
    uint32_t epoch;
    enum protocol protocol;
    uint16_t port;
    uint16_t bound_port; /* where it is reached instead, since its socket was moved; 0: at `port` */
    uint32_t address;    /* the IPv4 address that it asked for; 0: any or IPv6 */
};

struct steering_callbacks {
    /* It asked to bind; whether that worked is not known. */
    void (*binds)(void *owner, const struct steering_listen *listen);
    /* It listens (TCP), and the next call follows when it waits for connections. May be NULL. */
    void (*opens)(void *owner, const struct steering_listen *listen);
    /* It listens (TCP) or is bound (UDP), and can be put into rotation. */
    void (*listens)(void *owner, const struct steering_listen *listen);
    /* Its processes, for finding a socket: cgroup or /proc. The number stored. */
    size_t (*processes)(void *owner, uint32_t slot, pid_t *ret_pids, size_t max);
    /* The next question for processes must not be answered from memory. May be NULL. */
    void (*processes_anew)(void *owner);
    /* A descriptor that must survive a crash; fd stays the caller's. */
    void (*keep)(void *owner, const char *name, int fd);
    void (*forget)(void *owner, const char *name);
};

struct steering_setup {
    struct loop *loop;
    const struct topology *topology;
    const uint32_t *homes;   /* by service index; steering may move one that another cluster has */
    const char *cgroup_path; /* of the cluster, v2; NULL: none */
    const char *bpf_mount;   /* where the BPF file system is; NULL: /sys/fs/bpf */
    uint32_t slots_max;
    uint32_t services_max; /* places for services, later ones too; 0: as many as there are */
    bool privileged;
    const struct steering_callbacks *callbacks;
    void *owner;
};

struct steering_instance {
    uint32_t slot;
    uint32_t service; /* index */
    uint32_t number;  /* 1 … */
    uint32_t epoch;   /* of this start */
    uint32_t address;
    uint64_t cgroup_id;
    uint32_t wanted; /* instances that the service shall have: 1 means keep the listener */
    /* What runs is not the program, but a step before its start or after its end: it reaches what
     * the service uses, and what it listens on is no listener of the service. What is kept of the
     * slot stays so. */
    bool guest;
};

#define STEERING_TOTAL_UNKNOWN UINT64_MAX

struct steering; /* starts with its operations */

struct steering_operations {
    const char *name; /* "bpf", "seccomp", "none" */
    /* Detaches everything and frees (`down`), or leaves all that works on its own (a crash would).
     */
    void (*end)(struct steering *steering, bool leave);
    /* Before its process starts. */
    int (*prepare)(struct steering *steering, const struct steering_instance *instance);
    /* What the child must install before exec; false: nothing. */
    bool (*wants)(struct steering *steering, uint32_t slot, struct seccomp_wants *ret_wants);
    /* It runs; notify_fd (taken over) or -1. Also for an adopted one. */
    int (*started)(struct steering *steering, uint32_t slot, int notify_fd);
    /* All its processes are gone. `coming_back`: it will be restarted, so what waits in a kept
     * listener shall wait. Else its listeners are closed, and the slot is free. */
    void (*gone)(struct steering *steering, uint32_t slot, bool coming_back);
    /* Who gets new connections of a service; members with weight 0 keep what they have. While the
     * service wants one instance and all weights are 0, the one that was in rotation stays there if
     * its listener is kept: connections wait for the next start. To drain it all the same, call
     * `wanted` with 0 first. */
    int (*rotate)(struct steering *steering, uint32_t service,
                  const struct rotation_member *members, const uint32_t *numbers, size_t count);
    /* The number of wanted instances changed: 1 means keep the listener from now on. */
    void (*wanted)(struct steering *steering, uint32_t service, uint32_t wanted);
    /* The service's only instance is about to drain, and will be started again: new connections
     * wait for that, so that those that are open can end, until it listens anew or is in rotation
     * again. What cannot wait is given to it as ever. NULL: as ever. */
    void (*hold)(struct steering *steering, uint32_t slot);
    /* The TCP listeners of an only instance in which connections wait while it is down; how many
     * were stored. The descriptors stay the steering's, and change with the next start. NULL: none
     * can. */
    size_t (*kept)(struct steering *steering, uint32_t slot, int *ret_fds, size_t max);
    /* Connections now, and in all (or STEERING_TOTAL_UNKNOWN); false: unknown. */
    bool (*counts)(struct steering *steering, uint32_t slot, int64_t *ret_live,
                   uint64_t *ret_total);
    /* A descriptor that the keeper held under this name; taken over. False: not one of ours (the
     * caller closes it). Called after `prepare` of the adopted instances, before `started`. */
    bool (*found)(struct steering *steering, const char *name, int fd);
    /* Blocks of instance addresses (addresses.h) are handed out by whoever knows the machine. 0 or
     * -errno; *ret_block is the first of `count` adjoining numbers. `preferred`: that one if free.
     */
    int (*block)(struct steering *steering, uint32_t count, uint32_t preferred,
                 uint32_t *ret_block);
    /* Gives back what `block` gave. */
    void (*unblock)(struct steering *steering, uint32_t block, uint32_t count);
    /* The service's home: as in the setup, unless another cluster has that address. NULL: always as
     * in the setup. */
    uint32_t (*home)(struct steering *steering, uint32_t service);
    /* New TCP connections to the listener's address are the gateway's, which listens on this
     * socket, wherever that is bound; whoever else has the port. `fd` stays the caller's. NULL: the
     * gateway's sockets must be bound to the address itself. 0 or -errno. */
    int (*gate)(struct steering *steering, const struct listener *listener, int fd);

    /* Another topology, placed as the one in use (topology/place.h), with homes for all of its
     * services. `open` gets what it needs beside what there is, and fails with `why` in words;
     * then `use` (which cannot fail) leads everything as it says, and gives back what only the one
     * before needed; or `abandon` gives back what was got. */
    int (*open)(struct steering *steering, const struct topology *next, const uint32_t *homes,
                char *why, size_t why_size);
    void (*use)(struct steering *steering, const struct topology *next);
    void (*abandon)(struct steering *steering, const struct topology *next);
    /* The service is absent, and none of its instances is left. */
    void (*forget)(struct steering *steering, uint32_t service);
};

struct steering {
    const struct steering_operations *operations;
};

static inline uint32_t steering_services_room(const struct steering_setup *setup)
{
    uint32_t count = (uint32_t)setup->topology->service_count;
    return setup->services_max > count ? setup->services_max : count;
}

/* 0 or -errno; `why` says what is missing, also where all the rest serves. *ret_adopted: an earlier
 * supervisor's maps are in use. -EADDRINUSE: a `listen` port is taken, says `why`; no other
 * mechanism would do better; nor with -EACCES, a port that needs a right. */
int steering_bpf_new(const struct steering_setup *setup, struct steering **ret_steering,
                     bool *ret_adopted, char *why, size_t why_size);
int steering_seccomp_new(const struct steering_setup *setup, struct steering **ret_steering,
                         char *why, size_t why_size);
int steering_none_new(const struct steering_setup *setup, struct steering **ret_steering);

/* The best that can be had, honouring topology->steering. `why` tells in a sentence or two what
 * serves, why nothing better does, and what is lost. Fails only without memory, or when the
 * mechanism that the topology asks for cannot be had. */
int steering_new(const struct steering_setup *setup, struct steering **ret_steering,
                 bool *ret_adopted, char *why, size_t why_size);
