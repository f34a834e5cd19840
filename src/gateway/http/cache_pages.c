#include "gateway/http/cache_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SEGMENT_BYTES = 64 * 1024 * 1024 }; /* by so much the file grows, or by a larger place */

struct class
{
    struct cache_place *free; /* that nobody has */
    size_t free_count;
    size_t count; /* all of them, for which `free` has room */
};

struct segment { /* of the file, mapped */
    char *bytes;
    size_t size;
};

struct cache_pages {
    int fd;
    pthread_mutex_t lock; /* of all below */
    struct class classes[CACHE_PLACE_CLASSES];
    struct segment *segments;
    size_t segment_count;
    uint64_t file_bytes;
    size_t left; /* of the last segment: was never a place */
};

/* ---- life ----------------------------------------------------------------------------------- */

struct cache_pages *cache_pages_new(void)
{
    if (sysconf(_SC_PAGESIZE) != CACHE_PAGE_BYTES) {
        errno = ENOTSUP;
        return NULL;
    }
    struct cache_pages *pages = calloc(1, sizeof *pages);
    if (!pages)
        return NULL;
    pages->fd = memfd_create("enginx-cache", MFD_CLOEXEC);
    if (pages->fd < 0) {
        free(pages);
        return NULL;
    }
    pthread_mutex_init(&pages->lock, NULL);
    return pages;
}

void cache_pages_free(struct cache_pages *pages)
{
    if (!pages)
        return;
    for (size_t i = 0; i < pages->segment_count; i++)
        munmap(pages->segments[i].bytes, pages->segments[i].size);
    for (size_t i = 0; i < CACHE_PLACE_CLASSES; i++)
        free(pages->classes[i].free);
    pthread_mutex_destroy(&pages->lock);
    close(pages->fd);
    free(pages->segments);
    free(pages);
}

int cache_pages_fd(const struct cache_pages *pages)
{
    return pages->fd;
}

/* ---- places that never were; under the lock ---------------------------------------------------
 */

static bool segment_add(struct cache_pages *pages, size_t size)
{
    struct segment *segments =
        realloc(pages->segments, (pages->segment_count + 1) * sizeof *segments);
    if (!segments)
        return false;
    pages->segments = segments;
    if (ftruncate(pages->fd, (off_t)(pages->file_bytes + size)) < 0)
        return false;
    char *bytes = mmap(NULL, size, PROT_READ, MAP_SHARED, pages->fd, (off_t)pages->file_bytes);
    if (bytes == MAP_FAILED)
        return false;
    madvise(bytes, size, MADV_NOHUGEPAGE);
    segments[pages->segment_count++] = (struct segment){bytes, size};
    pages->file_bytes += size;
    pages->left = size - CACHE_PAGE_BYTES; /* before its first place, too, a page stays empty */
    return true;
}

/* Room to give one more back, so that giving back cannot fail. */
static bool class_grow(struct class *class)
{
    struct cache_place *grown = realloc(class->free, (class->count + 1) * sizeof *grown);
    if (!grown)
        return false;
    class->free = grown;
    class->count++;
    return true;
}

static bool place_make(struct cache_pages *pages, size_t size, struct cache_place *ret_place)
{
    size_t taken = size + CACHE_PAGE_BYTES, alone = taken + CACHE_PAGE_BYTES;
    if (pages->left < taken && !segment_add(pages, alone > SEGMENT_BYTES ? alone : SEGMENT_BYTES))
        return false;
    const struct segment *last = &pages->segments[pages->segment_count - 1];
    *ret_place = (struct cache_place){.bytes = last->bytes + last->size - pages->left,
                                      .offset = pages->file_bytes - pages->left,
                                      .size = size};
    pages->left -= taken;
    return true;
}

/* ---- places --------------------------------------------------------------------------------- */

static size_t class_size(unsigned number)
{
    return (size_t)CACHE_PLACE_BYTES_MIN << number;
}

static unsigned class_of(size_t bytes)
{
    unsigned number = 0;
    while (number < CACHE_PLACE_CLASSES && class_size(number) < bytes)
        number++;
    return number;
}

bool cache_pages_take(struct cache_pages *pages, size_t bytes, struct cache_place *ret_place)
{
    unsigned number = class_of(bytes);
    if (number == CACHE_PLACE_CLASSES)
        return false;
    struct class *class = &pages->classes[number];
    pthread_mutex_lock(&pages->lock);
    bool there = class->free_count > 0;
    if (there)
        *ret_place = class->free[--class->free_count];
    else if (class_grow(class))
        there = place_make(pages, class_size(number), ret_place);
    pthread_mutex_unlock(&pages->lock);
    return there;
}

static bool page_empty(const struct cache_pages *pages, uint64_t offset)
{
    return lseek(pages->fd, (off_t)offset, SEEK_HOLE) == (off_t)offset;
}

/* Is what was taken for the first so many bytes of a place theirs alone? */
static bool pages_own(const struct cache_pages *pages, const struct cache_place *place, size_t end)
{
    uint64_t behind = (place->offset + end + CACHE_PAGE_BYTES - 1) & ~(CACHE_PAGE_BYTES - 1ull);
    return page_empty(pages, place->offset - CACHE_PAGE_BYTES) && page_empty(pages, behind);
}

bool cache_pages_write(struct cache_pages *pages, const struct cache_place *place, size_t at,
                       const char *bytes, size_t length)
{
    if (!length)
        return true;
    while (length) {
        ssize_t written = pwrite(pages->fd, bytes, length, (off_t)(place->offset + at));
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        at += (size_t)written;
        length -= (size_t)written;
    }
    return pages_own(pages, place, at);
}

void cache_pages_give(struct cache_pages *pages, const struct cache_place *place)
{
    int error;
    do
        error = fallocate(pages->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                          (off_t)place->offset, (off_t)place->size);
    while (error && errno == EINTR);
    if (error) /* somebody may be reading what is in it: nobody gets it any more */
        return;
    struct class *class = &pages->classes[class_of(place->size)];
    pthread_mutex_lock(&pages->lock);
    class->free[class->free_count++] = *place;
    pthread_mutex_unlock(&pages->lock);
}
