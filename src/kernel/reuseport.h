/* Choosing a member of an SO_REUSEPORT group without privileges: a classic BPF program that returns
 * the index (SO_ATTACH_REUSEPORT_CBPF, socket(7)), and a socket filter that lets only this
 * machine's clients in. The program reads the packet's network header, so it can tell addresses
 * apart. Building is pure; attaching is one setsockopt.
 *
 * Clients are hashed to REUSEPORT_HASH_BUCKETS buckets, and each bucket goes to one member by
 * rendezvous (Thaler and Ravishankar 1998, with weights by Schindelhauer and Schomaker 2005), so
 * that few clients move when a member comes or goes. */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    REUSEPORT_MEMBERS_MAX = 1024, /* in one choice */
    REUSEPORT_INSTRUCTIONS_MAX = BPF_MAXINSNS,
    REUSEPORT_HASH_BUCKETS = 256, /* a power of two */
    REUSEPORT_WEIGHT_MAX = 1 << 20,
};

enum reuseport_policy {
    REUSEPORT_RANDOM,
    REUSEPORT_CLIENT_HASH, /* of the client's address */
    REUSEPORT_FLOW_HASH,   /* of the client's address and port: one UDP session, one member */
};

struct reuseport_member {
    uint32_t index;  /* in the group: the order of joining */
    uint32_t weight; /* 0: draining; at most REUSEPORT_WEIGHT_MAX */
    uint32_t name;   /* by which it is hashed: stable over restarts; for the hash policies */
};

struct reuseport_choice { /* what holds for packets to one address */
    uint32_t address;     /* IPv4, host order; 0: all others (must come last, and must be there) */
    enum reuseport_policy policy;
    const struct reuseport_member *members;
    size_t count;
    bool outside; /* also for packets that did not arrive by the loopback device (see below) */
};

struct reuseport_guard { /* a program cannot refuse a packet, but lead it to a member that does */
    uint32_t loopback;   /* the interface's number */
    uint32_t sink;       /* gets what came by another interface and fits no choice with `outside` */
};

/* Writes the program that makes these choices, the first that fits winning. `guard` NULL: all holds
 * for all packets. The number of instructions, or -E2BIG, or -EINVAL (a choice without any weight),
 * or -ENOMEM. */
int reuseport_build(const struct reuseport_choice *choices, size_t count,
                    const struct reuseport_guard *guard, struct sock_filter *ret_program,
                    size_t max);
/* To the group that the listening (TCP) or bound (UDP) socket is in; replaces in one step. -ENOMEM:
 * longer than net.core.optmem_max allows (where that is 20 KiB, as before Linux 6.9, some 2000
 * instructions: 400 members). */
int reuseport_attach(int fd, const struct sock_filter *program, size_t count);
/* Lets only packets in that arrived by the loopback device, or (`address` not 0) that are for this
 * IPv4 address (host order). Accepted connections inherit it. -EPERM: some kernels allow it on TCP
 * sockets only to the privileged (seen on 6.18); use a guard then. */
int reuseport_only_local(int fd, uint32_t address);
