/* FastCGI's records (FastCGI specification 1.0, §3, §8), as a web server needs them: writing a
 * request's, reading a response's. One request at a time on a connection, so its number is always
 * 1. Pure; no allocation. What a responder may not send is refused. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FCGI_HEADER_BYTES = 8,
    FCGI_BEGIN_BYTES = 16, /* a whole BEGIN_REQUEST record */
    FCGI_CONTENT_BYTES_MAX = 65535,
};

enum fcgi_type {
    FCGI_TYPE_BEGIN = 1,
    FCGI_TYPE_END = 3,
    FCGI_TYPE_PARAMS = 4,
    FCGI_TYPE_STDIN = 5,
    FCGI_TYPE_STDOUT = 6,
    FCGI_TYPE_STDERR = 7,
};

/* ---- writing ---- */

/* The header of a record with so many bytes of content (at most FCGI_CONTENT_BYTES_MAX). */
void fcgi_header_write(char out[FCGI_HEADER_BYTES], enum fcgi_type type, size_t length);
/* `keeps`: the connection is to stay open behind the request. */
void fcgi_begin_write(char out[FCGI_BEGIN_BYTES], bool keeps);
/* A length in front of a parameter's name or value: 1 or 4 bytes. How many. */
size_t fcgi_length_write(char out[4], uint32_t length);

/* ---- reading ---- */

struct fcgi_reader { /* zero-initialised: before the first record of a response */
    uint8_t header[FCGI_HEADER_BYTES];
    uint8_t header_length; /* bytes of the header that are there */
    uint8_t padding_left;
    uint8_t end[FCGI_HEADER_BYTES]; /* the content of END_REQUEST */
    uint16_t content_left;
};

enum fcgi_event {
    FCGI_MORE,    /* all was used, and the record is not over */
    FCGI_STDOUT,  /* a run of the response */
    FCGI_STDERR,  /* a run of what it complains about */
    FCGI_END,     /* the request is over, and went well */
    FCGI_REFUSED, /* it is over: the program is overloaded, or cannot play this role */
    FCGI_BAD,     /* no record that may stand here */
};

/* Looks at bytes[0 … length). *ret_used: how many were looked at, with those of the run, which are
 * the last *ret_length of them. Call it again for the rest; not after FCGI_END and what follows. */
enum fcgi_event fcgi_next(struct fcgi_reader *reader, const char *bytes, size_t length,
                          size_t *ret_used, size_t *ret_length);
