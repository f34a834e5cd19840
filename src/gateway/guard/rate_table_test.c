/* Rates, by a clock that the test moves; and the hash of their keys. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/random.h"
#include "gateway/core/key_hash.h"
#include "gateway/core/rate_table.h"
#include "gateway/guard/key_counts.h"

#define SECOND_NS 1000000000ull

static uint64_t key_next = 0x1000; /* each test has keys of its own: the table is the process' */

static void a_bucket_fills_and_empties(void **state)
{
    (void)state;
    const struct rate rate = {.interval_ns = SECOND_NS / 10, .burst = 5};
    uint64_t key = key_next++, wait, now = 100 * SECOND_NS;
    for (int i = 0; i < 5; i++)
        assert_true(rate_take(key, &rate, now, &wait));
    assert_false(rate_take(key, &rate, now, &wait));
    assert_int_equal(wait, SECOND_NS / 10);
    assert_false(rate_take(key, &rate, now + wait - 1, &wait));
    assert_int_equal(wait, 1);
    assert_true(rate_take(key, &rate, now + SECOND_NS / 10, &wait));
    assert_false(rate_take(key, &rate, now + SECOND_NS / 10, &wait));
    now += 60 * SECOND_NS; /* no more than the burst, however long it was quiet */
    for (int i = 0; i < 5; i++)
        assert_true(rate_take(key, &rate, now, &wait));
    assert_false(rate_take(key, &rate, now, &wait));
}

/* In any time never more than burst + time / interval; and who comes again when it was told is
 * taken. */
static void no_more_than_was_said(void **state)
{
    (void)state;
    struct random_state random;
    random_seed(&random, 3);
    for (int round = 0; round < 200; round++) {
        const struct rate rate = {.interval_ns = 1 + random_below(&random, 2 * SECOND_NS),
                                  .burst = 1 + (uint32_t)random_below(&random, 20)};
        uint64_t key = key_next++, begin = SECOND_NS, now = begin, taken = 0, wait;
        for (int i = 0; i < 500; i++) {
            now += random_below(&random, rate.interval_ns);
            bool fits = rate_take(key, &rate, now, &wait);
            if (!fits && random_below(&random, 2)) {
                now += wait;
                assert_false(rate_take(key, &rate, now - 1, &wait));
                assert_true(fits = rate_take(key, &rate, now, &wait));
            }
            taken += fits;
            assert_true(taken <= rate.burst + (now - begin) / rate.interval_ns);
        }
    }
}

static void keys_are_apart(void **state)
{
    (void)state;
    const struct rate rate = {.interval_ns = SECOND_NS, .burst = 1};
    uint64_t wait, first = key_next, now = SECOND_NS;
    for (int i = 0; i < 1000; i++)
        assert_true(rate_take(key_next++, &rate, now, &wait));
    for (uint64_t key = first; key < key_next; key++)
        assert_false(rate_take(key, &rate, now, &wait));
}

/* A reload may change the rate: what was taken stays taken. */
static void a_rate_may_change(void **state)
{
    (void)state;
    const struct rate slow = {.interval_ns = 10 * SECOND_NS, .burst = 2};
    const struct rate fast = {.interval_ns = SECOND_NS, .burst = 2};
    uint64_t key = key_next++, wait, now = SECOND_NS;
    assert_true(rate_take(key, &slow, now, &wait));
    assert_true(rate_take(key, &slow, now, &wait));
    assert_false(rate_take(key, &fast, now, &wait));
    assert_true(rate_take(key, &fast, now + 20 * SECOND_NS, &wait));
}

/* Whoever is over its rate stays so while others by the hundred thousand come and go. */
static void a_flood_of_keys_frees_nobody(void **state)
{
    (void)state;
    const struct rate abused = {.interval_ns = SECOND_NS, .burst = 60};
    const struct rate rate = {.interval_ns = SECOND_NS, .burst = 5};
    struct random_state random;
    random_seed(&random, 9);
    uint64_t key = random_next(&random), wait, now = 1000 * SECOND_NS;
    for (int i = 0; i < 60; i++)
        assert_true(rate_take(key, &abused, now, &wait));
    for (int i = 0; i < 5 * RATE_SETS * RATE_WAYS; i++)
        assert_true(rate_take(random_next(&random), &rate, now, &wait));
    assert_false(rate_take(key, &abused, now, &wait));
}

enum { THREADS = 4, TRIES = 20000 };

static atomic_uint taken_by_all;

static void *taker(void *argument)
{
    const uint64_t *key = argument;
    const struct rate rate = {.interval_ns = SECOND_NS, .burst = 1000};
    uint64_t wait;
    for (int i = 0; i < TRIES; i++)
        atomic_fetch_add(&taken_by_all, rate_take(*key, &rate, 5 * SECOND_NS, &wait));
    return NULL;
}

static void threads_share_a_rate(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    uint64_t key = key_next++;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, taker, &key), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&taken_by_all), 1000);
}

static void counts_have_a_bound(void **state)
{
    (void)state;
    uint64_t key = key_next++, other = key_next++;
    assert_false(key_count_take(key, 0));
    assert_true(key_count_take(key, 2));
    assert_true(key_count_take(key, 2));
    assert_false(key_count_take(key, 2));
    assert_true(key_count_take(other, 1));
    key_count_give(key);
    assert_true(key_count_take(key, 2));
    key_count_give(key);
    key_count_give(key);
    key_count_give(other);
    assert_true(key_count_take(other, 1));
    key_count_give(other);
}

/* The vectors of the reference implementation: bytes 0, 1, 2 … with the key 0 … 15. */
static void the_hash_is_siphash(void **state)
{
    (void)state;
    const struct key_secret secret = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    static const uint8_t bytes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    assert_int_equal(key_hash(&secret, bytes, 0), 0x726fdb47dd0e0e31);
    assert_int_equal(key_hash(&secret, bytes, 1), 0x74f839c593dc67fd);
    assert_int_equal(key_hash(&secret, bytes, 8), 0x93f5f5799a932462);
    assert_int_equal(key_hash(&secret, bytes, 15), 0xa129ca6149be45e5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_fills_and_empties),
        cmocka_unit_test(no_more_than_was_said),
        cmocka_unit_test(keys_are_apart),
        cmocka_unit_test(a_rate_may_change),
        cmocka_unit_test(threads_share_a_rate),
        cmocka_unit_test(counts_have_a_bound),
        cmocka_unit_test(the_hash_is_siphash),
        cmocka_unit_test(a_flood_of_keys_frees_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
