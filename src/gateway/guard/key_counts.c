#include "gateway/guard/key_counts.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

enum { STRIPES = 64, SLOTS_PER_STRIPE = 256 };

struct count {
    LIST_ENTRY(count) next;
    uint64_t key;
    uint32_t requests;
};

LIST_HEAD(slot, count);

static struct stripe {
    pthread_mutex_t lock;
    struct slot slots[SLOTS_PER_STRIPE];
} stripes[STRIPES] = {[0 ... STRIPES - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

static struct stripe *stripe_of(uint64_t key, struct slot **ret_slot)
{
    struct stripe *stripe = &stripes[key % STRIPES];
    *ret_slot = &stripe->slots[key / STRIPES % SLOTS_PER_STRIPE];
    return stripe;
}

static struct count *count_find(struct slot *slot, uint64_t key)
{
    struct count *count;
    LIST_FOREACH (count, slot, next) {
        if (count->key == key)
            return count;
    }
    return NULL;
}

static struct count *count_new(struct slot *slot, uint64_t key)
{
    struct count *count = calloc(1, sizeof *count);
    if (!count)
        return NULL;
    count->key = key;
    LIST_INSERT_HEAD(slot, count, next);
    return count;
}

bool key_count_take(uint64_t key, uint32_t max)
{
    struct slot *slot;
    struct stripe *stripe = stripe_of(key, &slot);
    pthread_mutex_lock(&stripe->lock);
    struct count *count = count_find(slot, key);
    if (!count && max)
        count = count_new(slot, key);
    bool fits = count && count->requests < max;
    if (fits)
        count->requests++;
    pthread_mutex_unlock(&stripe->lock);
    return fits;
}

void key_count_give(uint64_t key)
{
    struct slot *slot;
    struct stripe *stripe = stripe_of(key, &slot);
    pthread_mutex_lock(&stripe->lock);
    struct count *count = count_find(slot, key);
    assert(count);
    if (--count->requests == 0) {
        LIST_REMOVE(count, next);
        free(count);
    }
    pthread_mutex_unlock(&stripe->lock);
}
