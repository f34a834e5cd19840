/* What requests, responses and trailers of HTTP/1.1 have in common: field lines, and the lists in
 * some of them. For the parser's own files. */
#pragma once

#include "gateway/http/h1_parse.h"

/* Field lines and the empty line that ends them: bytes [at, end) and nothing else. Fills
 * head->fields and ->first, strict. H1_BAD: *ret_refusal. */
enum h1_result h1_fields_parse(const char *at, const char *end, struct head *head,
                               struct h1_refusal *ret_refusal);

/* Takes the next member off a list (RFC 9110 §5.6.1), without white space around it; empty ones are
 * skipped. False: there is none. */
bool h1_list_next(struct slice *list, struct slice *ret_member);

/* Connection, TE, Upgrade: keep_alive, upgrade, te_trailers, and `dropped` of those fields that
 * Connection names. False: it names too many. */
bool h1_connection_read(struct head *head);

/* "404 Not Found", or "404": status and reason, which is "" when it lacks. False: it is none. */
bool h1_status_read(struct slice text, struct head *head);

/* Content-Length. False: not a number that is to be trusted. */
bool h1_length_read(struct slice value, uint64_t *ret_length);

enum h1_coding {
    CODING_CHUNKED, /* chunked, alone */
    CODING_UNKNOWN, /* a coding that is none of HTTP's, or one before chunked */
    CODING_OPEN,    /* a known coding, and chunked does not end it */
    CODING_BROKEN,  /* not a list of codings, or chunked more than once */
};
enum h1_coding h1_coding_read(struct slice value);

/* host [":" port] into head->host, port and authority; a port that is empty is none. False: it is
 * no authority. */
bool h1_authority_read(struct slice text, struct head *head);
/* An origin form, or `*`, into head->target, path and query. */
void h1_target_split(struct head *head, struct slice target);
