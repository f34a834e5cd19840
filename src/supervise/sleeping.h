/* Sleeping: a unit whose range of instances begins at 0 has none that runs, and still a listener:
 * the steering keeps its last instance's, connections wait in the queue, and the first wakes it.
 * What comes through the gateway waits there (`hold`), and the gateway rings.
 *
 * A sleeping unit wants one instance, which is idle. Whoever starts it for another reason (a
 * reload, `scale`, a new supervisor) wakes it as well. */
#pragma once

#include <stdbool.h>

struct supervisor;
struct unit;
struct instance;

/* Would a connection be heard? Of programs that have UDP sockets alone, none comes; the first
 * answer of this kind is logged. */
bool sleeping_possible(struct unit *unit);
/* Its last instance ends in order. */
void sleeping_begin(struct unit *unit);
/* Starts it again; nothing when it does not sleep. */
void sleeping_end(struct unit *unit, const char *why);
/* Its instance has changed its state: from idle on somebody watches its listeners. */
void sleeping_settle(struct unit *unit);
/* Lets go of what it watches, without waking it. */
void sleeping_forget(struct unit *unit);
/* The gateway rang: whoever has requests that wait is woken. */
void sleeping_rung(struct supervisor *supervisor);
