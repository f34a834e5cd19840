/* The cache as a stage in front of a route's own handler (`cache pages …;`): looks answers up,
 * sends what may be used, else lets the service answer and stores what it says. For its own files:
 *   cache.c           the handler: which requests, looking up, waiting for others
 *   cache_answer.c    an answer from the store: ranges, conditions, Age, Cache-Status
 *   cache_filter.c    behind the service's answer: storing, 304, stale on failure, invalidation
 *   cache_refresh.c   a stale answer made fresh behind the client's back
 *   cache_purge.c     PURGE
 * and what they use: cache_policy.h (RFC 9111), cache_key.h, cache_store.h, cache_fill.h.
 *
 *   start ─▶ look up ─▶ fresh ───────────────────────────────────────────────▶ answer
 *              ▲  │  └─▶ stale, may be used meanwhile ─▶ (refresh) ───────────▶ answer
 *              │  ├─▶ another fetches it ─▶ wait ─┐
 *              └──┼──────────────────────────────┘
 *                 └─▶ fetch, with the validators of what is there ─▶ 304, or failed ─▶ answer
 *                                                                └─▶ passed on, and stored */
#pragma once

#include "gateway/http/cache_fill.h"
#include "gateway/http/filter.h"

extern const struct handler handler_cache;

/* A worker's part, made when it is first needed. */
void cache_worker_free(struct worker *worker, struct cache_mailbox *mailbox);

/* ---- for its own files ---- */

enum cache_mode {
    CACHE_FETCHES,     /* the service is asked; what it says is judged */
    CACHE_STORES_ONLY, /* the client has its 304; the rest is for the store */
    CACHE_SWALLOWS,    /* what comes is for nobody: something else follows */
    CACHE_PASSES,      /* nothing to do */
    CACHE_INVALIDATES, /* an unsafe method: if it succeeds, what is stored is not true any more */
};

enum cache_next { NEXT_NOTHING, NEXT_ANSWER, NEXT_FETCH }; /* after CACHE_SWALLOWS */

struct cache_own {        /* in the exchange's arena */
    struct filter filter; /* first */
    struct exchange *exchange;
    struct cache_store *store; /* the generation's */
    const struct route_cache *rules;
    struct cache_counts *counts;
    struct cache_key key;
    struct cache_request request;
    struct cache_object *object; /* to be sent, or to be validated; a reference; NULL: none */
    const char *how;             /* of the answer: "hit", "stale", "revalidated" */
    struct cache_fill fill;
    struct cache_waiter waiter;
    struct timer lock;
    uint64_t lock_until_ms; /* loop time; 0: it has not waited yet */
    bool waits, waited;
    bool disk_asked;    /* what is there of it is in memory now */
    bool filters;       /* it stands in the exchange's chain */
    bool conditional;   /* the stored answer's validators were sent */
    uint8_t validators; /* how many fields that are, at the request's end */
    bool sends;         /* part of the object is out */
    bool moving;        /* by the kernel, without a copy */
    struct deferred again;
    enum cache_mode mode;
    enum cache_next next;
    size_t ahead;     /* bytes of the service's that are stored, and not yet taken by the client */
    uint64_t at, end; /* of the body: to be sent */
};

static inline struct cache_own *cache_own_of(struct filter *filter)
{
    return (struct cache_own *)filter;
}

/* cache.c */
/* Lets go of everything; may be called again. */
void cache_let_go(struct cache_own *own);
/* Asks the service. `flight`: NULL: nobody waits for it. The last call of who calls it. */
void cache_fetch(struct cache_own *own, struct cache_flight *flight);
bool cache_own_key(struct exchange *exchange, const struct route_cache *rules,
                   struct cache_key *ret_key);

/* cache_answer.c: from own->object. May be over when it returns. */
void cache_answer(struct cache_own *own, const char *how);
void cache_answer_room(struct cache_own *own);
/* Is the client's condition such that it has what `object` is? */
bool cache_client_has(const struct cache_own *own, const struct cache_object *object);

/* cache_filter.c */
extern const struct filter_kind cache_filter;
void cache_filter_put(struct cache_own *own, enum cache_mode mode);

/* cache_refresh.c: fetches it anew, if nobody does. */
void cache_refresh(struct cache_own *own);
/* The validators of a stored answer as a request's fields. How many: 0 … 2. */
uint8_t cache_validators(const struct cache_object *object, struct field ret_fields[2]);
/* Is it one of the fields that such a request has of its own? */
bool cache_condition_field(const struct field *field);

/* cache_purge.c: false: it is no request to purge. */
bool cache_purge_request(struct cache_own *own);
