/* The body of a response made of pieces, of memory and of a file: one piece for a file or a range
 * of it, several for multipart/byteranges. What is small leaves together
 * with the head; what is large is moved by the kernel (sendfile) where the codec can, else read and
 * written piece by piece. In the arena of its
 * exchange, which is released when all is out. */
#pragma once

#include "event/loop.h"
#include "gateway/http/exchange.h"
#include "gateway/http/file_cache.h"

struct file_piece {
    const char *bytes; /* NULL: of the file */
    uint64_t offset;
    uint64_t length;
};

struct file_send {
    struct exchange *exchange;
    struct file *file; /* a reference; NULL: all is memory */
    char *owned;       /* what pieces lie in, to be freed; NULL: none */
    struct file_piece *pieces;
    uint32_t count;
    uint32_t at;
    bool moving; /* the kernel has moved some of the present piece */
    struct deferred again;
};

/* Zero-initialised but for exchange, file, owned, pieces and count; `head` is completed with the
 * body's length. It may be over when this returns. */
void file_send_start(struct file_send *send, struct response_head *head);
/* The client takes more. */
void file_send_room(struct file_send *send);
/* Lets go of everything and calls nothing. */
void file_send_abort(struct file_send *send);
