/* A log from its end to its beginning, line by line: SERVICE.log, then the rotated files, the
 * newest first (logrow.h), while the logger may go on writing and rotating. Reads blocks backwards
 * and holds one of them. A value of its user's; logtail_init … logtail_done. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LOGTAIL_BLOCK_BYTES = 64 * 1024 };

struct logtail {
    int directory_fd;    /* the user's */
    const char *service; /* the user's */
    ino_t inode;         /* of the file in hand, or where to begin; 0: with the newest */
    off_t end;           /* where in the first file to begin; -1: at its end */
    int fd;              /* -1: none is open */
    off_t block_offset;  /* where in the file the block begins */
    size_t left;         /* bytes of the block that were not given out yet */
    char *block; /* LOGTAIL_BLOCK_BYTES, the user's: it can be shared by tails used in turn */
};

/* Opens nothing yet. `inode` and `end`: begin in that file at that offset, and pass over what is
 * newer; 0 and -1: begin at the end of all. */
void logtail_init(struct logtail *tail, int directory_fd, const char *service, char *block,
                  ino_t inode, off_t end);
void logtail_done(struct logtail *tail);

/* The line before the one given last, without its newline; valid until the next call. 1; 0: there
 * is none; -errno. A line that a block cannot hold is given in pieces. */
int logtail_line(struct logtail *tail, const char **ret_line, size_t *ret_length);
