/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* What the BPF programs of the direct path and the supervisor share: keys and values of the maps,
 * and the events. Included by both sides, so it uses only the kernel's fixed-width types.
 *
 * A slot is a place for one instance, counted over all services of a cluster; a service has its own
 * number. Addresses and ports are in host byte order. */
#pragma once

#include <linux/types.h>

/* Raise with every change here or in steer.bpf.c: pins of another version are not taken over. */
enum { STEER_LAYOUT_VERSION = 6 };

struct steer_layout { /* of `layout`, one entry, pinned last: what the other pins were made for */
    __u32 version;
    __u32 slots_max;
    __u32 services_max;
    __u32 cluster;
    __u64 netns;
    __u64 cgroup_id;
    __u64 lost; /* events that found the ring full; the programs count them */
};

enum {
    STEER_LISTENERS_PER_PORT = 64, /* of one instance, one port, one family */
    STEER_ROTATION_SMALL = 32,     /* slots in a rotation that stands in the service's own value */
    STEER_ROTATION_LARGE = 4096,   /* slots in a large one */
    STEER_LEAST_EXACT_MAX = 32,    /* up to here least-connections compares all */
    STEER_TRIES_MAX = 64,          /* members asked for a listener before a connection is refused */
};

enum steer_policy { STEER_LEAST, STEER_CYCLE, STEER_RANDOM, STEER_CLIENT_HASH };

enum steer_protocol { STEER_TCP = 6, STEER_UDP = 17 };

struct steer_member { /* of `members`: cgroup id → who that is. Each start has a cgroup of its own.
                       */
    __u32 slot;
    __u32 service;
    __u32 address; /* the instance's own, 127.77.S.I */
    __u32 home;    /* the service's, 127.86.x.y */
    __u32 epoch;   /* one more with each start */
    __u32 flags;
    __u32 counting; /* set by steer_member_set: which of the slot's counts its connections are in */
};
/* The slot of a guest: what it binds is its own affair, and only its outgoing connections are its
 * service's. */
#define STEER_SLOT_GUEST 0xfffffffeu
enum {
    STEER_MEMBER_AT_HOME = 1,   /* bind to the home address from the start */
    STEER_MEMBER_OWN_UDP = 2,   /* bind UDP to the instance's own address: the gateway relays it */
    STEER_MEMBER_CONTINUES = 4, /* what waits for the last start of the slot comes to this one */
};

/* `addresses`: an instance's own address → its slot; a service's home → this. */
#define STEER_SLOT_HOME 0xffffffffu

struct steer_socket_key { /* of `sockets`, a SOCKHASH: the listeners */
    __u32 slot;
    __u16 port;
    __u8 protocol;
    __u8 family;   /* 4 or 6: the packets that it may be given */
    __u32 ordinal; /* < STEER_LISTENERS_PER_PORT */
};
/* `spreads`: that key with ordinal 0 → how many ordinals were ever in use at once, a __u32. An
 * entry of `sockets` goes by itself when its socket is closed, so there may be holes below. */

struct steer_count { /* connections; open are begun - ended */
    __u64 begun;
    __u64 ended;
};
enum { STEER_FORMER_MAX = 3 };
struct steer_slot { /* of `slots`, an array that user space maps: the counters; two cache lines */
    /* By the lowest bit of `counting`, which is one more with each start that begins from zero:
     * what an old start's connections do at this moment, having looked at it just before it
     * changed, cannot reach the new one's count. */
    struct steer_count counts[2];
    __u32 counting;
    __u32
        several; /* some port of the slot had more than one listener: ordinals above 0 are in use */
    __u32 hurry; /* user space's: its listeners that open are to be served at once */
    __u32 pad[5];
    /* User space's: the present start, and those before it whose waiting connections it has got. */
    __u64 cgroup_id;
    __u64 former[STEER_FORMER_MAX];
    __u64 before; /* connections in the count that had ended when it began */
    __u32 epoch;
    __u32 former_count;
    __u64 pad_user[2];
};

struct steer_rotation { /* of `services`: who gets new connections */
    __u32 policy;
    __u32 count; /* slots in use; > STEER_ROTATION_SMALL: they stand in `rotations` */
    __u32 slots[STEER_ROTATION_SMALL];
};

struct steer_rotation_large { /* of `rotations` */
    __u32 slots[STEER_ROTATION_LARGE];
};

struct steer_target_key { /* of `targets`: where a new connection goes */
    __u32 address;        /* IPv4; 0: any address of this machine */
    __u32 address6[4];    /* IPv6, network byte order as in the packet; all 0: any */
    __u16 port;
    __u8 protocol;
    __u8 family; /* 4 or 6; 0 without an address: both */
};
struct steer_target {
    __u32 service;
    __u16 port; /* of the program */
    __u16 flags;
};
enum {
    STEER_TARGET_LOCAL = 1, /* only for clients on this machine (arrived by lo): an own port */
    STEER_TARGET_LOOPBACK =
        2, /* the programs bind to loopback only: other destinations are not ours */
    STEER_TARGET_GATE =
        4, /* the gateway's: `service` is the slot in `sockets` of its listening socket */
};
/* Slots of the gateway's sockets begin here; none of an instance is as high. */
#define STEER_GATE_FIRST 0x80000000u
/* In `sockets`, under this slot and nothing else: a socket of the supervisor that attends to
 * listeners that open. */
#define STEER_SLOT_ATTENDANT 0x7fffffffu
enum { STEER_OPENS_MS = 2000 }; /* a program that never waits for connections is believed by then */

/* `addressed`, an array that user space maps: a bit for each port that has a target with a family,
 * but for those of 127.64.0.0/10. Set before the target is, never cleared: without it, one lookup
 * tells all. */
enum { STEER_ADDRESSED_BITS = 64, STEER_ADDRESSED_WORDS = 65536 / STEER_ADDRESSED_BITS };

struct steer_use_key { /* of `uses`: where a service's outgoing connection to loopback leads */
    __u32 service;
    __u16 port;
    __u8 protocol;
    __u8 pad;
};

enum steer_event_kind {
    STEER_EVENT_BIND, /* an instance asked to bind this port (the result is not known yet) */
    STEER_EVENT_OPEN, /* TCP: it listens; LISTEN follows when steer_settle has seen it waited for */
    STEER_EVENT_LISTEN, /* TCP: it listens, and is in `sockets` */
    STEER_EVENT_UDP,    /* UDP: bound; user space must add it to `sockets` */
    STEER_EVENT_FAILED, /* it listens and could not be added; `error` says why */
};

struct steer_event {
    __u32 kind;
    __u32 slot;
    __u32 epoch;
    __u16 port;
    __u8 protocol;
    __u8 family;   /* 4: IPv4, 6: IPv6 only, 46: both */
    __u64 cookie;  /* SO_COOKIE of the socket */
    __u32 address; /* IPv4 that it asked for (127.0.0.1 for ::1 too); 0: any */
    __s32 error;
};
#define STEER_ADDRESS_IPV6 0xffffffffu /* `address` of an event: some other IPv6 address */

/* `claims`, one map for all clusters of the machine: who holds what. */
enum steer_claim_kind {
    STEER_CLAIM_HOME = 1, /* value: the address */
    STEER_CLAIM_BLOCK,    /* value: the block number of instance addresses */
    STEER_CLAIM_TCP_PORT, /* value: the port; per network namespace: the service that owns it there
                           */
    STEER_CLAIM_UDP_PORT,
    STEER_CLAIM_MIGRATE,     /* value: the cluster; per namespace: it needs tcp_migrate_req */
    STEER_CLAIM_MIGRATE_WAS, /* value 0; owner: what the sysctl was before the first of them */
};
enum { STEER_CLAIMS_MAX = 65536 };
struct steer_claim_key {
    __u64 netns; /* SO_NETNS_COOKIE: all of these are a network namespace's */
    __u32 kind;
    __u32 value;
};
struct steer_claim {
    __u32 cluster; /* steer's number of the cluster: a hash of its name */
    __u32 owner;   /* ports: the home address of the service that holds it; else a value */
};
#define STEER_OWNER_GATEWAY 1u /* of a port: no service, the gateway */
