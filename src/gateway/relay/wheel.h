/* A wheel: who has been quiet for too long, for many at once and nearly for nothing. Each one
 * stands in the slot of the tick at which it is to be looked at next; whoever is due is asked how
 * long it still has, and goes on to a later slot. So nothing is done when a byte moves, an entry
 * costs two pointers, and what is due far ahead is asked once in a revolution. A tick is
 * WHEEL_TICK_MS, and that is how late an end may be. One thread. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "event/loop.h"

enum { WHEEL_TICK_MS = 250, WHEEL_SLOTS = 128 };

struct wheel_entry {
    LIST_ENTRY(wheel_entry) next;
};

LIST_HEAD(wheel_slot, wheel_entry);

/* How many ms it still has, from now. The entry is in no slot while it is asked; it may be freed,
 * and then the answer is WHEEL_GONE. */
typedef uint64_t wheel_ask(struct wheel_entry *entry);
#define WHEEL_GONE UINT64_MAX

struct wheel {
    struct loop *loop;
    struct timer timer;
    wheel_ask *ask;
    uint64_t tick; /* that was looked at last */
    size_t count;
    struct wheel_slot slots[WHEEL_SLOTS];
};

void wheel_init(struct wheel *wheel, struct loop *loop, wheel_ask *ask);
/* It is asked in about `left_ms`, or earlier. 0 or -ENOMEM. */
int wheel_add(struct wheel *wheel, struct wheel_entry *entry, uint64_t left_ms);
void wheel_remove(struct wheel *wheel, struct wheel_entry *entry);
/* Any of them; NULL: none. */
struct wheel_entry *wheel_first(const struct wheel *wheel);
void wheel_done(struct wheel *wheel); /* must be empty */
