#include "base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static size_t length_of(const char *text, size_t left)
{
    unsigned char *exact = malloc(left); /* ASan sees a byte more */
    memcpy(exact, text, left);
    size_t length = utf8_sequence(exact, left);
    free(exact);
    return length;
}

static void whole_sequences_are_counted(void **state)
{
    (void)state;
    assert_int_equal(length_of("ab", 2), 1);
    assert_int_equal(length_of("\0", 1), 1);
    assert_int_equal(length_of("\xc3\xa9x", 3), 2);
    assert_int_equal(length_of("\xe2\x82\xac", 3), 3);
    assert_int_equal(length_of("\xf0\x9f\x98\x80", 4), 4);
    assert_int_equal(length_of("\xf4\x8f\xbf\xbf", 4), 4);
}

static void what_is_none_is_none(void **state)
{
    (void)state;
    assert_int_equal(length_of("\x80", 1), 0);
    assert_int_equal(length_of("\xff", 1), 0);
    assert_int_equal(length_of("\xc3", 1), 0);             /* cut */
    assert_int_equal(length_of("\xe2\x82", 2), 0);         /* cut */
    assert_int_equal(length_of("\xe2\x82(", 3), 0);        /* not continued */
    assert_int_equal(length_of("\xc0\xaf", 2), 0);         /* longer than need be */
    assert_int_equal(length_of("\xe0\x80\xaf", 3), 0);     /* longer than need be */
    assert_int_equal(length_of("\xed\xa0\x80", 3), 0);     /* half of a surrogate pair */
    assert_int_equal(length_of("\xf4\x90\x80\x80", 4), 0); /* above U+10FFFF */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_sequences_are_counted),
        cmocka_unit_test(what_is_none_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
