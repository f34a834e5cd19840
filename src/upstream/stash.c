#include "upstream/stash.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/table.h"

enum { STRIPES = 64 };

struct kept { /* a connection */
    TAILQ_ENTRY(kept) next;
    uint64_t expires_ms;
    int fd;
};

TAILQ_HEAD(kept_list, kept);

struct stripe {
    alignas(64) pthread_mutex_t lock; /* for the list, and for all of each shelf in it */
    LIST_HEAD(, shelf_own) shelves;
};

struct shelf_own {
    struct shelf shelf; /* its count: those that a sweep has out, too */
    LIST_ENTRY(shelf_own) next;
    struct stash *stash;
    struct stripe *stripe;
    struct kept_list kept; /* given last first */
    uint64_t swept_ms;
    uint32_t refs;
    uint32_t slot;
    uint32_t epoch;
    uint32_t row;
    socklen_t address_length;
    char address[];
};

struct stash {
    _Atomic uint32_t total; /* connections */
    struct stripe stripes[STRIPES];
};

static struct shelf_own *shelf_own(struct shelf *shelf)
{
    return (struct shelf_own *)shelf;
}

struct stash *stash_new(void)
{
    struct stash *stash = aligned_alloc(alignof(struct stash), sizeof *stash);
    if (!stash)
        return NULL;
    atomic_init(&stash->total, 0);
    for (size_t i = 0; i < STRIPES; i++) {
        pthread_mutex_init(&stash->stripes[i].lock, NULL);
        LIST_INIT(&stash->stripes[i].shelves);
    }
    return stash;
}

void stash_free(struct stash *stash)
{
    if (!stash)
        return;
    for (size_t i = 0; i < STRIPES; i++) {
        assert(LIST_EMPTY(&stash->stripes[i].shelves));
        pthread_mutex_destroy(&stash->stripes[i].lock);
    }
    free(stash);
}

/* ---- shelves -------------------------------------------------------------------------------- */

static struct stripe *stripe_of(struct stash *stash, const struct shelf_identity *identity)
{
    uint64_t hash = hash_bytes(identity->address, identity->address_length, hash_seed());
    hash ^= hash >> 32;
    return &stash->stripes[hash % STRIPES];
}

static bool shelf_is(const struct shelf_own *own, const struct shelf_identity *identity)
{
    return own->slot == identity->slot && own->epoch == identity->epoch &&
           own->row == identity->row && own->address_length == identity->address_length &&
           memcmp(own->address, identity->address, identity->address_length) == 0;
}

static struct shelf_own *shelf_find(struct stripe *stripe, const struct shelf_identity *identity)
{
    struct shelf_own *own;
    LIST_FOREACH (own, &stripe->shelves, next) {
        if (shelf_is(own, identity))
            return own;
    }
    return NULL;
}

static struct shelf_own *shelf_new(struct stash *stash, struct stripe *stripe,
                                   const struct shelf_identity *identity)
{
    struct shelf_own *own = calloc(1, sizeof *own + identity->address_length);
    if (!own)
        return NULL;
    own->stash = stash;
    own->stripe = stripe;
    own->slot = identity->slot;
    own->epoch = identity->epoch;
    own->row = identity->row;
    own->address_length = identity->address_length;
    memcpy(own->address, identity->address, identity->address_length);
    TAILQ_INIT(&own->kept);
    return own;
}

struct shelf *stash_shelf(struct stash *stash, const struct shelf_identity *identity)
{
    struct stripe *stripe = stripe_of(stash, identity);
    struct shelf_own *fresh = shelf_new(stash, stripe, identity); /* not under the lock */
    pthread_mutex_lock(&stripe->lock);
    struct shelf_own *own = shelf_find(stripe, identity);
    if (!own && fresh) {
        own = fresh;
        LIST_INSERT_HEAD(&stripe->shelves, own, next);
    }
    if (own)
        own->refs++;
    pthread_mutex_unlock(&stripe->lock);
    if (fresh != own)
        free(fresh);
    return own ? &own->shelf : NULL;
}

void shelf_unref(struct shelf *shelf, tally_count *connections_now)
{
    if (!shelf)
        return;
    struct shelf_own *own = shelf_own(shelf);
    pthread_mutex_lock(&own->stripe->lock);
    assert(own->refs > 0);
    bool last = --own->refs == 0;
    if (last)
        LIST_REMOVE(own, next);
    pthread_mutex_unlock(&own->stripe->lock);
    if (!last)
        return;
    shelf_clear(shelf, connections_now);
    free(own);
}

/* ---- connections ---------------------------------------------------------------------------- */

/* It is open, and nothing came that answers nothing. */
static bool is_quiet(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static void connection_close(int fd, tally_count *connections_now)
{
    close(fd);
    tally_add(connections_now, (uint64_t)-1);
}

/* With its lock held. */
static void count_add(struct shelf_own *own, uint32_t number)
{
    uint32_t count = atomic_load_explicit(&own->shelf.count, memory_order_relaxed);
    atomic_store_explicit(&own->shelf.count, count + number, memory_order_relaxed);
    atomic_fetch_add_explicit(&own->stash->total, number, memory_order_relaxed);
}

static bool has_room(const struct shelf_own *own, uint32_t max)
{
    return atomic_load_explicit(&own->shelf.count, memory_order_relaxed) < max &&
           atomic_load_explicit(&own->stash->total, memory_order_relaxed) < STASH_CONNECTIONS_MAX;
}

bool shelf_has_room(const struct shelf *shelf, uint32_t max)
{
    return has_room((const struct shelf_own *)shelf, max);
}

bool shelf_give(struct shelf *shelf, int fd, uint64_t expires_ms, uint32_t max,
                tally_count *connections_now)
{
    struct shelf_own *own = shelf_own(shelf);
    struct kept *kept = is_quiet(fd) ? malloc(sizeof *kept) : NULL;
    bool given = false;
    if (kept) {
        *kept = (struct kept){.fd = fd, .expires_ms = expires_ms};
        pthread_mutex_lock(&own->stripe->lock);
        given = has_room(own, max);
        if (given) {
            TAILQ_INSERT_HEAD(&own->kept, kept, next);
            count_add(own, 1);
        }
        pthread_mutex_unlock(&own->stripe->lock);
    }
    if (given)
        return true;
    free(kept);
    connection_close(fd, connections_now);
    return false;
}

static struct kept *kept_pop(struct shelf_own *own)
{
    pthread_mutex_lock(&own->stripe->lock);
    struct kept *kept = TAILQ_FIRST(&own->kept);
    if (kept) {
        TAILQ_REMOVE(&own->kept, kept, next);
        count_add(own, (uint32_t)-1);
    }
    pthread_mutex_unlock(&own->stripe->lock);
    return kept;
}

static bool kept_is_good(const struct kept *kept, uint64_t now_ms)
{
    return now_ms < kept->expires_ms && is_quiet(kept->fd);
}

int shelf_take(struct shelf *shelf, uint64_t now_ms, tally_count *connections_now)
{
    for (;;) {
        struct kept *kept = kept_pop(shelf_own(shelf));
        if (!kept)
            return -1;
        int fd = kept->fd;
        bool good = kept_is_good(kept, now_ms);
        free(kept);
        if (good)
            return fd;
        connection_close(fd, connections_now);
    }
}

/* Takes what is bad out of the list, and closes it. The number. */
static uint32_t list_sift(struct kept_list *list, uint64_t now_ms, tally_count *connections_now)
{
    uint32_t closed = 0;
    struct kept *next;
    for (struct kept *kept = TAILQ_FIRST(list); kept; kept = next) {
        next = TAILQ_NEXT(kept, next);
        if (kept_is_good(kept, now_ms))
            continue;
        TAILQ_REMOVE(list, kept, next);
        connection_close(kept->fd, connections_now);
        free(kept);
        closed++;
    }
    return closed;
}

void shelf_sweep(struct shelf *shelf, uint64_t now_ms, tally_count *connections_now)
{
    if (!shelf_holds(shelf))
        return;
    struct shelf_own *own = shelf_own(shelf);
    struct kept_list list = TAILQ_HEAD_INITIALIZER(list);
    pthread_mutex_lock(&own->stripe->lock);
    if (now_ms >= own->swept_ms + STASH_SWEEP_MS) {
        own->swept_ms = now_ms;
        TAILQ_CONCAT(&list, &own->kept, next);
    }
    pthread_mutex_unlock(&own->stripe->lock);
    uint32_t closed = list_sift(&list, now_ms, connections_now);
    pthread_mutex_lock(&own->stripe->lock);
    TAILQ_CONCAT(&own->kept, &list, next); /* behind what was given meanwhile */
    count_add(own, 0 - closed);
    pthread_mutex_unlock(&own->stripe->lock);
}

void shelf_clear(struct shelf *shelf, tally_count *connections_now)
{
    struct kept *kept;
    while ((kept = kept_pop(shelf_own(shelf)))) {
        connection_close(kept->fd, connections_now);
        free(kept);
    }
}
