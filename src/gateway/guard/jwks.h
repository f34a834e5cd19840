/* JWK sets that a service shows (`auth jwt -> SERVICE`): fetched when a token first needs them,
 * again every JWKS_FRESH_MS, and when a token names a key that is not there (every JWKS_AGAIN_MS at
 * most). While a newer set cannot be had the last one goes on. Each worker has its own; they
 * outlive generations, by the names of service and path. */
#pragma once

#include "gateway/guard/key_set.h"
#include "gateway/http/exchange.h"
#include "topology/guard.h"

enum {
    JWKS_FRESH_MS = 300000,
    JWKS_AGAIN_MS = 10000,
    JWKS_RETRY_MS = 1000, /* after a failure */
    JWKS_SOURCES_MAX = 256,
};

struct jwks_wait { /* who waits for a fetch; embedded in its owner */
    LIST_ENTRY(jwks_wait) next;
    void (*fetched)(struct jwks_wait *wait);
    bool waits;
};

enum jwks_answer {
    JWKS_THERE, /* *ret_keys, until the loop turns */
    JWKS_WAITS, /* `fetched` is called; then ask again */
    JWKS_NONE,  /* it never was there, and is not now */
};

/* `newer`: the set that is there has not the key. */
enum jwks_answer jwks_find(struct exchange *exchange, const struct guard_jwt *jwt, bool newer,
                           struct jwks_wait *wait, const struct key_set **ret_keys);
void jwks_cancel(struct jwks_wait *wait);

struct jwks_worker;
void jwks_worker_free(struct jwks_worker *own); /* accepts NULL */
