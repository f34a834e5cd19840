/* HTTP/1.1 with a client: a connection, its requests one after the other (pipelined ones wait),
 * each an exchange. See exchange.h for how it meets handlers. */
#pragma once

#include "gateway/core/worker.h"

/* Takes the accepted descriptor over; plan->tls says whether TLS comes first. A PROXY header was
 * read already (gateway/greeting.h): `peer` is who it named, `local` what it says was asked for;
 * NULL: what the socket says. */
void h1_accept(struct worker *worker, const struct plan_listener *plan, int fd,
               const struct sockaddr *peer, const struct sockaddr *local);
/* The roles of endpoints were taken from them: upgraded connections (WebSockets) that they still
 * have are reset. Requests that they have begun to answer may end. */
void http_worker_revoke(struct worker *worker);
int http_worker_init(struct worker *worker); /* slabs, arenas; 0 or -ENOMEM */
void http_worker_done(struct worker *worker);
/* Draining: each connection ends with its next response (Connection: close), or when it was idle
 * for long, as ever: a client may be about to send. HTTP/2: GOAWAY. */
void http_worker_drain(struct worker *worker);
