/* A segment: shared memory of a fixed size, made by one process and mapped by others. It is a
 * memfd(2), sealed so that nobody can take pages away from under a reader. Pages that nobody
 * touches cost nothing. It begins with a header by which the opener knows what it was given. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEGMENT_HEADER_BYTES = 4096, SEGMENT_WORDS = 16 };

struct segment_header {
    uint32_t magic;
    uint32_t version; /* of the layout */
    uint64_t bytes;
    uint32_t words[SEGMENT_WORDS]; /* the kind's own: sizes */
};

/* A new one, zeroed, mapped for writing; `header->bytes` is its size, header included. The caller
 * unmaps it and closes *ret_fd. 0 or -errno. */
int segment_new(const char *name, const struct segment_header *header, void **ret_base,
                int *ret_fd);
/* Maps one of that magic and version; the header is copied, so that what the other process does to
 * it later does not count. 0, -errno, -EPROTO: it is something else, or is not sealed. */
int segment_open(int fd, bool writable, uint32_t magic, uint32_t version, void **ret_base,
                 struct segment_header *ret_header);
