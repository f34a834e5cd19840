/* The direct path's mechanism with BPF: programs in the kernel that hand each new connection to the
 * listener of one chosen instance (sk_lookup), let instances share a port (bind4/6), notice
 * listeners and count connections (sockops), and lead outgoing connections (connect4/6,
 * sendmsg4/6).
 *
 * One `struct steer` serves one cluster in one network namespace. Its maps and links are pinned in
 * a folder of the BPF file system, so steering goes on without this process; steer_open finds what
 * an earlier supervisor has pinned and takes it over. Nothing here blocks. Functions return 0 or
 * -errno. Needs CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and Linux 6.1.
 * Sources: bpf(2), Documentation/bpf/prog_sk_lookup.rst, Documentation/bpf/map_sockmap.rst. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernel/bpf/steer_layout.h"

struct steer;

struct steer_options {
    const char *cluster;     /* name: the folder of the pins */
    const char *bpf_mount;   /* NULL: /sys/fs/bpf, mounted when it is not */
    const char *cgroup_path; /* the cluster's cgroup v2 directory, which exists */
    uint32_t slots_max;
    uint32_t services_max;
};

/* Takes over pins or loads, attaches and pins anew. *ret_adopted tells which. On failure nothing
 * stays attached, and `why` (of why_size bytes) says in words what is missing. */
int steer_open(const struct steer_options *options, struct steer **ret_steer, bool *ret_adopted,
               char *why, size_t why_size);
/* Forgets the descriptors; the pins stay and steering goes on. */
void steer_close(struct steer *steer);
/* Detaches, removes the pins and this cluster's claims, and frees. */
void steer_destroy(struct steer *steer);
/* Removes what a cluster of that name has pinned, without opening it. Quiet when there is nothing.
 */
void steer_remove(const char *bpf_mount, const char *cluster);

/* ---- who is who ----------------------------------------------------------------------------- */

/* The processes of this cgroup are that member, and so are the sockets made in it. Each start has a
 * cgroup and an epoch of its own; with a new epoch the slot counts from zero, or goes on with
 * STEER_MEMBER_CONTINUES. What the slot was before goes by itself. */
int steer_member_set(struct steer *steer, uint64_t cgroup_id, const struct steer_member *member);
/* The processes of this cgroup are guests of the service: their connections to loopback lead where
 * the service's do, and what they listen on is nobody's but theirs. It counts nothing. */
int steer_guest_set(struct steer *steer, uint64_t cgroup_id, uint32_t service);
int steer_guest_remove(struct steer *steer, uint64_t cgroup_id);
/* Nothing of it counts any more. */
int steer_member_remove(struct steer *steer, uint64_t cgroup_id, uint32_t address);

/* ---- where connections go ------------------------------------------------------------------- */

/* `slots`: the rotation in order (an entry may stand several times: weights, hash). count 0:
 * nobody; connections to the service are refused. Takes effect in one step. -E2BIG: too many. */
int steer_rotation_set(struct steer *steer, uint32_t service, enum steer_policy policy,
                       const uint32_t *slots, uint32_t count);
/* The address is a service's home: connections to a port without target are refused. (Members'
 * homes are known by themselves.) */
int steer_home_set(struct steer *steer, uint32_t home);
int steer_home_remove(struct steer *steer, uint32_t home);
int steer_target_set(struct steer *steer, const struct steer_target_key *key,
                     const struct steer_target *target);
int steer_target_remove(struct steer *steer, const struct steer_target_key *key);
/* New TCP connections to the key's address and port are given to this listening socket (stays the
 * caller's), wherever it is bound: an IPv6 one that takes IPv4 is given both families'. */
int steer_gate_set(struct steer *steer, const struct steer_target_key *key, int fd);
/* Outgoing connections of `key.service` to a loopback address at key.port lead to `home`. */
int steer_use_set(struct steer *steer, const struct steer_use_key *key, uint32_t home);
int steer_use_remove(struct steer *steer, const struct steer_use_key *key);

/* ---- what happens --------------------------------------------------------------------------- */

/* Readable when there are events. */
int steer_events_fd(const struct steer *steer);
typedef void steer_event_call(void *owner, const struct steer_event *event);
/* Calls for each event that waits, at most EVENTS_PER_CALL_MAX. */
void steer_events_take(struct steer *steer, steer_event_call *call, void *owner);
/* Events so far for which there was no room. To be asked after events were taken: when it has
 * grown, steer_sockets_each tells of listeners that no event did. */
uint64_t steer_events_lost(const struct steer *steer);

/* Do listeners that are given connections answer recv as others do (kernel/listeners.h)? False:
 * `why` tells why not, and they must be attended to. */
bool steer_listeners_answer(const struct steer *steer, char *why, size_t why_size);
/* From now on, until this process ends or forgets `steer`, a listener that opens (STEER_EVENT_OPEN)
 * gets connections only when its program waits for them, and steer_settle must be called while
 * there are such. Without an attendant listeners get connections at once. */
int steer_attend(struct steer *steer);
/* Lets those listeners have connections that are waited for. True: some are left. */
bool steer_settle(struct steer *steer);
/* Lets those of the slot have connections, waited for or not. */
void steer_settle_slot(struct steer *steer, uint32_t slot);

/* Puts a bound UDP socket (a descriptor of it; stays the caller's) into `sockets`. */
int steer_udp_add(struct steer *steer, uint32_t slot, uint16_t port, uint8_t family, int fd);
/* A listener of ours in which connections wait for the slot's next start. A rotation that has
 * STEER_WAITING | slot in place of the slot leads there. `fd` stays the caller's; what is closed is
 * gone. */
enum { STEER_WAITING = 0x40000000 };
int steer_waiting_set(struct steer *steer, uint32_t slot, uint16_t port, uint8_t family, int fd);
/* The listener with this cookie gets no more connections of the slot. */
void steer_listener_remove(struct steer *steer, uint32_t slot, uint16_t port, uint64_t cookie);
/* Is there a listener of this slot? (family 4 or 6) */
bool steer_has_listener(struct steer *steer, uint32_t slot, uint8_t protocol, uint16_t port,
                        uint8_t family);

/* Calls for each socket that there is, with its cookie: what a restarted supervisor finds. */
typedef void steer_socket_call(void *owner, const struct steer_socket_key *key, uint64_t cookie);
void steer_sockets_each(struct steer *steer, steer_socket_call *call, void *owner);

/* Connections that are open (from the handshake's end until the program has closed them or they are
 * cut), and all since the start. Those that wait for an instance that dies count for its next start
 * when they go there; those that go to a sibling count for nobody. */
void steer_counts(const struct steer *steer, uint32_t slot, int64_t *ret_live, uint64_t *ret_total);

/* ---- claims: one map for all clusters of the machine ------------------------------------------
 */

/* 0: it is ours now or was already (same cluster and owner); -EEXIST: `ret_other` (may be NULL)
 * tells whose it is. */
int steer_claim(struct steer *steer, enum steer_claim_kind kind, uint32_t value, uint32_t owner,
                struct steer_claim *ret_other);
/* Who holds it; false: nobody. */
bool steer_claim_find(const struct steer *steer, enum steer_claim_kind kind, uint32_t value,
                      struct steer_claim *ret_claim);
void steer_release(struct steer *steer, enum steer_claim_kind kind, uint32_t value);
/* The cluster's own number in claims. */
uint32_t steer_cluster_number(const struct steer *steer);

/* net.ipv4.tcp_migrate_req of this namespace: sets it, remembers over all clusters what it was, and
 * restores it with the last. *ret_changed: it was off. */
int steer_migrate_enable(struct steer *steer, bool *ret_changed);
/* *ret_restored: this was the last cluster and the old value is back. */
int steer_migrate_disable(struct steer *steer, bool *ret_restored);
