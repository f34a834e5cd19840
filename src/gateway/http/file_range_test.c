#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/file_range.h"

static struct range ranges[RANGES_MAX];
static uint32_t count;

static enum ranges parse(const char *text, uint64_t size)
{
    struct slice value = {text, (uint32_t)strlen(text)};
    memset(ranges, 0, sizeof ranges);
    count = 0;
    return ranges_parse(value, size, ranges, &count);
}

static void one(const char *text, uint64_t size, uint64_t first, uint64_t length)
{
    assert_int_equal(parse(text, size), RANGES_GIVEN);
    assert_int_equal(count, 1);
    assert_int_equal(ranges[0].first, first);
    assert_int_equal(ranges[0].length, length);
}

static void each_form_gives_its_part(void **state)
{
    (void)state;
    one("bytes=0-0", 100, 0, 1);
    one("bytes=10-19", 100, 10, 10);
    one("bytes=10-", 100, 10, 90);
    one("bytes=-1", 100, 99, 1);
    one("bytes=-1000", 100, 0, 100);
    one("bytes=90-1000", 100, 90, 10);
    one("BYTES= 5-6 ", 100, 5, 2);
    one("bytes=0-18446744073709551615", 100, 0, 100);
    one("bytes=0-99999999999999999999999", 100, 0, 100);
    one("bytes=-99999999999999999999999", 100, 0, 100);
    one("bytes=200-300, 7-7", 100, 7, 1); /* one that lies outside is left out */
}

static void several_stay_in_their_order(void **state)
{
    (void)state;
    assert_int_equal(parse("bytes=50-59,0-9 ,\t-5", 100), RANGES_GIVEN);
    assert_int_equal(count, 3);
    assert_int_equal(ranges[0].first, 50);
    assert_int_equal(ranges[1].first, 0);
    assert_int_equal(ranges[2].first, 95);
    assert_int_equal(ranges[2].length, 5);
}

static void outside_is_told(void **state)
{
    (void)state;
    assert_int_equal(parse("bytes=100-", 100), RANGES_OUTSIDE);
    assert_int_equal(parse("bytes=-0", 100), RANGES_OUTSIDE);
    assert_int_equal(parse("bytes=0-", 0), RANGES_OUTSIDE);
    assert_int_equal(parse("bytes=-5", 0), RANGES_OUTSIDE);
    assert_int_equal(parse("bytes=99999999999999999999-", 100), RANGES_OUTSIDE);
}

static void what_is_wrong_is_ignored(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",           "bytes",      "bytes=",      "bytes=-",    "bytes=5",    "bytes=9-5",
        "lines=0-5",  "bytes=0-5,", "bytes=0-5 6", "bytes=a-5",  "bytes=0x1-", "bytes=1--2",
        "bytes=,0-5", "bytes=0-5;", "bytes =0-5",  "bytes=+1-2", "bytes=0-1-", "bytes=1-2,3-x",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_int_equal(parse(texts[i], 100), RANGES_IGNORED);
}

static void too_much_is_ignored(void **state)
{
    (void)state;
    assert_int_equal(parse("bytes=0-,0-,0-", 100), RANGES_IGNORED);
    assert_int_equal(parse("bytes=0-49,0-49", 100), RANGES_GIVEN);
    assert_int_equal(
        parse("bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 100),
        RANGES_GIVEN);
    assert_int_equal(
        parse("bytes=0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0,0-0", 100),
        RANGES_IGNORED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_form_gives_its_part), cmocka_unit_test(several_stay_in_their_order),
        cmocka_unit_test(outside_is_told),          cmocka_unit_test(what_is_wrong_is_ignored),
        cmocka_unit_test(too_much_is_ignored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
