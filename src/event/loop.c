#include "event/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"

enum { READY_MAX = 256, HEAP_FIRST_SLOTS = 64 };

_Static_assert((int)WATCH_READ == (int)EPOLLIN && (int)WATCH_WRITE == (int)EPOLLOUT &&
                   (int)WATCH_PRIORITY == (int)EPOLLPRI && (int)WATCH_ERROR == (int)EPOLLERR &&
                   (int)WATCH_HANGUP == (int)EPOLLHUP && (int)WATCH_PEER_ENDED == (int)EPOLLRDHUP &&
                   (unsigned)WATCH_EXCLUSIVE == (unsigned)EPOLLEXCLUSIVE &&
                   (unsigned)WATCH_EDGE == (unsigned)EPOLLET,
               "the loop passes epoll's own bits on");

struct loop {
    int epoll;
    bool stopping;
    uint64_t now_ms;
    uint64_t turns;
    struct timer **heap; /* the earliest first; heap[i] has place i + 1 */
    size_t heap_count;
    size_t heap_slots;
    struct deferred *deferred_first;
    struct deferred **deferred_last;
    struct epoll_event ready[READY_MAX];
    int ready_count; /* those of this turn; a stopped watch is erased from it */
};

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return NULL;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0) {
        free(loop);
        return NULL;
    }
    loop->deferred_last = &loop->deferred_first;
    loop->now_ms = clock_monotonic_ms();
    return loop;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    close(loop->epoll);
    free(loop->heap);
    free(loop);
}

uint64_t loop_now(const struct loop *loop)
{
    return loop->now_ms;
}

uint64_t loop_turns(const struct loop *loop)
{
    return loop->turns;
}

void loop_stop(struct loop *loop)
{
    loop->stopping = true;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

int watch_start(struct loop *loop, struct watch *watch, int fd, unsigned events, watch_ready *ready,
                void *owner)
{
    assert(!watch->active);
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    *watch = (struct watch){.fd = fd, .active = true, .ready = ready, .owner = owner};
    return 0;
}

int watch_move(struct loop *loop, struct watch *to, struct watch *from, unsigned events,
               watch_ready *ready, void *owner)
{
    assert(from->active && !to->active);
    struct epoll_event event = {.events = events, .data.ptr = to};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, from->fd, &event) < 0)
        return -errno;
    *to = (struct watch){.fd = from->fd, .active = true, .ready = ready, .owner = owner};
    from->active = false;
    /* What this turn still has for the old one is the new one's. */
    for (int i = 0; i < loop->ready_count; i++)
        if (loop->ready[i].data.ptr == from)
            loop->ready[i].data.ptr = to;
    return 0;
}

int watch_change(struct loop *loop, struct watch *watch, unsigned events)
{
    assert(watch->active);
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

void watch_stop(struct loop *loop, struct watch *watch)
{
    if (!watch->active)
        return;
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    watch_forget(loop, watch);
}

void watch_forget(struct loop *loop, struct watch *watch)
{
    watch->active = false;
    for (int i = 0; i < loop->ready_count; i++)
        if (loop->ready[i].data.ptr == watch)
            loop->ready[i].data.ptr = NULL;
}

/* ---- timers: a binary heap ------------------------------------------------------------------ */

static void heap_put(struct loop *loop, size_t index, struct timer *timer)
{
    loop->heap[index] = timer;
    timer->place = index + 1;
}

static void heap_rise(struct loop *loop, size_t index, struct timer *timer)
{
    while (index > 0) {
        size_t parent = (index - 1) / 2;
        if (loop->heap[parent]->due_ms <= timer->due_ms)
            break;
        heap_put(loop, index, loop->heap[parent]);
        index = parent;
    }
    heap_put(loop, index, timer);
}

static void heap_sink(struct loop *loop, size_t index, struct timer *timer)
{
    for (;;) {
        size_t child = index * 2 + 1;
        if (child >= loop->heap_count)
            break;
        if (child + 1 < loop->heap_count &&
            loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
            child++;
        if (timer->due_ms <= loop->heap[child]->due_ms)
            break;
        heap_put(loop, index, loop->heap[child]);
        index = child;
    }
    heap_put(loop, index, timer);
}

static int heap_reserve(struct loop *loop)
{
    if (loop->heap_count < loop->heap_slots)
        return 0;
    size_t slots = loop->heap_slots ? loop->heap_slots * 2 : HEAP_FIRST_SLOTS;
    struct timer **heap = reallocarray(loop->heap, slots, sizeof *heap);
    if (!heap)
        return -ENOMEM;
    loop->heap = heap;
    loop->heap_slots = slots;
    return 0;
}

int timer_start(struct loop *loop, struct timer *timer, uint64_t delay_ms, timer_due *due,
                void *owner)
{
    timer_stop(loop, timer);
    int error = heap_reserve(loop);
    if (error)
        return error;
    timer->due_ms = loop->now_ms + delay_ms;
    timer->due = due;
    timer->owner = owner;
    heap_rise(loop, loop->heap_count++, timer);
    return 0;
}

void timer_stop(struct loop *loop, struct timer *timer)
{
    if (!timer->place)
        return;
    size_t index = timer->place - 1;
    timer->place = 0;
    struct timer *last = loop->heap[--loop->heap_count];
    if (last == timer)
        return;
    if (last->due_ms < timer->due_ms)
        heap_rise(loop, index, last);
    else
        heap_sink(loop, index, last);
}

static void timers_run(struct loop *loop)
{
    /* Timers that a callback starts with delay 0 are due next turn, so that a turn is bounded. */
    size_t bound = loop->heap_count;
    while (bound-- && loop->heap_count && loop->heap[0]->due_ms <= loop->now_ms) {
        struct timer *timer = loop->heap[0];
        timer_stop(loop, timer);
        timer->due(timer);
    }
}

/* ---- deferred calls ------------------------------------------------------------------------- */

void deferred_start(struct loop *loop, struct deferred *deferred, deferred_call *call, void *owner)
{
    if (deferred->active)
        return;
    *deferred = (struct deferred){.active = true, .call = call, .owner = owner};
    *loop->deferred_last = deferred;
    loop->deferred_last = &deferred->next;
}

void deferred_stop(struct loop *loop, struct deferred *deferred)
{
    if (!deferred->active)
        return;
    for (struct deferred **at = &loop->deferred_first; *at; at = &(*at)->next) {
        if (*at != deferred)
            continue;
        *at = deferred->next;
        if (loop->deferred_last == &deferred->next)
            loop->deferred_last = at;
        break;
    }
    deferred->active = false;
}

static void deferred_run(struct loop *loop)
{
    struct deferred *end = NULL; /* what is deferred from now on waits for the next turn */
    if (loop->deferred_first)
        end = (struct deferred *)((char *)loop->deferred_last - offsetof(struct deferred, next));
    bool more = end != NULL;
    while (more && loop->deferred_first) {
        struct deferred *deferred = loop->deferred_first;
        more = deferred != end;
        deferred_stop(loop, deferred);
        deferred->call(deferred);
    }
}

/* ---- turns ---------------------------------------------------------------------------------- */

static int wait_bound(const struct loop *loop, int wait_ms)
{
    if (loop->deferred_first)
        return 0;
    if (!loop->heap_count)
        return wait_ms;
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t due_ms = loop->heap[0]->due_ms;
    uint64_t left_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    if (wait_ms >= 0 && left_ms > (uint64_t)wait_ms)
        return wait_ms;
    return left_ms > 3600000 ? 3600000 : (int)left_ms;
}

int loop_turn(struct loop *loop, int wait_ms)
{
    int count = epoll_wait(loop->epoll, loop->ready, READY_MAX, wait_bound(loop, wait_ms));
    if (count < 0 && errno != EINTR)
        return -errno;
    loop->now_ms = clock_monotonic_ms();
    loop->turns++;
    loop->ready_count = count < 0 ? 0 : count;
    for (int i = 0; i < loop->ready_count; i++) {
        struct watch *watch = loop->ready[i].data.ptr;
        if (watch)
            watch->ready(watch, loop->ready[i].events);
    }
    loop->ready_count = 0;
    timers_run(loop);
    deferred_run(loop);
    return 0;
}

int loop_run(struct loop *loop)
{
    loop->stopping = false;
    while (!loop->stopping) {
        int error = loop_turn(loop, -1);
        if (error)
            return error;
    }
    return 0;
}
