/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Outgoing connections of an instance to loopback: to itself at its own port, to what its service uses.
 */
#pragma once

#include "kernel/bpf/steer_maps.h"

/* Does the instance itself listen there, for IPv4? */
__attribute__((noinline)) int slot_listens(__u32 slot, __u32 port, __u32 protocol)
{
    struct steer_socket_key key = {
        .slot = slot, .port = (__u16)port, .protocol = (__u8)protocol, .family = 4};
    __u32 *count = bpf_map_lookup_elem(&spreads, &key);
    for (__u32 i = 0; count && i < STEER_LISTENERS_PER_PORT; i++) {
        if (i >= *count)
            break;
        key.ordinal = i;
        struct bpf_sock *socket = bpf_map_lookup_elem(&sockets, &key);
        if (!socket)
            continue;
        bpf_sk_release(socket);
        return 1;
    }
    return 0;
}

/* Where the member's traffic to this loopback port leads: to itself, to what it uses; 0: nowhere
 * else. */
static __always_inline __u32 way_of(__u32 port, __u8 protocol)
{
    struct steer_member *member = member_current();
    if (!member)
        return 0;
    if (slot_listens(member->slot, port, protocol))
        return member->address;
    struct steer_use_key use = {
        .service = member->service, .port = (__u16)port, .protocol = protocol};
    __u32 *home = bpf_map_lookup_elem(&uses, &use);
    return home ? *home : 0;
}

static __always_inline void redirect4(struct bpf_sock_addr *context, __u8 protocol)
{
    __u32 address = bpf_ntohl(context->user_ip4);
    if (!address_is_loopback(address) || address_is_ours(address))
        return;
    __u32 way = way_of(bpf_ntohs((__u16)context->user_port), protocol);
    if (way)
        context->user_ip4 = bpf_htonl(way);
}

static __always_inline void redirect6(struct bpf_sock_addr *context, __u8 protocol)
{
    struct bpf_sock *socket = context->sk;
    struct address6 to = {
        {context->user_ip6[0], context->user_ip6[1], context->user_ip6[2], context->user_ip6[3]}};
    __u32 address = address6_is_mapped(&to) ? bpf_ntohl(to.word[3]) : 0;
    bool loopback = address ? address_is_loopback(address) && !address_is_ours(address)
                            : address6_is_loopback(&to);
    if (!loopback || !socket || socket_is_v6only(socket))
        return;
    __u32 way = way_of(bpf_ntohs((__u16)context->user_port), protocol);
    if (!way)
        return;
    CONTEXT_REFRESH(context);
    context->user_ip6[2] = MAPPED_PREFIX;
    context->user_ip6[3] = bpf_htonl(way);
}

/* A connected UDP socket is left alone: the answer would come from 127.0.0.1, not from the address
 * that it is connected to, and the kernel would drop it. */
SEC("cgroup/connect4") int steer_connect4(struct bpf_sock_addr *context)
{
    if (protocol_of(context) == STEER_TCP)
        redirect4(context, STEER_TCP);
    return 1;
}
SEC("cgroup/connect6") int steer_connect6(struct bpf_sock_addr *context)
{
    if (protocol_of(context) == STEER_TCP)
        redirect6(context, STEER_TCP);
    return 1;
}
SEC("cgroup/sendmsg4") int steer_sendmsg4(struct bpf_sock_addr *context)
{
    if (protocol_of(context) == STEER_UDP)
        redirect4(context, STEER_UDP);
    return 1;
}
SEC("cgroup/sendmsg6") int steer_sendmsg6(struct bpf_sock_addr *context)
{
    if (protocol_of(context) == STEER_UDP)
        redirect6(context, STEER_UDP);
    return 1;
}
