/* An answer on its way into a store: decides whether it may be stored, collects its body, puts it
 * in at the end. Used by the filter that stands behind a client's request (cache_filter.c) and by
 * refreshes that have none (cache_refresh.c). Ends the flight that it was given, when it is known
 * what those that wait may do. One worker's. */
#pragma once

#include "gateway/http/cache_store.h"

struct cache_fill {
    struct cache_store *store; /* the owner has a reference */
    const struct route_cache *rules;
    struct cache_counts *counts;
    struct cache_key key;         /* text is the owner's */
    struct cache_request request; /* texts are the owner's */
    struct cache_flight *flight;  /* NULL: none; it waits for nobody and nobody waits for it */
    uint64_t asked_ms;            /* wall */
    uint64_t purges;              /* of the store, when it was asked */
    struct cache_object *object;  /* complete but for its body; NULL: nothing is being stored */
    struct cache_body *body;
};

/* `flight` becomes the fill's. Zero-initialised but for store, rules, counts, key and request. */
void cache_fill_begin(struct cache_fill *fill, struct cache_flight *flight);
/* The head of the answer; `head` is the request's. True: bytes are wanted. */
bool cache_fill_head(struct cache_fill *fill, const struct head *head,
                     const struct response_head *response);
/* 304 to a request with the stored answer's validators: a new object with the old body, in the
 * store, with a reference for the caller. NULL: it is about another answer, or there is no memory;
 * the old one is not to be used. */
struct cache_object *cache_fill_freshen(struct cache_fill *fill, const struct head *head,
                                        const struct response_head *response,
                                        struct cache_object *stored);
void cache_fill_bytes(struct cache_fill *fill, const char *bytes, size_t length);
/* The answer is over. `whole`: nothing is missing. */
void cache_fill_end(struct cache_fill *fill, bool whole);
/* Nothing is stored; what waits looks for itself. May be called at any time, also again. */
void cache_fill_drop(struct cache_fill *fill, enum flight_end end);
