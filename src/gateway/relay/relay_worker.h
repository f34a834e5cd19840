/* What relays and tunnels keep per worker: objects that are recycled, who has more to do in this
 * turn, who is quiet. Private to relay/. */
#pragma once

#include <sys/queue.h>

#include "base/slab.h"
#include "gateway/core/worker.h"
#include "gateway/relay/wheel.h"

struct approach; /* approach.h: a connection that is no tunnel yet */
struct sessions;
struct datagrams;

struct relay_worker {
    struct slab tunnels;
    struct slab approaches;
    struct slab relayed;
    LIST_HEAD(, approach) approaching;
    struct wheel quiet;      /* every tunnel stands in it */
    struct tunnel *runnable; /* those that go on at the end of the turn, in their order */
    struct tunnel **runnable_last;
    size_t runnable_count;
    struct deferred run;

    struct slab sessions; /* sessions.c, until the end: */
    struct slab sources;
    uint32_t session_count;
    uint32_t session_max;
    bool heir_waits;           /* sessions of the gateway before are to come first */
    struct datagrams *asks;    /* from clients; NULL: no listener has datagrams */
    struct datagrams *answers; /* to the clients of one listener, sent when the turn ends */
    struct sessions *answers_of;
    unsigned answer_count;
    struct deferred answer;
};

enum { TUNNEL_BYTES = 216 }; /* a tunnel's; tunnel.c makes sure */

/* tunnel.c */
void tunnels_init(struct relay_worker *relay, struct worker *worker);
void tunnels_done(struct relay_worker *relay); /* cuts all */

/* sessions.c */
void sessions_worker_init(struct relay_worker *relay);
void sessions_worker_done(struct relay_worker *relay);
