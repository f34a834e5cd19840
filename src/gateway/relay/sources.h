/* Sources: which endpoint the sessions of one client address go to (`sticky=source`), and how the
 * endpoint of a new session is chosen at all. A source lives while it has sessions. Private to
 * relay/. */
#pragma once

#include "base/slab.h"
#include "gateway/core/worker.h"
#include "gateway/relay/keyed.h"

struct source {
    struct keyed keyed;
    struct endpoint *endpoint; /* held */
    uint32_t refs;             /* sessions */
    bool failed;               /* the next session chooses anew */
};

struct sources {
    struct keyed_table table;
    struct slab *slab; /* the worker's */
    const struct board *board;
};

struct session_wish { /* what a new session's endpoint is chosen for */
    struct upstream *upstream;
    uint16_t port; /* of the program; 0: its own */
    const union client_address *peer;
    const struct endpoint *avoid; /* failed just now; NULL: none */
};

/* The address without its port, as part of a key. */
void address_key(struct key *key, const union client_address *peer);

/* Did its process end? One that is drained keeps its sessions. */
bool endpoint_gone(const struct board *board, const struct endpoint *endpoint);
/* NULL: nobody can take it now. */
struct endpoint *endpoint_choose(const struct session_wish *wish);

/* The endpoint that other sessions of the address have, or a new choice for all that come. NULL:
 * nobody, or no memory. */
struct source *source_take(struct sources *sources, const struct session_wish *wish);
/* The endpoint that the address has already, if it is another one; else this. NULL: no memory. */
struct source *source_inherit(struct sources *sources, const union client_address *peer,
                              struct endpoint *endpoint);
void source_unref(struct sources *sources, struct source *source); /* accepts NULL */
