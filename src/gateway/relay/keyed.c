#include "gateway/relay/keyed.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS_FIRST = 64 };

int keyed_init(struct keyed_table *table, uint64_t seed)
{
    *table = (struct keyed_table){.bucket_count = BUCKETS_FIRST, .seed = seed};
    table->buckets = calloc(BUCKETS_FIRST, sizeof(struct keyed *));
    return table->buckets ? 0 : -ENOMEM;
}

void keyed_done(struct keyed_table *table)
{
    assert(!table->count);
    free(table->buckets);
    table->buckets = NULL;
}

/* Eight bytes at a time, multiplied and folded; the seed keeps strangers from choosing collisions.
 */
static uint32_t key_hash(const struct keyed_table *table, const struct key *key)
{
    const uint64_t factor = 0x9e3779b97f4a7c15ull;
    uint64_t words[3] = {0};
    _Static_assert(sizeof words >= sizeof key->bytes, "all of it");
    memcpy(words, key->bytes, key->length);
    uint64_t hash = table->seed ^ key->length;
    for (int i = 0; i < 3; i++) {
        hash = (hash ^ words[i]) * factor;
        hash ^= hash >> 29;
        hash *= table->seed | 1;
        hash ^= hash >> 32;
    }
    return (uint32_t)(hash ^ hash >> 32);
}

static struct keyed **bucket_of(const struct keyed_table *table, uint32_t hash)
{
    return &table->buckets[hash & (table->bucket_count - 1)];
}

struct keyed *keyed_find(const struct keyed_table *table, const struct key *key)
{
    uint32_t hash = key_hash(table, key);
    for (struct keyed *at = *bucket_of(table, hash); at; at = at->next)
        if (at->hash == hash && at->key.length == key->length &&
            memcmp(at->key.bytes, key->bytes, key->length) == 0)
            return at;
    return NULL;
}

/* Without memory it stays as it is, and only gets slower. */
static void table_grow(struct keyed_table *table)
{
    size_t before = table->bucket_count;
    struct keyed **old = table->buckets;
    struct keyed **buckets = calloc(before * 2, sizeof(struct keyed *));
    if (!buckets)
        return;
    table->buckets = buckets;
    table->bucket_count = before * 2;
    for (size_t i = 0; i < before; i++) {
        struct keyed *next;
        for (struct keyed *at = old[i]; at; at = next) {
            next = at->next;
            at->next = *bucket_of(table, at->hash);
            *bucket_of(table, at->hash) = at;
        }
    }
    free(old);
}

void keyed_insert(struct keyed_table *table, struct keyed *keyed, const struct key *key)
{
    if (table->count >= table->bucket_count && table->bucket_count < KEYED_BUCKETS_MAX)
        table_grow(table);
    keyed->key = *key;
    keyed->hash = key_hash(table, key);
    keyed->next = *bucket_of(table, keyed->hash);
    *bucket_of(table, keyed->hash) = keyed;
    table->count++;
}

void keyed_remove(struct keyed_table *table, struct keyed *keyed)
{
    struct keyed **at = bucket_of(table, keyed->hash);
    while (*at != keyed)
        at = &(*at)->next;
    *at = keyed->next;
    table->count--;
}
