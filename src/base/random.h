/* Random numbers for jitter and choices (not for keys): a small generator whose state the owner
 * holds, so that tests seed it. xorshift64*, S. Vigna 2014. */
#pragma once

#include <stdint.h>

struct random_state {
    uint64_t state; /* never 0 */
};

/* Seeds from the kernel (getrandom). */
void random_init(struct random_state *random);
void random_seed(struct random_state *random, uint64_t seed);
uint64_t random_next(struct random_state *random);
/* 0 <= result < bound; bound > 0. */
uint64_t random_below(struct random_state *random, uint64_t bound);
