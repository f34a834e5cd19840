#include "gateway/caches.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "gateway/http/cache_store.h"

/* Is it what the setting means, but for bounds that can change? */
static bool same(const struct cache_kept *kept, const struct cache_setting *setting)
{
    if (strcmp(cache_store_name(kept->store), setting->name) != 0)
        return false;
    if (!kept->disk || !setting->disk)
        return !kept->disk && !setting->disk;
    return strcmp(kept->disk, setting->disk) == 0 && kept->disk_bytes == setting->disk_bytes;
}

static struct cache_store *store_find(const struct caches *caches,
                                      const struct cache_setting *setting)
{
    for (size_t i = 0; i < caches->count; i++)
        if (same(&caches->list[i], setting))
            return caches->list[i].store;
    return NULL;
}

static struct cache_store *store_make(struct caches *caches, const struct cache_setting *setting,
                                      unsigned workers, int *file)
{
    if (caches->count == sizeof caches->list / sizeof caches->list[0])
        return NULL;
    struct cache_kept *kept = &caches->list[caches->count];
    *kept = (struct cache_kept){.disk = setting->disk ? strdup(setting->disk) : NULL,
                                .disk_bytes = setting->disk_bytes};
    if (!setting->disk == !kept->disk)
        kept->store =
            cache_store_new(setting->name, setting->memory_bytes, setting->object_bytes, workers);
    if (!kept->store) {
        free(kept->disk);
        return NULL;
    }
    kept->file = setting->disk ? fd_take(file) : -1;
    caches->count++;
    return kept->store;
}

int caches_take(struct caches *caches, const struct topology *topology, unsigned workers,
                int *files, struct cache_store ***ret_stores)
{
    *ret_stores = calloc(topology->cache_count + 1, sizeof **ret_stores);
    int error = *ret_stores ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < topology->cache_count; i++) {
        struct cache_store *store = store_find(caches, &topology->caches[i]);
        if (!store)
            store = store_make(caches, &topology->caches[i], workers, &files[i]);
        if (store)
            cache_store_ref(store);
        (*ret_stores)[i] = store;
        error = store ? 0 : -ENOMEM;
    }
    for (size_t i = 0; i < CACHES_MAX; i++)
        fd_drop(&files[i]);
    return error;
}

/* False: it is none of those that there are. */
static bool purge_read(const char *what, size_t length, struct cache_purge *ret_purge)
{
    static const char *const words[] = {[PURGE_ALL] = "all",
                                        [PURGE_TAGS] = "tags ",
                                        [PURGE_TARGET] = "target ",
                                        [PURGE_BELOW] = "below "};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t word = strlen(words[i]);
        if (length < word || memcmp(what, words[i], word) != 0)
            continue;
        *ret_purge = (struct cache_purge){.kind = (enum purge_kind)i,
                                          .listener = SLICE(""),
                                          .text = {what + word, (uint32_t)(length - word)}};
        return true;
    }
    return false;
}

uint64_t caches_purge(struct caches *caches, const char *name, const char *what, size_t length)
{
    struct cache_purge purge;
    uint64_t count = 0;
    if (!purge_read(what, length, &purge))
        return 0;
    for (size_t i = 0; i < caches->count; i++) {
        struct cache_store *store = caches->list[i].store;
        if (strcmp(name, "*") == 0 || strcmp(name, cache_store_name(store)) == 0)
            count += cache_store_purge(store, &purge);
    }
    return count;
}

static const struct cache_setting *setting_find(const struct topology *topology,
                                                const struct cache_kept *kept)
{
    for (size_t i = 0; i < topology->cache_count; i++)
        if (same(kept, &topology->caches[i]))
            return &topology->caches[i];
    return NULL;
}

static void kept_drop(struct cache_kept *kept)
{
    cache_store_resize(kept->store, 0, 0); /* what an old generation still stores finds no room */
    cache_store_unref(kept->store);
    fd_drop(&kept->file);
    free(kept->disk);
}

void caches_settle(struct caches *caches, const struct topology *topology)
{
    size_t count = 0;
    for (size_t i = 0; i < caches->count; i++) {
        struct cache_kept *kept = &caches->list[i];
        const struct cache_setting *setting = setting_find(topology, kept);
        if (!setting) {
            kept_drop(kept);
            continue;
        }
        cache_store_resize(kept->store, setting->memory_bytes, setting->object_bytes);
        if (kept->file >= 0) /* the process is confined by now: so is the thread that this begins */
            cache_store_disk(kept->store, fd_take(&kept->file), setting->disk_bytes);
        caches->list[count++] = *kept;
    }
    caches->count = count;
}
