/* An approach: an accepted connection on its way to an endpoint, until both are joined or it fails.
 * It is large, and gone when the tunnel begins. Private to relay/.
 *
 *   PROXY ─▶ HELLO | TLS ─▶ PICK ─▶ CONNECT ─▶ relay_joined
 *
 * A step that cannot go on waits: for the client (PROXY, HELLO, TLS: GREETING_MS all together), for
 * an endpoint to come into rotation or to have room (PICK: `hold`), for a moment before the same
 * endpoint is tried again (PICK), for the connection (CONNECT: `timeout connect=`). */
#pragma once

#include <sys/queue.h>

#include "gateway/core/stream.h"
#include "gateway/core/worker.h"

enum { GREETING_MS = 10000, PAUSE_MS = 20, FIRST_BYTES_MAX = 16 * 1024 };

enum approach_step {
    STEP_PROXY,   /* a PROXY header must come */
    STEP_HELLO,   /* a ClientHello must come, by whose name the service is chosen */
    STEP_TLS,     /* the client's TLS handshake */
    STEP_PICK,    /* somebody must take it */
    STEP_CONNECT, /* to whom was picked */
    STEP_OVER,    /* it is freed at the end of the turn */
};

struct approach {
    struct client_base base;
    LIST_ENTRY(approach) next;
    struct stream client;
    struct stream upstream; /* fd -1: none */
    struct timer timer;
    struct deferred end;
    struct waiter waiter;
    struct pick pick;          /* those to avoid are held */
    struct endpoint *endpoint; /* begun; NULL: none */
    struct upstream *pool;     /* of the service, once it is known */
    char *ahead;               /* what was read of the client and not passed on yet */
    size_t ahead_length;
    size_t passed;     /* bytes that the endpoint has taken already */
    uint64_t begun_us; /* of the connection to the endpoint */
    uint32_t service;  /* index */
    breaker_pass pass; /* of the try that is under way */
    uint32_t tries;    /* that failed */
    uint32_t pauses;   /* before tries of somebody who had failed */
    enum approach_step step;
    bool called; /* from the upstream's queue: whose upstream must outlive the call */
};

/* Takes the accepted descriptor over, and goes as far as it gets; may free it. `proxied`: a PROXY
 * header must come. */
void approach_begin(struct approach *approach, int fd, bool proxied);
/* Goes on from its step; may free it. */
void approach_advance(struct approach *approach);
/* Closes what there is and frees it. `reset`: the client gets a RST. */
void approach_fail(struct approach *approach, bool reset);
/* The second half of that, which waits for the end of the turn when `called`. */
void approach_end(struct approach *approach);
/* Keeps bytes of the client for the tunnel. 0 or -ENOMEM. */
int approach_keep(struct approach *approach, const char *bytes, size_t length);
/* Frees it, with nothing of what it holds: others have it. */
void approach_free(struct approach *approach);

enum going { GOES_ON, WAITS, FAILS };
/* greet.c: one step each */
enum going greet_proxy(struct approach *approach);
enum going greet_hello(struct approach *approach);
enum going greet_tls(struct approach *approach);

/* relay.c: the endpoint's connection stands. Takes all that the approach holds, or fails it. */
void relay_joined(struct approach *approach);
