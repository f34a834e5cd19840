/* Listening, by one worker: which sockets it takes connections and datagrams from, after each
 * switch to a new generation, and whom it gives them to (HTTP, relay, UDP sessions). All workers
 * watch the same TCP sockets, each woken alone (EPOLLEXCLUSIVE); of UDP sockets each has its own.
 *
 * When descriptors run out, accepting pauses for ACCEPT_PAUSE_MS, and what is there goes on being
 * served: one part of ENDPOINTS_PART of them is kept for connections to endpoints. Peers that must
 * send a PROXY header to an HTTP listener are asked for it here, before the connection becomes
 * HTTP's. */
#pragma once

#include "gateway/core/worker.h"

enum {
    ACCEPT_PAUSE_MS = 50,
    ACCEPTS_A_TURN_MAX = 32,
    GREETING_MS = 5000,
    ENDPOINTS_PART = 8,
    UNEVEN_MAX = 4,        /* connections more than the others have, and an eighth */
    TELL_EVERY_MS = 10000, /* of pauses */
    INHERIT_MS = 5000,
};

struct listening;

struct listening *listening_new(struct worker *worker); /* NULL: no memory */
/* worker->current is a new generation: takes up what is new, lets go of what is not there any more.
 */
void listening_settle(struct listening *listening);
/* Another gateway takes over: takes nothing more. Connections go on; sessions of datagrams are left
 * to the one at the other end of `heir_fd` (relay/will.h), which is closed after it. -1: there is
 * none, and they end. */
void listening_leave(struct listening *listening, int heir_fd);
/* Before the first generation: this one takes over. Datagrams wait until the sessions of the
 * gateway before have come from `elder_fd`, INHERIT_MS at most. Takes the descriptor over. 0 or
 * -errno. */
int listening_inherit(struct listening *listening, int elder_fd);
void listening_free(struct listening *listening);
