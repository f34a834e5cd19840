/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The maps of the direct path, and small things that all of its programs use. One translation unit:
 * steer.bpf.c includes this before the programs. */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel/bpf/kernel_types.h"
#include "kernel/bpf/steer_layout.h"

typedef _Bool bool;

enum { /* of the kernel's headers, which clash with those here */
       FAMILY_INET = 2,
       FAMILY_INET6 = 10,
       TYPE_STREAM = 1,
       TYPE_DATAGRAM = 2,
       LEVEL_SOCKET = 1,
       OPTION_REUSEADDR = 2,
       OPTION_REUSEPORT = 15,
       ERROR_EXIST = 17,
       SHUTDOWN_BOTH = 3, /* SHUTDOWN_MASK of net/sock.h */
};
enum {
    LOOPBACK_IFINDEX = 1,
    ANCESTORS_MAX = 16, /* levels of cgroups that are searched for a member */
    RANDOM_TRIES = 8,   /* among an instance's listeners, before they are walked in order */
    BIND_ALLOW = 1,
    BIND_ALLOW_PRIVILEGED = 3, /* bit 1: CAP_NET_BIND_SERVICE is not asked for */
};
#define LOOPBACK_ADDRESS 0x7f000001u
#define MAPPED_PREFIX    bpf_htonl(0xffff) /* third word of ::ffff:a.b.c.d */

const volatile __u32 cluster_number;

struct steer_owner { /* whose a bound socket is; accepted connections have none */
    __u32 slot;
    __u32 service;
    __u32 epoch;
    __u32 asked4;    /* as the program asked; 0 with IPv6 */
    __u32 asked6[4]; /* network byte order */
    __u16 port;
    __u8 protocol;
    __u8 family;  /* 4, 6 or 46 */
    __u8 moved;   /* bound elsewhere than asked */
    __u8 claimed; /* the service holds this port in `claims` */
    __u8 attended;
    __u8 opens;      /* listens, and is not in `sockets` yet: see steer_settle */
    __u64 cookie;    /* while it opens */
    __u64 opened_ns; /* CLOCK_MONOTONIC */
};

/* Sizes stand here for the smallest cluster; steer.c raises them. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, struct steer_layout);
} layout SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 64);
    __type(key, __u64);
    __type(value, struct steer_member);
} members SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u32);
} addresses SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_SOCKHASH);
    __uint(max_entries, 64);
    __type(key, struct steer_socket_key);
    __type(value, __u64);
} sockets SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 64);
    __type(key, struct steer_socket_key);
    __type(value, __u32);
} spreads SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, struct steer_slot);
} slots SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, struct steer_rotation);
} services SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, struct steer_rotation_large);
} rotations SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 64);
    __type(key, __u32);
    __type(value, __u32);
} turns SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 64);
    __type(key, struct steer_target_key);
    __type(value, struct steer_target);
} targets SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, STEER_ADDRESSED_WORDS);
    __type(key, __u32);
    __type(value, __u64);
} addressed SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, 64);
    __type(key, struct steer_use_key);
    __type(value, __u32);
} uses SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __uint(max_entries, STEER_CLAIMS_MAX);
    __type(key, struct steer_claim_key);
    __type(value, struct steer_claim);
} claims SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 * 1024);
} events SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct steer_owner);
} owners SEC(".maps");

/* ---- small things ------------------------------------------------------------------------------
 */

/* The member that the calling process belongs to. Programs may make cgroups below their own. */
static __always_inline struct steer_member *member_current(void)
{
    __u64 id = bpf_get_current_cgroup_id();
    struct steer_member *member = bpf_map_lookup_elem(&members, &id);
    for (int level = 1; !member && level < ANCESTORS_MAX; level++) {
        id = bpf_get_current_ancestor_cgroup_id(level);
        if (id == 0)
            break;
        member = bpf_map_lookup_elem(&members, &id);
    }
    return member;
}

/* The member that made the socket, by the control group that it was made in: an accepted connection
 * has that of its listener. Looking there costs nothing when a connection comes and goes, as
 * storage of its own would, which is allocated and freed for each. */
static __always_inline struct steer_member *member_of(struct tcp_sock *socket)
{
    struct cgroup *group = socket->inet_conn.icsk_inet.sk.sk_cgrp_data.cgroup;
    for (int level = 0; level < ANCESTORS_MAX; level++) {
        __u64 id = group->kn->id;
        struct steer_member *member = bpf_map_lookup_elem(&members, &id);
        if (member)
            return member;
        struct cgroup_subsys_state *parent = group->self.parent;
        if (!parent)
            break;
        group = parent->cgroup;
    }
    return 0;
}

static __always_inline __u32 mix(__u32 x) /* the finaliser of MurmurHash3, A. Appleby */
{
    x ^= x >> 16;
    x *= 0x85ebca6b;
    x ^= x >> 13;
    x *= 0xc2b2ae35;
    return x ^ x >> 16;
}

static __always_inline bool address_is_loopback(__u32 address)
{
    return address >> 24 == 127;
}
static __always_inline bool address_is_ours(__u32 address) /* 127.64.0.0/10 */
{
    return address >> 22 == (127u << 2 | 1);
}

/* The verifier refuses a context pointer with an offset added, which the compiler likes to keep for
 * several accesses to one array: this makes it forget. */
#define CONTEXT_REFRESH(context) asm volatile("" : "+r"(context))

/* An IPv6 address, read from the contexts word by word (they allow nothing else). */
struct address6 {
    __u32 word[4];
};
static __always_inline bool address6_is_any(const struct address6 *a)
{
    return !(a->word[0] | a->word[1] | a->word[2] | a->word[3]);
}
static __always_inline bool address6_is_loopback(const struct address6 *a)
{
    return !(a->word[0] | a->word[1] | a->word[2]) && a->word[3] == bpf_htonl(1);
}
static __always_inline bool address6_is_mapped(const struct address6 *a)
{
    return !(a->word[0] | a->word[1]) && a->word[2] == MAPPED_PREFIX;
}

/* The address that the program asked for, as events tell it. */
static __always_inline __u32 owner_address(const struct steer_owner *owner)
{
    const struct address6 *asked6 = (const struct address6 *)owner->asked6;
    if (owner->family == 4 || address6_is_any(asked6) || address6_is_mapped(asked6))
        return owner->asked4;
    return address6_is_loopback(asked6) ? LOOPBACK_ADDRESS : STEER_ADDRESS_IPV6;
}

static __always_inline void event_lost(void)
{
    __u32 zero = 0;
    struct steer_layout *counting = bpf_map_lookup_elem(&layout, &zero);
    if (counting)
        __sync_fetch_and_add(&counting->lost, 1);
}

static __always_inline void event_send(enum steer_event_kind kind, const struct steer_owner *owner,
                                       __u64 cookie, int error)
{
    struct steer_event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event) {
        event_lost();
        return;
    }
    event->kind = kind;
    event->slot = owner->slot;
    event->epoch = owner->epoch;
    event->port = owner->port;
    event->protocol = owner->protocol;
    event->family = owner->family;
    event->cookie = cookie;
    event->address = owner_address(owner);
    event->error = error;
    bpf_ringbuf_submit(event, 0);
}
