/* What the files of steering with BPF share: steering_bpf.c (the operations, rotations, what the
 * kernel reports), bpf_missed.c (what it could not report), bpf_settle.c (listeners that open),
 * bpf_kept.c (duplicates of listeners that bridge a restart) and bpf_waiting.c (those in which
 * connections wait during the draining before it, and until the check after it is good). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/loop.h"
#include "kernel/steer.h"
#include "steering/steering.h"
#include "steering/steering_ports.h"
#include "topology/addresses.h"

enum {
    HEARD_MAX = 64,       /* sockets of an instance that are remembered */
    PROCESSES_MAX = 1024, /* of an instance, that are looked through for a socket */
    SLOTS_MIN = 256,      /* room in the kernel's maps, so that a larger file fits the old pins */
    SERVICES_MIN = 64,
    KEPT_NAME_BYTES = 256,
    SWEEP_EVERY_MS = 1000,
};

struct heard { /* a socket of the present incarnation */
    uint64_t cookie;
    uint16_t port;
    uint8_t protocol;
    uint8_t family;
};

struct kept { /* a listener of which we hold a duplicate */
    struct kept *next;
    int fd;
    uint32_t epoch;
    bool waiting; /* connections wait in it until the slot is in rotation (bpf_waiting.c) */
    struct heard socket;
};

struct slot {
    struct steering_instance instance;
    uint64_t guest; /* the cgroup of a step that runs, or ran; 0: none */
    bool present;   /* between prepare and gone for good */
    bool served;    /* was in rotation; what it keeps may bridge the time until it is again */
    bool crowded;   /* several of its kept listeners share a port */
    bool opens;     /* a listener of its has opened */
    bool recall;    /* adopted: what it listens on is to be found out */
    bool datagrams; /* it has, or had, UDP sockets */
    struct heard heard[HEARD_MAX];
    size_t heard_count;
    struct kept *kept;
};

struct rotated { /* what the supervisor last said about a service */
    struct rotation_member *members;
    uint32_t *numbers;
    size_t count;
    uint32_t wanted;
};

struct bpf_steering {
    struct steering steering;
    struct steering_setup setup;
    struct steer *steer;
    struct steering_ports ports;
    struct watch events;
    struct deferred recall;
    struct timer sweep;  /* active while an instance is crowded */
    struct timer settle; /* active while a listener opens */
    bool adopted;
    uint64_t events_lost;                  /* of which we know */
    struct slot **slots;                   /* by slot; NULL: never used */
    struct rotated *rotated;               /* by service */
    bool users_mixed;                      /* not all services have the same user */
    uint8_t blocks[(BLOCK_COUNT + 7) / 8]; /* handed out by this process */
    uint32_t blocks_passed; /* those before are claimed: where the search for a free one begins */
};

static inline struct bpf_steering *of(struct steering *steering)
{
    return (struct bpf_steering *)steering;
}

static inline const struct service *service_of(const struct bpf_steering *steering,
                                               uint32_t service)
{
    return &steering->setup.topology->services[service];
}

/* ---- steering_bpf.c ---- */

/* Writes the rotation of a service to the kernel: who is in it, and who is kept. 0 or -errno. */
int bpf_rotation_apply(struct bpf_steering *steering, uint32_t service);

/* What the kernel reports of an instance. `owner`: the steering. */
void bpf_event_handle(void *owner, const struct steer_event *event);

/* ---- bpf_missed.c ---- */

/* After events were taken: finds out what some that were lost would have told. */
void bpf_missed_find(struct bpf_steering *steering);

/* ---- bpf_settle.c ---- */

/* Once, at the start. Where listeners have to be attended to, `why` says so. */
void bpf_settle_begin(struct bpf_steering *steering, char *why, size_t why_size);
/* A listener may have opened. */
void bpf_settle_soon(struct bpf_steering *steering);
/* One of the slot has. */
void bpf_slot_opens(struct bpf_steering *steering, struct slot *slot);
/* The slot comes into rotation, since its program says that it is ready. Should none of its
 * listeners be waited for yet, connections can wait for the program in them. */
void bpf_slot_hurry(struct bpf_steering *steering, struct slot *slot);

/* ---- bpf_kept.c ---- */

/* Closes what is kept from other starts than `epoch`; with `replacement` only what it takes over.
 */
void bpf_kept_close(struct bpf_steering *steering, struct slot *slot, uint32_t epoch,
                    const struct heard *replacement);
/* Is it a listener of an earlier start, which is kept until this one listens? */
bool bpf_kept_is_former(const struct slot *slot, uint64_t cookie);
/* Closes everything that is kept for it. */
void bpf_kept_close_all(struct bpf_steering *steering, struct slot *slot);
/* Takes fd. NULL: no memory. */
struct kept *bpf_kept_add(struct slot *slot, const struct heard *socket, int fd);
/* The keeper has it, too. */
void bpf_kept_tell(struct bpf_steering *steering, const struct slot *slot, const struct kept *kept);
/* Closes those in which connections wait. */
void bpf_kept_close_waiting(struct bpf_steering *steering, struct slot *slot);
/* A duplicate of the instance's socket with this cookie, or -errno. */
int bpf_socket_fetch(struct bpf_steering *steering, const struct slot *slot, uint64_t cookie);
/* It listens: what an earlier start left may go, and this one is kept, if it is the only instance.
 */
void bpf_listener_keep(struct bpf_steering *steering, struct slot *slot,
                       const struct heard *socket);
/* Looks now and then whether the program has closed one of several listeners of a port. */
void bpf_slot_watch_crowd(struct bpf_steering *steering, struct slot *slot);
/* Instances wanted of the slot's service. */
uint32_t bpf_wanted_of(const struct bpf_steering *steering, const struct slot *slot);
/* The operation `wanted` of steering.h. */
void bpf_wanted(struct steering *base, uint32_t service, uint32_t wanted);
static inline bool kept_same_port(const struct heard *one, const struct heard *other)
{
    return one->port == other->port && one->family == other->family;
}

/* ---- bpf_waiting.c ---- */

/* The operation `hold` of steering.h. */
size_t bpf_kept(struct steering *base, uint32_t number, int *ret_fds, size_t max);
void bpf_hold(struct steering *base, uint32_t number);
/* It listens, and its check is still to come: what waits in the listeners of earlier starts goes on
 * waiting there, and so does what comes, until it is in rotation. */
void bpf_wait_for_check(struct bpf_steering *steering, struct slot *slot);
/* It was adopted, and what it listens on is known: as above, if it was so before. */
void bpf_wait_recall(struct bpf_steering *steering, struct slot *slot);
/* Do new connections wait, while this start drains or until its check is good? */
bool bpf_slot_waits(const struct bpf_steering *steering, const struct slot *slot);
