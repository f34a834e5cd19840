#include "gateway/http/cache_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gateway/http/cache_disk.h"
#include "gateway/http/cache_store_private.h"

enum {
    CHAIN_BYTES = 4 * 1024, /* of the bound, for each chain */
    CHAINS_MIN = 64,        /* of a shard */
    CHAINS_MAX = 64 * 1024,
    HAND_STEPS_MAX = 64, /* of one eviction: then it takes what was asked for, too */
};

/* ---- life ----------------------------------------------------------------------------------- */

static uint32_t chains_count(uint64_t memory_bytes)
{
    uint64_t wanted = memory_bytes / CACHE_SHARDS / CHAIN_BYTES;
    uint32_t count = CHAINS_MIN;
    while (count < wanted && count < CHAINS_MAX)
        count *= 2;
    return count;
}

static bool shard_init(struct cache_shard *shard, uint32_t chains)
{
    shard->chains = calloc(chains, sizeof(struct cache_object *));
    shard->chain_mask = chains - 1;
    LIST_INIT(&shard->flights);
    pthread_mutex_init(&shard->lock, NULL);
    return shard->chains != NULL;
}

struct cache_store *cache_store_new(const char *name, uint64_t memory_bytes, uint64_t object_bytes,
                                    unsigned workers)
{
    struct cache_store *store = aligned_alloc(128, sizeof *store);
    if (!store)
        return NULL;
    memset(store, 0, sizeof *store);
    atomic_init(&store->refs, 1);
    atomic_init(&store->bytes_max, memory_bytes);
    atomic_init(&store->object_max, object_bytes);
    pthread_mutex_init(&store->queue_lock, NULL);
    TAILQ_INIT(&store->queue);
    store->name = strdup(name);
    store->pages = cache_pages_new();
    store->workers = workers;
    store->counts = aligned_alloc(128, workers * sizeof *store->counts);
    bool whole = store->name && store->counts;
    if (store->counts)
        memset(store->counts, 0, workers * sizeof *store->counts);
    for (unsigned i = 0; i < CACHE_SHARDS; i++)
        whole &= shard_init(&store->shards[i], chains_count(memory_bytes));
    if (whole)
        return store;
    cache_store_unref(store);
    return NULL;
}

void cache_store_ref(struct cache_store *store)
{
    atomic_fetch_add_explicit(&store->refs, 1, memory_order_relaxed);
}

/* Objects hold references, so a store that has any is not freed by this: cache_store_purge goes
 * before, when no generation names it any more. */
void cache_store_unref(struct cache_store *store)
{
    if (!store || atomic_fetch_sub_explicit(&store->refs, 1, memory_order_acq_rel) != 1)
        return;
    cache_disk_free(store->disk);
    cache_pages_free(store->pages);
    for (unsigned i = 0; i < CACHE_SHARDS; i++) {
        free(store->shards[i].chains);
        pthread_mutex_destroy(&store->shards[i].lock);
    }
    pthread_mutex_destroy(&store->queue_lock);
    free(store->counts);
    free(store->name);
    free(store);
}

void cache_store_disk(struct cache_store *store, int fd, uint64_t bytes)
{
    struct cache_disk *disk = cache_disk_new(store, fd, bytes);
    if (!disk)
        log_warn("cache-disk-failed", "cache=%s what=begin error=\"%s\" instead=\"memory alone\"",
                 store->name, strerror(errno));
    atomic_store(&store->disk, disk);
}

struct cache_disk *cache_store_its_disk(const struct cache_store *store)
{
    return atomic_load_explicit(&store->disk, memory_order_acquire);
}

struct cache_pages *cache_store_pages(const struct cache_store *store)
{
    return store->pages;
}

const char *cache_store_name(const struct cache_store *store)
{
    return store->name;
}

uint64_t cache_store_memory_max(const struct cache_store *store)
{
    return atomic_load_explicit(&store->bytes_max, memory_order_relaxed);
}

size_t cache_store_object_max(const struct cache_store *store)
{
    return (size_t)atomic_load_explicit(&store->object_max, memory_order_relaxed);
}

struct cache_counts *cache_store_counts(struct cache_store *store, unsigned worker)
{
    return &store->counts[worker % store->workers];
}

/* ---- a shard's answers; under its lock ------------------------------------------------------- */

static void queue_take_out(struct cache_store *store, struct cache_object *object)
{
    pthread_mutex_lock(&store->queue_lock);
    if (store->hand == object)
        store->hand = TAILQ_PREV(object, cache_queue, queue);
    TAILQ_REMOVE(&store->queue, object, queue);
    store->objects--;
    pthread_mutex_unlock(&store->queue_lock);
}

static void shard_take_out(struct cache_shard *shard, struct cache_object *object)
{
    struct cache_object **at = &shard->chains[object->key.hash & shard->chain_mask];
    while (*at != object)
        at = &(*at)->chain;
    *at = object->chain;
    object->in_store = false;
    queue_take_out(object->store, object);
}

static void shard_put(struct cache_shard *shard, struct cache_object *object)
{
    struct cache_store *store = object->store;
    struct cache_object **chain = &shard->chains[object->key.hash & shard->chain_mask];
    object->chain = *chain;
    *chain = object;
    object->in_store = true;
    pthread_mutex_lock(&store->queue_lock);
    TAILQ_INSERT_HEAD(&store->queue, object, queue);
    store->objects++;
    pthread_mutex_unlock(&store->queue_lock);
}

/* Whoever has a reference takes it out; false: somebody did before. */
static bool store_take_out(struct cache_store *store, struct cache_object *object)
{
    struct cache_shard *shard = &store->shards[cache_shard_of(&object->key)];
    pthread_mutex_lock(&shard->lock);
    bool there = object->in_store;
    if (there)
        shard_take_out(shard, object);
    pthread_mutex_unlock(&shard->lock);
    if (there)
        cache_object_unref(object);
    return there;
}

/* ---- memory --------------------------------------------------------------------------------- */

/* What goes next, with a reference, still in the store; NULL: it is empty. */
static struct cache_object *victim_choose(struct cache_store *store)
{
    pthread_mutex_lock(&store->queue_lock);
    struct cache_object *at = store->hand ? store->hand : TAILQ_LAST(&store->queue, cache_queue);
    for (int i = 0; at && i < HAND_STEPS_MAX && atomic_exchange(&at->seen, false); i++) {
        at = TAILQ_PREV(at, cache_queue, queue);
        if (!at)
            at = TAILQ_LAST(&store->queue, cache_queue);
    }
    if (at) {
        store->hand = TAILQ_PREV(at, cache_queue, queue);
        cache_object_ref(at);
    }
    pthread_mutex_unlock(&store->queue_lock);
    return at;
}

/* One answer less. False: there is none. */
static bool evict_one(struct cache_store *store)
{
    struct cache_object *object = victim_choose(store);
    if (!object)
        return false;
    if (store_take_out(store, object))
        atomic_fetch_add_explicit(&store->evicted, 1, memory_order_relaxed);
    cache_object_unref(object);
    return true;
}

bool cache_store_charge(struct cache_store *store, size_t bytes)
{
    uint64_t most = atomic_load_explicit(&store->bytes_max, memory_order_relaxed);
    atomic_fetch_add_explicit(&store->bytes, bytes, memory_order_relaxed);
    while (atomic_load_explicit(&store->bytes, memory_order_relaxed) > most) {
        if (evict_one(store))
            continue;
        cache_store_discharge(store, bytes);
        return false;
    }
    return true;
}

void cache_store_discharge(struct cache_store *store, size_t bytes)
{
    atomic_fetch_sub_explicit(&store->bytes, bytes, memory_order_relaxed);
}

void cache_store_resize(struct cache_store *store, uint64_t memory_bytes, uint64_t object_bytes)
{
    atomic_store_explicit(&store->bytes_max, memory_bytes, memory_order_relaxed);
    atomic_store_explicit(&store->object_max, object_bytes, memory_order_relaxed);
    if (cache_store_charge(store, 0))
        cache_store_discharge(store, 0);
}

/* ---- answers -------------------------------------------------------------------------------- */

/* Does the request choose this variant? Its own values are made once for names that stay the same
 * along the chain. */
struct chosen {
    const struct head *request;
    struct slice names;
    char values[VARY_BYTES_MAX];
    int length;
    bool made;
};

static bool variant_fits(const struct cache_object *object, struct chosen *chosen)
{
    struct slice names = object->vary_names;
    if (!names.length)
        return true;
    if (!chosen->made || names.length != chosen->names.length ||
        memcmp(names.bytes, chosen->names.bytes, names.length) != 0) {
        chosen->length = vary_values(names, chosen->request, chosen->values);
        chosen->names = names;
        chosen->made = true;
    }
    return chosen->length == (int)object->vary_values.length &&
           memcmp(object->vary_values.bytes, chosen->values, object->vary_values.length) == 0;
}

struct cache_object *cache_store_find(struct cache_store *store, const struct cache_key *key,
                                      const struct head *request)
{
    struct cache_shard *shard = &store->shards[cache_shard_of(key)];
    struct chosen chosen;
    chosen.request = request;
    chosen.made = false;
    pthread_mutex_lock(&shard->lock);
    struct cache_object *object = shard->chains[key->hash & shard->chain_mask], *mark = NULL;
    for (; object; object = object->chain) {
        if (!cache_key_same(&object->key, key))
            continue;
        if (!object->status)
            mark = object;
        else if (variant_fits(object, &chosen))
            break;
    }
    if (!object)
        object = mark;
    if (object) {
        if (!atomic_load_explicit(&object->seen, memory_order_relaxed))
            atomic_store_explicit(&object->seen, true, memory_order_relaxed);
        cache_object_ref(object);
    }
    pthread_mutex_unlock(&shard->lock);
    return object;
}

static bool slices_same(struct slice one, struct slice other)
{
    return one.length == other.length &&
           (!one.length || memcmp(one.bytes, other.bytes, one.length) == 0);
}

/* What a new answer takes the place of: its own variant, a mark, or the oldest of too many. */
static struct cache_object *superseded(const struct cache_shard *shard,
                                       const struct cache_object *object)
{
    struct cache_object *at = shard->chains[object->key.hash & shard->chain_mask], *last = NULL;
    unsigned count = 0;
    for (; at; at = at->chain) {
        if (!cache_key_same(&at->key, &object->key))
            continue;
        if (!at->status || (object->status && slices_same(at->vary_names, object->vary_names) &&
                            slices_same(at->vary_values, object->vary_values)))
            return at;
        last = at;
        count++;
    }
    return object->status && count >= CACHE_VARIANTS_MAX ? last : NULL;
}

/* `read`: from the disk, where it went when it was put here first: what is there since is newer. */
static void put(struct cache_store *store, struct cache_object *object, bool read)
{
    struct cache_shard *shard = &store->shards[cache_shard_of(&object->key)];
    pthread_mutex_lock(&shard->lock);
    struct cache_object *before = superseded(shard, object);
    if (read && before && before->status) {
        pthread_mutex_unlock(&shard->lock);
        return;
    }
    if (before) {
        shard_take_out(shard, before);
        atomic_store(&before->dead, true);
    }
    cache_object_ref(object);
    bool seen = before && before->status && atomic_load(&before->seen);
    atomic_store_explicit(&object->seen, seen, memory_order_relaxed);
    shard_put(shard, object);
    pthread_mutex_unlock(&shard->lock);
    cache_object_unref(before);
}

void cache_store_put(struct cache_store *store, struct cache_object *object)
{
    put(store, object, false);
    struct cache_disk *disk = cache_store_its_disk(store);
    if (disk && object->status && object->life.lifetime_ms)
        cache_disk_write(disk, object);
}

void cache_store_put_read(struct cache_store *store, struct cache_object *object)
{
    put(store, object, true);
}

void cache_store_remove(struct cache_store *store, struct cache_object *object)
{
    atomic_store(&object->dead, true);
    store_take_out(store, object);
}

/* ---- taking out what is not true any more ---------------------------------------------------- */

/* Frees what was taken out, chained. */
static uint64_t objects_drop(struct cache_object *first)
{
    uint64_t count = 0;
    while (first) {
        struct cache_object *next = first->chain;
        count += first->status != 0;
        cache_object_unref(first);
        first = next;
    }
    return count;
}

typedef bool matches_call(const struct cache_object *object, const void *owner);

/* Those of one chain, chained. */
static struct cache_object *chain_purge(struct cache_shard *shard, struct cache_object *at,
                                        matches_call *matches, const void *owner,
                                        struct cache_object *out)
{
    while (at) {
        struct cache_object *next = at->chain;
        if (matches(at, owner)) {
            shard_take_out(shard, at);
            atomic_store(&at->dead, true);
            at->chain = out;
            out = at;
        }
        at = next;
    }
    return out;
}

static bool of_purge(const struct cache_object *object, const void *owner)
{
    return cache_purge_matches(object, owner);
}

static uint64_t shard_purge(struct cache_shard *shard, const struct cache_purge *purge)
{
    struct cache_object *out = NULL;
    pthread_mutex_lock(&shard->lock);
    for (uint32_t i = 0; i <= shard->chain_mask; i++)
        out = chain_purge(shard, shard->chains[i], of_purge, purge, out);
    pthread_mutex_unlock(&shard->lock);
    return objects_drop(out);
}

/* The disk goes first: what is being read from it finds the purge, or is found by the walk. */
uint64_t cache_store_purge(struct cache_store *store, const struct cache_purge *purge)
{
    uint64_t count = 0;
    atomic_fetch_add(&store->purges, 1);
    struct cache_disk *disk = cache_store_its_disk(store);
    if (disk)
        cache_disk_purge(disk, purge);
    for (unsigned i = 0; i < CACHE_SHARDS; i++)
        count += shard_purge(&store->shards[i], purge);
    atomic_fetch_add_explicit(&store->purged, count, memory_order_relaxed);
    return count;
}

uint64_t cache_store_purges(const struct cache_store *store)
{
    return atomic_load(&store->purges);
}

static bool of_key(const struct cache_object *object, const void *owner)
{
    return cache_key_same(&object->key, owner);
}

uint64_t cache_store_invalidate(struct cache_store *store, const struct cache_key *key)
{
    struct cache_shard *shard = &store->shards[cache_shard_of(key)];
    struct cache_flight *flight;
    struct cache_disk *disk = cache_store_its_disk(store);
    if (disk)
        cache_disk_invalidate(disk, key);
    pthread_mutex_lock(&shard->lock);
    struct cache_object *out = chain_purge(shard, shard->chains[key->hash & shard->chain_mask],
                                           of_key, (void *)(uintptr_t)key, NULL);
    LIST_FOREACH (flight, &shard->flights, next) {
        if (cache_key_same(&flight->key, key))
            atomic_store(&flight->doomed, true);
    }
    pthread_mutex_unlock(&shard->lock);
    uint64_t count = objects_drop(out);
    atomic_fetch_add_explicit(&store->purged, count, memory_order_relaxed);
    return count;
}

/* ---- figures -------------------------------------------------------------------------------- */

void cache_store_figures(struct cache_store *store, struct cache_figures *ret_figures)
{
    struct cache_figures figures = {
        .evicted = atomic_load_explicit(&store->evicted, memory_order_relaxed),
        .purged = atomic_load_explicit(&store->purged, memory_order_relaxed),
        .bytes = atomic_load_explicit(&store->bytes, memory_order_relaxed),
        .bytes_max = atomic_load_explicit(&store->bytes_max, memory_order_relaxed),
    };
    for (unsigned i = 0; i < store->workers; i++) {
        const struct cache_counts *counts = &store->counts[i];
        figures.hits += atomic_load_explicit(&counts->hits, memory_order_relaxed);
        figures.stale += atomic_load_explicit(&counts->stale, memory_order_relaxed);
        figures.revalidated += atomic_load_explicit(&counts->revalidated, memory_order_relaxed);
        figures.misses += atomic_load_explicit(&counts->misses, memory_order_relaxed);
        figures.coalesced += atomic_load_explicit(&counts->coalesced, memory_order_relaxed);
        figures.passed += atomic_load_explicit(&counts->passed, memory_order_relaxed);
        figures.stored += atomic_load_explicit(&counts->stored, memory_order_relaxed);
        figures.unstorable += atomic_load_explicit(&counts->unstorable, memory_order_relaxed);
        figures.refused += atomic_load_explicit(&counts->refused, memory_order_relaxed);
    }
    pthread_mutex_lock(&store->queue_lock);
    figures.objects = store->objects;
    pthread_mutex_unlock(&store->queue_lock);
    struct cache_disk *disk = cache_store_its_disk(store);
    if (disk)
        cache_disk_figures(disk, &figures);
    *ret_figures = figures;
}
