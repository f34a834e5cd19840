/* The gateway's threads: makes a worker for each core, hands new generations to them and hears when
 * all of them use it, wakes them, lets them drain. Used by the main thread; each worker's own
 * things are touched by its own thread only. */
#pragma once

#include "event/loop.h"
#include "gateway/core/generation.h"
#include "upstream/resolver.h"
#include "upstream/tally.h"

struct threads;

/* All workers use the generation of this number. */
typedef void threads_switched(void *owner, uint32_t number);
/* DRAIN: no worker has a connection any more. */
typedef void threads_drained(void *owner);

struct threads_setup {
    struct loop *loop; /* the main thread's */
    unsigned count;
    unsigned lane;            /* of the tally */
    uint32_t connections_max; /* all together */
    uint32_t descriptors_max; /* 0: unknown */
    const struct board *board;
    struct tally *tally;
    const struct resolved *resolved;
    struct bans *bans;
    struct ban_news *ban_news;
    struct breakers *breakers;
    struct stash *stash;
    int bell;      /* the board's eventfd */
    int wake_fd;   /* see upstream_place; -1: none */
    int logger_fd; /* -1: none */
    int *elders;   /* for each thread, taken over: listening_inherit; -1: none */
    threads_switched *switched;
    threads_drained *drained;
    void *owner;
};

/* Starts them; they have nothing to do until threads_switch. 0 or -errno. */
int threads_new(const struct threads_setup *setup, struct threads **ret_threads);
/* The caller's reference stays its own. One at a time: the next only after `switched`. */
void threads_switch(struct threads *threads, struct generation *generation);
/* The resolver or the checker has news. */
void threads_wake(struct threads *threads);
/* `heirs`: for each thread, taken over: listening_leave. */
void threads_drain(struct threads *threads, int *heirs);
