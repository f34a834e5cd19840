/* Conditional requests (RFC 9110 §13) and which compressed variant a client takes (§12.5.3), for
 * one file. Pure; no allocation. */
#pragma once

#include <stdbool.h>
#include <time.h>

#include "gateway/http/head.h"

struct wishes { /* what of a request's fields is about the file; `bytes` NULL: not there */
    struct slice if_match;
    struct slice if_none_match;
    struct slice if_modified_since;
    struct slice if_unmodified_since;
    struct slice range;
    struct slice if_range;
    struct slice accept_encoding;
};

void wishes_read(const struct head *request, struct wishes *ret_wishes);

enum verdict {
    VERDICT_SEND,
    VERDICT_NOT_MODIFIED, /* 304 */
    VERDICT_FAILED,       /* 412 */
};
/* `etag` is a strong one, with its quotes. */
enum verdict wishes_judge(const struct wishes *wishes, struct slice etag, time_t modified);
/* Is the client's part one of this file, so that the rest may be sent? */
bool wishes_range_holds(const struct wishes *wishes, struct slice etag, time_t modified);

enum encoding { ENCODING_BROTLI, ENCODING_ZSTD, ENCODING_GZIP, ENCODING_COUNT };
struct encoding_name {
    struct slice name;   /* "br" */
    struct slice suffix; /* ".br" */
};
extern const struct encoding_name encodings[ENCODING_COUNT];
/* Of these the one that the client likes best, of several the first; ENCODING_COUNT: none, or it
 * likes the content best as it is. */
enum encoding encoding_prefer(struct slice accept, const enum encoding *order, size_t count);
/* The best for the client of those that are there (bits 1 << enum encoding); ENCODING_COUNT: none.
 */
enum encoding encoding_choose(struct slice accept, unsigned there);

/* Seconds since 1970; -1: not a date (RFC 9110 §5.6.7, the obsolete forms too). */
time_t http_date_parse(struct slice text);
enum { HTTP_DATE_BYTES = 30 };
/* Writes "Sun, 06 Nov 1994 08:49:37 GMT" and a 0. */
void http_date_print(time_t seconds, char out[HTTP_DATE_BYTES]);
