/* Pages: memory for the large bodies of a store, in a file that has no name (memfd_create(2)) and
 * is mapped, so that a body can be read like any other memory, and sent by sendfile(2): by
 * reference, without a copy.
 *
 * The file is as large as it must be and almost nothing but holes: only what was written takes
 * memory, and is the store's to charge. Places are of sizes that double, so a place that was given
 * back serves the next body of its size; addresses are wasted by that, memory is not.
 *
 * What is sent by reference may still lie in a socket's queue when its place is given back: so the
 * pages are taken out of the file then (a hole is punched), and the socket keeps the old ones, as
 * they are, for as long as it needs them. For the same reason written bytes are never overwritten.
 * That holds for pages that are wholly a place's: of a larger one the kernel wipes the part that is
 * punched, under the socket's hands. So between places there is a page that nobody writes: where it
 * has something, the kernel has begun to give such files huge pages, and the place is refused.
 *
 * All calls but free may come from any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CACHE_PAGE_BYTES = 4096,
    CACHE_PLACE_BYTES_MIN = 32 * 1024,
    CACHE_PLACE_CLASSES = 32, /* sizes: each twice the one before */
};

struct cache_pages;

struct cache_place { /* zero-initialised means none */
    char *bytes;     /* to be read only */
    uint64_t offset; /* in the file */
    size_t size;
};

/* NULL with errno; ENOTSUP: the machine's pages are larger than CACHE_PAGE_BYTES. */
struct cache_pages *cache_pages_new(void);
/* All places were given back. Accepts NULL. */
void cache_pages_free(struct cache_pages *pages);
int cache_pages_fd(const struct cache_pages *pages);

/* An empty place of at least so many bytes. False: none could be made. */
bool cache_pages_take(struct cache_pages *pages, size_t bytes, struct cache_place *ret_place);
/* Once for each byte, from the first on, within the place. False: no memory, or more was taken than
 * what was written; then the place is to be given back. */
bool cache_pages_write(struct cache_pages *pages, const struct cache_place *place, size_t at,
                       const char *bytes, size_t length);
void cache_pages_give(struct cache_pages *pages, const struct cache_place *place);
