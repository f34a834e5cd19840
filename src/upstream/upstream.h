/* An upstream: a service as one thread of the gateway uses it — its endpoints, who gets the next
 * request, who waits. Instances come from the board (read anew when its version changed), remote
 * ones from the resolver. One per service and thread; it lives on over reloads for as long as a
 * generation names the service; its settings are those of the newest generation.
 *
 * A choice allocates nothing, makes no system call, and writes nothing that another thread writes
 * (the first one after a change reads the endpoints anew, and may).
 *
 * Counted here: of an endpoint requests, requests_now, failures, failures_connect, latency_us and
 * ejected; of the service retries, held and held_now. What is left — connections, connections_now,
 * bytes, status — is counted by who speaks with it; `capacity connections=` goes by it.
 *
 * An endpoint lives for as long as it is in the upstream or somebody holds it (endpoint_ref), so a
 * connection to an instance that is gone may still end in its own time. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/random.h"
#include "event/loop.h"
#include "topology/topology.h"
#include "upstream/board.h"
#include "upstream/breakers.h"
#include "upstream/tally.h"

struct upstream;
struct low_water;
struct resolved; /* the addresses of remote names, shared by threads; resolver.h */

struct endpoint {
    struct upstream *upstream; /* NULL: the upstream is gone */
    struct sockaddr_storage address;
    socklen_t address_length;
    uint32_t slot;   /* of an instance; BOARD_NONE: remote */
    uint32_t epoch;  /* of an instance */
    uint32_t number; /* of the instance, 1 …; of the remote, by its place */
    uint32_t weight;
    uint32_t row;                 /* in the tally */
    struct tally_endpoint *tally; /* this thread's */
    const char *name;             /* for logs, "api.2", "10.0.0.7:8080"; lives as long as it does */
    const char *host;             /* of a remote: its name, for TLS; else NULL */
    uint32_t refs;
    bool listed;               /* still one of the upstream's */
    bool revoked;              /* its role was taken from it: what it still has is to be closed */
    uint8_t failures;          /* in a row, of this thread's traffic */
    uint64_t ejected_until_ms; /* 0: not ejected */
    double ewma_us;            /* decayed latency; 0: nothing known yet */
    uint64_t ewma_ms;          /* when it was last fed */
    /* Connections that wait for a request: owned by whoever speaks the protocol (http); the last
     * used first. */
    LIST_HEAD(, pooled) idle;
    uint32_t idle_count;
    /* Of those that carry several requests at a time, told by whoever speaks the protocol. */
    uint32_t links;    /* open now */
    bool full;         /* they take no more, and no other is to be opened: not to be chosen */
    uint32_t idle_low; /* the fewest since the thread's last look: low_water.h */
};

struct pooled { /* embedded in an idle connection */
    LIST_ENTRY(pooled) next;
    void (*close)(struct pooled *pooled); /* called when the endpoint leaves, or the pool is full */
    /* For another thread's use: takes itself out of the pool (endpoint_idle_remove), and lets its
     * descriptor go, which is watched no more and stays counted in the tally. -1: it cannot (TLS),
     * and stays. NULL: never. */
    int (*give)(struct pooled *pooled, uint64_t *ret_expires_ms);
};

/* The thread's things that an upstream needs; lives as long as the thread. */
struct upstream_place {
    struct loop *loop;
    const struct board *board;
    struct tally *tally;
    const struct resolved *resolved; /* NULL: no remote endpoints */
    struct breakers *breakers;       /* NULL: no service has one */
    struct low_water *low_water;     /* NULL: idle connections are not shared with other threads */
    unsigned thread;
    struct random_state *random;
    int wake_fd; /* an eventfd, for the supervisor: somebody waits for a service that sleeps; -1 */
};

/* NULL: no memory. `service` must live until it is replaced by upstream_settle or the upstream is
 * freed. */
struct upstream *upstream_new(const struct upstream_place *place, const struct topology *topology,
                              const struct service *service);
/* The newest generation's settings. */
void upstream_settle(struct upstream *upstream, const struct topology *topology,
                     const struct service *service);
/* Those who wait are told (PICK_NONE); endpoints that are held live on. */
void upstream_free(struct upstream *upstream);
const struct service *upstream_service(const struct upstream *upstream);
struct tally_traffic *upstream_tally(const struct upstream *upstream); /* this thread's */

/* ---- choosing ---- */

enum pick_result {
    PICK_DONE, /* *ret_endpoint: begin it (endpoint_begin) or choose again */
    PICK_WAIT, /* nobody can take it now, but somebody will be there soon, or is at its limit */
    PICK_NONE, /* nobody is there, and nobody is coming */
};

enum { PICK_AVOID_MAX = 4 };

struct pick {        /* what the choice is for; zero-initialised: nothing is known */
    uint64_t hash;   /* of the key of `balance hash`; 0: none known, any will do */
    uint32_t sticky; /* number of the instance that a cookie names; 0: none */
    uint16_t port;   /* of the program; 0: its stated or first learnt one */
    bool datagram;   /* a UDP port */
    enum role_wish role;
    const struct endpoint *avoid[PICK_AVOID_MAX]; /* tried already; taken only if nobody else is */
    size_t avoid_count;
};

enum pick_result upstream_pick(struct upstream *upstream, const struct pick *pick,
                               struct endpoint **ret_endpoint);
/* That endpoint, if it is there and does not refuse: an instance by slot and epoch, a remote one by
 * its name. NULL: it is not. `pick`: for port and datagram. */
struct endpoint *upstream_find(struct upstream *upstream, const struct pick *pick, uint32_t slot,
                               uint32_t epoch, const char *name);
/* The hash of a key's bytes, never 0. */
uint64_t pick_hash(const void *bytes, size_t length);

/* ---- using ---- */

void endpoint_ref(struct endpoint *endpoint);
void endpoint_unref(struct endpoint *endpoint); /* accepts NULL */
/* A request (relay: a connection, a session) is under way: counts, and takes a reference. */
void endpoint_begin(struct endpoint *endpoint);

enum endpoint_outcome {
    OUTCOME_GOOD,
    OUTCOME_UNUSED,         /* nothing was learnt about it: the client left, it was refused by us */
    OUTCOME_CONNECT_FAILED, /* refused, unreachable, no answer in time */
    OUTCOME_FAILED,         /* it broke the connection or the protocol, or did not answer */
};
/* It is over. Feeds passive health, the moving average (`latency_us` to the head; 0: unknown), and
 * wakes whoever waits for room; drops the reference. */
void endpoint_end(struct endpoint *endpoint, enum endpoint_outcome outcome, uint64_t latency_us);
/* Is it still worth a kept connection (in the upstream, not draining, not ejected)? */
bool endpoint_serves(const struct endpoint *endpoint);

/* ---- idle connections ---- */

/* Keeps it, or calls its `close` at once when the pool is full or the endpoint serves no more. */
void endpoint_idle_put(struct endpoint *endpoint, struct pooled *pooled);
/* The last used one, taken out; NULL: none. */
struct pooled *endpoint_idle_take(struct endpoint *endpoint);
/* It leaves by itself (closed by the other end, too old). */
void endpoint_idle_remove(struct endpoint *endpoint, struct pooled *pooled);
/* When there is none: the descriptor of one that another thread had no need of; plain, connected,
 * with nothing to read, counted in the tally already; -1: none. It costs a load to learn that. */
int endpoint_stash_take(struct endpoint *endpoint);

/* ---- the breaker ---- */

/* Does the service's breaker let a try begin? False: it does not, which is counted; answer at once.
 * Without a breaker always, and the pass is 0: what follows says nothing then. */
bool upstream_passes(struct upstream *upstream, breaker_pass *ret_pass);
/* Is the breaker closed, or are probes of use? Both without passing. */
bool upstream_closed(const struct upstream *upstream);
bool upstream_may_pass(const struct upstream *upstream);
/* For how long it will let nobody pass; 0: that is over, or there is none. */
uint64_t upstream_rests_ms(const struct upstream *upstream);
/* The outcome of a try: it goes well (and may still turn out to be bad), is bad, is over. The pass
 * ends with the two latter. */
void upstream_good(const struct upstream *upstream, breaker_pass *pass);
void upstream_bad(const struct upstream *upstream, breaker_pass *pass);
void upstream_over(const struct upstream *upstream, breaker_pass *pass);

/* ---- waiting ---- */

struct waiter;
/* PICK_DONE: choose again now (it may still be PICK_WAIT: wait again, the deadline goes on).
 * PICK_NONE: the time is over, or nobody comes any more. The waiter is out of the queue. Called by
 * the loop, never from within another call but upstream_free; it may free the upstream. */
typedef void waiter_call(struct waiter *waiter, enum pick_result result);

struct waiter { /* embedded in a request */
    TAILQ_ENTRY(waiter) next;
    enum role_wish role;       /* of whom it waits for: that of its pick */
    struct upstream *upstream; /* NULL: does not wait */
    waiter_call *call;
    uint64_t deadline_ms; /* loop time; 0: to be set from `hold` when it first waits; for another
                             request set it to 0 again */
};

/* False: the queue is full (`hold`), answer 503. */
bool upstream_wait(struct upstream *upstream, struct waiter *waiter, waiter_call *call);
void waiter_stop(struct waiter *waiter); /* accepts one that does not wait */

/* ---- retries ---- */

/* May one more try be made within the budget (`retry budget=`)? Counts it when it may, also as
 * the service's `retries` in the tally. */
bool upstream_retry_allowed(struct upstream *upstream);

/* ---- for the thread ---- */

/* The board's bell rang, or the resolver or the checker has news: looks at the versions of those
 * upstreams that somebody waits in, and lets idle connections of endpoints that left go. */
void upstream_news(struct upstream *upstream);
/* Was an endpoint revoked since this was asked last? */
bool upstream_revoked_take(struct upstream *upstream);
