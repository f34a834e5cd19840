/* Flights and their waiters; the order of locks is shard, then mailbox. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "gateway/http/cache_store_private.h"

/* ---- mailboxes ------------------------------------------------------------------------------ */

static void bell_ring(const struct cache_mailbox *mailbox)
{
    uint64_t one = 1;
    if (write(mailbox->fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("cache-bell-broken", "error=\"%s\"", strerror(errno));
}

static struct cache_waiter *woken_take(struct cache_mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->lock);
    struct cache_waiter *waiter = TAILQ_FIRST(&mailbox->woken);
    if (waiter) {
        TAILQ_REMOVE(&mailbox->woken, waiter, line);
        waiter->posted = false;
    }
    pthread_mutex_unlock(&mailbox->lock);
    return waiter;
}

static void mailbox_ready(struct watch *watch, unsigned events)
{
    struct cache_mailbox *mailbox = watch->owner;
    struct cache_waiter *waiter;
    uint64_t count;
    (void)events;
    if (read(mailbox->fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("cache-bell-broken", "error=\"%s\"", strerror(errno));
    while ((waiter = woken_take(mailbox)))
        waiter->woken(waiter);
}

int cache_mailbox_init(struct cache_mailbox *mailbox, struct loop *loop)
{
    *mailbox = (struct cache_mailbox){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (mailbox->fd < 0)
        return -errno;
    TAILQ_INIT(&mailbox->woken);
    pthread_mutex_init(&mailbox->lock, NULL);
    int error = watch_start(loop, &mailbox->watch, mailbox->fd, WATCH_READ, mailbox_ready, mailbox);
    if (error)
        cache_mailbox_done(mailbox, loop);
    return error;
}

void cache_mailbox_done(struct cache_mailbox *mailbox, struct loop *loop)
{
    watch_stop(loop, &mailbox->watch);
    pthread_mutex_destroy(&mailbox->lock);
    fd_drop(&mailbox->fd);
}

/* ---- flights -------------------------------------------------------------------------------- */

static struct cache_flight *flight_find(const struct cache_shard *shard,
                                        const struct cache_key *key)
{
    struct cache_flight *flight;
    LIST_FOREACH (flight, &shard->flights, next) {
        if (cache_key_same(&flight->key, key))
            return flight;
    }
    return NULL;
}

static struct cache_flight *flight_new(struct cache_store *store, const struct cache_key *key)
{
    struct cache_flight *flight = malloc(sizeof *flight + key->length);
    if (!flight)
        return NULL;
    *flight = (struct cache_flight){.store = store,
                                    .key = *key,
                                    .shard = cache_shard_of(key),
                                    .purges = cache_store_purges(store)};
    memcpy(flight + 1, key->bytes, key->length);
    flight->key.bytes = (const char *)(flight + 1);
    TAILQ_INIT(&flight->waiters);
    cache_store_ref(store);
    return flight;
}

static void wait_begin(struct cache_flight *flight, struct cache_waiter *waiter)
{
    waiter->flight = flight;
    waiter->shard = flight->shard;
    waiter->posted = false;
    TAILQ_INSERT_TAIL(&flight->waiters, waiter, line);
    flight->waiter_count++;
}

void cache_flight_await(struct cache_flight *flight, struct cache_waiter *waiter)
{
    struct cache_shard *shard = &flight->store->shards[flight->shard];
    pthread_mutex_lock(&shard->lock);
    wait_begin(flight, waiter);
    pthread_mutex_unlock(&shard->lock);
}

enum flight_join cache_flight_join(struct cache_store *store, const struct cache_key *key,
                                   struct cache_waiter *waiter, bool may_wait,
                                   struct cache_flight **ret_flight)
{
    struct cache_shard *shard = &store->shards[cache_shard_of(key)];
    enum flight_join join = JOIN_ALONE;
    pthread_mutex_lock(&shard->lock);
    struct cache_flight *flight = flight_find(shard, key);
    if (flight && may_wait && flight->waiter_count < CACHE_WAITERS_MAX) {
        wait_begin(flight, waiter);
        join = JOIN_WAITS;
    } else if (!flight && (flight = flight_new(store, key))) {
        LIST_INSERT_HEAD(&shard->flights, flight, next);
        *ret_flight = flight;
        join = JOIN_LEADS;
    }
    pthread_mutex_unlock(&shard->lock);
    return join;
}

void cache_waiter_leave(struct cache_waiter *waiter)
{
    struct cache_shard *shard = &waiter->store->shards[waiter->shard];
    pthread_mutex_lock(&shard->lock);
    if (waiter->flight) {
        TAILQ_REMOVE(&waiter->flight->waiters, waiter, line);
        waiter->flight->waiter_count--;
        waiter->flight = NULL;
    }
    pthread_mutex_unlock(&shard->lock);
    pthread_mutex_lock(&waiter->mailbox->lock);
    if (waiter->posted)
        TAILQ_REMOVE(&waiter->mailbox->woken, waiter, line);
    waiter->posted = false;
    pthread_mutex_unlock(&waiter->mailbox->lock);
}

/* Into its worker's mailbox. Under the shard's lock. */
static void waiter_post(struct cache_flight *flight, struct cache_waiter *waiter,
                        enum flight_end end)
{
    struct cache_mailbox *mailbox = waiter->mailbox;
    TAILQ_REMOVE(&flight->waiters, waiter, line);
    waiter->flight = NULL;
    waiter->end = end;
    pthread_mutex_lock(&mailbox->lock);
    bool first = TAILQ_EMPTY(&mailbox->woken);
    TAILQ_INSERT_TAIL(&mailbox->woken, waiter, line);
    waiter->posted = true;
    pthread_mutex_unlock(&mailbox->lock);
    if (first)
        bell_ring(mailbox);
}

void cache_flight_end(struct cache_flight *flight, enum flight_end end)
{
    struct cache_store *store = flight->store;
    struct cache_shard *shard = &store->shards[flight->shard];
    struct cache_waiter *waiter;
    pthread_mutex_lock(&shard->lock);
    LIST_REMOVE(flight, next);
    while ((waiter = TAILQ_FIRST(&flight->waiters)))
        waiter_post(flight, waiter, end);
    pthread_mutex_unlock(&shard->lock);
    free(flight);
    cache_store_unref(store);
}

bool cache_flight_doomed(const struct cache_flight *flight)
{
    return atomic_load(&flight->doomed) || flight->purges != cache_store_purges(flight->store);
}

bool cache_flight_awaited(const struct cache_flight *flight)
{
    struct cache_shard *shard = &flight->store->shards[flight->shard];
    pthread_mutex_lock(&shard->lock);
    bool awaited = flight->waiter_count > 0;
    pthread_mutex_unlock(&shard->lock);
    return awaited;
}
