/* A store with a file: what memory has no room for is read again, what is taken out stays out over
 * restarts, broken records and a failing file are seen. The disk's thread is real; the test waits
 * for what it does. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http/cache_disk.h"
#include "gateway/http/cache_fixture_test.h"
#include "gateway/http/cache_record.h"

enum { KIB = 1024, MEMORY = 512 * KIB, OBJECT = 64 * KIB, FILE_BYTES = 4 * 1024 * KIB };

static struct {
    int file; /* the test's own descriptor */
    struct cache_store *store;
    struct loop *loop;
    struct cache_mailbox mailbox;
} scene;

static struct cache_figures disk_figures(void)
{
    struct cache_figures figures;
    cache_store_figures(scene.store, &figures);
    return figures;
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void store_begin(void)
{
    char path[64];
    scene.store = cache_store_new("pages", MEMORY, OBJECT, 1);
    snprintf(path, sizeof path, "/proc/self/fd/%d", scene.file);
    cache_store_disk(scene.store, open(path, O_RDWR | O_CLOEXEC), FILE_BYTES);
    char room[CACHE_KEY_BYTES_MAX];
    struct cache_key key = key_of("/nothing", room);
    for (int i = 0; i < 5000; i++) { /* until it takes jobs */
        struct cache_flight *flight = NULL;
        cache_flight_join(scene.store, &key, NULL, false, &flight);
        if (cache_disk_load(cache_store_its_disk(scene.store), &key, flight))
            return;
        cache_flight_end(flight, FLIGHT_FAILED);
        pause_briefly();
    }
    fail_msg("the disk is not ready");
}

/* As a restart: memory is gone, the file is there. */
static void store_restart(void)
{
    cache_store_resize(scene.store, 0, 0);
    cache_store_unref(scene.store);
    store_begin();
}

static int begin(void **state)
{
    (void)state;
    scene.file = memfd_create("cache", MFD_CLOEXEC);
    scene.loop = loop_new();
    assert_int_equal(cache_mailbox_init(&scene.mailbox, scene.loop), 0);
    store_begin();
    return 0;
}

static int end(void **state)
{
    (void)state;
    cache_store_resize(scene.store, 0, 0);
    cache_store_unref(scene.store);
    cache_mailbox_done(&scene.mailbox, scene.loop);
    loop_free(scene.loop);
    close(scene.file);
    return 0;
}

static bool woke;
static void woken(struct cache_waiter *waiter)
{
    (void)waiter;
    woke = true;
}

/* Reads what is on the disk of a key into memory; all that was given to it before is done then. */
static void load(const char *name)
{
    char room[CACHE_KEY_BYTES_MAX];
    struct cache_key key = key_of(name, room);
    struct cache_flight *flight = NULL;
    struct cache_waiter waiter = {.store = scene.store, .mailbox = &scene.mailbox, .woken = woken};
    while (cache_flight_join(scene.store, &key, &waiter, false, &flight) != JOIN_LEADS)
        pause_briefly(); /* another load of it is not over yet */
    cache_flight_await(flight, &waiter);
    woke = false;
    assert_true(cache_disk_load(cache_store_its_disk(scene.store), &key, flight));
    while (!woke)
        loop_turn(scene.loop, 1000);
}

static void memory_empty(void)
{
    cache_store_resize(scene.store, 0, OBJECT);
    cache_store_resize(scene.store, MEMORY, OBJECT);
}

static void assert_whole(const char *name, const char *variant, size_t size)
{
    struct cache_object *object = found(scene.store, name, variant);
    assert_non_null(object);
    assert_int_equal(object->body->length, size);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(object->body->bytes[i], name[1]);
    assert_int_equal(object->fields[0].value.length, object->tags.length - 1);
    cache_object_unref(object);
}

static bool put_fresh(const char *name, size_t size, const char *tags, const char *variant)
{
    struct cache_object *object = object_of(scene.store, name, size, tags, variant);
    if (!object)
        return false;
    object->life.lifetime_ms = 60000; /* nobody else has it yet */
    cache_store_put(scene.store, object);
    cache_object_unref(object);
    return true;
}

/* Is it there after what is on the disk was read? */
static bool there_by_disk(const char *name, const char *variant)
{
    load(name);
    return there(scene.store, name, variant);
}

static void what_left_memory_is_read_again(void **state)
{
    (void)state;
    assert_true(put_fresh("/a", 50 * KIB, "red", NULL));
    assert_true(put_fresh("/b", 3, "", "de"));
    assert_true(put_fresh("/b", 5, "", "en"));
    load("/nothing");
    assert_int_equal(disk_figures().disk_objects, 3);
    memory_empty();
    assert_false(there(scene.store, "/a", NULL));
    load("/a");
    assert_whole("/a", NULL, 50 * KIB);
    load("/b");
    assert_whole("/b", "de", 3);
    assert_whole("/b", "en", 5);
}

static void it_is_there_after_a_restart(void **state)
{
    (void)state;
    put_fresh("/a", 50 * KIB, "red", NULL);
    put_fresh("/b", 3, "", NULL);
    put_fresh("/b", 7, "", NULL); /* the newer one counts */
    load("/nothing");
    store_restart();
    assert_true(disk_figures().disk_objects >= 2);
    load("/a");
    load("/b");
    assert_whole("/a", NULL, 50 * KIB);
    assert_whole("/b", NULL, 7);
}

static void what_was_taken_out_stays_out(void **state)
{
    char room[CACHE_KEY_BYTES_MAX];
    (void)state;
    put_fresh("/a", 1, "red", NULL);
    put_fresh("/b", 1, "blue, red", NULL);
    put_fresh("/c", 1, "green", NULL);
    put_fresh("/d", 1, "", NULL);
    put_fresh("/e/1", 1, "", NULL);
    load("/nothing");
    struct cache_key key = key_of("/d", room);
    cache_store_invalidate(scene.store, &key);
    cache_store_purge(scene.store, &(struct cache_purge){PURGE_TAGS, SLICE(""), SLICE("red")});
    cache_store_purge(scene.store,
                      &(struct cache_purge){PURGE_BELOW, SLICE("tcp:80"), SLICE("host/e/")});
    put_fresh("/b", 9, "red", NULL); /* newer than the purge */
    for (int restarts = 0; restarts < 2; restarts++) {
        memory_empty();
        assert_false(there_by_disk("/a", NULL));
        assert_false(there_by_disk("/d", NULL));
        assert_false(there_by_disk("/e/1", NULL));
        assert_true(there_by_disk("/c", NULL));
        load("/b");
        assert_whole("/b", NULL, 9);
        store_restart();
    }
    cache_store_purge(scene.store, &(struct cache_purge){.kind = PURGE_ALL});
    load("/nothing");
    store_restart();
    assert_false(there_by_disk("/c", NULL));
}

static void the_ring_overwrites_its_oldest(void **state)
{
    (void)state;
    char name[16];
    for (int i = 0; i < 400; i++) {
        snprintf(name, sizeof name, "/%d", i);
        assert_true(put_fresh(name, 30 * KIB, "", NULL));
        load("/nothing"); /* what waits to be written is bounded */
    }
    load("/nothing");
    struct stat status;
    fstat(scene.file, &status);
    assert_int_equal(status.st_size, FILE_BYTES);
    uint64_t objects = disk_figures().disk_objects;
    assert_true(objects > 100 && objects <= FILE_BYTES / (32 * KIB));
    memory_empty();
    assert_false(there_by_disk("/0", NULL));
    load("/399");
    assert_true(there(scene.store, "/399", NULL));
    store_restart();
    assert_int_equal(disk_figures().disk_objects, objects);
    assert_true(there_by_disk("/399", NULL));
    assert_true(there_by_disk("/300", NULL));
    assert_true(put_fresh("/further", 30 * KIB, "", NULL)); /* goes on where it was */
    load("/nothing");
    assert_true(disk_figures().disk_objects <= objects + 1);
    assert_true(there_by_disk("/300", NULL));
}

static void what_is_broken_is_not_used(void **state)
{
    (void)state;
    put_fresh("/a", 20 * KIB, "", NULL);
    put_fresh("/b", 20 * KIB, "", NULL);
    load("/nothing");
    assert_int_equal(pwrite(scene.file, "!", 1, 10 * KIB), 1); /* in the body of /a */
    memory_empty();
    assert_false(there_by_disk("/a", NULL));
    assert_true(there_by_disk("/b", NULL));
    assert_int_equal(disk_figures().disk_objects, 1);
    char zeros[RECORD_BLOCK_BYTES] = {0};
    pwrite(scene.file, zeros, sizeof zeros, 0); /* its head is gone: the scan finds the next */
    store_restart();
    assert_true(there_by_disk("/b", NULL));
    /* A file of noise has nothing in it. */
    for (int i = 0; i < FILE_BYTES / RECORD_BLOCK_BYTES; i++) {
        for (size_t k = 0; k < sizeof zeros; k++)
            zeros[k] = (char)(i * 7 + (int)k * 13);
        memcpy(zeros, "engxca01", 8);
        pwrite(scene.file, zeros, sizeof zeros, (off_t)i * RECORD_BLOCK_BYTES);
    }
    store_restart();
    assert_int_equal(disk_figures().disk_objects, 0);
    assert_false(there_by_disk("/b", NULL));
    put_fresh("/b", 1, "", NULL);
    memory_empty();
    assert_true(there_by_disk("/b", NULL));
}

static void a_failing_disk_is_left_alone(void **state)
{
    (void)state;
    put_fresh("/a", 1, "", NULL);
    load("/nothing");
    assert_int_equal(ftruncate(scene.file, 0), 0); /* every read is short now */
    memory_empty();
    assert_false(there_by_disk("/a", NULL));
    assert_int_equal(disk_figures().disk_failures, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_left_memory_is_read_again, begin, end),
        cmocka_unit_test_setup_teardown(it_is_there_after_a_restart, begin, end),
        cmocka_unit_test_setup_teardown(what_was_taken_out_stays_out, begin, end),
        cmocka_unit_test_setup_teardown(the_ring_overwrites_its_oldest, begin, end),
        cmocka_unit_test_setup_teardown(what_is_broken_is_not_used, begin, end),
        cmocka_unit_test_setup_teardown(a_failing_disk_is_left_alone, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
