/* The event loop: descriptors, timers and deferred work of one thread, by epoll (epoll(7)).
 *
 * A loop belongs to the thread that runs it; nothing here may be called from another. A turn is:
 * wait → ready descriptors (at most READY_MAX) → timers that are due → deferred calls (those that
 * stood in line when the turn's part began). Time is read once a turn: loop_now().
 * Watches, timers and deferred calls are embedded in their owner's struct; the loop allocates
 * nothing after loop_new but the heap of timer pointers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

struct loop *loop_new(void); /* NULL with errno: no descriptor or memory left */
void loop_free(struct loop *loop);

/* Runs turns until loop_stop. 0, or -errno when epoll itself fails. */
int loop_run(struct loop *loop);
/* One turn that waits at most `wait_ms` (-1: until something happens). 0 or -errno. */
int loop_turn(struct loop *loop, int wait_ms);
void loop_stop(struct loop *loop);

/* CLOCK_MONOTONIC in milliseconds, as of this turn. */
uint64_t loop_now(const struct loop *loop);
/* How many turns were begun: what was learnt in this turn may be taken as still true within it. */
uint64_t loop_turns(const struct loop *loop);

/* ---- descriptors ---------------------------------------------------------------------------- */

enum { /* what to wait for, and what happened; the values are epoll's */
       WATCH_READ = 0x001,
       WATCH_WRITE = 0x004,
       WATCH_PRIORITY = 0x002,
       WATCH_ERROR = 0x008,       /* reported always */
       WATCH_HANGUP = 0x010,      /* reported always */
       WATCH_PEER_ENDED = 0x2000, /* the other end sends no more (EPOLLRDHUP) */
       /* How to wait, instead of level-triggered by one loop of many: */
       WATCH_EXCLUSIVE = 1 << 28,    /* of several loops that watch it, wake one (or a few) */
       WATCH_EDGE = (int)(1u << 31), /* only when something changes */
};

struct watch;
typedef void watch_ready(struct watch *watch, unsigned events);

struct watch { /* zero-initialised means inactive */
    int fd;    /* owned by the caller, who stops the watch before closing it */
    bool active;
    watch_ready *ready;
    void *owner;
};

/* 0 or -errno (-ENOSPC, -ENOMEM; -EPERM: the descriptor is of a regular file). Level-triggered,
 * unless WATCH_EDGE is among the events. */
int watch_start(struct loop *loop, struct watch *watch, int fd, unsigned events, watch_ready *ready,
                void *owner);
/* The same descriptor and events under another watch, which must be inactive: for an owner that
 * gives its descriptor away without losing what has come. `from` is inactive after it. */
int watch_move(struct loop *loop, struct watch *to, struct watch *from, unsigned events,
               watch_ready *ready, void *owner);
int watch_change(struct loop *loop, struct watch *watch, unsigned events);
/* Accepts an inactive one. After it, `ready` is not called any more, not even in this turn. */
void watch_stop(struct loop *loop, struct watch *watch);
/* The same without a system call, for a descriptor that its owner closes at once and that has no
 * duplicate in any process: the kernel forgets it by itself. */
void watch_forget(struct loop *loop, struct watch *watch);

/* ---- timers --------------------------------------------------------------------------------- */

struct timer;
typedef void timer_due(struct timer *timer);

struct timer { /* zero-initialised means inactive */
    uint64_t due_ms;
    size_t place; /* 1 + index in the heap; 0: not in it */
    timer_due *due;
    void *owner;
};

/* Starts or moves it; `due` is called once. 0 or -ENOMEM (only when it was not active). */
int timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_due *due,
                void *owner);
void timer_stop(struct loop *loop, struct timer *timer);
static inline bool timer_active(const struct timer *timer)
{
    return timer->place != 0;
}

/* ---- deferred calls ------------------------------------------------------------------------- */

struct deferred;
typedef void deferred_call(struct deferred *deferred);

struct deferred { /* zero-initialised means inactive */
    struct deferred *next;
    bool active;
    deferred_call *call;
    void *owner;
};

/* Calls once at the end of this turn; a second start before that changes nothing. */
void deferred_start(struct loop *loop, struct deferred *deferred, deferred_call *call, void *owner);
void deferred_stop(struct loop *loop, struct deferred *deferred);
