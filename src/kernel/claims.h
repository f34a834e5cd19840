/* Claims: one BPF hash map for all clusters of the machine, pinned beside their folders, in which
 * they agree who holds a home address, a block of instance addresses, a port, and the sysctl
 * net.ipv4.tcp_migrate_req. The programs of the direct path read and write the ports too.
 *
 * A claim is held for a network namespace (`netns`, its SO_NETNS_COOKIE) by a cluster (its number)
 * and an owner within. Functions take the map's descriptor, do not block, and return 0 or -errno.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "kernel/bpf/steer_layout.h"

/* A hash of the name: the same on every start. Never 0. */
uint32_t claims_cluster_number(const char *cluster);

/* The map pinned at `path`, made if it is not there; the caller's descriptor. -EPROTO: what is
 * pinned there is of another layout. */
int claims_open(const char *path, int *ret_map);
/* Removes the pin when nobody claims anything. */
void claims_remove_if_empty(const char *path);

/* 0: ours now, or was (same cluster and owner); -EEXIST: `ret_other` (may be NULL) tells whose. */
int claims_take(int map, const struct steer_claim_key *key, const struct steer_claim *claim,
                struct steer_claim *ret_other);
bool claims_find(int map, const struct steer_claim_key *key, struct steer_claim *ret_claim);
/* Forgets the claim if the cluster holds it. */
void claims_release(int map, const struct steer_claim_key *key, uint32_t cluster);
/* All of the cluster's, in every namespace; restores the sysctl if `netns` (the caller's) has no
 * other cluster that needs it. */
void claims_release_all(int map, uint32_t cluster, uint64_t netns);

/* See steer_migrate_enable. */
int claims_migrate_enable(int map, uint64_t netns, uint32_t cluster, bool *ret_changed);
int claims_migrate_disable(int map, uint64_t netns, uint32_t cluster, bool *ret_restored);
