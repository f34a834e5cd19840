/* Which responses are compressed on their way to a client (`compress` of a route), with what, and
 * how their heads change (RFC 9110 §8.4, §12.5.3). Pure; new texts lie in the arena that is given.
 *
 * Left as they are: what is encoded already, or only a part (206), or without a body; what says
 * `Cache-Control: no-transform` or has a digest of its bytes; other types, smaller bodies. Where it
 * depends on the client, Vary says so. */
#pragma once

#include "gateway/http/bump.h"
#include "gateway/http/exchange.h"
#include "gateway/http/file_condition.h"

/* Would a response be compressed for some client? `length` bytes of its body are here; `last`: they
 * are all. */
bool compress_fits(const struct compression *compression, const struct response_head *head,
                   size_t length, bool last);
/* For this client: ENCODING_COUNT: not. */
enum encoding compress_choose(const struct compression *compression, const struct head *request);
/* The head of the compressed response: without a length. False: no memory; it is unchanged. */
bool compress_head(struct bump *arena, struct response_head *head, enum encoding encoding);
/* With `Vary: Accept-Encoding`, for who gets it as it is. False: no memory; it is unchanged. */
bool compress_vary(struct bump *arena, struct response_head *head);
/* The head of a 304, whose ETag must be the one of what the client has: that of the compressed
 * response, if it asked with that one. False as above. */
bool compress_not_modified(struct bump *arena, const struct head *request,
                           struct response_head *head);
