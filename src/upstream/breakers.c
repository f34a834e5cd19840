#include "upstream/breakers.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

/* A pass. */
enum { PASS_GIVEN = 1, PASS_COUNTED = 2, PASS_EPOCH_SHIFT = 2 };
/* The word: `state` in its lowest bits. */
enum { WORD_STATE_MASK = 3, WORD_EPOCH_SHIFT = 2 };
/* A count: epoch 16 bits, slot 24 bits, number 24 bits. */
enum { SLOT_BITS = 24, NUMBER_BITS = 24 };

/* The part that has begun, those of the window, and one of threads whose turn began later. */
enum { SLOTS = BREAKER_PARTS + 2 };

struct row {
    alignas(128) _Atomic uint64_t tries[SLOTS];
    _Atomic uint64_t failures[SLOTS];
};

struct shared_breaker {
    _Atomic uint32_t word;     /* the epoch and state of `breaker` */
    _Atomic uint64_t until_ms; /* its until_ms, of use while it is open */
    struct breakers *of;
    LIST_ENTRY(shared_breaker) next;
    uint32_t refs;        /* under the list's lock */
    pthread_mutex_t lock; /* for what follows; the list's is taken first */
    struct breaker breaker;
    struct breaker_counts counts; /* when it opened last */
    uint32_t opened;              /* since it was told */
    uint32_t told_epoch;
    char *service;
    struct row rows[];
};

struct breakers {
    pthread_mutex_t lock; /* for the list */
    LIST_HEAD(, shared_breaker) all;
    uint32_t threads;
    int fd;
};

struct breakers *breakers_new(uint32_t threads)
{
    struct breakers *breakers = calloc(1, sizeof *breakers);
    if (!breakers)
        return NULL;
    breakers->threads = threads;
    breakers->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&breakers->lock, NULL);
    LIST_INIT(&breakers->all);
    if (breakers->fd >= 0)
        return breakers;
    breakers_free(breakers);
    return NULL;
}

void breakers_free(struct breakers *breakers)
{
    if (!breakers)
        return;
    assert(LIST_EMPTY(&breakers->all));
    if (breakers->fd >= 0)
        close(breakers->fd);
    pthread_mutex_destroy(&breakers->lock);
    free(breakers);
}

int breakers_fd(const struct breakers *breakers)
{
    return breakers->fd;
}

/* ---- one of them ---------------------------------------------------------------------------- */

static struct shared_breaker *shared_find(struct breakers *breakers, const char *service)
{
    struct shared_breaker *shared;
    LIST_FOREACH (shared, &breakers->all, next) {
        if (strcmp(shared->service, service) == 0)
            return shared;
    }
    return NULL;
}

static struct shared_breaker *shared_new(struct breakers *breakers, const char *service)
{
    size_t bytes = sizeof(struct shared_breaker) + breakers->threads * sizeof(struct row);
    struct shared_breaker *shared =
        aligned_alloc(alignof(struct shared_breaker), (bytes + alignof(struct shared_breaker) - 1) &
                                                          ~(alignof(struct shared_breaker) - 1));
    if (!shared)
        return NULL;
    memset(shared, 0, bytes);
    shared->service = strdup(service);
    if (!shared->service) {
        free(shared);
        return NULL;
    }
    shared->of = breakers;
    pthread_mutex_init(&shared->lock, NULL);
    LIST_INSERT_HEAD(&breakers->all, shared, next);
    return shared;
}

struct shared_breaker *breakers_take(struct breakers *breakers, const char *service)
{
    pthread_mutex_lock(&breakers->lock);
    struct shared_breaker *shared = shared_find(breakers, service);
    if (!shared)
        shared = shared_new(breakers, service);
    if (shared)
        shared->refs++;
    pthread_mutex_unlock(&breakers->lock);
    return shared;
}

void shared_breaker_unref(struct shared_breaker *shared)
{
    if (!shared)
        return;
    struct breakers *breakers = shared->of;
    pthread_mutex_lock(&breakers->lock);
    bool last = --shared->refs == 0;
    if (last)
        LIST_REMOVE(shared, next);
    pthread_mutex_unlock(&breakers->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&shared->lock);
    free(shared->service);
    free(shared);
}

/* ---- changes -------------------------------------------------------------------------------- */

/* After the breaker was asked or told something, under its lock. */
static void word_settle(struct shared_breaker *shared)
{
    const struct breaker *breaker = &shared->breaker;
    uint32_t word = breaker->epoch << WORD_EPOCH_SHIFT | (uint32_t)breaker->state;
    if (atomic_load_explicit(&shared->word, memory_order_relaxed) == word)
        return;
    if (breaker->state == BREAKER_OPEN)
        shared->opened++;
    atomic_store_explicit(&shared->until_ms, breaker->until_ms, memory_order_relaxed);
    atomic_store_explicit(&shared->word, word, memory_order_release);
    ssize_t written = write(shared->of->fd, &(uint64_t){1}, sizeof(uint64_t));
    (void)written; /* it can only be full, and is readable then */
}

static bool change_take(struct shared_breaker *shared, struct breaker_change *change)
{
    pthread_mutex_lock(&shared->lock);
    bool changed = shared->breaker.epoch != shared->told_epoch;
    *change = (struct breaker_change){.service = shared->service,
                                      .state = shared->breaker.state,
                                      .opened = shared->opened,
                                      .counts = shared->counts};
    shared->told_epoch = shared->breaker.epoch;
    shared->opened = 0;
    pthread_mutex_unlock(&shared->lock);
    return changed;
}

void breakers_changed(struct breakers *breakers, breaker_change_call *call, void *owner)
{
    uint64_t count;
    ssize_t got = read(breakers->fd, &count, sizeof count);
    (void)got; /* whoever changes after this makes it readable again */
    struct shared_breaker *shared;
    struct breaker_change change;
    pthread_mutex_lock(&breakers->lock);
    LIST_FOREACH (shared, &breakers->all, next) {
        if (change_take(shared, &change))
            call(owner, &change);
    }
    pthread_mutex_unlock(&breakers->lock);
}

/* ---- counting ------------------------------------------------------------------------------- */

/* How what belongs to this part of the window, in this epoch, is marked. */
static uint64_t slot_mark(uint32_t epoch, uint64_t slot)
{
    uint64_t short_slot = slot & ((1u << SLOT_BITS) - 1);
    return (uint64_t)(epoch & UINT16_MAX) << (SLOT_BITS + NUMBER_BITS) | short_slot << NUMBER_BITS;
}

static const uint64_t number_mask = (1u << NUMBER_BITS) - 1;

static uint64_t slot_of(const struct breaker_user *user)
{
    uint32_t part_ms = user->settings->within_ms / BREAKER_PARTS;
    return user->now_ms / (part_ms ? part_ms : 1);
}

static void slot_count(_Atomic uint64_t counts[SLOTS], uint32_t epoch, uint64_t slot)
{
    _Atomic uint64_t *count = &counts[slot % SLOTS];
    uint64_t mark = slot_mark(epoch, slot);
    uint64_t before = atomic_load_explicit(count, memory_order_relaxed);
    if ((before & ~number_mask) != mark)
        before = mark;
    if ((before & number_mask) < number_mask)
        atomic_store_explicit(count, before + 1, memory_order_relaxed);
}

static void pass_count(const struct breaker_user *user, breaker_pass pass, bool failed)
{
    struct row *row = &user->shared->rows[user->thread];
    uint32_t epoch = pass >> PASS_EPOCH_SHIFT;
    uint64_t slot = slot_of(user);
    if (!(pass & PASS_COUNTED))
        slot_count(row->tries, epoch, slot);
    if (failed)
        slot_count(row->failures, epoch, slot);
}

static uint64_t slots_sum(const _Atomic uint64_t counts[SLOTS], uint32_t epoch, uint64_t slot)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        uint64_t at = slot + 1 - i;
        uint64_t count = atomic_load_explicit(&counts[at % SLOTS], memory_order_relaxed);
        if ((count & ~number_mask) == slot_mark(epoch, at))
            sum += count & number_mask;
    }
    return sum;
}

static struct breaker_counts counts_sum(const struct breaker_user *user, uint32_t epoch)
{
    const struct shared_breaker *shared = user->shared;
    struct breaker_counts counts = {0};
    uint64_t slot = slot_of(user);
    for (uint32_t i = 0; i < shared->of->threads; i++) {
        counts.tries += slots_sum(shared->rows[i].tries, epoch, slot);
        counts.failures += slots_sum(shared->rows[i].failures, epoch, slot);
    }
    return counts;
}

/* ---- passing -------------------------------------------------------------------------------- */

static uint32_t word_of(const struct shared_breaker *shared)
{
    return atomic_load_explicit(&shared->word, memory_order_acquire);
}

static enum breaker_state word_state(uint32_t word)
{
    return (enum breaker_state)(word & WORD_STATE_MASK);
}

static breaker_pass pass_of(uint32_t epoch)
{
    return epoch << PASS_EPOCH_SHIFT | PASS_GIVEN;
}

/* The same bits of both. */
static bool pass_is_of(breaker_pass pass, uint32_t word)
{
    return pass >> PASS_EPOCH_SHIFT == word >> WORD_EPOCH_SHIFT;
}

bool shared_breaker_passes(const struct breaker_user *user, breaker_pass *ret_pass)
{
    struct shared_breaker *shared = user->shared;
    uint32_t word = word_of(shared);
    *ret_pass = pass_of(word >> WORD_EPOCH_SHIFT);
    if (word_state(word) == BREAKER_CLOSED)
        return true;
    if (shared_breaker_rests_ms(user) > 0)
        return false;
    pthread_mutex_lock(&shared->lock);
    bool passes = breaker_passes(&shared->breaker, user->settings, user->now_ms);
    word_settle(shared);
    *ret_pass = pass_of(shared->breaker.epoch);
    pthread_mutex_unlock(&shared->lock);
    return passes;
}

bool shared_breaker_closed(const struct shared_breaker *shared)
{
    return word_state(word_of(shared)) == BREAKER_CLOSED;
}

bool shared_breaker_may_pass(const struct breaker_user *user)
{
    struct shared_breaker *shared = user->shared;
    enum breaker_state state = word_state(word_of(shared));
    if (state != BREAKER_HALF_OPEN)
        return shared_breaker_rests_ms(user) == 0;
    pthread_mutex_lock(&shared->lock);
    struct breaker copy = shared->breaker;
    pthread_mutex_unlock(&shared->lock);
    return breaker_passes(&copy, user->settings, user->now_ms);
}

uint64_t shared_breaker_rests_ms(const struct breaker_user *user)
{
    if (word_state(word_of(user->shared)) != BREAKER_OPEN)
        return 0;
    uint64_t until_ms = atomic_load_explicit(&user->shared->until_ms, memory_order_relaxed);
    return until_ms > user->now_ms ? until_ms - user->now_ms : 0;
}

/* ---- outcomes ------------------------------------------------------------------------------- */

void shared_breaker_good(const struct breaker_user *user, breaker_pass *pass)
{
    struct shared_breaker *shared = user->shared;
    uint32_t word = word_of(shared);
    if (!*pass || !pass_is_of(*pass, word))
        return;
    pass_count(user, *pass, false);
    *pass |= PASS_COUNTED;
    if (word_state(word) != BREAKER_HALF_OPEN)
        return;
    pthread_mutex_lock(&shared->lock);
    breaker_good(&shared->breaker, user->settings, *pass >> PASS_EPOCH_SHIFT);
    word_settle(shared);
    pthread_mutex_unlock(&shared->lock);
}

void shared_breaker_bad(const struct breaker_user *user, breaker_pass *pass)
{
    struct shared_breaker *shared = user->shared;
    breaker_pass of = *pass;
    uint32_t epoch = of >> PASS_EPOCH_SHIFT;
    *pass = 0;
    if (!of || !pass_is_of(of, word_of(shared)))
        return;
    pass_count(user, of, true);
    pthread_mutex_lock(&shared->lock);
    const struct breaker_counts counts = counts_sum(user, epoch);
    if (breaker_bad(&shared->breaker, user->settings, epoch, &counts, user->now_ms))
        shared->counts = counts;
    word_settle(shared);
    pthread_mutex_unlock(&shared->lock);
}

void shared_breaker_over(const struct breaker_user *user, breaker_pass *pass)
{
    struct shared_breaker *shared = user->shared;
    breaker_pass of = *pass;
    *pass = 0;
    if (!of || of & PASS_COUNTED || word_state(word_of(shared)) != BREAKER_HALF_OPEN)
        return;
    pthread_mutex_lock(&shared->lock);
    breaker_unused(&shared->breaker, of >> PASS_EPOCH_SHIFT);
    pthread_mutex_unlock(&shared->lock);
}
