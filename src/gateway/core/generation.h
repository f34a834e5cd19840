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

struct cache_store;
struct key_set;
struct match;
struct table;
struct tls_server;
struct tls_client;
struct worker;
struct held_upstream; /* worker.c */

struct plan_listener {
    const struct listener *listener;
    uint32_t row;               /* TALLY_LISTENER */
    struct match *match;        /* LISTENER_HTTP: hosts and routes, compiled */
    struct tls_server *tls;     /* NULL: none */
    const uint32_t *route_rows; /* TALLY_ROUTE, by the matcher's route number */
    const int *fds; /* listening sockets, the gateway's, over generations; UDP: one per worker */
    uint32_t fd_count;
};

struct plan_directory { /* a folder of files; by its place in the topology */
    int fd;             /* O_PATH; the generation's */
    uint64_t device, inode;
};

struct generation {
    atomic_uint refs; /* workers, and the main thread */
    uint32_t number;  /* as the supervisor counts */
    struct topology *topology;
    struct table *services;      /* by name, to the topology's */
    struct plan_listener *plans; /* of those listeners that the gateway serves */
    size_t plan_count;
    struct plan_directory *directories;
    struct cache_store **stores; /* by their place in the topology; a reference to each */
    struct key_set **key_sets;   /* of the topology's tokens; NULL: a service's */
    struct tls_client **tls_to;  /* by service index; NULL: plain */
    void (*free)(struct generation *generation); /* of whoever built it */
};

struct generation_use { /* one per worker and generation */
    struct generation *generation;
    struct worker *worker;
    uint32_t refs;                    /* connections, and the worker while it is the newest */
    uint32_t pins;                    /* upstreams whose settings are of this generation */
    struct held_upstream **upstreams; /* by service index; NULL: not asked for yet */
};

/* Frees what was built (topology, matchers, TLS) with the last reference; any thread. */
void generation_ref(struct generation *generation);
void generation_unref(struct generation *generation);

void use_ref(struct generation_use *use);
void use_unref(struct generation_use *use);
