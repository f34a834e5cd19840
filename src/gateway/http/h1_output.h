/* The sending half of an HTTP/1.1 message, a request's or a response's: its head and first bytes in
 * one send, a body that is framed by length, by chunks, or not at all, and what the socket did not
 * take. Of a body's bytes nothing is kept: the caller is told how many were taken and brings the
 * rest when the stream is writable again. Only the framing around them is kept (and, on a TLS
 * stream, whole records, which must be offered again as they were). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/core/stream.h"

enum { OUTPUT_COPIED_MAX = 8 * 1024 }; /* a body up to this is put behind its head: one send */

struct h1_output {
    char *pending; /* on the heap, only while the socket is full */
    uint32_t pending_length;
    bool chunked;        /* the body goes in frames: chunks, */
    bool records;        /* or FastCGI's STDIN records (fcgi_record.h) */
    uint64_t chunk_left; /* bytes of a frame that was announced */
};

struct h1_piece { /* of a message */
    char *head;   /* NULL: it is out already */
    size_t head_length;
    size_t head_room; /* bytes that `head` may be lengthened to */
    const char *body;
    size_t body_length;
    bool last;
    bool more; /* something follows at once, bytes or the FIN, that it may leave with */
};

void h1_output_init(struct h1_output *output, bool chunked);
void h1_output_done(struct h1_output *output);
/* Body bytes taken (0: none now), or -errno. A head is always taken. */
ssize_t h1_output_write(struct h1_output *output, struct stream *stream,
                        const struct h1_piece *piece);
/* What was left over. 0: nothing any more; -EAGAIN; -errno. */
int h1_output_flush(struct h1_output *output, struct stream *stream);
/* Puts bytes behind what is left over. 0 or -ENOMEM. */
int h1_output_keep(struct h1_output *output, const char *bytes, size_t length);
