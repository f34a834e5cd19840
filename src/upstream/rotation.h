/* Rotations: from the members that may get connections and their weights to the sequence of slots
 * that a balancer walks. Pure; used by the direct path's maps now, and by the gateway.
 *
 * - cycle (round-robin): each member once;
 * - weighted: each member `weight / gcd` times, spread evenly (the smooth weighted round-robin that
 *   nginx made known), scaled down to fit;
 * - hash: a Maglev table (Eisenbud et al., NSDI 2016, §3.4), so that few clients move when a member
 *   comes or goes. Its size is one of few primes, the smallest that gives each weight unit at least
 *   ROTATION_HASH_SHARE entries: clients move when the size changes. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { ROTATION_MAX = 4096, ROTATION_HASH_SHARE = 16 };

struct rotation_member {
    uint32_t slot;
    uint32_t weight; /* 0: not in rotation */
};

/* All fill `ret_slots` (room for ROTATION_MAX) and return the number of entries; 0: nobody. */
size_t rotation_cycle(const struct rotation_member *members, size_t count, uint32_t *ret_slots);
size_t rotation_weighted(const struct rotation_member *members, size_t count, uint32_t *ret_slots);
/* `names`: what a member is hashed by, one for each, stable over restarts. */
size_t rotation_hash(const struct rotation_member *members, const uint64_t *names, size_t count,
                     uint32_t *ret_slots);
