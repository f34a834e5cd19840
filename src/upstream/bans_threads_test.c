/* Threads ban the same clients at once, look, and lift: each client is banned once, whoever comes
 * first, nobody else is, and none is banned for a time that it was not given. Run it under TSan,
 * too.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "upstream/bans.h"

enum { THREADS = 2, CLIENTS = 8000, NOW_MS = 1000, LIFTED_EACH = 3 };

static struct bans *bans;
static atomic_uint made, wrong;
static atomic_uint arrived;

/* Never 0, and each with a time of its own. */
static uint64_t client_of(uint64_t number)
{
    return number << 20 | 1;
}

static uint64_t until_of(uint64_t number)
{
    return 10 * NOW_MS + number;
}

static void look(uint64_t number)
{
    uint64_t left_ms = bans_left_ms(bans, client_of(number), BAN_USE_STREAMS, NOW_MS);
    if (left_ms && left_ms != until_of(number) - NOW_MS)
        atomic_fetch_add(&wrong, 1);
}

/* A barrier would wake one after the other. */
static void meet(uint64_t number)
{
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < THREADS * (number + 1))
        sched_yield();
}

static void *ban_all(void *none)
{
    for (uint64_t i = 0; i < CLIENTS; i++) {
        const struct ban ban = {
            .client = client_of(i), .until_ms = until_of(i), .why = BAN_REQUESTS};
        meet(i);
        atomic_fetch_add(&made, bans_add(bans, &ban, NOW_MS));
        look(i);
        look(CLIENTS - 1 - i);
        if (bans_left_ms(bans, client_of(CLIENTS + i), BAN_USE_STREAMS, NOW_MS))
            atomic_fetch_add(&wrong, 1);
    }
    return none;
}

static void *lift_some(void *none)
{
    for (uint64_t i = 0; i < CLIENTS; i += LIFTED_EACH)
        bans_lift(bans, client_of(i), NOW_MS);
    return none;
}

static void run(void *(*work)(void *), unsigned count)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void each_is_banned_once(void **state)
{
    (void)state;
    int fd;
    assert_int_equal(bans_new(&bans, &fd), 0);
    run(ban_all, THREADS);
    assert_int_equal(wrong, 0);
    assert_int_equal(made, CLIENTS);
    assert_int_equal(bans_made(bans), CLIENTS);
    assert_int_equal(bans_list(bans, NULL, 0, NOW_MS), CLIENTS);
    for (uint64_t i = 0; i < CLIENTS; i++)
        assert_int_equal(bans_left_ms(bans, client_of(i), BAN_USE_STREAMS, NOW_MS),
                         until_of(i) - NOW_MS);
    run(lift_some, THREADS);
    assert_int_equal(bans_list(bans, NULL, 0, NOW_MS),
                     CLIENTS - (CLIENTS + LIFTED_EACH - 1) / LIFTED_EACH);
    bans_close(bans);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_is_banned_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
