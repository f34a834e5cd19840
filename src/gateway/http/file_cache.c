#include "gateway/http/file_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/table.h"

enum { CHAINS = 2048, VARIANT_NAME_BYTES = 4096 };

TAILQ_HEAD(file_list, file);

struct file_cache {
    file_open_call *open;
    void *owner;
    uint32_t count;
    uint32_t files_max;
    size_t content_bytes;    /* of files in use by nobody but the cache, too */
    struct file_list by_use; /* the last used is the last */
    struct file *chains[CHAINS];
};

struct file_cache *file_cache_new(uint32_t files_max, file_open_call *open, void *owner)
{
    struct file_cache *cache = calloc(1, sizeof *cache);
    if (!cache)
        return NULL;
    cache->files_max = files_max < 1 ? 1 : files_max > FILES_MAX ? FILES_MAX : files_max;
    cache->open = open;
    cache->owner = owner;
    TAILQ_INIT(&cache->by_use);
    return cache;
}

/* ---- entries ----------------------------------------------------------------------------------
 */

void file_unref(struct file *file)
{
    if (!file || --file->refs)
        return;
    if (file->content) {
        file->cache->content_bytes -= file->size;
        free(file->content);
    }
    fd_drop(&file->fd);
    free(file);
}

static void entry_remove(struct file_cache *cache, struct file *file)
{
    struct file **at = &cache->chains[file->hash % CHAINS];
    while (*at != file)
        at = &(*at)->chain;
    *at = file->chain;
    TAILQ_REMOVE(&cache->by_use, file, by_use);
    cache->count--;
    file_unref(file);
}

static void entry_add(struct file_cache *cache, struct file *file)
{
    while (cache->count >= cache->files_max)
        entry_remove(cache, TAILQ_FIRST(&cache->by_use));
    struct file **chain = &cache->chains[file->hash % CHAINS];
    file->chain = *chain;
    *chain = file;
    TAILQ_INSERT_TAIL(&cache->by_use, file, by_use);
    cache->count++;
    file->refs++;
}

void file_cache_free(struct file_cache *cache)
{
    if (!cache)
        return;
    while (!TAILQ_EMPTY(&cache->by_use))
        entry_remove(cache, TAILQ_FIRST(&cache->by_use));
    free(cache);
}

/* ---- looking at the disk ----------------------------------------------------------------------
 */

/* 0 and the descriptor of something that can be served, with its status; or -errno. */
static int look(struct file_cache *cache, int directory_fd, const char *name, int *ret_fd,
                struct stat *ret_status)
{
    scoped_fd int fd = -1;
    int error = cache->open(cache->owner, directory_fd, name, &fd);
    if (!error && fstat(fd, ret_status) < 0)
        error = -errno;
    if (!error && !S_ISREG(ret_status->st_mode) && !S_ISDIR(ret_status->st_mode))
        error = -ENOENT; /* a FIFO or a device is nothing to be served */
    if (!error)
        *ret_fd = fd_take(&fd);
    return error;
}

static bool older(const struct timespec *one, const struct timespec *other)
{
    return one->tv_sec < other->tv_sec ||
           (one->tv_sec == other->tv_sec && one->tv_nsec < other->tv_nsec);
}

/* Compressed variants beside it, which must not be older than it is. */
static unsigned variants_find(struct file_cache *cache, int directory_fd, const struct file *file)
{
    char name[VARIANT_NAME_BYTES];
    unsigned found = 0;
    for (size_t i = 0; i < ENCODING_COUNT; i++) {
        struct stat status;
        scoped_fd int fd = -1;
        int length = snprintf(name, sizeof name, "%s%s", file->name, encodings[i].suffix.bytes);
        if (length < (int)sizeof name && look(cache, directory_fd, name, &fd, &status) == 0 &&
            S_ISREG(status.st_mode) && !older(&status.st_mtim, &file->modified))
            found |= 1u << i;
    }
    return found;
}

static void content_load(struct file_cache *cache, struct file *file)
{
    if (!file->size || file->size > FILE_CONTENT_BYTES ||
        cache->content_bytes + file->size > CONTENT_BYTES_MAX)
        return;
    char *content = malloc(file->size);
    if (!content)
        return;
    if (pread(file->fd, content, file->size, 0) != (ssize_t)file->size) {
        free(content);
        return;
    }
    file->content = content;
    cache->content_bytes += file->size;
}

/* Unlike for another file, and for the same one after a change that its times or size show. */
static void etag_make(struct file *file)
{
    int length = snprintf(file->etag, sizeof file->etag, "\"%llx-%llx-%llx\"",
                          (unsigned long long)file->own_inode, (unsigned long long)file->size,
                          (unsigned long long)file->modified.tv_sec * 1000000000ull +
                              (unsigned long long)file->modified.tv_nsec);
    file->etag_length = (uint8_t)length;
}

static void status_take(struct file *file, const struct stat *status)
{
    file->state = S_ISDIR(status->st_mode) ? FILE_FOLDER : FILE_REGULAR;
    file->size = (uint64_t)status->st_size;
    file->own_device = status->st_dev;
    file->own_inode = status->st_ino;
    file->modified = status->st_mtim;
    file->changed = status->st_ctim;
}

static bool status_same(const struct file *file, const struct stat *status)
{
    return file->own_device == status->st_dev && file->own_inode == status->st_ino &&
           file->size == (uint64_t)status->st_size &&
           memcmp(&file->modified, &status->st_mtim, sizeof file->modified) == 0 &&
           memcmp(&file->changed, &status->st_ctim, sizeof file->changed) == 0;
}

static struct file *file_new(struct file_cache *cache, const struct plan_directory *directory,
                             struct slice name, uint64_t hash)
{
    struct file *file = calloc(1, sizeof *file + name.length + 1);
    if (!file)
        return NULL;
    file->cache = cache;
    file->hash = hash;
    file->device = directory->device;
    file->inode = directory->inode;
    file->fd = -1;
    file->refs = 1;
    file->name_length = name.length;
    memcpy(file->name, name.bytes, name.length);
    return file;
}

static void regular_fill(struct file_cache *cache, int directory_fd, struct file *file)
{
    file->type = file_type_of((struct slice){file->name, file->name_length});
    etag_make(file);
    http_date_print(file->modified.tv_sec, file->date);
    content_load(cache, file);
    if (file->content || !file->size)
        fd_drop(&file->fd);
    if (file->type.text)
        file->variants = variants_find(cache, directory_fd, file);
}

/* What it is now. */
static struct file *file_load(struct file_cache *cache, const struct plan_directory *directory,
                              struct slice name, uint64_t hash, int fd, int error,
                              const struct stat *status)
{
    struct file *file = file_new(cache, directory, name, hash);
    if (!file) {
        fd_drop(&fd);
        return NULL;
    }
    file->state = FILE_ABSENT;
    file->error = error;
    if (error)
        return file;
    status_take(file, status);
    if (file->state == FILE_REGULAR) {
        file->fd = fd;
        regular_fill(cache, directory->fd, file);
    } else {
        fd_drop(&fd);
    }
    return file;
}

/* ---- finding ----------------------------------------------------------------------------------
 */

static struct file *entry_find(const struct file_cache *cache,
                               const struct plan_directory *directory, struct slice name,
                               uint64_t hash)
{
    struct file *file = cache->chains[hash % CHAINS];
    while (file && (file->hash != hash || file->inode != directory->inode ||
                    file->device != directory->device || file->name_length != name.length ||
                    memcmp(file->name, name.bytes, name.length) != 0))
        file = file->chain;
    return file;
}

/* It is the one that we have: only the variants may have changed. */
static void file_renew(struct file_cache *cache, int directory_fd, struct file *file, int fd)
{
    fd_drop(&fd);
    if (file->state == FILE_REGULAR && file->type.text)
        file->variants = variants_find(cache, directory_fd, file);
}

/* Errors that will be others soon are not kept. */
static bool lasting(int error)
{
    return error == 0 || error == -ENOENT || error == -ENOTDIR || error == -EACCES ||
           error == -EXDEV || error == -ELOOP;
}

/* As the disk has it now, in the cache if that is worth it, with a reference. `known`: as it was;
 * NULL: not known. */
static struct file *file_look(struct file_cache *cache, const struct plan_directory *directory,
                              struct slice name, uint64_t hash, struct file *known)
{
    struct stat status;
    int fd = -1;
    int error = look(cache, directory->fd, name.bytes, &fd, &status);
    bool same = known && (error ? known->state == FILE_ABSENT && known->error == error
                                : known->state != FILE_ABSENT && status_same(known, &status));
    if (same) {
        file_renew(cache, directory->fd, known, fd);
        known->refs++;
        return known;
    }
    struct file *file = file_load(cache, directory, name, hash, fd, error, &status);
    if (known)
        entry_remove(cache, known);
    if (file && lasting(error))
        entry_add(cache, file);
    return file;
}

struct file *file_find(struct file_cache *cache, const struct plan_directory *directory,
                       struct slice name, uint64_t now_ms)
{
    uint64_t hash = hash_bytes(name.bytes, name.length, hash_seed() ^ directory->inode);
    struct file *known = entry_find(cache, directory, name, hash);
    if (known) {
        TAILQ_REMOVE(&cache->by_use, known, by_use);
        TAILQ_INSERT_TAIL(&cache->by_use, known, by_use);
        if (now_ms - known->checked_ms < FILE_FRESH_MS) {
            known->refs++;
            return known;
        }
    }
    struct file *file = file_look(cache, directory, name, hash, known);
    if (file)
        file->checked_ms = now_ms;
    return file;
}
