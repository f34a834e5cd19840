/* How much each key has had of its rate: the generic cell rate algorithm (ITU-T I.371, the token
 * bucket as one number: when the bucket will be full again). One table for the process, so a limit
 * holds over all workers, and goes on over reloads; a new process begins anew.
 *
 * Of fixed size. A key whose bucket is full again says nothing, and gives its place to others;
 * when a flood of keys leaves none, the one that is nearest to being full goes. In sets with a lock
 * each, which is held for a few loads and stores. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { RATE_WAYS = 8, RATE_SETS = 16384 }; /* 131,072 keys in 2 MiB, touched as they are needed */

struct rate {
    uint64_t interval_ns; /* between two in the long run */
    uint32_t burst;       /* so many at once, 1 at least */
};

/* One more for the key (a key_hash of what it is). False: too much; *ret_wait_ns until there may be
 * one. Never more than `burst` + time / interval in any time. */
bool rate_take(uint64_t key, const struct rate *rate, uint64_t now_ns, uint64_t *ret_wait_ns);
