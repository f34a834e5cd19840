/* The stash: kept-alive connections to endpoints that their thread has no need of, for the other
 * threads to take before they connect anew. What lies here is a bare descriptor of a plain
 * connection (TLS has state that stays with its thread), watched by no loop, with nothing to read
 * and not ended when it was given. Who gives what, and when: low_water.h.
 *
 * An endpoint has a shelf. What it is stands in the shelf's identity, the epoch of an instance
 * included: one that restarted has another shelf, and never gets an old connection. A shelf lives
 * while a thread holds it.
 *
 * A connection stays counted in the tally while it lies here: rows are a thread's own, but only
 * their sum is what is open, so it does not matter in whose row it was counted up and in whose it
 * is counted down. Hence `connections_now` below: the calling thread's counter of the endpoint,
 * counted down for each connection that the call closes.
 *
 * All threads. Locks are striped over shelves and held for a few stores, never over a system
 * call. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "upstream/tally.h"

enum {
    STASH_CONNECTIONS_MAX = 4096, /* of all endpoints */
    STASH_SWEEP_MS = 1000,        /* what ended or is too old is noticed so late at most */
};

struct stash;

struct shelf { /* of one endpoint; the rest of it is stash.c's */
    _Atomic uint32_t count;
};

struct shelf_identity {
    const struct sockaddr *address; /* its bytes are compared and copied */
    socklen_t address_length;
    uint32_t slot;  /* of an instance; BOARD_NONE: remote */
    uint32_t epoch; /* of an instance */
    uint32_t row;   /* in the tally */
};

struct stash *stash_new(void); /* NULL: no memory */
/* No shelf is held any more. Accepts NULL. */
void stash_free(struct stash *stash);

/* The endpoint's shelf, with a reference; NULL: no memory. */
struct shelf *stash_shelf(struct stash *stash, const struct shelf_identity *identity);
/* Lets go; with the last reference what lies on it is closed. Accepts NULL. */
void shelf_unref(struct shelf *shelf, tally_count *connections_now);

/* Is something there? One relaxed load: so it may have been taken meanwhile. Accepts NULL. */
static inline bool shelf_holds(const struct shelf *shelf)
{
    return shelf && atomic_load_explicit(&shelf->count, memory_order_relaxed) > 0;
}
/* May one more be given, `max` being the endpoint's bound? */
bool shelf_has_room(const struct shelf *shelf, uint32_t max);

/* Takes the descriptor over until `expires_ms` (CLOCK_MONOTONIC). False: it was closed, since it
 * has ended, has something to read, or there is no room or memory. */
bool shelf_give(struct shelf *shelf, int fd, uint64_t expires_ms, uint32_t max,
                tally_count *connections_now);
/* The one that was given last and is still good; it is the caller's. -1: none. */
int shelf_take(struct shelf *shelf, uint64_t now_ms, tally_count *connections_now);

/* Closes what has ended or is too old; whoever calls first in STASH_SWEEP_MS does it for all. */
void shelf_sweep(struct shelf *shelf, uint64_t now_ms, tally_count *connections_now);
/* Closes all: the endpoint left, drains, or fails. */
void shelf_clear(struct shelf *shelf, tally_count *connections_now);
