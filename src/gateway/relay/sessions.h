/* Relayed UDP: sessions of one listening socket of one worker. A client — its address and port, or
 * a token in its packets (listener.sticky) — has a session: an endpoint and a connected socket to
 * it. With sticky=source the sessions of one address have one endpoint, but each its own socket, so
 * that answers find their way. Datagrams are taken and sent many at a time (recvmmsg, sendmmsg),
 * with GRO and GSO where the kernel has them; replies leave from the address that the client asked.
 * A session ends when nothing has come either way for idle_ms, or when its endpoint is gone (the
 * next packet makes a new one); it lives on over reloads that keep its listener.
 *
 * Bounded: SESSIONS_MAX a worker; at the cap the session that was quiet longest ends. */
#pragma once

#include "gateway/core/worker.h"

enum { SESSIONS_MAX = 65536 };

struct sessions;

/* `fd`: the listening socket, not taken over. NULL with errno. */
struct sessions *sessions_new(struct worker *worker, const struct plan_listener *plan, int fd);
/* A newer generation has the same listener: new sessions are its; those that are stay. */
void sessions_settle(struct sessions *sessions, struct generation_use *use,
                     const struct plan_listener *plan);
void sessions_free(struct sessions *sessions);

/* ---- when another gateway takes over (will.h) ---- */

/* Takes no more datagrams of clients, and leaves every session to the one at the other end of the
 * socket; what it does not take in time ends here. -1: there is none. */
void sessions_leave(struct sessions *sessions, int heir_fd);
struct will;
/* Goes on with a session of the gateway before us; takes the descriptor over. */
void sessions_inherit(struct sessions *sessions, const struct will *will, int fd);
/* Begins to take datagrams of clients, if relay_worker.heir_waits kept it from that. 0 or -errno.
 */
int sessions_read(struct sessions *sessions);
