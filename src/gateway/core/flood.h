/* Floods (`flood` of a listener): what a client does is counted over all workers, and who does more
 * than is allowed is banned (upstream/bans.h), on all listeners that have `flood`. Of fixed size:
 * rates have the table of `limit` (rate_table.h). A client is an address, of IPv6 the /64; proxies
 * that are trusted are none. Listeners without `flood` pay a test. */
#pragma once

#include "gateway/core/worker.h"

/* Does the client's connection (UDP: its session) have to be closed, before anything else? Counts
 * it, with client.concurrent until flood_gone. The peer's address is set. */
bool flood_refuses(struct client_base *client);
/* Its connection is over, or it is not the one that it seemed to be. */
void flood_gone(struct client_base *client);
/* The same of a request, for whom it is; *ret_ms: for how long it is banned. */
bool flood_refuses_request(struct client_base *client, const struct sockaddr *address,
                           uint64_t *ret_ms);
/* Of a datagram listener, which has no client_base. */
bool flood_refuses_session(struct worker *worker, const struct plan_listener *plan,
                           const struct sockaddr *peer);
