/* A worker: one thread of the gateway with everything that it needs — its loop, its share of the
 * counters, buffers that all of its connections use in turn, its upstreams — and nothing that
 * another thread writes. The main thread makes workers, hands each new generation to them, and does
 * what there is one of per machine (resolver, checker, metrics, messages with the supervisor).
 *
 * Threads meet in five places only: the board and the tally (memory, one writer per line), the
 * mailbox of each worker (a pointer and an eventfd), the reference count of a generation (touched
 * when it comes and goes, never per request), and the stash (upstream/stash.h: idle connections,
 * given once a second, taken where the alternative is to connect). */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/random.h"
#include "event/loop.h"
#include "gateway/core/generation.h"
#include "gateway/core/pipes.h"
#include "upstream/low_water.h"
#include "upstream/upstream.h"

enum {
    WORKER_INPUT_BYTES = 128 * 1024, /* what a turn reads into: see below */
    WORKER_OUTPUT_BYTES = 128 * 1024,
};

struct journal;
struct bans;
struct ban_news;

struct worker_count { /* one worker writes it, all read it */
    atomic_uint connections;
    char apart[60]; /* no line of the cache has two writers */
};

struct worker {
    struct upstream_place place; /* loop, board, tally, thread number, random: shorthand below */
    struct loop *loop;
    unsigned number;
    struct random_state random;

    /* Scratch for whoever is being called: contents hold until the callee returns to the loop. */
    char *input;  /* WORKER_INPUT_BYTES */
    char *output; /* WORKER_OUTPUT_BYTES */
    struct pipes pipes;
    struct low_water low_water; /* idle connections that others may have */

    struct generation_use *current; /* of the newest generation; holds a reference */
    struct journal *journal;        /* access log lines on their way to the logger */
    uint32_t connections;           /* of clients, open now */
    uint32_t connections_max;       /* the gateway's, of all workers together */
    struct worker_count *counts;    /* of all workers; NULL: it is alone */
    unsigned count;
    uint32_t descriptors_max;   /* of the process; 0: unknown */
    struct bans *bans;          /* of all workers; NULL: nobody is banned */
    struct ban_news *ban_news;  /* the same; NULL: nobody is told */
    uint64_t request_next;      /* for request ids */
    struct http_worker *http;   /* http/'s own state per worker */
    struct relay_worker *relay; /* relay/'s */
    struct worker_own *own;     /* worker.c's */
};

union client_address { /* a struct sockaddr_storage would be the largest part of a connection */
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* What every connection of clients has in common; embedded first in the protocol's own. Kept in a
 * list of the worker, so that a generation that takes a listener away finds its connections. */
struct client_base {
    struct worker *worker;
    struct generation_use *use;       /* the generation that it came under; holds a reference */
    const struct plan_listener *plan; /* of that generation */
    struct tally_traffic *tally;      /* the listener's, this thread's */
    union client_address peer;        /* who it is, after a PROXY header */
    bool capped : 1;                  /* counted among those of its address */
    bool concurrent : 1;              /* the same, for `flood` */
    bool trust_known : 1;             /* of its generation; for http/ */
    bool trusted : 1;                 /* one of the site's `trust` */
    union client_address local;       /* what it asked for: client_local; from a PROXY header */
};

/* A client's connection begins and ends: counts, references, caps per client. `plan` is one of the
 * worker's current generation. begin: false, the cap is reached (counted as refused); close the
 * descriptor. */
bool client_begin(struct client_base *client, struct worker *worker,
                  const struct plan_listener *plan, const struct sockaddr *peer);
void client_end(struct client_base *client);
/* Do the listener's `allow` and `deny` let it in? */
bool client_allowed(const struct client_base *client);
/* A PROXY header said who it really is. False: that client's cap is reached; close. */
bool client_peer_set(struct client_base *client, const struct sockaddr *peer);
/* Between two requests of a kept connection: the newest generation's plan of the same listener
 * from now on. False: the listener is not there any more; close. */
bool client_renew(struct client_base *client);

/* Of that listener, open now: this worker's, and of all workers of this process. */
struct listener_load {
    uint64_t own;
    uint64_t all;
};
struct listener_load listener_load(const struct worker *worker, const struct plan_listener *plan);

/* The address that the client asked for; asks the socket the first time. */
const struct sockaddr *client_local(struct client_base *client, int fd);

/* ---- the worker's own life; threads.h starts them ---- */

struct worker_setup {
    unsigned number;
    unsigned thread;             /* whose rows of the tally it has: upstream/tally.h */
    uint32_t connections_max;    /* of all workers together */
    struct worker_count *counts; /* one for each; NULL: it is alone */
    unsigned count;
    uint32_t descriptors_max; /* of the process; 0: unknown */
    const struct board *board;
    struct tally *tally;
    const struct resolved *resolved;
    struct bans *bans;
    struct ban_news *ban_news;
    struct breakers *breakers;
    struct stash *stash; /* NULL: one thread, nothing to share */
    int logger_fd;       /* -1: none */
    int wake_fd;         /* see upstream_place; -1: none */
};

/* Made by the main thread, used by its own thread from then on. 0 or -errno. */
int worker_init(struct worker *worker, const struct worker_setup *setup);
void worker_done(struct worker *worker);

/* The newest generation (a reference is taken over). What older uses still need stays until the
 * last of their connections is gone. 0 or -ENOMEM: the old one goes on. */
int worker_switch(struct worker *worker, struct generation *generation);
/* The board's bell rang: every upstream hears of it. True: endpoints were revoked, and what they
 * still have is to be closed. */
bool worker_news(struct worker *worker);

/* The upstream of a service of that generation; NULL: no memory. */
struct upstream *worker_upstream(const struct generation_use *use, uint32_t service);

/* The newest generation's plan of a listener that an older one had; NULL: it is not there any more.
 */
const struct plan_listener *worker_plan(const struct worker *worker,
                                        const struct plan_listener *older);

/* Microseconds for measuring latency; the turn's, read once a turn when somebody asks. */
uint64_t worker_now_us(struct worker *worker);
