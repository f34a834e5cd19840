#include "gateway/caches.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/cache_store.h"

static struct cache_store *store_find(const struct caches *caches, const char *name)
{
    for (size_t i = 0; i < caches->count; i++)
        if (strcmp(cache_store_name(caches->list[i]), name) == 0)
            return caches->list[i];
    return NULL;
}

/* NULL: no memory, or too many. */
static struct cache_store *store_take(struct caches *caches, const struct cache_setting *setting,
                                      unsigned workers)
{
    struct cache_store *store = store_find(caches, setting->name);
    if (!store && caches->count < sizeof caches->list / sizeof caches->list[0]) {
        store =
            cache_store_new(setting->name, setting->memory_bytes, setting->object_bytes, workers);
        if (store)
            caches->list[caches->count++] = store;
    }
    if (store)
        cache_store_ref(store);
    return store;
}

int caches_take(struct caches *caches, const struct topology *topology, unsigned workers,
                struct cache_store ***ret_stores)
{
    *ret_stores = calloc(topology->cache_count + 1, sizeof **ret_stores);
    if (!*ret_stores)
        return -ENOMEM;
    for (size_t i = 0; i < topology->cache_count; i++) {
        (*ret_stores)[i] = store_take(caches, &topology->caches[i], workers);
        if (!(*ret_stores)[i])
            return -ENOMEM;
    }
    return 0;
}

static const struct cache_setting *setting_find(const struct topology *topology, const char *name)
{
    for (size_t i = 0; i < topology->cache_count; i++)
        if (strcmp(topology->caches[i].name, name) == 0)
            return &topology->caches[i];
    return NULL;
}

static bool all(const struct cache_object *object, void *owner)
{
    (void)object, (void)owner;
    return true;
}

void caches_settle(struct caches *caches, const struct topology *topology)
{
    size_t kept = 0;
    for (size_t i = 0; i < caches->count; i++) {
        struct cache_store *store = caches->list[i];
        const struct cache_setting *setting = setting_find(topology, cache_store_name(store));
        if (setting) {
            cache_store_resize(store, setting->memory_bytes, setting->object_bytes);
            caches->list[kept++] = store;
            continue;
        }
        cache_store_resize(store, 0, 0); /* what an old generation still stores finds no room */
        cache_store_purge(store, all, NULL);
        cache_store_unref(store);
    }
    caches->count = kept;
}
