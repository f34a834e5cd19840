/* What guards (gateway/guard/) know of an exchange: where they are with it, what they found out
 * about who asks, and what they want of the response. In the exchange's arena; only exchanges whose
 * route has guards have one. */
#pragma once

#include "gateway/http/exchange.h"

struct guard;
struct guard_hold; /* counted while the exchange lives: gateway/guard/ */

struct guard_claim { /* of a token */
    struct slice name;
    struct slice value;
};

struct guarded {
    size_t at;                                /* the guard that is asked, of the route's */
    void *own;                                /* of one that waits, and */
    void (*abort)(struct exchange *exchange); /* what it does when the client is gone; NULL: none
                                                 waits */
    const struct guard *refused;              /* by whom; NULL: it passed, or is not through yet */
    struct guard_hold *holds;
    struct slice user; /* who it is; "": not known */
    const struct guard_claim *claims;
    uint32_t claim_count;
    /* Of each response, whoever makes it; fields that begin with Access-Control- are left out of
     * what it had, but for those of a preflight, which guards answer themselves. */
    const struct field *response_fields;
    uint32_t response_count;
};

extern const struct handler handler_guards;
/* The exchange ends: counts are given back. */
void guards_done(struct exchange *exchange);
/* After the worker's last exchange. */
void guards_worker_done(struct worker *worker);
