#include "gateway/core/client_caps.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/table.h"

enum { STRIPES = 64, SLOTS_PER_STRIPE = 256 };

struct key {
    uint32_t row;
    uint32_t family;
    uint8_t address[8]; /* IPv4, or the first 64 bits of IPv6 */
};

struct count {
    LIST_ENTRY(count) next;
    struct key key;
    uint32_t connections;
};

static struct stripe {
    pthread_mutex_t lock;
    LIST_HEAD(, count) slots[SLOTS_PER_STRIPE];
} stripes[STRIPES] = {[0 ... STRIPES - 1] = {.lock = PTHREAD_MUTEX_INITIALIZER}};

static struct key key_of(uint32_t row, const struct sockaddr *peer)
{
    struct key key = {.row = row, .family = peer->sa_family};
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)peer;
    const struct sockaddr_in *four = (const struct sockaddr_in *)peer;
    if (peer->sa_family == AF_INET) {
        memcpy(key.address, &four->sin_addr, 4);
    } else if (peer->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        key.family = AF_INET; /* a dual-stack listener shows them so */
        memcpy(key.address, &six->sin6_addr.s6_addr[12], 4);
    } else if (peer->sa_family == AF_INET6) {
        memcpy(key.address, &six->sin6_addr, 8);
    }
    return key;
}

static struct stripe *stripe_of(const struct key *key, size_t *ret_slot)
{
    uint64_t hash = hash_bytes(key, sizeof *key, hash_seed());
    *ret_slot = (size_t)(hash >> 32) % SLOTS_PER_STRIPE;
    return &stripes[hash % STRIPES];
}

static struct count *count_find(struct stripe *stripe, size_t slot, const struct key *key)
{
    struct count *count;
    LIST_FOREACH (count, &stripe->slots[slot], next) {
        if (memcmp(&count->key, key, sizeof *key) == 0)
            return count;
    }
    return NULL;
}

static struct count *count_new(struct stripe *stripe, size_t slot, const struct key *key)
{
    struct count *count = calloc(1, sizeof *count);
    if (!count)
        return NULL;
    count->key = *key;
    LIST_INSERT_HEAD(&stripe->slots[slot], count, next);
    return count;
}

bool client_caps_take(uint32_t row, const struct sockaddr *peer, uint32_t max)
{
    struct key key = key_of(row, peer);
    size_t slot;
    struct stripe *stripe = stripe_of(&key, &slot);
    pthread_mutex_lock(&stripe->lock);
    struct count *count = count_find(stripe, slot, &key);
    if (!count)
        count = count_new(stripe, slot, &key);
    bool fits = count && count->connections < max;
    if (fits)
        count->connections++;
    pthread_mutex_unlock(&stripe->lock);
    return fits;
}

void client_caps_give(uint32_t row, const struct sockaddr *peer)
{
    struct key key = key_of(row, peer);
    size_t slot;
    struct stripe *stripe = stripe_of(&key, &slot);
    pthread_mutex_lock(&stripe->lock);
    struct count *count = count_find(stripe, slot, &key);
    if (count && --count->connections == 0) {
        LIST_REMOVE(count, next);
        free(count);
    }
    pthread_mutex_unlock(&stripe->lock);
}
