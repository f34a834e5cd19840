/* Sockets of instances that share a port without BPF: the kernel's SO_REUSEPORT groups, seen from
 * outside. A share knows each group's members in the kernel's own order, holds a descriptor of
 * each, and after every change attaches the classic BPF program that chooses (kernel/reuseport.h):
 * packets to an instance's own address go to it, to a service's home to one of that service's, all
 * others to the service that owns the port.
 *
 * The order is known because every member joins by our own call (listen for TCP, bind for UDP); the
 * one who leaves is replaced by the last (reuseport_detach_sock in the kernel). A socket of the
 * same user that joins from outside enginx is not seen, and would get its share by the wrong
 * number.
 *
 * A member outlives its program: what waits in a listener's queue waits for the restarted one. All
 * functions belong to the supervisor's thread; none blocks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "event/loop.h"
#include "topology/topology.h"

enum { SHARE_NO_SLOT = UINT32_MAX, SHARE_NAME_BYTES = 200 };

/* Where a socket is, or was asked to be: also what tells one group from another. Compared by bytes.
 */
struct share_address {
    uint8_t protocol; /* enum protocol */
    uint8_t family;   /* 4; 6: IPv6 only; 46: an IPv6 socket that takes IPv4 as well */
    uint16_t port;
    uint8_t address[16]; /* IPv4 in the first four; network byte order */
};
/* `fd` tells whether IPv6 only. False: not an internet address. */
bool share_address_read(const struct sockaddr_storage *address, enum protocol protocol, int fd,
                        struct share_address *ret_address);
bool share_address_equal(const struct share_address *left, const struct share_address *right);
/* IPv4 in host order (mapped ones too); 0: any, or IPv6. */
uint32_t share_address_ip4(const struct share_address *address);
bool share_address_any(const struct share_address *address);

#define SHARE_GUESSED ":?" /* at the end of a name: the address is a guess */

struct share_slot { /* what a share must know of an instance; the owner writes it */
    const char *service_name;
    uint32_t service;
    uint32_t number;
    uint32_t address;
    uint32_t weight;
};

struct share_setup {
    struct loop *loop;
    const struct topology *topology;
    uint32_t services_max;
    const uint32_t *homes;          /* by service */
    const struct share_slot *slots; /* by slot; lives as long as the share */
    size_t slot_count;
    void (*keep)(void *owner, const char *name, int fd);
    void (*forget)(void *owner, const char *name);
    void *owner;
};

struct share;
struct share_group;

struct share_member { /* read only for others */
    struct share *share;
    struct share_group *group;
    struct share_member *next_of_slot;
    struct share_member *next_of_service;
    struct share_member *next_leaving;
    uint32_t slot; /* SHARE_NO_SLOT: a sink; or found, and nobody's */
    uint32_t service;
    int fd;
    uint64_t cookie;
    struct share_address asked; /* by the program */
    struct share_address bound; /* where it is */
    uint32_t ordinal;     /* ascending within the group: how a new supervisor knows the order */
    uint32_t last_weight; /* the last that was not 0 */
    bool alive;           /* its program listens */
    bool claimed;         /* a restarted program got it and has not called listen yet */
    bool leaving;         /* on its way out, and forgotten by the keeper */
    bool sink;            /* sink.h; always the first of its group */
    bool stale;           /* bound where it would not be bound now: not kept for the next start */
    bool guessed; /* found without its name: at which address it was asked for is not known */
    bool queued;  /* connections waited when it was last looked at */
    struct watch watch;
    struct timer timer;
};

struct share *share_new(const struct share_setup *setup); /* NULL: no memory */
/* `leave`: only forgets; what programs and the keeper hold stays as it is. */
void share_free(struct share *share, bool leave);

/* Before a bound TCP socket listens: sees to it that its group can keep packets from elsewhere out,
 * where sockets themselves cannot (sink.h). */
void share_guard(struct share *share, int fd);
/* A socket that has just joined its group in the kernel; `fd` is taken over. NULL: no memory (fd is
 * closed; the group's order is not known any more, which is logged). */
struct share_member *share_join(struct share *share, uint32_t slot, int fd,
                                const struct share_address *asked);
/* The program listens on a kept one again. */
void share_revive(struct share_member *member);
/* The program has it not: it waits for the next start, or for its bind. */
void share_member_waits(struct share_member *member);
/* Out of the group, for good; TCP: at the end of the turn, and what waits in its queue is reset. */
void share_leave(struct share_member *member);
/* The slot's program is dead; its members wait for the next, or leave. */
void share_slot_gone(struct share *share, uint32_t slot, bool coming_back);
/* Another topology, whose services have the same places. */
void share_topology_set(struct share *share, const struct topology *topology);
/* Weights changed. */
void share_service_changed(struct share *share, uint32_t service);

/* The same for a sink, whose name is "sink:ORDINAL". */
struct share_member *share_found_sink(struct share *share, int fd, uint32_t ordinal);
/* A descriptor that an earlier supervisor kept, with the name that it gave. Taken over. */
struct share_member *share_found(struct share *share, uint32_t slot, int fd, uint16_t asked_port,
                                 uint32_t asked_address, uint32_t ordinal, bool guessed);
/* One that nobody kept, but that the slot's program has. Taken over, and kept from now on. `age`:
 * ascending as such sockets were made. After the last, share_recall_settle. */
struct share_member *share_recall(struct share *share, uint32_t slot, int fd, uint16_t asked_port,
                                  uint32_t age);
void share_recall_settle(struct share *share);
/* Was it this that the member's program asked for, as far as that is known? */
bool share_member_is_asked(const struct share_member *member, const struct share_address *asked);
/* It was: its name tells from now on. */
void share_member_asked(struct share_member *member, const struct share_address *asked);
/* Members that are nobody's leave, and guards that guard nobody. */
void share_sweep_found(struct share *share);

struct share_member *share_members_of_slot(const struct share *share, uint32_t slot);
struct share_member *share_members_of_service(const struct share *share, uint32_t service);
struct share_member *share_by_cookie(const struct share *share, uint32_t slot, uint64_t cookie);
/* Its program has called shutdown(2) on it, so that the kernel has taken it out of the group: it is
 * no member any more. */
void share_shut_down(struct share_member *member);
/* Can a TCP packet to an instance's own or its service's home address reach it? */
bool share_member_reachable(const struct share_member *member);
