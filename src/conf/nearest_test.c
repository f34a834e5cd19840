#include "conf/nearest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void distances_are_counted(void **state)
{
    (void)state;
    assert_int_equal(edit_distance("", "", 3), 0);
    assert_int_equal(edit_distance("abc", "abc", 3), 0);
    assert_int_equal(edit_distance("abc", "ABC", 3), 0);
    assert_int_equal(edit_distance("abc", "abd", 3), 1);
    assert_int_equal(edit_distance("abc", "ab", 3), 1);
    assert_int_equal(edit_distance("abc", "xabc", 3), 1);
    assert_int_equal(edit_distance("abc", "acb", 3), 1);
    assert_int_equal(edit_distance("SIGTREM", "SIGTERM", 3), 1);
    assert_int_equal(edit_distance("kitten", "sitting", 5), 3);
    assert_int_equal(edit_distance("kitten", "sitting", 2), 3);
    assert_int_equal(edit_distance("", "abc", 3), 3);
}

static void long_words_are_near_to_nothing(void **state)
{
    (void)state;
    char word[NEAREST_BYTES_MAX + 2];
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = 0;
    assert_int_equal(edit_distance(word, word, 5), 6);
    word[NEAREST_BYTES_MAX] = 0;
    assert_int_equal(edit_distance(word, word, 5), 0);
}

static const char *best(const char *word, const char *const *candidates)
{
    struct nearest nearest = {.word = word};
    for (; *candidates; candidates++)
        nearest_try(&nearest, *candidates);
    return nearest.best ? nearest.best : "";
}

static void the_nearest_wins_and_far_ones_do_not(void **state)
{
    (void)state;
    static const char *const names[] = {"start", "restart", "stop", "instances", "port", NULL};
    assert_string_equal(best("strat", names), "start");
    assert_string_equal(best("stopp", names), "stop");
    assert_string_equal(best("instnces", names), "instances");
    assert_string_equal(best("port", names), "port");
    assert_string_equal(best("xyz", names), "");
    assert_string_equal(best("", names), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(distances_are_counted),
        cmocka_unit_test(long_words_are_near_to_nothing),
        cmocka_unit_test(the_nearest_wins_and_far_ones_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
