#include "upstream/breakers.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { THREADS = 3, ROUNDS = 20000 };

static const struct service_breaker settings = {
    .failures = 4, .errors_percent = 50, .within_ms = 1000, .open_ms = 500, .probes = 1};

struct told {
    unsigned calls;
    enum breaker_state state;
    struct breaker_counts counts;
    uint32_t opened;
};

static void told(void *owner, const struct breaker_change *change)
{
    struct told *of = owner;
    assert_string_equal(change->service, "api");
    of->calls++;
    of->state = change->state;
    of->counts = change->counts;
    of->opened = change->opened;
}

static struct breaker_user user_of(struct shared_breaker *shared, uint32_t thread, uint64_t now_ms)
{
    return (struct breaker_user){
        .shared = shared, .settings = &settings, .thread = thread, .now_ms = now_ms};
}

/* One try. False: it did not pass. */
static bool try(const struct breaker_user *user, bool good)
{
    breaker_pass pass;
    if (!shared_breaker_passes(user, &pass))
        return false;
    if (good) {
        shared_breaker_good(user, &pass);
        shared_breaker_over(user, &pass);
    } else {
        shared_breaker_bad(user, &pass);
    }
    return true;
}

static void threads_count_together(void **state)
{
    (void)state;
    struct breakers *breakers = breakers_new(THREADS);
    struct shared_breaker *shared = breakers_take(breakers, "api");
    struct told of = {0};
    for (uint32_t i = 0; i < 3; i++) {
        const struct breaker_user user = user_of(shared, i, 5000 + i);
        assert_true(try(&user, true));
        assert_true(try(&user, false));
    }
    assert_true(shared_breaker_closed(shared));
    const struct breaker_user user = user_of(shared, 0, 5900);
    assert_true(try(&user, false));
    assert_false(shared_breaker_closed(shared));
    const struct breaker_user other = user_of(shared, 2, 5901);
    assert_false(try(&other, true)); /* all threads see it */
    assert_int_equal(shared_breaker_rests_ms(&other), 499);
    assert_false(shared_breaker_may_pass(&other));
    breakers_changed(breakers, told, &of);
    assert_int_equal(of.calls, 1);
    assert_int_equal(of.state, BREAKER_OPEN);
    assert_int_equal(of.counts.failures, 4);
    assert_int_equal(of.counts.tries, 7);
    assert_int_equal(of.opened, 1);
    breakers_changed(breakers, told, &of);
    assert_int_equal(of.calls, 1); /* nothing new */
    shared_breaker_unref(shared);
    breakers_free(breakers);
}

static void what_is_old_leaves_the_window(void **state)
{
    (void)state;
    struct breakers *breakers = breakers_new(1);
    struct shared_breaker *shared = breakers_take(breakers, "api");
    for (uint64_t now_ms = 5000; now_ms < 60000; now_ms += 500) { /* never four in a second */
        const struct breaker_user user = user_of(shared, 0, now_ms);
        assert_true(try(&user, false));
    }
    assert_true(shared_breaker_closed(shared));
    for (uint64_t now_ms = 60000; now_ms < 60600; now_ms += 200) {
        const struct breaker_user user = user_of(shared, 0, now_ms);
        assert_true(try(&user, false));
    }
    assert_false(shared_breaker_closed(shared));
    shared_breaker_unref(shared);
    breakers_free(breakers);
}

static void what_looked_good_may_turn_out_bad(void **state)
{
    (void)state;
    struct breakers *breakers = breakers_new(1);
    struct shared_breaker *shared = breakers_take(breakers, "api");
    const struct breaker_user user = user_of(shared, 0, 5000);
    struct told of = {0};
    for (unsigned i = 0; i < 4; i++) {
        breaker_pass pass;
        assert_true(shared_breaker_passes(&user, &pass));
        shared_breaker_good(&user, &pass);
        shared_breaker_bad(&user, &pass);
        assert_int_equal(pass, 0);
    }
    breakers_changed(breakers, told, &of);
    assert_int_equal(of.state, BREAKER_OPEN);
    assert_int_equal(of.counts.tries, 4); /* each once */
    shared_breaker_unref(shared);
    breakers_free(breakers);
}

static void one_probe_closes_it(void **state)
{
    (void)state;
    struct breakers *breakers = breakers_new(2);
    struct shared_breaker *shared = breakers_take(breakers, "api");
    struct breaker_user user = user_of(shared, 0, 5000);
    breaker_pass late, probe, none;
    assert_true(shared_breaker_passes(&user, &late));
    for (unsigned i = 0; i < 4; i++)
        try(&user, false);
    struct breaker_user other = user_of(shared, 1, 5500);
    assert_true(shared_breaker_may_pass(&other));
    assert_true(shared_breaker_passes(&other, &probe));
    assert_false(shared_breaker_may_pass(&other));
    assert_false(shared_breaker_passes(&other, &none));
    shared_breaker_good(&user, &late); /* of before: no proof */
    assert_false(shared_breaker_closed(shared));
    shared_breaker_over(&other, &probe); /* the client left: another may */
    assert_true(shared_breaker_passes(&other, &probe));
    shared_breaker_good(&other, &probe);
    assert_true(shared_breaker_closed(shared));
    shared_breaker_bad(&other, &probe); /* later on: the breaker is closed, and it counts no more */
    assert_true(shared_breaker_closed(shared));
    /* It begins to count anew. */
    for (unsigned i = 0; i < 3; i++)
        assert_true(try(&other, false));
    assert_true(shared_breaker_closed(shared));
    shared_breaker_unref(shared);
    breakers_free(breakers);
}

static void a_service_has_one_while_somebody_holds_it(void **state)
{
    (void)state;
    struct breakers *breakers = breakers_new(1);
    struct shared_breaker *one = breakers_take(breakers, "api");
    assert_ptr_equal(breakers_take(breakers, "api"), one);
    struct shared_breaker *web = breakers_take(breakers, "web");
    assert_ptr_not_equal(web, one);
    const struct breaker_user user = user_of(one, 0, 5000);
    for (unsigned i = 0; i < 4; i++)
        try(&user, false);
    assert_false(shared_breaker_closed(one));
    assert_true(shared_breaker_closed(web));
    shared_breaker_unref(one);
    shared_breaker_unref(one);
    one = breakers_take(breakers, "api"); /* of another service of that name */
    assert_true(shared_breaker_closed(one));
    shared_breaker_unref(one);
    shared_breaker_unref(web);
    breakers_free(breakers);
}

/* ---- threads -------------------------------------------------------------------------------- */

struct worker {
    struct breakers *breakers;
    uint32_t thread;
    unsigned passed;
};

/* A window that all of it falls into; good and bad by turns. */
static void *work(void *owner)
{
    struct worker *worker = owner;
    struct shared_breaker *shared = breakers_take(worker->breakers, "api");
    for (unsigned i = 0; i < ROUNDS; i++) {
        const struct breaker_user user = user_of(shared, worker->thread, 5000 + i);
        worker->passed += try(&user, i % 8 != 0);
    }
    shared_breaker_unref(shared);
    return NULL;
}

static void threads_meet(void **state)
{
    (void)state;
    struct worker workers[THREADS];
    pthread_t threads[THREADS];
    struct breakers *breakers = breakers_new(THREADS);
    struct shared_breaker *shared = breakers_take(breakers, "api");
    struct told of = {0};
    for (uint32_t i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.breakers = breakers, .thread = i};
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    for (unsigned i = 0; i < 100; i++)
        breakers_changed(breakers, told, &of);
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    /* An eighth fails: never half of them. */
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(workers[i].passed, ROUNDS);
    assert_true(shared_breaker_closed(shared));
    shared_breaker_unref(shared);
    breakers_free(breakers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_count_together),
        cmocka_unit_test(what_is_old_leaves_the_window),
        cmocka_unit_test(what_looked_good_may_turn_out_bad),
        cmocka_unit_test(one_probe_closes_it),
        cmocka_unit_test(a_service_has_one_while_somebody_holds_it),
        cmocka_unit_test(threads_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
