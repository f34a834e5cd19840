/* What cache_store.c and cache_flight.c share: the shards. */
#pragma once

#include "gateway/http/cache_store.h"

struct cache_flight {
    LIST_ENTRY(cache_flight) next;
    struct cache_store *store; /* a reference */
    struct cache_key key;      /* its text lies behind the struct */
    unsigned shard;
    struct cache_waiters waiters;
    uint32_t waiter_count;
    uint64_t purges;    /* of the store, when it began */
    atomic_bool doomed; /* its key was invalidated */
};

TAILQ_HEAD(cache_queue, cache_object);
LIST_HEAD(cache_flights, cache_flight);

struct cache_shard {
    pthread_mutex_t lock;
    struct cache_object **chains;
    uint32_t chain_mask;
    struct cache_flights flights;
} __attribute__((aligned(128)));

struct cache_store {
    atomic_uint refs;
    char *name;
    _Atomic uint64_t bytes_max, object_max;
    _Atomic uint64_t bytes;
    _Atomic uint64_t evicted, purged, purges;
    struct cache_pages *pages; /* NULL: bodies lie in memory of their own */
    unsigned workers;
    struct cache_counts *counts;
    _Atomic(struct cache_disk *) disk; /* NULL: none, or not yet */
    pthread_mutex_t queue_lock;        /* taken after a shard's, by who puts in or takes out */
    struct cache_queue queue;          /* the newest first */
    struct cache_object *hand;         /* where the eviction stands; NULL: at the oldest */
    uint64_t objects;
    struct cache_shard shards[CACHE_SHARDS];
};

static inline unsigned cache_shard_of(const struct cache_key *key)
{
    return (unsigned)(key->hash >> 58) % CACHE_SHARDS;
}

static inline bool cache_key_same(const struct cache_key *one, const struct cache_key *other)
{
    return one->hash == other->hash && one->length == other->length &&
           memcmp(one->bytes, other->bytes, one->length) == 0;
}
