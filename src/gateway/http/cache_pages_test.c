/* Pages for large bodies: places are nobody else's, empty when they are given out again, take
 * memory for what is in them and no more, and what a socket has of one stays as it was. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gateway/http/cache_pages.h"

enum { KIB = 1024, PLACES = 40 };

static struct cache_pages *pages;

static int begin(void **state)
{
    (void)state;
    pages = cache_pages_new();
    return pages ? 0 : -1;
}

static int end(void **state)
{
    (void)state;
    cache_pages_free(pages);
    return 0;
}

/* Bytes of memory that the file has. */
static uint64_t taken(void)
{
    struct stat facts;
    assert_int_equal(fstat(cache_pages_fd(pages), &facts), 0);
    return (uint64_t)facts.st_blocks * 512;
}

static void filled(const struct cache_place *place, size_t at, size_t length, char with)
{
    char *bytes = malloc(length);
    memset(bytes, with, length);
    assert_true(cache_pages_write(pages, place, at, bytes, length));
    free(bytes);
}

static bool all(const char *bytes, size_t length, char which)
{
    for (size_t i = 0; i < length; i++)
        if (bytes[i] != which)
            return false;
    return true;
}

static void places_are_apart_and_take_what_is_in_them(void **state)
{
    (void)state;
    struct cache_place places[PLACES];
    for (size_t i = 0; i < PLACES; i++) {
        assert_true(cache_pages_take(pages, (i + 1) * 100 * KIB, &places[i]));
        assert_true(places[i].size >= (i + 1) * 100 * KIB);
        filled(&places[i], 0, 60 * KIB, (char)('A' + i));
        filled(&places[i], 60 * KIB, 36 * KIB, (char)('A' + i));
    }
    assert_int_equal(taken(), PLACES * 96 * KIB);
    for (size_t i = 0; i < PLACES; i++)
        assert_true(all(places[i].bytes, 96 * KIB, (char)('A' + i)));
    for (size_t i = 0; i < PLACES; i++)
        cache_pages_give(pages, &places[i]);
    assert_int_equal(taken(), 0);
}

static void one_that_was_given_back_is_empty(void **state)
{
    (void)state;
    struct cache_place first, second;
    assert_true(cache_pages_take(pages, 64 * KIB, &first));
    filled(&first, 0, 64 * KIB, 'a');
    cache_pages_give(pages, &first);
    assert_true(cache_pages_take(pages, 60 * KIB, &second));
    assert_int_equal(second.offset, first.offset);
    assert_true(all(second.bytes, second.size, 0));
    cache_pages_give(pages, &second);
}

static void one_may_be_larger_than_a_segment(void **state)
{
    (void)state;
    struct cache_place large, small;
    assert_true(cache_pages_take(pages, 200u * 1024 * KIB, &large));
    assert_true(cache_pages_take(pages, 1, &small));
    filled(&large, 200u * 1024 * KIB - 1, 1, 'z');
    filled(&small, 0, 1, 'a');
    assert_int_equal(large.bytes[200u * 1024 * KIB - 1], 'z');
    assert_int_equal(small.bytes[0], 'a');
    assert_false(cache_pages_take(pages, SIZE_MAX / 2, &small));
    cache_pages_give(pages, &large);
}

/* As a huge page would be: there is something where nobody has written. */
static void one_with_more_than_was_written_is_refused(void **state)
{
    (void)state;
    static const char bytes[40 * KIB] = "a";
    struct cache_place place, next;
    int fd = cache_pages_fd(pages);
    assert_true(cache_pages_take(pages, 64 * KIB, &place));
    assert_true(cache_pages_take(pages, 64 * KIB, &next));
    assert_int_equal(pwrite(fd, "x", 1, (off_t)place.offset + 40 * KIB), 1);
    assert_true(cache_pages_write(pages, &place, 0, bytes, 36 * KIB));
    assert_false(cache_pages_write(pages, &place, 36 * KIB, bytes, 4 * KIB));
    assert_int_equal(pwrite(fd, "x", 1, (off_t)(next.offset - 1)), 1); /* between the two */
    assert_false(cache_pages_write(pages, &next, 0, bytes, 1));
    cache_pages_give(pages, &place);
    cache_pages_give(pages, &next);
}

static void what_a_socket_has_stays_as_it_was(void **state)
{
    (void)state;
    enum { SIZE = 32 * KIB };
    static char got[SIZE];
    struct cache_place first, second;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_true(cache_pages_take(pages, SIZE, &first));
    filled(&first, 0, SIZE, 'a');
    off_t from = (off_t)first.offset;
    assert_int_equal(sendfile(ends[0], cache_pages_fd(pages), &from, SIZE), SIZE);
    cache_pages_give(pages, &first);
    assert_true(cache_pages_take(pages, SIZE, &second));
    assert_int_equal(second.offset, first.offset);
    filled(&second, 0, SIZE, 'b');
    assert_int_equal(recv(ends[1], got, SIZE, MSG_WAITALL), SIZE);
    assert_true(all(got, SIZE, 'a'));
    assert_true(all(second.bytes, SIZE, 'b'));
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(places_are_apart_and_take_what_is_in_them, begin, end),
        cmocka_unit_test_setup_teardown(one_that_was_given_back_is_empty, begin, end),
        cmocka_unit_test_setup_teardown(one_may_be_larger_than_a_segment, begin, end),
        cmocka_unit_test_setup_teardown(one_with_more_than_was_written_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(what_a_socket_has_stays_as_it_was, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
