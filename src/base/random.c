#include "base/random.h"

#include <assert.h>
#include <sys/random.h>

#include "base/clock.h"

void random_seed(struct random_state *random, uint64_t seed)
{
    random->state = seed ? seed : 0x9e3779b97f4a7c15ull;
}

void random_init(struct random_state *random)
{
    uint64_t seed = 0;
    if (getrandom(&seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed = clock_monotonic_ns();
    random_seed(random, seed);
}

uint64_t random_next(struct random_state *random)
{
    uint64_t x = random->state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    random->state = x;
    return x * 0x2545f4914f6cdd1dull;
}

uint64_t random_below(struct random_state *random, uint64_t bound)
{
    assert(bound > 0);
    return (uint64_t)(((__uint128_t)random_next(random) * bound) >> 64);
}
