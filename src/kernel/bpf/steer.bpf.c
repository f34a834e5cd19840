/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The direct path's programs. Those of the cgroup run for the cluster's processes only, `steer_lookup`
 * for each new connection and each unconnected datagram of the network namespace.
 *
 * A life: bind4/6 lets the socket share its port and notes whose it is → sockops puts the listener
 * into `sockets` (post_bind reports a UDP socket, user space puts it there) → steer_lookup chooses
 * one for each new connection → sockops counts the connection until it ends.
 *
 * Two services whose programs believe in the same port: the first to bind claims it, the sockets of
 * the other are bound to its home address. They must not be in one SO_REUSEPORT group, since what
 * waits in the queue of a closing listener migrates within the group. */
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "kernel_types.h"
#include "steer_layout.h"

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

struct steer_owner { /* whose a socket is; its accepted connections inherit it */
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
    __u8 pad[2];
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
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(map_flags, BPF_F_NO_PREALLOC);
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
    __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
    __type(key, int);
    __type(value, struct steer_owner);
} owners SEC(".maps");

/* ---- small things ------------------------------------------------------------------------------ */

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

static __always_inline void event_send(enum steer_event_kind kind, const struct steer_owner *owner,
                                       __u64 cookie, int error)
{
    struct steer_event *event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
    if (!event)
        return;
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

/* ---- bind: share the port, and note whose socket it is ------------------------------------------ */

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
                                       const struct steer_member *member, __u8 protocol,
                                       __u16 port)
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

static __always_inline void owner_init(struct steer_owner *owner, struct bpf_sock_addr *context,
                                       const struct steer_member *member)
{
    owner->slot = member->slot;
    owner->service = member->service;
    owner->epoch = member->epoch;
    owner->port = bpf_ntohs((__u16)context->user_port);
    owner->protocol = protocol_of(context);
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
    if (!member || context->user_port == 0 || !protocol_of(context))
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
        }
    }
    socket_join(context, &owner);
    return BIND_ALLOW_PRIVILEGED;
}

/* A socket for IPv6 only has no home to go to: it gets a port that the kernel chooses, at ::1.
 * steer_lookup does not mind. */
static __always_inline void socket_move6(struct bpf_sock_addr *context,
                                         const struct steer_member *member, bool v6only)
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
        context->user_ip6[3] = bpf_htonl(member->home);
    }
}

SEC("cgroup/bind6") int steer_bind6(struct bpf_sock_addr *context)
{
    struct steer_member *member = member_current();
    struct bpf_sock *socket = context->sk;
    if (!member || !socket || context->user_port == 0 || !protocol_of(context))
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
            socket_move6(context, member, v6only);
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

/* ---- listening ---------------------------------------------------------------------------------- */

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
    if (key.family || owner->claimed)
        bpf_map_update_elem(&targets, &key, &target, BPF_NOEXIST);
}

/* Puts the listener into the first free place of its port. */
static __always_inline long socket_add(struct bpf_sock_ops *context,
                                       const struct steer_owner *owner, __u8 family)
{
    struct steer_socket_key key = {.slot = owner->slot,
                                   .port = owner->port,
                                   .protocol = STEER_TCP,
                                   .family = family};
    struct steer_socket_key spread = key;
    long error = 0;
    __u32 ordinal;
    for (ordinal = 0; ordinal < STEER_LISTENERS_PER_PORT; ordinal++) {
        key.ordinal = ordinal;
        error = bpf_sock_hash_update(context, &sockets, &key, BPF_NOEXIST);
        if (error != -ERROR_EXIST)
            break;
    }
    if (error)
        return error;
    __u32 count = ordinal + 1;
    __u32 *known = bpf_map_lookup_elem(&spreads, &spread);
    if (known && *known >= count)
        return 0;
    return bpf_map_update_elem(&spreads, &spread, &count, BPF_ANY);
}

static __always_inline void listener_add(struct bpf_sock_ops *context,
                                         const struct steer_owner *stored)
{
    struct steer_owner owner = *stored;
    long error = 0;
    target_default(&owner);
    if (owner.family != 6)
        error = socket_add(context, &owner, 4);
    if (!error && owner.family != 4)
        error = socket_add(context, &owner, 6);
    event_send(error ? STEER_EVENT_FAILED : STEER_EVENT_LISTEN, &owner,
               bpf_get_socket_cookie(context), (int)error);
}

/* The counters of the slot, when the socket is of its present incarnation. */
static __always_inline struct steer_slot *slot_of(const struct steer_owner *owner)
{
    __u32 slot = owner->slot;
    struct steer_slot *counters = bpf_map_lookup_elem(&slots, &slot);
    return counters && counters->epoch == owner->epoch ? counters : 0;
}

SEC("sockops") int steer_sockops(struct bpf_sock_ops *context)
{
    __u32 op = context->op;
    if (op != BPF_SOCK_OPS_TCP_LISTEN_CB && op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB &&
        op != BPF_SOCK_OPS_STATE_CB)
        return 1;
    struct bpf_sock *socket = context->sk;
    if (!socket)
        return 1;
    struct steer_owner *owner = bpf_sk_storage_get(&owners, socket, 0, 0);
    if (!owner)
        return 1;
    if (op == BPF_SOCK_OPS_TCP_LISTEN_CB) {
        listener_add(context, owner);
        return 1;
    }
    struct steer_slot *counters = slot_of(owner);
    if (!counters)
        return 1;
    if (op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB) {
        bpf_sock_ops_cb_flags_set(context, BPF_SOCK_OPS_STATE_CB_FLAG);
        __sync_fetch_and_add(&counters->live, 1);
        __sync_fetch_and_add(&counters->total, 1);
    } else if (context->args[1] == BPF_TCP_CLOSE && context->args[0] != BPF_TCP_LISTEN &&
               counters->live > 0) {
        __sync_fetch_and_add(&counters->live, -1);
    }
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

/* ---- a new connection: who gets it ---------------------------------------------------------------- */

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

/* Gives the connection to a listener of the slot; `choice` chooses among several. 0: done.
 * A function of its own (not inlined, not static), so that the verifier walks it once. */
__attribute__((noinline)) int slot_give(struct bpf_sk_lookup *context, __u32 slot, __u32 port,
                                        __u32 choice)
{
    struct steer_socket_key key = {.slot = slot,
                                   .port = (__u16)port,
                                   .protocol = (__u8)context->protocol,
                                   .family = context->family == FAMILY_INET ? 4 : 6};
    __u32 *known = bpf_map_lookup_elem(&spreads, &key);
    __u32 count = known ? *known : 0;
    if (count == 0)
        return -1;
    if (count > STEER_LISTENERS_PER_PORT)
        count = STEER_LISTENERS_PER_PORT;
    __u32 tries = count > 1 ? RANDOM_TRIES : 0;
    for (__u32 i = 0; i < RANDOM_TRIES + STEER_LISTENERS_PER_PORT; i++) {
        if (i >= tries + count)
            break;
        key.ordinal = i < tries ? mix(choice + i) % count : i - tries;
        struct bpf_sock *socket = bpf_map_lookup_elem(&sockets, &key);
        if (!socket)
            continue;
        long error = bpf_sk_assign(context, socket, BPF_SK_LOOKUP_F_NO_REUSEPORT);
        bpf_sk_release(socket);
        if (!error)
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
    return counters ? counters->live : 0;
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
 * round evenly. A function of its own for the verifier's sake: it need not know the result. */
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

static __always_inline __u32 choose(struct bpf_sk_lookup *context, const struct choosing *choosing,
                                    __u32 service)
{
    __u32 policy = choosing->rotation->policy;
    if (policy == STEER_CLIENT_HASH)
        return client_hash(context, 0) % choosing->count;
    if (context->protocol == STEER_UDP)
        return choose_sticky(service, choosing->count, client_hash(context, 1));
    if (policy == STEER_LEAST)
        return choose_least(choosing, service);
    if (policy == STEER_CYCLE)
        return service_turn(service) % choosing->count;
    return bpf_get_prandom_u32() % choosing->count;
}

static __always_inline int service_give(struct bpf_sk_lookup *context, __u32 service, __u16 port)
{
    struct choosing choosing = {.rotation = bpf_map_lookup_elem(&services, &service)};
    if (!choosing.rotation)
        return SK_DROP;
    choosing.count = choosing.rotation->count;
    if (choosing.count > STEER_ROTATION_SMALL) {
        choosing.large = bpf_map_lookup_elem(&rotations, &service);
        if (!choosing.large)
            return SK_DROP;
    }
    if (choosing.count == 0)
        return SK_DROP;
    __u32 index = choose(context, &choosing, service);
    __u32 listener = listener_choice(context);
    /* The chosen one may have gone this moment; then the next that has a listener. The remainder is
     * taken anew each time because the verifier knows nothing of it: of an index that counts up and
     * wraps, Linux 6.1 follows every value through every turn, and gives up. */
    for (__u32 i = 0; i < STEER_TRIES_MAX; i++) {
        if (i >= choosing.count)
            break;
        if (slot_give(context, slot_at(&choosing, (index + i) % choosing.count), port, listener) == 0)
            return SK_PASS;
    }
    return SK_DROP;
}

/* Exact address first, then any of the family, then any. Those of 127.64.0.0/10 are never "any":
 * each belongs to one instance or service, of this or another cluster. */
static __always_inline struct steer_target *target_find(struct bpf_sk_lookup *context,
                                                        __u32 address)
{
    struct steer_target_key key = {.port = (__u16)context->local_port,
                                   .protocol = (__u8)context->protocol};
    struct steer_target *target;
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
    target = bpf_map_lookup_elem(&targets, &key);
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
        slot = bpf_map_lookup_elem(&addresses, &address);
        if (slot && *slot != STEER_SLOT_HOME)
            return slot_give(context, *slot, context->local_port, listener_choice(context)) ? SK_DROP
                                                                                            : SK_PASS;
    }
    struct steer_target *target = target_find(context, address);
    if (!target)
        return slot ? SK_DROP : SK_PASS; /* a home without that port refuses */
    if (target->flags & STEER_TARGET_LOOPBACK && !destination_is_loopback(context, address))
        return SK_PASS;
    if (target->flags & STEER_TARGET_LOCAL && context->ingress_ifindex != LOOPBACK_IFINDEX)
        return SK_DROP;
    return service_give(context, target->service, target->port);
}

/* ---- outgoing connections to loopback -------------------------------------------------------------- */

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

char LICENSE[] SEC("license") = "Dual BSD/GPL";
