/* The store: bounds, eviction, variants, what is taken out, and flights. One thread;
 * cache_threads_test.c has several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <sys/stat.h>

#include "gateway/http/cache_fixture_test.h"

enum { KIB = 1024, MEMORY = 1024 * KIB, OBJECT = 256 * KIB };

static struct cache_store *store;

static int begin(void **state)
{
    (void)state;
    store = cache_store_new("pages", MEMORY, OBJECT, 2);
    return store ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    store_end(store);
    return 0;
}

static struct cache_figures figures(void)
{
    struct cache_figures now;
    cache_store_figures(store, &now);
    return now;
}

static const char *name_of(unsigned number)
{
    static char name[32];
    snprintf(name, sizeof name, "/%u", number);
    return name;
}

/* ---- bounds --------------------------------------------------------------------------------- */

static void it_never_takes_more_than_its_bound(void **state)
{
    (void)state;
    uint64_t most = 0;
    for (unsigned i = 0; i < 2000; i++) {
        assert_true(put(store, name_of(i), i % 50 * KIB, "", NULL));
        uint64_t bytes = figures().bytes;
        most = bytes > most ? bytes : most;
    }
    assert_true(most <= MEMORY);
    assert_true(most > MEMORY / 2);
    assert_true(figures().evicted > 1000);
    assert_int_equal(figures().objects + figures().evicted, 2000);
}

static void what_is_too_large_for_it_is_not_taken(void **state)
{
    (void)state;
    assert_null(cache_body_new(store, OBJECT + 1));
    struct cache_body *body = cache_body_new(store, 0); /* its length is not known */
    char bytes[KIB] = {0};
    size_t length = 0;
    while (cache_body_add(body, bytes, sizeof bytes))
        length += sizeof bytes;
    assert_int_equal(length, OBJECT);
    cache_body_unref(body);
    body = cache_body_new(store, 100); /* it was a lie */
    assert_false(cache_body_add(body, bytes, 101));
    cache_body_unref(body);
}

static void what_is_held_and_being_filled_counts(void **state)
{
    (void)state;
    struct cache_object *held[4];
    for (unsigned i = 0; i < 4; i++) {
        held[i] = object_of(store, name_of(i), 200 * KIB, "", NULL);
        cache_store_put(store, held[i]);
    }
    struct cache_body *filling = cache_body_new(store, 0);
    char bytes[KIB] = {0};
    size_t length = 0;
    while (length < 200 * KIB && cache_body_add(filling, bytes, sizeof bytes))
        length += sizeof bytes;
    assert_true(figures().bytes >= 800 * KIB + length);
    /* All that could go has gone, and is still in our hands. */
    assert_false(put(store, "/further", 200 * KIB, "", NULL));
    assert_int_equal(figures().objects, 0);
    assert_true(figures().bytes <= MEMORY);
    for (unsigned i = 0; i < 4; i++) {
        for (size_t at = 0; at < held[i]->body->length; at++)
            assert_int_equal(held[i]->body->bytes[at], '0' + (int)i);
        cache_object_unref(held[i]);
    }
    cache_body_unref(filling);
    assert_true(put(store, "/further", 200 * KIB, "", NULL));
}

static void bodies_keep_what_they_were_given(void **state)
{
    (void)state;
    enum { SIZE = 250 * KIB };
    char *text = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        text[i] = (char)(i * 31 % 251);
    for (size_t step = 1000; step < 90000; step += 20011) {
        struct cache_body *body = cache_body_new(store, 0);
        for (size_t at = 0; at < SIZE; at += step)
            assert_true(cache_body_add(body, text + at, SIZE - at < step ? SIZE - at : step));
        cache_body_trim(body);
        assert_int_equal(body->length, SIZE);
        assert_true(body->room < SIZE + 4096);
        assert_memory_equal(body->bytes, text, SIZE);
        cache_body_unref(body);
    }
    free(text);
}

static void large_bodies_lie_in_pages_and_take_what_they_have(void **state)
{
    (void)state;
    static const char text[40 * KIB] = "large";
    struct cache_body *small = cache_body_new(store, 20 * KIB);
    assert_true(cache_body_add(small, text, 20 * KIB));
    assert_int_equal(small->place.size, 0);
    struct cache_body *large = cache_body_new(store, 256 * KIB); /* announced, and not sent */
    uint64_t before = figures().bytes;
    assert_true(cache_body_add(large, text, 20 * KIB));
    assert_true(cache_body_add(large, text, 20 * KIB));
    assert_true(large->place.size >= 40 * KIB);
    assert_true(figures().bytes - before <= 64 * KIB);
    assert_memory_equal(large->bytes, text, 20 * KIB);
    assert_memory_equal(large->bytes + 20 * KIB, text, 20 * KIB);
    struct stat facts;
    assert_int_equal(fstat(cache_pages_fd(cache_store_pages(store)), &facts), 0);
    assert_int_equal(facts.st_blocks * 512, 40 * KIB);
    cache_body_trim(large);
    assert_int_equal(figures().bytes - before, 40 * KIB);
    cache_body_unref(small);
    cache_body_unref(large);
}

static void a_smaller_bound_takes_what_is_too_much(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        assert_true(put(store, name_of(i), 8 * KIB, "", NULL));
    cache_store_resize(store, 100 * KIB, 10 * KIB);
    assert_true(figures().bytes <= 100 * KIB);
    assert_true(figures().objects > 5);
    assert_false(put(store, "/large", 11 * KIB, "", NULL));
}

/* ---- eviction ------------------------------------------------------------------------------- */

static void what_is_asked_for_stays_in_a_flood(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 20; i++)
        put(store, name_of(i), 4 * KIB, "", NULL);
    for (unsigned i = 1000; i < 6000; i++) { /* nobody asks for these again */
        put(store, name_of(i), 4 * KIB, "", NULL);
        there(store, name_of(i % 20), NULL);
    }
    unsigned stayed = 0;
    for (unsigned i = 0; i < 20; i++)
        stayed += there(store, name_of(i), NULL);
    assert_true(stayed >= 18);
}

/* ---- variants ------------------------------------------------------------------------------- */

static void variants_are_told_apart_and_replaced(void **state)
{
    (void)state;
    put(store, "/a", 1, "first", "de");
    put(store, "/a", 1, "second", "en");
    assert_int_equal(figures().objects, 2);
    struct cache_object *object = found(store, "/a", "de");
    assert_true(cache_object_tagged(object, SLICE("first")));
    cache_object_unref(object);
    put(store, "/a", 1, "third", "de");
    assert_int_equal(figures().objects, 2);
    object = found(store, "/a", "de");
    assert_true(cache_object_tagged(object, SLICE("third")));
    cache_object_unref(object);
    assert_false(there(store, "/a", "fr"));
    assert_false(there(store, "/a", NULL));
    assert_false(there(store, "/b", "de"));
}

static void a_key_has_a_bounded_number_of_them(void **state)
{
    (void)state;
    char variant[16];
    for (unsigned i = 0; i < CACHE_VARIANTS_MAX + 10; i++) {
        snprintf(variant, sizeof variant, "%u", i);
        put(store, "/a", 1, "", variant);
    }
    assert_int_equal(figures().objects, CACHE_VARIANTS_MAX);
    assert_false(there(store, "/a", "9"));
    assert_true(there(store, "/a", "10"));
    assert_true(there(store, "/a", variant));
}

/* ---- taking out ----------------------------------------------------------------------------- */

static const struct cache_purge tagged_b = {.kind = PURGE_TAGS, .text = {"x, b", 4}};

static void purges_take_what_they_mean(void **state)
{
    (void)state;
    char room[CACHE_KEY_BYTES_MAX];
    put(store, "/1", 1, "a, b", NULL);
    put(store, "/2", 1, "b c", NULL);
    put(store, "/3", 1, "bb", NULL);
    put(store, "/4", 1, "", "x");
    put(store, "/4", 1, "", "y");
    assert_int_equal(cache_store_purge(store, &tagged_b), 2);
    assert_false(there(store, "/1", NULL));
    assert_true(there(store, "/3", NULL));
    struct cache_key key = key_of("/4", room);
    assert_int_equal(cache_store_invalidate(store, &key), 2);
    assert_int_equal(cache_store_invalidate(store, &key), 0);
    assert_int_equal(figures().purged, 4);
}

/* ---- flights -------------------------------------------------------------------------------- */

struct waiting {
    struct cache_waiter waiter; /* first */
    int woken;
    enum flight_end end;
};

static void woken(struct cache_waiter *waiter)
{
    struct waiting *waiting = (struct waiting *)waiter;
    waiting->woken++;
    waiting->end = waiter->end;
}

static void one_leads_and_the_others_hear_of_it(void **state)
{
    (void)state;
    char room[CACHE_KEY_BYTES_MAX];
    struct cache_key key = key_of("/a", room);
    struct loop *loop = loop_new();
    struct cache_mailbox mailbox;
    struct cache_flight *flight = NULL, *other = NULL;
    struct waiting waiting[3];
    assert_int_equal(cache_mailbox_init(&mailbox, loop), 0);
    memset(waiting, 0, sizeof waiting);
    assert_int_equal(cache_flight_join(store, &key, NULL, false, &flight), JOIN_LEADS);
    assert_int_equal(cache_flight_join(store, &key, NULL, false, &other), JOIN_ALONE);
    assert_false(cache_flight_awaited(flight));
    for (int i = 0; i < 3; i++) {
        waiting[i].waiter =
            (struct cache_waiter){.store = store, .mailbox = &mailbox, .woken = woken};
        assert_int_equal(cache_flight_join(store, &key, &waiting[i].waiter, true, &other),
                         JOIN_WAITS);
    }
    assert_true(cache_flight_awaited(flight));
    cache_waiter_leave(&waiting[0].waiter); /* out of the line */
    cache_flight_end(flight, FLIGHT_STORED);
    cache_waiter_leave(&waiting[1].waiter); /* out of the mailbox */
    loop_turn(loop, 0);
    assert_int_equal(waiting[0].woken + waiting[1].woken, 0);
    assert_int_equal(waiting[2].woken, 1);
    assert_int_equal(waiting[2].end, FLIGHT_STORED);
    assert_int_equal(cache_flight_join(store, &key, NULL, false, &flight), JOIN_LEADS);
    cache_flight_end(flight, FLIGHT_FAILED);
    cache_mailbox_done(&mailbox, loop);
    loop_free(loop);
}

static void what_was_purged_meanwhile_dooms_a_flight(void **state)
{
    (void)state;
    char room[CACHE_KEY_BYTES_MAX], other_room[CACHE_KEY_BYTES_MAX];
    struct cache_key key = key_of("/a", room), other = key_of("/b", other_room);
    struct cache_flight *flight;
    assert_int_equal(cache_flight_join(store, &key, NULL, false, &flight), JOIN_LEADS);
    cache_store_invalidate(store, &other);
    assert_false(cache_flight_doomed(flight));
    cache_store_invalidate(store, &key);
    assert_true(cache_flight_doomed(flight));
    cache_flight_end(flight, FLIGHT_FAILED);
    assert_int_equal(cache_flight_join(store, &key, NULL, false, &flight), JOIN_LEADS);
    assert_false(cache_flight_doomed(flight));
    cache_store_purge(store, &tagged_b);
    assert_true(cache_flight_doomed(flight));
    cache_flight_end(flight, FLIGHT_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_never_takes_more_than_its_bound, begin, end),
        cmocka_unit_test_setup_teardown(what_is_too_large_for_it_is_not_taken, begin, end),
        cmocka_unit_test_setup_teardown(what_is_held_and_being_filled_counts, begin, end),
        cmocka_unit_test_setup_teardown(bodies_keep_what_they_were_given, begin, end),
        cmocka_unit_test_setup_teardown(large_bodies_lie_in_pages_and_take_what_they_have, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_smaller_bound_takes_what_is_too_much, begin, end),
        cmocka_unit_test_setup_teardown(what_is_asked_for_stays_in_a_flood, begin, end),
        cmocka_unit_test_setup_teardown(variants_are_told_apart_and_replaced, begin, end),
        cmocka_unit_test_setup_teardown(a_key_has_a_bounded_number_of_them, begin, end),
        cmocka_unit_test_setup_teardown(purges_take_what_they_mean, begin, end),
        cmocka_unit_test_setup_teardown(one_leads_and_the_others_hear_of_it, begin, end),
        cmocka_unit_test_setup_teardown(what_was_purged_meanwhile_dooms_a_flight, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
