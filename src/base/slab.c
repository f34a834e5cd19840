#include "base/slab.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 32 * 1024 };

#if defined(__SANITIZE_ADDRESS__)
enum { RECYCLES = 0 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { RECYCLES = 0 };
#else
enum { RECYCLES = 1 };
#endif
#else
enum { RECYCLES = 1 };
#endif

struct slab_chunk {
    struct slab_chunk *next;
    alignas(max_align_t) char objects[];
};

void slab_init(struct slab *slab, size_t size)
{
    const size_t unit = sizeof(void *);
    *slab = (struct slab){.size = (size + unit - 1) / unit * unit};
}

static size_t objects_per_chunk(const struct slab *slab)
{
    size_t count = (CHUNK_BYTES - sizeof(struct slab_chunk)) / slab->size;
    return count ? count : 1;
}

static void *fresh_take(struct slab *slab)
{
    if (!slab->fresh) {
        size_t count = objects_per_chunk(slab);
        struct slab_chunk *chunk = malloc(sizeof *chunk + count * slab->size);
        if (!chunk)
            return NULL;
        chunk->next = slab->chunks;
        slab->chunks = chunk;
        slab->fresh = count;
    }
    return slab->chunks->objects + --slab->fresh * slab->size;
}

void *slab_take(struct slab *slab)
{
    if (!RECYCLES)
        return malloc(slab->size);
    void *object = slab->spare;
    if (!object)
        return fresh_take(slab);
    memcpy(&slab->spare, object, sizeof slab->spare);
    return object;
}

void slab_give(struct slab *slab, void *object)
{
    if (!RECYCLES) {
        free(object);
        return;
    }
    if (!object)
        return;
    memcpy(object, &slab->spare, sizeof slab->spare);
    slab->spare = object;
}

void slab_done(struct slab *slab)
{
    while (slab->chunks) {
        struct slab_chunk *chunk = slab->chunks;
        slab->chunks = chunk->next;
        free(chunk);
    }
    slab_init(slab, slab->size);
}
