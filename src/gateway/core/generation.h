/* A generation: what the gateway makes of one configuration — its topology, a plan for each
 * listener with everything compiled (matchers, TLS contexts), rows of the tally. Immutable once
 * built; built on the main thread; freed when the last worker has let go of it.
 *
 * A worker uses a generation through a `generation_use` of its own, whose count only that thread
 * touches: connections and requests hold it, so what they use of an old generation stays. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topology/topology.h"

struct match;
struct tls_server;
struct tls_client;
struct worker;
struct upstream;

struct plan_listener {
    const struct listener *listener;
    uint32_t row;               /* TALLY_LISTENER */
    struct match *match;        /* LISTENER_HTTP: hosts and routes, compiled */
    struct tls_server *tls;     /* NULL: none */
    const uint32_t *route_rows; /* TALLY_ROUTE, by the matcher's route number */
    int fd; /* of the listening socket(s): the gateway's, by name, over generations */
};

struct generation {
    atomic_uint refs; /* workers, and the main thread */
    uint32_t number;  /* as the supervisor counts */
    struct topology *topology;
    struct plan_listener *plans; /* of those listeners that the gateway serves */
    size_t plan_count;
    struct tls_client **tls_to; /* by service index; NULL: plain */
};

struct generation_use { /* one per worker and generation */
    struct generation *generation;
    struct worker *worker;
    uint32_t refs;
    struct upstream **upstreams; /* by service index; made when first asked for */
};

void use_ref(struct generation_use *use);
void use_unref(struct generation_use *use);
