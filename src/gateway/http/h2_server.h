/* HTTP/2 with a client (RFC 9113), by libnghttp2: a connection whose streams are exchanges, many at
 * a time. It begins as an HTTP/1.1 connection (h1_server.h), which hands it over when ALPN agreed
 * on "h2", or when the first bytes of a plain connection are HTTP/2's preface. Nothing is taken up
 * by `Upgrade: h2c` (RFC 9113 did away with it). */
#pragma once

#include "gateway/core/stream.h"
#include "gateway/core/worker.h"

struct handler;

enum h2_begins { H2_NOT, H2_MAYBE, H2_BEGINS };

/* Do the first bytes of a plain connection begin HTTP/2? MAYBE: more are needed. */
enum h2_begins h2_preface_begins(const char *bytes, size_t length);
/* Takes stream and client over, with what was read already. `client` and `from` are nobody's after
 * it. */
void h2_take(const struct client_base *client, struct stream *from, const char *bytes,
             size_t length);

int h2_worker_init(struct worker *worker); /* 0 or -ENOMEM */
void h2_worker_done(struct worker *worker);
/* Each connection is told to go away (GOAWAY), and closed after its last stream. */
void h2_worker_drain(struct worker *worker);
/* Resets the tunnels (WebSockets) of that handler of which `chosen` says yes: how many. */
size_t h2_tunnels_reset(struct worker *worker, const struct handler *handler,
                        bool (*chosen)(const void *owner));
