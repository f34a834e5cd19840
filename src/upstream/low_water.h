/* The low-water mark of a thread's idle connections: the fewest that waited at any time of the last
 * second. So many of them nobody needed for a whole second (the last used is taken first, so they
 * are those at the list's end): all but LOW_WATER_FLOOR of them are given to the stash (stash.h),
 * where other threads find them. An endpoint's own pool and bound stay as they are; what finds no
 * room in the stash waits where it is.
 *
 * A thread has one, with one timer, which runs only while something is idle here, or lies in the
 * stash and came from here: its looks also let go what has ended or is too old there. Between two
 * looks nothing happens but that taking from the pool keeps the minimum. */
#pragma once

#include <sys/queue.h>

#include "event/loop.h"
#include "upstream/stash.h"

enum {
    LOW_WATER_LOOK_MS = 1000,
    LOW_WATER_FLOOR = 1, /* the next lone request should find one without a lock */
};

struct endpoint_own;

struct low_water {
    struct loop *loop;
    struct stash *stash;
    struct timer timer;
    LIST_HEAD(, endpoint_own) endpoints; /* those that are looked at */
};

void low_water_init(struct low_water *low_water, struct loop *loop, struct stash *stash);
/* When the upstreams are gone. Accepts one that is all zero. */
void low_water_done(struct low_water *low_water);
