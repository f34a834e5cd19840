/* Sources: the texts that a configuration consists of, read whole. The set owns them all and lives
 * until the topology is built and its errors are printed; tokens and places point into the texts.
 *
 * Only regular files are read, so that a FIFO or a device named by mistake blocks nobody. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum {
    SOURCE_BYTES_MAX = 16 * 1024 * 1024, /* of all files together */
    SOURCE_FILES_MAX = 16384,
};

struct source {
    struct source *next;
    char *path;      /* as messages name it */
    char *directory; /* what its relative `include`s start from; NULL: it may not include */
    char *text;      /* ends with a 0 that `length` does not count; no other 0 is in it */
    size_t length;
    dev_t device; /* which file it is; inode 0: not a file */
    ino_t inode;
};

struct bundle;

struct sources {
    struct source *first; /* the newest */
    size_t count;
    size_t bytes;
    struct bundle *collect;      /* what is read from the disk is added to it; NULL: nowhere */
    const struct bundle *bundle; /* read from this, and never from the disk; NULL: from the disk */
};

void sources_done(struct sources *sources);

enum { SOURCE_PROBLEM_BYTES = 256 };
/* Reads a file. NULL: `problem` says what is wrong, as the rest of a sentence that starts with the
 * file's name. */
struct source *sources_read(struct sources *sources, const char *path,
                            char problem[SOURCE_PROBLEM_BYTES]);
/* Copies a text; `directory` may be NULL. */
struct source *sources_copy(struct sources *sources, const char *text, size_t length,
                            const char *path, const char *directory,
                            char problem[SOURCE_PROBLEM_BYTES]);
