/* A slab: objects of one size, made in chunks and kept for the next when they are given back, the
 * last used first. For what comes and goes with every connection. Chunks are freed with the slab,
 * so its memory stays at what it once needed at most; the cap is the owner's, who counts what he
 * has. Not for use by several threads at once. Under AddressSanitizer each object is an allocation
 * of its own, so that a use after its end is seen. */
#pragma once

#include <stddef.h>

struct slab_chunk;

struct slab { /* zero-initialised but for `size` means empty */
    size_t size;
    void *spare;               /* objects given back, linked through their first word */
    struct slab_chunk *chunks; /* the newest first */
    size_t fresh;              /* objects of the newest that were never used */
};

void slab_init(struct slab *slab, size_t size);
/* Not zeroed. NULL: no memory. */
void *slab_take(struct slab *slab);
void slab_give(struct slab *slab, void *object); /* accepts NULL */
/* All objects are gone with it. */
void slab_done(struct slab *slab);
