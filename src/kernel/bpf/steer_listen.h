/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* Listening: listeners go into `sockets`, connections are counted while they live.
 *
 * A listener in a SOCKHASH answers recv otherwise than all others: EAGAIN, or for ever, instead of
 * ENOTCONN. Where kernel/listeners.h cannot mend that, a listener is put there only when its
 * program waits for connections (steer_settle): what asks, asks before. */
#pragma once

#include "kernel/bpf/steer_maps.h"

static __always_inline void port_set_addressed(__u16 port)
{
    __u32 index = port / STEER_ADDRESSED_BITS;
    __u64 *bits = bpf_map_lookup_elem(&addressed, &index);
    if (bits)
        __sync_fetch_and_or(bits, 1ull << port % STEER_ADDRESSED_BITS);
}

/* Until user space says more, what the program listens on is for this machine's clients alone: the
 * supervisor may not even run. What it has set already stays. */
static __always_inline void target_default(const struct steer_owner *owner)
{
    struct steer_target_key key = {.port = owner->port, .protocol = owner->protocol};
    struct steer_target target = {
        .service = owner->service, .port = owner->port, .flags = STEER_TARGET_LOCAL};
    __u32 address = owner_address(owner);
    if (address == LOOPBACK_ADDRESS) {
        target.flags |= STEER_TARGET_LOOPBACK;
    } else if (address == STEER_ADDRESS_IPV6) {
        __builtin_memcpy(key.address6, owner->asked6, sizeof key.address6);
        key.family = 6;
    } else if (address) {
        key.address = address;
        key.family = 4;
    }
    if (key.family && !address_is_ours(key.address))
        port_set_addressed(key.port);
    if (key.family || owner->claimed)
        bpf_map_update_elem(&targets, &key, &target, BPF_NOEXIST);
}

/* A listener, in one of the two ways in which programs meet it; the other is 0. */
struct met {
    struct bpf_sock_ops *operation;
    struct sock *socket;
};

static __always_inline long socket_put(const struct met *met, struct steer_socket_key *key)
{
    return met->socket ? bpf_map_update_elem(&sockets, key, met->socket, BPF_NOEXIST)
                       : bpf_sock_hash_update(met->operation, &sockets, key, BPF_NOEXIST);
}

/* Puts the listener into the first free place of its port. */
static __always_inline long socket_add(const struct met *met, const struct steer_owner *owner,
                                       __u8 family)
{
    struct steer_socket_key key = {
        .slot = owner->slot, .port = owner->port, .protocol = STEER_TCP, .family = family};
    struct steer_socket_key spread = key;
    long error = 0;
    __u32 ordinal;
    for (ordinal = 0; ordinal < STEER_LISTENERS_PER_PORT; ordinal++) {
        key.ordinal = ordinal;
        error = socket_put(met, &key);
        if (error != -ERROR_EXIST)
            break;
    }
    if (error)
        return error;
    __u32 slot = owner->slot;
    struct steer_slot *counters = bpf_map_lookup_elem(&slots, &slot);
    if (counters && ordinal > 0)
        counters->several = 1;
    __u32 count = ordinal + 1;
    __u32 *known = bpf_map_lookup_elem(&spreads, &spread);
    if (known && *known >= count)
        return 0;
    return bpf_map_update_elem(&spreads, &spread, &count, BPF_ANY);
}

static __always_inline void listener_add(const struct met *met, const struct steer_owner *owner)
{
    long error = 0;
    if (owner->family != 6)
        error = socket_add(met, owner, 4);
    if (!error && owner->family != 4)
        error = socket_add(met, owner, 6);
    event_send(error ? STEER_EVENT_FAILED : STEER_EVENT_LISTEN, owner, owner->cookie, (int)error);
}

static __always_inline void listens(struct bpf_sock_ops *context)
{
    struct bpf_sock *socket = context->sk;
    struct steer_owner *stored = socket ? bpf_sk_storage_get(&owners, socket, 0, 0) : 0;
    if (!stored)
        return;
    stored->cookie = bpf_get_socket_cookie(context);
    stored->opened_ns = bpf_ktime_get_ns();
    stored->opens = stored->attended;
    struct steer_owner owner = *stored;
    target_default(&owner); /* from now on nobody else finds it */
    if (owner.opens)
        event_send(STEER_EVENT_OPEN, &owner, owner.cookie, 0);
    else
        listener_add(&(struct met){.operation = context}, &owner);
}

static __always_inline struct tcp_sock *tcp_of(struct bpf_sock_ops *context)
{
    struct bpf_sock *socket = context->sk;
    return socket ? bpf_skc_to_tcp_sock(socket) : 0;
}

/* Where the connection counts: nowhere when its start is over. */
static __always_inline struct steer_count *count_of(struct tcp_sock *socket)
{
    struct steer_member *member = member_of(socket);
    if (!member)
        return 0;
    __u32 slot = member->slot;
    struct steer_slot *counters = bpf_map_lookup_elem(&slots, &slot);
    if (!counters || counters->counting != member->counting)
        return 0;
    return &counters->counts[member->counting & 1];
}

/* From here on it counts, and the kernel reports its states: the flag says both. */
static __always_inline void connection_begins(struct bpf_sock_ops *context)
{
    struct tcp_sock *socket = tcp_of(context);
    struct steer_count *count = socket ? count_of(socket) : 0;
    if (!count)
        return;
    /* Programs of others may have flags of their own. */
    bpf_sock_ops_cb_flags_set(context,
                              (int)(context->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG));
    __sync_fetch_and_add(&count->begun, 1);
}

/* It ends when the program has closed it, whatever remains to be sent, or when it is cut. While the
 * program only sends no more (shutdown) it is open. */
static __always_inline void connection_moves(struct bpf_sock_ops *context)
{
    __u32 state = context->args[1];
    if (state != BPF_TCP_CLOSE && state != BPF_TCP_FIN_WAIT1 && state != BPF_TCP_LAST_ACK)
        return;
    struct tcp_sock *socket = tcp_of(context);
    if (!socket)
        return;
    if (state != BPF_TCP_CLOSE && socket->inet_conn.icsk_inet.sk.sk_shutdown != SHUTDOWN_BOTH)
        return;
    /* What else becomes of it is of no interest. */
    bpf_sock_ops_cb_flags_set(
        context, (int)(context->bpf_sock_ops_cb_flags & ~(__u32)BPF_SOCK_OPS_STATE_CB_FLAG));
    struct steer_count *count = count_of(socket);
    if (count)
        __sync_fetch_and_add(&count->ended, 1);
}

SEC("sockops") int steer_sockops(struct bpf_sock_ops *context)
{
    __u32 op = context->op;
    if (op == BPF_SOCK_OPS_STATE_CB)
        connection_moves(context);
    else if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
        connection_begins(context);
    else if (op == BPF_SOCK_OPS_TCP_LISTEN_CB)
        listens(context);
    return 1;
}

/* A UDP socket has its port. No program of this kind may put it into `sockets`. */
static __always_inline int udp_bound(struct bpf_sock *context)
{
    if (context->protocol != STEER_UDP)
        return 1;
    struct steer_owner *stored = bpf_sk_storage_get(&owners, context, 0, 0);
    if (!stored)
        return 1;
    struct steer_owner owner = *stored;
    target_default(&owner);
    event_send(STEER_EVENT_UDP, &owner, bpf_get_socket_cookie(context), 0);
    return 1;
}
SEC("cgroup/post_bind4") int steer_post_bind4(struct bpf_sock *context)
{
    return udp_bound(context);
}
SEC("cgroup/post_bind6") int steer_post_bind6(struct bpf_sock *context)
{
    return udp_bound(context);
}

/* ---- listeners that open -----------------------------------------------------------------------
 */

struct iteration { /* over `owners`, as the kernel gives it */
    struct bpf_iter_meta *meta;
    struct bpf_map *map;
    struct sock *socket;
    struct steer_owner *owner;
};

/* Its program sleeps in accept or poll, or has told an epoll of it. */
static __always_inline bool socket_is_waited_for(struct sock *socket)
{
    struct socket_wq *queue = socket->sk_wq;
    return queue && queue->wait.head.next != &queue->wait.head;
}

static __always_inline bool slot_hurries(__u32 slot)
{
    struct steer_slot *found = bpf_map_lookup_elem(&slots, &slot);
    return found && found->hurry;
}

/* Run by the supervisor again and again while there are such listeners: puts those into `sockets`
 * that are waited for, or have been open for long. Writes a byte for each that is left. */
SEC("iter/bpf_sk_storage_map") int steer_settle(struct iteration *iteration)
{
    struct sock *socket = iteration->socket;
    struct steer_owner *stored = iteration->owner;
    if (!socket || !stored || !stored->opens || socket->__sk_common.skc_state != BPF_TCP_LISTEN)
        return 0;
    if (!socket_is_waited_for(socket) && !slot_hurries(stored->slot) &&
        bpf_ktime_get_ns() - stored->opened_ns < STEER_OPENS_MS * 1000000ull) {
        __u8 left = 1;
        bpf_seq_write(iteration->meta->seq, &left, sizeof left);
        return 0;
    }
    stored->opens = 0;
    struct steer_owner owner = *stored;
    listener_add(&(struct met){.socket = socket}, &owner);
    return 0;
}
