/* What RFC 9111 allows a shared cache: may a response be stored, how long is it fresh, may a stored
 * one be used for a request. Pure: times come in, nothing is allocated. All times are milliseconds;
 * wall ones since 1970.
 *
 * Of what clients say (§5.2.1, advisory) no-store and only-if-cached always count; no-cache,
 * max-age, min-fresh and max-stale only where the route says `clients=obey`, since each lets
 * anybody make the service work. */
#pragma once

#include "gateway/http/cache_control.h"
#include "gateway/http/exchange.h"
#include "topology/site.h"

/* How long a stored response may be used; part of it, immutable. */
struct cache_life {
    uint64_t stored_ms;   /* wall; when its head came */
    uint64_t age_ms;      /* that it had then (§4.2.3) */
    uint64_t lifetime_ms; /* §4.2.1; 0: validated each time */
    uint64_t refresh_ms;  /* beyond it: still used while it is refreshed */
    uint64_t stale_ms;    /* beyond it: used when the service fails */
    bool strict;          /* no client's max-stale stretches it */
};

struct cache_request { /* what a request says that is about caching */
    struct cache_control control;
    struct slice range, if_range;
    struct slice if_none_match, if_modified_since; /* bytes NULL: not there */
    bool authorized;                               /* has Authorization */
    bool preconditions; /* If-Match, If-Unmodified-Since: the origin's matter (§4.3.2) */
};

struct cache_response { /* the same of a response */
    struct cache_control control;
    struct slice etag, last_modified, expires, date, age;
    bool has_control; /* a Cache-Control field */
    bool sets_cookie; /* that nothing lists as private or no-cache */
    bool expires_bad; /* several that differ */
    bool vary_any;    /* Vary: * */
};

void cache_request_read(const struct head *request, struct cache_request *ret_facts);
void cache_response_read(const struct field *fields, uint32_t count,
                         struct cache_response *ret_facts);

/* §3. NULL: it may be stored, for *ret_life; else why not, for people. `asked_ms`: wall, when the
 * request was sent. */
const char *cache_may_store(const struct cache_request *request,
                            const struct cache_response *response, uint16_t status,
                            const struct route_cache *rules, uint64_t asked_ms, uint64_t now_ms,
                            struct cache_life *ret_life);

/* Which of a response's fields are kept (§3.1): not those that are about the connection, nor what
 * no-cache="…" and private="…" list, nor Age, which is told anew. */
bool cache_field_kept(const struct cache_control *control, const struct field *field);

enum cache_use {
    USE_FRESH,
    USE_WHILE_REFRESHED, /* stale; a new one is to be fetched behind it */
    USE_VALIDATED,       /* only after the origin said so */
};
/* §4.2. `request` NULL: what the client says does not count. */
enum cache_use cache_may_use(const struct cache_life *life, const struct cache_control *request,
                             uint64_t now_ms);
/* The service failed: may it be used all the same? */
bool cache_may_use_stale(const struct cache_life *life, uint64_t now_ms);
uint64_t cache_age_ms(const struct cache_life *life, uint64_t now_ms);
