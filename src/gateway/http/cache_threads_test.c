/* Four threads look up, send, store, invalidate, lead and wait at once: whoever has an answer reads
 * it whole, nobody waits for ever, the bound holds, and all is given back. Run it under TSan, too.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/random.h"
#include "gateway/http/cache_fixture_test.h"

enum { THREADS = 4, STEPS = 20000, NAMES = 40, MEMORY = 1536 * 1024, BODY = 60000 };

struct thread {
    pthread_t id;
    unsigned number;
    struct cache_store *store;
    struct loop *loop;
    struct cache_mailbox mailbox;
    struct random_state random;
    struct cache_waiter waiter;
    bool waits;
    unsigned waited, hits, wrong;
};

static atomic_uint_fast64_t most;

static struct thread *thread_of(struct cache_waiter *waiter)
{
    return (struct thread *)(void *)((char *)waiter - offsetof(struct thread, waiter));
}

static void woken(struct cache_waiter *waiter)
{
    struct thread *thread = thread_of(waiter);
    thread->waits = false;
    thread->waited++;
}

static void name_choose(struct thread *thread, char name[8])
{
    name[0] = '/';
    name[1] = (char)('A' + random_below(&thread->random, NAMES));
    name[2] = 0;
}

static void answer_read(struct thread *thread, const char *name)
{
    struct cache_object *object = found(thread->store, name, NULL);
    if (!object)
        return;
    thread->hits++;
    const struct cache_body *body = object->body;
    for (size_t i = 0; i < body->length; i += 97)
        thread->wrong += body->bytes[i] != name[1];
    cache_object_unref(object);
}

/* Leads, or waits for who does; some give up while they wait. */
static void fetch(struct thread *thread, const char *name)
{
    char room[CACHE_KEY_BYTES_MAX];
    struct cache_key key = key_of(name, room);
    struct cache_flight *flight = NULL;
    thread->waiter =
        (struct cache_waiter){.store = thread->store, .mailbox = &thread->mailbox, .woken = woken};
    switch (cache_flight_join(thread->store, &key, &thread->waiter, true, &flight)) {
    case JOIN_LEADS:
        put(thread->store, name, random_below(&thread->random, BODY), "", NULL);
        cache_flight_end(flight, FLIGHT_STORED);
        return;
    case JOIN_WAITS:
        thread->waits = true;
        if (random_below(&thread->random, 4) == 0) {
            cache_waiter_leave(&thread->waiter);
            thread->waits = false;
        }
        while (thread->waits)
            loop_turn(thread->loop, -1);
        return;
    case JOIN_ALONE:
        return;
    }
}

static void *run(void *argument)
{
    struct thread *thread = argument;
    char name[8], room[CACHE_KEY_BYTES_MAX];
    for (unsigned i = 0; i < STEPS; i++) {
        struct cache_figures figures;
        name_choose(thread, name);
        answer_read(thread, name);
        if (i % 3 == 0)
            fetch(thread, name);
        if (i % 50 == 0) {
            struct cache_key key = key_of(name, room);
            cache_store_invalidate(thread->store, &key);
            cache_store_figures(thread->store, &figures);
            if (figures.bytes > atomic_load(&most))
                atomic_store(&most, figures.bytes);
        }
    }
    return NULL;
}

static void threads_meet(void **state)
{
    (void)state;
    static struct thread threads[THREADS];
    struct cache_store *store = cache_store_new("pages", MEMORY, MEMORY / 4, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.number = i, .store = store, .loop = loop_new()};
        random_seed(&threads[i].random, i + 1);
        assert_int_equal(cache_mailbox_init(&threads[i].mailbox, threads[i].loop), 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
    unsigned waited = 0, hits = 0, wrong = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i].id, NULL);
        waited += threads[i].waited;
        hits += threads[i].hits;
        wrong += threads[i].wrong;
        cache_mailbox_done(&threads[i].mailbox, threads[i].loop);
        loop_free(threads[i].loop);
    }
    assert_int_equal(wrong, 0);
    assert_true(hits > STEPS);
    /* What is charged before something goes is over the bound for that long, in each thread. */
    assert_true(atomic_load(&most) <= MEMORY + THREADS * (BODY + 4096));
    store_end(store);
    printf("# %u hits, %u waited\n", hits, waited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_meet)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
