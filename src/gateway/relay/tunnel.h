/* A tunnel: two streams whose bytes are passed to each other until both have ended — a relayed TCP
 * connection, or a WebSocket after its 101. Small amounts are copied through the worker's input,
 * and once much flows in one direction, and both streams are plain, spliced through a pipe. What
 * one side does is done to the other: FIN is passed on as FIN (half-close), RST as RST. Ends also
 * when no byte has moved either way for idle_ms. */
#pragma once

#include <stdint.h>

#include "gateway/core/stream.h"
#include "gateway/core/worker.h"

struct tunnel;

struct tunnel_end {
    uint64_t bytes_in;    /* client → upstream */
    uint64_t bytes_out;   /* upstream → client */
    const char *how;      /* "closed", "reset by client", "reset by upstream", "idle", "down",
                              "revoked" */
    bool upstream_failed; /* it reset, or broke TLS */
};
/* Called once; both streams are closed and the tunnel is freed after it returns. */
typedef void tunnel_over(void *owner, const struct tunnel_end *end);

struct tunnel_setup {
    struct worker *worker;
    struct stream *client;    /* both are moved into the tunnel (stream_move) */
    struct stream *upstream;  /* connected, or still connecting */
    const void *client_ahead; /* bytes read from it already, to be sent first; copied */
    size_t client_ahead_length;
    size_t client_passed; /* bytes of it that the upstream has already: counted as moved */
    const void *upstream_ahead;
    size_t upstream_ahead_length;
    uint32_t idle_ms;      /* 0: for ever */
    tally_count *bytes_in; /* counted as they move; may be NULL */
    tally_count *bytes_out;
    tunnel_over *over;
    void *owner;
};

/* NULL: no memory (the streams stay the caller's). */
struct tunnel *tunnel_new(const struct tunnel_setup *setup);
/* Closes both sides now (RST where data would be lost); `over` is called with "down". */
void tunnel_cut(struct tunnel *tunnel);
/* Resets both ends of all tunnels of the worker that end with `over` and of whose owners `asked` is
 * true (`over` is called with "revoked"): how many. A walk over all: for what happens seldom. */
size_t tunnels_reset(struct worker *worker, tunnel_over *over, bool (*asked)(const void *owner));
