/* Files that were opened, and what was found not to be there, by folder and name: of a worker. What
 * is known is believed for FILE_FRESH_MS; then the file is opened anew and compared, so that a
 * change — of its bytes, another file of that name, none any more — is seen within that time. Who
 * holds one goes on with what it has. Small files are kept with their content.
 *
 * Bounded: FILES_MAX entries or fewer, each with a descriptor at most, and CONTENT_BYTES_MAX bytes
 * of content; the longest unused goes first. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <time.h>

#include "gateway/core/generation.h"
#include "gateway/http/file_condition.h"
#include "gateway/http/file_type.h"
#include "gateway/http/head.h"

enum {
    FILE_FRESH_MS = 1000,
    FILES_MAX = 1024,
    FILE_CONTENT_BYTES = 32 * 1024,
    CONTENT_BYTES_MAX = 8 * 1024 * 1024,
    ETAG_BYTES = 72,
};

enum file_state { FILE_REGULAR, FILE_FOLDER, FILE_ABSENT };

struct file {
    TAILQ_ENTRY(file) by_use;
    struct file *chain;
    struct file_cache *cache;
    uint64_t hash;
    uint64_t device, inode; /* of the folder that its name starts at */
    uint64_t checked_ms;
    uint32_t refs;
    enum file_state state;
    int error; /* FILE_ABSENT: why, -errno */
    int fd;    /* FILE_REGULAR without content; else -1 */
    uint64_t size;
    uint64_t own_device, own_inode;
    struct timespec modified, changed;
    char *content;     /* of a small one, `size` bytes; NULL: to be read */
    unsigned variants; /* compressed ones beside it, bits 1 << enum encoding */
    struct file_type type;
    uint8_t etag_length;
    char etag[ETAG_BYTES];
    char date[HTTP_DATE_BYTES]; /* modified */
    uint32_t name_length;
    char name[]; /* ended by 0 */
};

static inline struct slice file_etag(const struct file *file)
{
    return (struct slice){file->etag, file->etag_length};
}

/* As opener_open (core/opener.h). */
typedef int file_open_call(void *owner, int directory_fd, const char *name, int *ret_fd);

struct file_cache;

/* `files_max`: entries, at most FILES_MAX and at least 1. NULL: no memory. */
struct file_cache *file_cache_new(uint32_t files_max, file_open_call *open, void *owner);
/* Nobody may hold one any more. */
void file_cache_free(struct file_cache *cache);

/* With a reference for the caller; NULL: no memory. May block as long as the opener does. */
struct file *file_find(struct file_cache *cache, const struct plan_directory *directory,
                       struct slice name, uint64_t now_ms);
void file_unref(struct file *file);
