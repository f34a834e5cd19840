/* Guards: what a request has to pass before the handler of its route gets it — `allow`, `deny`,
 * `limit`, `auth`, `cors`. Values of a topology, made by guard_build.c, immutable; gateway/guard/
 * carries them out.
 *
 * A route has those of the blocks around it and its own: the listener's first, then the host's,
 * then the route's, in each block in the order of the file; `cors` stands before all others. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topology/access.h"

enum {
    GUARDS_MAX = 64, /* of a route, with those around it */
    GUARD_COPIES_MAX = 16,
    GUARD_CLAIMS_MAX = 16,
    GUARD_TOKENS_MAX = 10000, /* `auth jwt` of a topology */
};

enum guard_kind {
    GUARD_ACCESS,   /* `allow` and `deny` of one block */
    GUARD_RATE,     /* `limit RATE` */
    GUARD_REQUESTS, /* `limit requests=N` */
    GUARD_BASIC,    /* `auth basic` */
    GUARD_REQUEST,  /* `auth request` */
    GUARD_JWT,      /* `auth jwt` */
    GUARD_CORS,     /* `cors`; the first of its route */
    GUARD_FLOOD,    /* `flood` of the listener: counted so, and in no route's list */
    GUARD_KINDS
};

/* "access", "rate", …: as logs and metrics call them; by kind. */
extern const char *const guard_names[GUARD_KINDS];

struct guard_limit {
    uint64_t identity;    /* of its counters: the same over reloads while it stands in that block */
    uint64_t interval_ns; /* GUARD_RATE: between two requests in the long run */
    uint32_t burst;       /* GUARD_RATE: so many at once, after a pause */
    uint32_t requests;    /* GUARD_REQUESTS: so many under way */
    const char *key;      /* pattern; NULL: the client's address, of IPv6 its /64 */
    uint16_t status;      /* of the refusal */
};

struct guard_user {
    const char *name;
    const char *hash; /* of crypt(5), or $apr1$: htpasswd.h */
};

struct guard_basic {
    const char *realm;              /* nothing in it ends a quoted string */
    const struct guard_user *users; /* ordered by name */
    size_t user_count;
};

struct guard_request {
    uint64_t identity;         /* of what its answers are remembered under */
    const struct route *route; /* to the service */
    const char *path;          /* of the request */
    const char *const *copy;   /* headers of the answer for the route's service; ends with NULL */
    const char *user;          /* the header of the answer that is $user; NULL: none */
    bool redirects;            /* a redirect of the service's is the client's answer */
    uint32_t cache_ms;         /* 0: each request asks */
    const char *key;           /* pattern: what its answers depend on */
};

struct guard_rule { /* `claim=role=admin` */
    const char *name;
    const char *value;
};

enum guard_keys { GUARD_KEYS_PEM, GUARD_KEYS_SECRET, GUARD_KEYS_JSON, GUARD_KEYS_SERVICE };

struct guard_jwt {
    uint32_t number;      /* in the topology's tokens; its keys, compiled, are the generation's */
    enum guard_keys keys; /* where they are from */
    const char *file;     /* of all but GUARD_KEYS_SERVICE; for messages */
    const char *text;     /* its bytes */
    size_t length;
    const struct route *route; /* GUARD_KEYS_SERVICE; else NULL */
    const char *path;
    const char *realm;
    const char *issuer;   /* NULL: any */
    const char *audience; /* NULL: any */
    const struct guard_rule *claims;
    size_t claim_count;
    uint32_t leeway_s;
    bool endless; /* `exp` may be missing */
};

struct guard_cors {
    const char *const *origins; /* ends with NULL; a host that begins with `*.` is all below it */
    bool any;                   /* `*` */
    const char *methods;        /* "GET, POST" */
    const char *headers;        /* of requests; NULL: those that are asked for */
    const char *expose;         /* of responses; NULL: none */
    bool credentials;
    const char *max_age; /* seconds */
};

struct guard {
    enum guard_kind kind;
    const char *text; /* for logs: "limit 10/s" */
    union {
        const struct access_list *access;
        const struct guard_limit *limit;
        const struct guard_basic *basic;
        const struct guard_request *request;
        const struct guard_jwt *jwt;
        const struct guard_cors *cors;
    };
};
