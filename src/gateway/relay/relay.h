/* Relayed TCP: a client's connection and one to an endpoint, with nothing read of what they say but
 * what the listener asks for first — a PROXY header from a trusted peer, the SNI of a TLS
 * ClientHello that is passed through, a TLS handshake that ends here. A connection that finds
 * nobody waits (`hold`) and tries others (`retry`), since nothing was sent yet.
 *
 *   accepted ─▶ proxy header? ─▶ SNI? / TLS? ─▶ pick ─▶ connect ─▶ (PROXY header out) ─▶ tunnel
 *                                                └ wait ┘    └ failed: pick another          */
#pragma once

#include "gateway/core/worker.h"

/* Takes the accepted descriptor over. */
void relay_accept(struct worker *worker, const struct plan_listener *plan, int fd,
                  const struct sockaddr *peer);
/* The roles of endpoints were taken from them: relayed connections that they still have are reset.
 */
void relay_revoke(struct worker *worker);
/* For the worker: memory per thread that relays need; 0 or -ENOMEM. */
int relay_worker_init(struct worker *worker);
void relay_worker_done(struct worker *worker);
