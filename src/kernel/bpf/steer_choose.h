/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* A new connection (or an unconnected datagram): who gets it. */
#pragma once

#include "kernel/bpf/steer_maps.h"

static __always_inline __u32 client_hash(struct bpf_sk_lookup *context, bool with_port)
{
    __u32 hash = with_port ? mix(context->remote_port) : 0;
    if (context->family == FAMILY_INET)
        return mix(hash ^ context->remote_ip4);
    hash = mix(hash ^ context->remote_ip6[0]);
    hash = mix(hash ^ context->remote_ip6[1]);
    hash = mix(hash ^ context->remote_ip6[2]);
    return mix(hash ^ context->remote_ip6[3]);
}

/* Among the listeners of one instance: any for a connection, always the same for datagrams. */
static __always_inline __u32 listener_choice(struct bpf_sk_lookup *context)
{
    return context->protocol == STEER_UDP ? client_hash(context, 1) : bpf_get_prandom_u32();
}

/* Functions that are neither inlined nor static the verifier walks once, and takes their results as
 * unknown; that keeps the loops that call them small. */

/* Gives the connection to one listener. 0: done. */
__attribute__((noinline)) int listener_give(struct bpf_sk_lookup *context, __u32 slot, __u32 port,
                                            __u32 ordinal)
{
    struct steer_socket_key key = {.slot = slot,
                                   .port = (__u16)port,
                                   .protocol = (__u8)context->protocol,
                                   .family = context->family == FAMILY_INET ? 4 : 6,
                                   .ordinal = ordinal};
    struct bpf_sock *socket = bpf_map_lookup_elem(&sockets, &key);
    if (!socket)
        return -1;
    long error = bpf_sk_assign(context, socket, BPF_SK_LOOKUP_F_NO_REUSEPORT);
    bpf_sk_release(socket);
    return error ? -1 : 0;
}

/* Gives it to a listener of the slot, to any when there are several. 0: done. */
__attribute__((noinline)) int slot_give(struct bpf_sk_lookup *context, __u32 slot, __u32 port)
{
    struct steer_slot *counters = bpf_map_lookup_elem(&slots, &slot);
    if (counters && !counters->several)
        return listener_give(context, slot, port, 0);
    struct steer_socket_key key = {.slot = slot,
                                   .port = (__u16)port,
                                   .protocol = (__u8)context->protocol,
                                   .family = context->family == FAMILY_INET ? 4 : 6};
    __u32 *known = bpf_map_lookup_elem(&spreads, &key);
    __u32 count = known ? *known : 0;
    if (count == 0)
        return -1;
    __u32 choice = count > 1 ? listener_choice(context) : 0;
    for (__u32 i = 0; count > 1 && i < RANDOM_TRIES; i++)
        if (listener_give(context, slot, port, mix(choice + i) % count) == 0)
            return 0;
    for (__u32 i = 0; i < STEER_LISTENERS_PER_PORT; i++) {
        if (i >= count)
            break;
        if (listener_give(context, slot, port, i) == 0)
            return 0;
    }
    return -1;
}

/* The verifier wants to see an index bounded, and the compiler must not reason that away. */
#define INDEX_KEEP(index) asm volatile("" : "+r"(index))

struct choosing { /* among the entries of a rotation */
    struct steer_rotation *rotation;
    struct steer_rotation_large *large; /* NULL: the slots stand in the rotation itself */
    __u32 count;
};

static __always_inline __u32 slot_at(const struct choosing *choosing, __u32 index)
{
    INDEX_KEEP(index);
    if (choosing->large)
        return choosing->large->slots[index & (STEER_ROTATION_LARGE - 1)];
    return choosing->rotation->slots[index & (STEER_ROTATION_SMALL - 1)];
}

static __always_inline __s64 slot_live(__u32 slot)
{
    struct steer_slot *counters = bpf_map_lookup_elem(&slots, &slot);
    if (!counters)
        return 0;
    struct steer_count *count = &counters->counts[counters->counting & 1];
    return (__s64)(count->begun - count->ended);
}

static __always_inline __u32 service_turn(__u32 service)
{
    __u32 *turn = bpf_map_lookup_elem(&turns, &service);
    return turn ? __sync_fetch_and_add(turn, 1) : 0;
}

_Static_assert((int)STEER_LEAST_EXACT_MAX == (int)STEER_ROTATION_SMALL,
               "what is walked in full stands in the rotation itself");

static __always_inline __u32 small_slot(const struct steer_rotation *rotation, __u32 index)
{
    INDEX_KEEP(index);
    return rotation->slots[index & (STEER_ROTATION_SMALL - 1)];
}

/* The least loaded of a small rotation; among equals the next in turn, so that short connections go
 * round evenly. */
__attribute__((noinline)) __u32 choose_least_exact(__u32 service, __u32 count)
{
    struct steer_rotation *rotation = bpf_map_lookup_elem(&services, &service);
    if (!rotation || count == 0 || count > STEER_LEAST_EXACT_MAX)
        return 0;
    __u32 index = service_turn(service) % count;
    __u32 best = index;
    __s64 least = __INT64_MAX__;
    for (__u32 i = 0; i < STEER_LEAST_EXACT_MAX; i++) {
        if (i >= count)
            break;
        __s64 live = slot_live(small_slot(rotation, index));
        if (live < least) {
            least = live;
            best = index;
        }
        index = (index + 1) % count;
    }
    return best;
}

static __always_inline __u32 choose_least(const struct choosing *choosing, __u32 service)
{
    if (choosing->count <= STEER_LEAST_EXACT_MAX)
        return choose_least_exact(service, choosing->count);
    __u32 one = bpf_get_prandom_u32() % choosing->count;
    __u32 other = bpf_get_prandom_u32() % choosing->count;
    return slot_live(slot_at(choosing, one)) <= slot_live(slot_at(choosing, other)) ? one : other;
}

/* Datagrams have no connection that would remember the choice, so it must come out the same each
 * time: rendezvous hashing (Thaler, Ravishankar 1998) for few, so that a member that comes or goes
 * moves only its own clients. */
__attribute__((noinline)) __u32 choose_sticky(__u32 service, __u32 count, __u32 hash)
{
    struct steer_rotation *rotation = bpf_map_lookup_elem(&services, &service);
    if (!rotation || count == 0 || count > STEER_ROTATION_SMALL)
        return count ? hash % count : 0;
    __u32 best = 0;
    __u32 highest = 0;
    for (__u32 i = 0; i < STEER_ROTATION_SMALL; i++) {
        if (i >= count)
            break;
        __u32 score = mix(hash ^ mix(small_slot(rotation, i)));
        if (score >= highest) {
            highest = score;
            best = i;
        }
    }
    return best;
}

static __always_inline bool choosing_init(struct choosing *choosing, __u32 service)
{
    choosing->large = 0;
    choosing->rotation = bpf_map_lookup_elem(&services, &service);
    if (!choosing->rotation)
        return 0;
    choosing->count = choosing->rotation->count;
    if (choosing->count > STEER_ROTATION_SMALL) {
        choosing->large = bpf_map_lookup_elem(&rotations, &service);
        if (!choosing->large) /* it has become a small one this moment */
            choosing->count = STEER_ROTATION_SMALL;
    }
    return choosing->count > 0;
}

/* The index in the service's rotation. */
__attribute__((noinline)) __u32 choose(struct bpf_sk_lookup *context, __u32 service)
{
    struct choosing choosing;
    if (!choosing_init(&choosing, service))
        return 0;
    if (choosing.count == 1)
        return 0;
    __u32 policy = choosing.rotation->policy;
    if (policy == STEER_CLIENT_HASH)
        return client_hash(context, 0) % choosing.count;
    if (context->protocol == STEER_UDP)
        return choose_sticky(service, choosing.count, client_hash(context, 1));
    if (policy == STEER_LEAST)
        return choose_least(&choosing, service);
    if (policy == STEER_CYCLE)
        return service_turn(service) % choosing.count;
    return bpf_get_prandom_u32() % choosing.count;
}

/* Gives it to the member at the index. He may have gone this moment; then to the next that has a
 * listener. 0: done. */
__attribute__((noinline)) int rotation_give(struct bpf_sk_lookup *context, __u32 service,
                                            __u32 port, __u32 index)
{
    struct choosing choosing;
    if (!choosing_init(&choosing, service))
        return -1;
    for (__u32 i = 0; i < STEER_TRIES_MAX; i++) {
        if (i >= choosing.count)
            break;
        __u32 slot = slot_at(&choosing, (index + i) % choosing.count);
        if (slot_give(context, slot, port) == 0)
            return 0;
    }
    return -1;
}

static __always_inline bool port_is_addressed(__u16 port)
{
    __u32 index = port / STEER_ADDRESSED_BITS;
    __u64 *bits = bpf_map_lookup_elem(&addressed, &index);
    return !bits || *bits >> port % STEER_ADDRESSED_BITS & 1;
}

/* Exact address first, then any of the family, then any. Those of 127.64.0.0/10 are never "any":
 * each belongs to one instance or service, of this or another cluster. */
static __always_inline struct steer_target *target_find(struct bpf_sk_lookup *context,
                                                        __u32 address)
{
    struct steer_target_key key = {.port = (__u16)context->local_port,
                                   .protocol = (__u8)context->protocol};
    if (!address_is_ours(address) && !port_is_addressed(key.port))
        return bpf_map_lookup_elem(&targets, &key);
    if (context->family == FAMILY_INET) {
        key.family = 4;
        key.address = address;
    } else {
        key.family = 6;
        key.address6[0] = context->local_ip6[0];
        key.address6[1] = context->local_ip6[1];
        key.address6[2] = context->local_ip6[2];
        key.address6[3] = context->local_ip6[3];
    }
    struct steer_target *target = bpf_map_lookup_elem(&targets, &key);
    if (target || address_is_ours(address))
        return target;
    key.address = 0;
    __builtin_memset(key.address6, 0, sizeof key.address6);
    target = bpf_map_lookup_elem(&targets, &key);
    if (target)
        return target;
    key.family = 0;
    return bpf_map_lookup_elem(&targets, &key);
}

static __always_inline bool destination_is_loopback(struct bpf_sk_lookup *context, __u32 address)
{
    if (context->family == FAMILY_INET)
        return address_is_loopback(address);
    struct address6 to = {{context->local_ip6[0], context->local_ip6[1], context->local_ip6[2],
                           context->local_ip6[3]}};
    return address6_is_loopback(&to);
}

SEC("sk_lookup") int steer_lookup(struct bpf_sk_lookup *context)
{
    if (context->protocol != STEER_TCP && context->protocol != STEER_UDP)
        return SK_PASS;
    __u32 address = 0;
    __u32 *slot = 0;
    if (context->family == FAMILY_INET) {
        address = bpf_ntohl(context->local_ip4);
        if (address_is_ours(address))
            slot = bpf_map_lookup_elem(&addresses, &address);
        if (slot && *slot != STEER_SLOT_HOME)
            return slot_give(context, *slot, context->local_port) ? SK_DROP : SK_PASS;
    }
    struct steer_target *target = target_find(context, address);
    if (!target)
        return slot ? SK_DROP : SK_PASS; /* a home without that port refuses */
    if (target->flags & STEER_TARGET_LOOPBACK && !destination_is_loopback(context, address))
        return SK_PASS;
    if (target->flags & STEER_TARGET_LOCAL && context->ingress_ifindex != LOOPBACK_IFINDEX)
        return SK_DROP;
    __u32 index = choose(context, target->service);
    return rotation_give(context, target->service, target->port, index) ? SK_DROP : SK_PASS;
}
