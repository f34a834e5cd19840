#include "upstream/rotation.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

static uint32_t gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

size_t rotation_cycle(const struct rotation_member *members, size_t count, uint32_t *ret_slots)
{
    size_t length = 0;
    for (size_t i = 0; i < count && length < ROTATION_MAX; i++)
        if (members[i].weight > 0)
            ret_slots[length++] = members[i].slot;
    return length;
}

/* Weights brought down by their greatest common divisor and, when their sum is beyond `sum_max`, in
 * proportion; none falls to 0. Returns the sum. */
static uint64_t weights_reduce(const struct rotation_member *members, size_t count,
                               uint64_t sum_max, uint32_t *ret_weights)
{
    uint32_t divisor = 0;
    uint64_t sum = 0;
    size_t present = 0;
    for (size_t i = 0; i < count; i++) {
        divisor = gcd(divisor, members[i].weight);
        sum += members[i].weight;
        present += members[i].weight > 0;
    }
    assert(present <= sum_max);
    if (present == 0)
        return 0;
    uint64_t reduced = sum / divisor;
    uint64_t room = sum_max - present; /* one each first, the rest in proportion */
    uint64_t reduced_sum = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t weight = members[i].weight / divisor;
        if (reduced > sum_max && weight > 0)
            weight = 1 + (uint64_t)((unsigned __int128)weight * room / reduced);
        ret_weights[i] = (uint32_t)weight;
        reduced_sum += weight;
    }
    return reduced_sum;
}

/* Each turn everybody gains his weight, and the richest is chosen and pays the sum. */
size_t rotation_weighted(const struct rotation_member *members, size_t count, uint32_t *ret_slots)
{
    assert(count <= ROTATION_MAX);
    uint32_t weights[ROTATION_MAX];
    int64_t credits[ROTATION_MAX];
    memset(credits, 0, count * sizeof *credits);
    uint64_t sum = weights_reduce(members, count, ROTATION_MAX, weights);
    for (uint64_t turn = 0; turn < sum; turn++) {
        size_t richest = count;
        for (size_t i = 0; i < count; i++) {
            if (weights[i] == 0)
                continue;
            credits[i] += weights[i];
            if (richest == count || credits[i] > credits[richest])
                richest = i;
        }
        credits[richest] -= (int64_t)sum;
        ret_slots[turn] = members[richest].slot;
    }
    return sum;
}

/* A table of another size is another table, and moves all clients. So there are few sizes (primes),
 * and a cluster changes from one to the next seldom. */
static const uint32_t hash_sizes[] = {251, 1021, 4093};
enum { HASH_SIZES = sizeof hash_sizes / sizeof *hash_sizes, HASH_SIZE_MAX = 4093 };

static uint32_t hash_size(uint64_t units)
{
    for (size_t i = 0; i < HASH_SIZES; i++)
        if (units * ROTATION_HASH_SHARE <= hash_sizes[i])
            return hash_sizes[i];
    return HASH_SIZE_MAX;
}

static uint64_t mix64(uint64_t x) /* the finaliser of splitmix64, S. Vigna */
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

struct maglev { /* one member's walk over the table: offset, offset + skip, … */
    uint32_t place;
    uint32_t skip;
};

size_t rotation_hash(const struct rotation_member *members, const uint64_t *names, size_t count,
                     uint32_t *ret_slots)
{
    enum { UNITS_MAX = HASH_SIZE_MAX / ROTATION_HASH_SHARE };
    assert(count <= ROTATION_MAX);
    uint32_t weights[ROTATION_MAX];
    size_t present = 0;
    for (size_t i = 0; i < count; i++)
        present += members[i].weight > 0;
    /* With more members than that, each has a smaller share. */
    uint64_t units_max = present > UNITS_MAX ? present : UNITS_MAX;
    uint64_t sum = weights_reduce(members, count, units_max, weights);
    if (sum == 0 || sum > HASH_SIZE_MAX)
        return 0;
    uint32_t size = hash_size(sum);

    struct maglev walks[ROTATION_MAX];
    for (size_t i = 0; i < count; i++) {
        walks[i].place = (uint32_t)(mix64(names[i]) % size);
        walks[i].skip = (uint32_t)(mix64(~names[i]) % (size - 1)) + 1;
    }
    bool taken[HASH_SIZE_MAX] = {false};
    uint32_t filled = 0;
    while (filled < size) {
        for (size_t i = 0; i < count && filled < size; i++) {
            for (uint32_t unit = 0; unit < weights[i] && filled < size; unit++) {
                while (taken[walks[i].place])
                    walks[i].place = (walks[i].place + walks[i].skip) % size;
                taken[walks[i].place] = true;
                ret_slots[walks[i].place] = members[i].slot;
                filled++;
            }
        }
    }
    return size;
}
