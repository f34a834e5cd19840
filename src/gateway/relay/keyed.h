/* A hash table of things that are found by a short binary key: an address, a token. The things
 * embed `struct keyed`; the table owns none of them. Keys come from outside, so the hash is seeded.
 * Grows by doubling up to KEYED_BUCKETS_MAX. One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY_BYTES_MAX = 23, KEYED_BUCKETS_MAX = 65536 };

struct key {
    uint8_t length;
    uint8_t bytes[KEY_BYTES_MAX];
};

struct keyed {
    struct keyed *next;
    uint32_t hash;
    struct key key;
};

struct keyed_table {
    struct keyed **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
    uint64_t seed;
};

int keyed_init(struct keyed_table *table, uint64_t seed); /* 0 or -ENOMEM */
void keyed_done(struct keyed_table *table);               /* must be empty */

static inline void key_add(struct key *key, const void *bytes, size_t length)
{
    for (size_t i = 0; i < length && key->length < KEY_BYTES_MAX; i++)
        key->bytes[key->length++] = ((const uint8_t *)bytes)[i];
}

/* NULL: none. */
struct keyed *keyed_find(const struct keyed_table *table, const struct key *key);
/* There must be none with that key. */
void keyed_insert(struct keyed_table *table, struct keyed *keyed, const struct key *key);
void keyed_remove(struct keyed_table *table, struct keyed *keyed);
