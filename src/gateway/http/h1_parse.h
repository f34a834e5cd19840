/* HTTP/1.1's parser: strict (RFC 9112, RFC 9110), pure, no allocation. A head is parsed when it is
 * there whole; `h1_head_end` finds its end incrementally, so that a head that comes byte by byte
 * costs no more than one that comes at once.
 *
 * Anything that two implementations could read differently is refused, not mended: obs-fold, bare
 * CR or LF, white space before a colon, both or several lengths, other transfer codings than
 * chunked at the end, an empty or second Host, control bytes anywhere. */
#pragma once

#include <stdint.h>

#include "gateway/http/head.h"

enum h1_result { H1_MORE, H1_DONE, H1_BAD };

/* Finds the empty line. `*scanned` (0 at the start) is how far was looked; *ret_length the head's
 * bytes with its empty line. H1_BAD: a bare LF or CR, or a NUL, seen on the way. Leading empty
 * lines before a request (RFC 9112 §2.2) are to be skipped by the caller: h1_blank. */
enum h1_result h1_head_end(const char *bytes, size_t length, size_t *scanned, size_t *ret_length);
/* Bytes of CRLF in front of a request; at most two lines of them. */
size_t h1_blank(const char *bytes, size_t length);

struct h1_refusal {  /* of a bad request */
    uint16_t status; /* 400, 417, 431, 501, 505 */
    const char *why; /* static text, for the log */
};

/* `bytes` is one whole head. `head->fields` and `fields_room` are set by the caller, everything
 * else by this. H1_DONE, or H1_BAD with what to answer (request) or why (response). */
enum h1_result h1_request_parse(const char *bytes, size_t length, struct head *head,
                                struct h1_refusal *ret_refusal);
/* `method`: of the request that it answers (HEAD has no body). 1xx too. */
enum h1_result h1_response_parse(const char *bytes, size_t length, enum http_method method,
                                 struct head *head, const char **ret_why);

/* The chunked coding (RFC 9112 §7.1), as a state that takes bytes as they come. */
struct h1_chunks {
    uint8_t state;
    uint8_t digits;
    uint16_t extension_bytes; /* of this chunk's, bounded */
    uint32_t trailer_bytes;   /* bounded by CHUNK_TRAILER_BYTES_MAX */
    uint64_t left;            /* of the chunk's data */
    char *trailer;            /* room for CHUNK_TRAILER_BYTES_MAX, or NULL: not wanted */
};
enum { CHUNK_EXTENSION_BYTES_MAX = 1024, CHUNK_TRAILER_BYTES_MAX = 8192 };

void h1_chunks_init(struct h1_chunks *chunks);
/* Looks at bytes[0 … length): consumes framing up to the next run of data. *ret_used: bytes of
 * framing consumed; *ret_data: bytes of data that follow it and are in `bytes` (then call
 * h1_chunks_data when they were taken). H1_DONE: the body is over, *ret_used includes the last
 * byte. */
enum h1_result h1_chunks_next(struct h1_chunks *chunks, const char *bytes, size_t length,
                              size_t *ret_used, size_t *ret_data);
static inline void h1_chunks_data(struct h1_chunks *chunks, size_t taken)
{
    chunks->left -= taken;
}
/* All of it at once, in place: the data of these bytes is moved together. *ret_used: bytes looked
 * at (all of them, but for those behind the end when H1_DONE). */
enum h1_result h1_chunks_decode(struct h1_chunks *chunks, char *bytes, size_t length,
                                size_t *ret_used, char **ret_data, size_t *ret_length);
/* After the body is over: the trailer's fields, without those that may not stand there. */
uint32_t h1_trailers_parse(const struct h1_chunks *chunks, struct field *fields, uint32_t room);
