#include "gateway/http/bump.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 8 * 1024, ALIGNMENT = 16 };

struct chunk {
    struct chunk *next;
    size_t bytes; /* of `data` */
    _Alignas(ALIGNMENT) char data[];
};

struct bump { /* lies at the start of its first chunk */
    struct bump_store *store;
    struct chunk *chunks; /* the newest first */
    size_t used;          /* of the newest */
    size_t left;          /* that may still be asked of the machine */
};

struct bump_store {
    struct chunk *kept; /* of CHUNK_BYTES each */
    size_t count;
    size_t count_max;
};

struct bump_store *bump_store_new(size_t chunks_kept_max)
{
    struct bump_store *store = calloc(1, sizeof *store);
    if (!store)
        return NULL;
#ifndef __SANITIZE_ADDRESS__ /* which must see that what is given back is not used */
    store->count_max = chunks_kept_max;
#else
    (void)chunks_kept_max;
#endif
    return store;
}

void bump_store_free(struct bump_store *store)
{
    if (!store)
        return;
    while (store->kept) {
        struct chunk *chunk = store->kept;
        store->kept = chunk->next;
        free(chunk);
    }
    free(store);
}

static struct chunk *chunk_take(struct bump_store *store, size_t bytes)
{
    struct chunk *chunk = store->kept;
    if (chunk && bytes <= chunk->bytes) {
        store->kept = chunk->next;
        store->count--;
        return chunk;
    }
    if (bytes < CHUNK_BYTES - sizeof *chunk)
        bytes = CHUNK_BYTES - sizeof *chunk;
    chunk = malloc(sizeof *chunk + bytes);
    if (chunk)
        chunk->bytes = bytes;
    return chunk;
}

static void chunk_give(struct bump_store *store, struct chunk *chunk)
{
    if (chunk->bytes != CHUNK_BYTES - sizeof *chunk || store->count >= store->count_max) {
        free(chunk);
        return;
    }
    chunk->next = store->kept;
    store->kept = chunk;
    store->count++;
}

static size_t aligned(size_t size)
{
    return (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
}

struct bump *bump_new(struct bump_store *store, size_t bytes_max)
{
    struct chunk *chunk = chunk_take(store, 0);
    if (!chunk)
        return NULL;
    chunk->next = NULL;
    struct bump *bump = (struct bump *)(void *)chunk->data;
    *bump = (struct bump){.store = store,
                          .chunks = chunk,
                          .used = aligned(sizeof *bump),
                          .left = bytes_max > chunk->bytes ? bytes_max - chunk->bytes : 0};
    return bump;
}

void bump_free(struct bump *bump)
{
    if (!bump)
        return;
    struct bump_store *store = bump->store;
    struct chunk *chunk = bump->chunks;
    while (chunk) {
        struct chunk *next = chunk->next;
        chunk_give(store, chunk);
        chunk = next;
    }
}

void *bump_alloc(struct bump *bump, size_t size)
{
    if (size > SIZE_MAX / 2)
        return NULL;
    size = aligned(size);
    struct chunk *chunk = bump->chunks;
    if (size > chunk->bytes - bump->used) {
        if (size > bump->left)
            return NULL;
        chunk = chunk_take(bump->store, size);
        if (!chunk)
            return NULL;
        bump->left -= chunk->bytes < bump->left ? chunk->bytes : bump->left;
        chunk->next = bump->chunks;
        bump->chunks = chunk;
        bump->used = 0;
    }
    void *memory = chunk->data + bump->used;
    bump->used += size;
    return memory;
}

char *bump_copy(struct bump *bump, const char *bytes, size_t length)
{
    char *copy = bump_alloc(bump, length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, bytes, length);
    copy[length] = 0;
    return copy;
}
