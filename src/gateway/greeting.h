/* The greeting: a PROXY header that a trusted peer must send before anything else to an HTTP
 * listener (relays read theirs themselves). It is peeked at, so that exactly its bytes are taken
 * and TLS finds its own. Who does not send one within GREETING_MS, or sends something else, is cut.
 */
#pragma once

#include "gateway/core/worker.h"

bool greeting_wanted(const struct listener *listener, const struct sockaddr *peer);
/* Takes the descriptor over; ends in h1_accept or in its closing. */
void greeting_start(struct worker *worker, const struct plan_listener *plan, int fd,
                    const struct sockaddr *peer, socklen_t length);
