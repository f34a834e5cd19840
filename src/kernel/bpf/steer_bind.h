/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* bind and getsockname: an instance's socket shares its port, and it is noted whose socket it is.
 */
#pragma once

#include "kernel/bpf/steer_maps.h"

static __always_inline bool socket_is_v6only(struct bpf_sock *socket)
{
    struct tcp6_sock *tcp = bpf_skc_to_tcp6_sock(socket);
    if (tcp)
        return BPF_CORE_READ_BITFIELD(tcp, tcp.inet_conn.icsk_inet.sk.__sk_common.skc_ipv6only);
    struct udp6_sock *udp = bpf_skc_to_udp6_sock(socket);
    if (udp)
        return BPF_CORE_READ_BITFIELD(udp, udp.inet.sk.__sk_common.skc_ipv6only);
    return 0;
}

static __always_inline __u8 protocol_of(struct bpf_sock_addr *context)
{
    if (context->type == TYPE_STREAM && context->protocol == STEER_TCP)
        return STEER_TCP;
    if (context->type == TYPE_DATAGRAM && context->protocol == STEER_UDP)
        return STEER_UDP;
    return 0;
}

/* Is the port this service's on this machine? The first to ask gets it. */
static __always_inline bool port_claim(struct bpf_sock_addr *context,
                                       const struct steer_member *member, __u8 protocol, __u16 port)
{
    struct steer_claim_key key = {
        .netns = bpf_get_netns_cookie(context),
        .kind = protocol == STEER_TCP ? STEER_CLAIM_TCP_PORT : STEER_CLAIM_UDP_PORT,
        .value = port,
    };
    struct steer_claim mine = {.cluster = cluster_number, .owner = member->home};
    struct steer_claim *claim = bpf_map_lookup_elem(&claims, &key);
    if (!claim) {
        bpf_map_update_elem(&claims, &key, &mine, BPF_NOEXIST);
        claim = bpf_map_lookup_elem(&claims, &key);
    }
    return claim && claim->cluster == mine.cluster && claim->owner == mine.owner;
}

/* Must the socket be at the instance's own address? Datagrams that come through the gateway were
 * sent there, and their answers must come from there. */
static __always_inline bool socket_is_relayed(struct bpf_sock_addr *context,
                                              const struct steer_member *member, __u8 protocol,
                                              __u16 port)
{
    struct steer_claim_key key = {
        .netns = bpf_get_netns_cookie(context), .kind = STEER_CLAIM_UDP_PORT, .value = port};
    if (protocol != STEER_UDP)
        return 0;
    if (member->flags & STEER_MEMBER_OWN_UDP)
        return 1;
    struct steer_claim *claim = bpf_map_lookup_elem(&claims, &key);
    return claim && claim->cluster == cluster_number && claim->owner == STEER_OWNER_GATEWAY;
}

/* Is there a supervisor that runs steer_settle? Its socket is gone with it. */
static __always_inline bool is_attended(void)
{
    struct steer_socket_key key = {.slot = STEER_SLOT_ATTENDANT};
    struct bpf_sock *attendant = bpf_map_lookup_elem(&sockets, &key);
    if (!attendant)
        return 0;
    bpf_sk_release(attendant);
    return 1;
}

static __always_inline void owner_init(struct steer_owner *owner, struct bpf_sock_addr *context,
                                       const struct steer_member *member)
{
    owner->slot = member->slot;
    owner->service = member->service;
    owner->epoch = member->epoch;
    owner->port = bpf_ntohs((__u16)context->user_port);
    owner->protocol = protocol_of(context);
    owner->attended = is_attended(); /* asked here: where it listens, this cannot be asked */
}

static __always_inline void socket_join(struct bpf_sock_addr *context,
                                        const struct steer_owner *owner)
{
    int on = 1;
    bpf_setsockopt(context, LEVEL_SOCKET, OPTION_REUSEPORT, &on, sizeof on);
    bpf_setsockopt(context, LEVEL_SOCKET, OPTION_REUSEADDR, &on, sizeof on);
    struct bpf_sock *socket = context->sk;
    if (!socket)
        return;
    struct steer_owner *stored =
        bpf_sk_storage_get(&owners, socket, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (!stored)
        return;
    *stored = *owner;
    event_send(STEER_EVENT_BIND, owner, 0, 0);
}

SEC("cgroup/bind4") int steer_bind4(struct bpf_sock_addr *context)
{
    struct steer_member *member = member_current();
    if (!member || member->slot == STEER_SLOT_GUEST || context->user_port == 0 ||
        !protocol_of(context))
        return BIND_ALLOW;
    struct steer_owner owner = {.family = 4};
    owner_init(&owner, context, member);
    owner.asked4 = bpf_ntohl(context->user_ip4);
    if (owner.asked4 == 0 || owner.asked4 == LOOPBACK_ADDRESS) {
        owner.claimed = port_claim(context, member, owner.protocol, owner.port);
        if (owner.protocol == STEER_TCP &&
            (!owner.claimed || member->flags & STEER_MEMBER_AT_HOME)) {
            context->user_ip4 = bpf_htonl(member->home);
            owner.moved = 1;
        } else if (socket_is_relayed(context, member, owner.protocol, owner.port)) {
            context->user_ip4 = bpf_htonl(member->address);
            owner.moved = 1;
        }
    }
    socket_join(context, &owner);
    return BIND_ALLOW_PRIVILEGED;
}

/* To `address`. A socket for IPv6 only has no such place to go to: it gets a port that the kernel
 * chooses, at ::1. steer_lookup does not mind. */
static __always_inline void socket_move6(struct bpf_sock_addr *context, __u32 address, bool v6only)
{
    CONTEXT_REFRESH(context);
    context->user_ip6[0] = 0;
    CONTEXT_REFRESH(context);
    context->user_ip6[1] = 0;
    CONTEXT_REFRESH(context);
    if (v6only) {
        context->user_ip6[2] = 0;
        context->user_ip6[3] = bpf_htonl(1);
        context->user_port = 0;
    } else {
        context->user_ip6[2] = MAPPED_PREFIX;
        context->user_ip6[3] = bpf_htonl(address);
    }
}

SEC("cgroup/bind6") int steer_bind6(struct bpf_sock_addr *context)
{
    struct steer_member *member = member_current();
    struct bpf_sock *socket = context->sk;
    if (!member || member->slot == STEER_SLOT_GUEST || !socket || context->user_port == 0 ||
        !protocol_of(context))
        return BIND_ALLOW;
    bool v6only = socket_is_v6only(socket);
    struct address6 asked = {
        {context->user_ip6[0], context->user_ip6[1], context->user_ip6[2], context->user_ip6[3]}};
    struct steer_owner owner = {.family = v6only ? 6 : 46};
    owner_init(&owner, context, member);
    __builtin_memcpy(owner.asked6, asked.word, sizeof owner.asked6);
    bool mapped = address6_is_mapped(&asked);
    if (mapped)
        owner.asked4 = bpf_ntohl(asked.word[3]);
    if (address6_is_any(&asked) || address6_is_loopback(&asked) ||
        (mapped && (owner.asked4 == 0 || owner.asked4 == LOOPBACK_ADDRESS))) {
        owner.claimed = port_claim(context, member, owner.protocol, owner.port);
        if (owner.protocol == STEER_TCP &&
            (!owner.claimed || member->flags & STEER_MEMBER_AT_HOME)) {
            socket_move6(context, member->home, v6only);
            owner.moved = 1;
        } else if (socket_is_relayed(context, member, owner.protocol, owner.port)) {
            socket_move6(context, member->address, v6only);
            owner.moved = 1;
        }
    }
    socket_join(context, &owner);
    return BIND_ALLOW_PRIVILEGED;
}

/* What a moved socket is told about itself: what it asked for. Connections that it accepted carry
 * the address that their client asked for, and are told the truth. */
static __always_inline struct steer_owner *owner_of_moved(struct bpf_sock_addr *context)
{
    struct bpf_sock *socket = context->sk;
    if (!socket || (socket->state != BPF_TCP_LISTEN && socket->state != BPF_TCP_CLOSE))
        return 0;
    struct steer_owner *owner = bpf_sk_storage_get(&owners, socket, 0, 0);
    return owner && owner->moved ? owner : 0;
}

SEC("cgroup/getsockname4") int steer_getsockname4(struct bpf_sock_addr *context)
{
    struct steer_owner *owner = owner_of_moved(context);
    if (owner)
        context->user_ip4 = bpf_htonl(owner->asked4);
    return 1;
}

SEC("cgroup/getsockname6") int steer_getsockname6(struct bpf_sock_addr *context)
{
    struct steer_owner *owner = owner_of_moved(context);
    if (!owner)
        return 1;
    context->user_ip6[0] = owner->asked6[0];
    context->user_ip6[1] = owner->asked6[1];
    context->user_ip6[2] = owner->asked6[2];
    context->user_ip6[3] = owner->asked6[3];
    context->user_port = bpf_htons(owner->port);
    return 1;
}
