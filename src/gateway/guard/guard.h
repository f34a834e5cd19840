/* Guards as a handler: it asks the route's guards one after the other (topology/guard.h), and the
 * exchange goes on to its next stage when all have let it pass. One that must wait — for a
 * service's answer, for a slow hash — goes on with guard_go_on. Each kind is a file; none knows
 * another. All of one worker. */
#pragma once

#include "gateway/http/guarded.h"
#include "topology/guard.h"

enum guard_answer {
    GUARD_PASSES,
    GUARD_ANSWERED, /* the exchange may be gone already */
    GUARD_WAITS,    /* guarded.abort is set; guard_go_on or guard_refuse will be called */
};

/* Each asks one guard of its kind. */
enum guard_answer guard_access(struct exchange *exchange, const struct guard *guard);
enum guard_answer guard_rate(struct exchange *exchange, const struct guard *guard);
enum guard_answer guard_requests(struct exchange *exchange, const struct guard *guard);
enum guard_answer guard_basic(struct exchange *exchange, const struct guard *guard);
enum guard_answer guard_request(struct exchange *exchange, const struct guard *guard);
enum guard_answer guard_cors(struct exchange *exchange, const struct guard *guard);
enum guard_answer guard_jwt(struct exchange *exchange, const struct guard *guard);
/* Of GUARD_REQUESTS: what the exchange holds is given back. */
void guard_holds_give(struct guarded *guarded);

/* The one that waited lets it pass. */
void guard_go_on(struct exchange *exchange);
/* An answer in place of the route's: counted, logged, with these fields. `why` as in exchange_fail;
 * NULL: the guard's text. */
enum guard_answer guard_refuse(struct exchange *exchange, const struct guard *guard,
                               uint16_t status, const char *why, const struct field *fields,
                               uint32_t count);
/* The same without a page: a redirect. */
enum guard_answer guard_respond(struct exchange *exchange, const struct guard *guard,
                                uint16_t status, const struct field *fields, uint32_t count);
/* The guard cannot say: ours to answer for, with 500, 502 or 503. */
enum guard_answer guard_fail(struct exchange *exchange, const struct guard *guard, uint16_t status,
                             enum exchange_blame blame, const char *why);

/* The request's fields of these names (`_` is `-`; ends with NULL) are those of `from` now,
 * whatever the client sent. False: no memory. */
bool guard_fields_replace(struct exchange *exchange, const char *const *names,
                          const struct field *from, uint32_t from_count);
