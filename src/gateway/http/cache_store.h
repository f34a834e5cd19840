/* A store of answers, shared by all workers: `cache pages memory=64m;`. It lives over generations;
 * everybody who has something of it holds a reference.
 *
 * Look-up is sharded by the key's hash, each shard under a lock that is held for a walk along one
 * chain; nothing is sent, read or freed under it. Answers stand in a queue in the order in which
 * they came, under a lock of its own that look-ups do not take, and a hand walks along it (SIEVE,
 * NSDI 2024): what was asked for since its last visit stays, what was not goes. So a flood of
 * answers that nobody asks for again does not take those away that are.
 *
 * The bound is on bytes: answers, bodies that are being filled, and what was taken out of the store
 * while somebody still sends it. Where nothing is left to take out, what comes is not stored.
 *
 * Flights: at most one request for a key is under way to the service (coalescing); others wait for
 * its end in line. See struct cache_waiter for who may touch what. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "event/loop.h"
#include "gateway/http/cache_object.h"

enum {
    CACHE_SHARDS = 64,
    CACHE_VARIANTS_MAX = 64,       /* of one key; a further one takes the oldest's place */
    CACHE_WAITERS_MAX = 10 * 1000, /* of one flight; further ones do not wait */
    CACHE_MARK_MS = 10 * 1000,     /* so long nobody waits for a key whose answers are not stored */
};

/* Of one worker, written by it alone. */
struct cache_counts {
    _Atomic uint64_t hits;        /* answered from the store, fresh */
    _Atomic uint64_t stale;       /* the same, after its time */
    _Atomic uint64_t revalidated; /* answered from it after the service had said 304 */
    _Atomic uint64_t misses;      /* the service answered */
    _Atomic uint64_t coalesced;   /* of all of those: waited for another's fetch */
    _Atomic uint64_t passed;      /* not looked up: method, bypass … */
    _Atomic uint64_t stored;
    _Atomic uint64_t unstorable; /* answers that may not be stored */
    _Atomic uint64_t refused;    /* that might, but found no room */
} __attribute__((aligned(128)));

static inline void cache_count(_Atomic uint64_t *count)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

struct cache_figures { /* for metrics; counts summed over workers */
    uint64_t hits, stale, revalidated, misses, coalesced, passed, stored, unstorable, refused;
    uint64_t evicted, purged;
    uint64_t bytes, bytes_max, objects;
    uint64_t disk_objects, disk_bytes, disk_reads, disk_writes, disk_skipped, disk_failures;
};

enum purge_kind {
    PURGE_ALL,
    PURGE_TAGS,   /* with one of the tags, which have blanks or commas between them */
    PURGE_TARGET, /* host and target, as a key has them; of all listeners */
    PURGE_BELOW,  /* the same, and all that begin so */
};

struct cache_purge {
    enum purge_kind kind;
    struct slice listener; /* only of this one; "": of all */
    struct slice text;
};

enum { CACHE_PURGE_BYTES_MAX = 8 * 1024 + 256 };
bool cache_purge_matches(const struct cache_object *object, const struct cache_purge *purge);
/* As bytes, and back (slices point into them). Bytes: at most CACHE_PURGE_BYTES_MAX, or 0: it does
 * not fit. */
size_t cache_purge_write(const struct cache_purge *purge, char *room);
bool cache_purge_read(const char *bytes, size_t length, struct cache_purge *ret_purge);

struct cache_disk;

struct cache_store *cache_store_new(const char *name, uint64_t memory_bytes, uint64_t object_bytes,
                                    unsigned workers);
/* Gives it a file of that size, once; it may be in use already. See cache_disk.h. */
void cache_store_disk(struct cache_store *store, int fd, uint64_t bytes);
struct cache_disk *cache_store_its_disk(const struct cache_store *store); /* NULL: none */
void cache_store_ref(struct cache_store *store);
void cache_store_unref(struct cache_store *store); /* accepts NULL */
/* New bounds, of a reload; what is too much goes. */
void cache_store_resize(struct cache_store *store, uint64_t memory_bytes, uint64_t object_bytes);
const char *cache_store_name(const struct cache_store *store);
uint64_t cache_store_memory_max(const struct cache_store *store);
size_t cache_store_object_max(const struct cache_store *store);
struct cache_counts *cache_store_counts(struct cache_store *store, unsigned worker);
void cache_store_figures(struct cache_store *store, struct cache_figures *ret_figures);

/* ---- memory: for cache_object.c ---- */

/* Takes others out if need be. False: there is no room. */
bool cache_store_charge(struct cache_store *store, size_t bytes);
void cache_store_discharge(struct cache_store *store, size_t bytes);
struct cache_pages *
cache_store_pages(const struct cache_store *store); /* NULL: none could be made */

/* ---- answers ---- */

/* The one that fits the request, newest first, with a reference; it may be stale, or a mark. NULL:
 * none. */
struct cache_object *cache_store_find(struct cache_store *store, const struct cache_key *key,
                                      const struct head *request);
/* Puts it in, in the place of the one with the same key and the same values of Vary. A reference is
 * taken. */
void cache_store_put(struct cache_store *store, struct cache_object *object);
/* The same for one that was read from the store's disk: unless a newer one is there. */
void cache_store_put_read(struct cache_store *store, struct cache_object *object);
void cache_store_remove(struct cache_store *store, struct cache_object *object);
/* All of a key, and what is under way for it is not stored. How many. */
uint64_t cache_store_invalidate(struct cache_store *store, const struct cache_key *key);
/* All that `purge` means, one shard at a time, and nothing that is under way is stored. How many
 * (on disk: not counted). */
uint64_t cache_store_purge(struct cache_store *store, const struct cache_purge *purge);

/* ---- flights ---- */

struct cache_flight;

enum flight_end {
    FLIGHT_STORED, /* look again */
    FLIGHT_FAILED, /* the leader is gone, or found nothing to be stored: look again */
    FLIGHT_ALONE,  /* the answers to this key are not stored: everybody for himself */
};

/* Where a worker's waiters are put when their flight is over; an eventfd tells the worker. */
struct cache_mailbox {
    pthread_mutex_t lock;
    TAILQ_HEAD(cache_waiters, cache_waiter) woken;
    int fd;
    struct watch watch;
};

/* 0 or -errno. One a worker; waiters are woken in its loop. */
int cache_mailbox_init(struct cache_mailbox *mailbox, struct loop *loop);
void cache_mailbox_done(struct cache_mailbox *mailbox, struct loop *loop);

/* In the memory of whoever waits. In a flight's line it is under the shard's lock, in a mailbox
 * under the mailbox's; it goes from one to the other while both are held. */
struct cache_waiter {
    TAILQ_ENTRY(cache_waiter) line;
    struct cache_store *store;
    struct cache_mailbox *mailbox;
    struct cache_flight *flight; /* NULL: in the mailbox, or nowhere */
    unsigned shard;
    bool posted; /* in the mailbox */
    enum flight_end end;
    void (*woken)(struct cache_waiter *waiter); /* by its worker's loop, once; it waits no more */
};

enum flight_join { JOIN_LEADS, JOIN_WAITS, JOIN_ALONE };
/* LEADS: *ret_flight is the caller's to end. WAITS: `waiter` (store, mailbox and woken are set)
 * stands in line, when `may_wait`; else ALONE. */
enum flight_join cache_flight_join(struct cache_store *store, const struct cache_key *key,
                                   struct cache_waiter *waiter, bool may_wait,
                                   struct cache_flight **ret_flight);
/* Out of the line, or the mailbox; `woken` is not called any more. */
void cache_waiter_leave(struct cache_waiter *waiter);
/* The leader itself waits for it; then somebody else must end it. */
void cache_flight_await(struct cache_flight *flight, struct cache_waiter *waiter);
/* Wakes all who wait; the flight is gone. */
void cache_flight_end(struct cache_flight *flight, enum flight_end end);
/* Was the key invalidated, or anything purged, since it began? Then its answer is not stored. */
bool cache_flight_doomed(const struct cache_flight *flight);
bool cache_flight_awaited(const struct cache_flight *flight); /* somebody waits */
/* Purges so far: a fetch without a flight compares. */
uint64_t cache_store_purges(const struct cache_store *store);
