/* A log from its end to its beginning, line by line: SERVICE.log, then SERVICE.log.1 and so on. Reads
 * blocks backwards and holds one of them. A value of its user's; logtail_init … logtail_done. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LOGTAIL_BLOCK_BYTES = 64 * 1024 };

struct logtail {
    int directory_fd;    /* the user's */
    const char *service; /* the user's */
    uint32_t number;     /* of the file in hand */
    int fd;              /* -1: none is open */
    off_t block_offset;  /* where in the file the block begins */
    size_t left;         /* bytes of the block that were not given out yet */
    char *block;         /* LOGTAIL_BLOCK_BYTES, the user's: it can be shared by tails used in turn */
};

/* Opens nothing yet. */
void logtail_init(struct logtail *tail, int directory_fd, const char *service, char *block);
void logtail_done(struct logtail *tail);

/* The line before the one given last, without its newline; valid until the next call. 1; 0: there is
 * none; -errno. A line that a block cannot hold is given in pieces. */
int logtail_line(struct logtail *tail, const char **ret_line, size_t *ret_length);
