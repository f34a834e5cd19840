/* The schedule of jobs, without a clock: in Berlin, where clocks are put forward at 02:00 on
 * 2026-03-29 (01:00 UTC) and back at 03:00 on 2026-10-25 (01:00 UTC). */
#include "supervise/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };

static uint64_t utc(int month, int day, int hour, int minute)
{
    struct tm parts = {
        .tm_year = 126, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute};
    return (uint64_t)timegm(&parts) * SECOND;
}

static uint32_t second_of(uint32_t hour, uint32_t minute)
{
    return (hour * 60 + minute) * 60;
}

static void daily(void **state)
{
    (void)state;
    uint32_t three = second_of(3, 0);
    assert_int_equal(schedule_at(three, utc(1, 10, 1, 0)), utc(1, 10, 2, 0));
    assert_int_equal(schedule_at(three, utc(1, 10, 2, 0)), utc(1, 11, 2, 0)); /* strictly after */
    assert_int_equal(schedule_at(three, utc(12, 31, 12, 0)), utc(1, 1, 2, 0) + 365ull * 24 * HOUR);
    assert_int_equal(schedule_at(0, utc(7, 1, 12, 0)), utc(7, 1, 22, 0)); /* midnight, in summer */
}

static void time_that_does_not_exist(void **state)
{
    (void)state;
    uint32_t half_past_two = second_of(2, 30);
    uint64_t gap = schedule_at(half_past_two, utc(3, 28, 12, 0));
    assert_int_equal(gap, utc(3, 29, 1, 0)); /* which clocks show as 03:00 */
    assert_int_equal(schedule_at(half_past_two, gap), utc(3, 30, 0, 30));
}

static void time_that_comes_twice(void **state)
{
    (void)state;
    uint32_t half_past_two = second_of(2, 30);
    uint64_t first = schedule_at(half_past_two, utc(10, 24, 12, 0));
    assert_int_equal(first, utc(10, 25, 0, 30));
    assert_int_equal(schedule_at(half_past_two, first), utc(10, 26, 1, 30));
}

static void every_counts_from_starts(void **state)
{
    (void)state;
    const struct service_job job = {.every_ms = HOUR};
    struct schedule schedule;
    uint64_t now = utc(1, 1, 0, 0);
    schedule_begin(&schedule, &job, now - 20 * MINUTE, now);
    assert_int_equal(schedule.due_ms, now + 40 * MINUTE);
    assert_false(schedule_look(&schedule, &job, now + 39 * MINUTE));
    schedule_started(&schedule, &job, now + 39 * MINUTE); /* by hand */
    assert_false(schedule_look(&schedule, &job, now + 98 * MINUTE));
    assert_true(schedule_look(&schedule, &job, now + 99 * MINUTE));
    assert_false(schedule_look(&schedule, &job, now + 99 * MINUTE));
}

static void missed_while_nobody_looked(void **state)
{
    (void)state;
    const struct service_job job = {.daily = true, .at_second = second_of(3, 0)};
    struct schedule schedule;
    uint64_t last = utc(1, 10, 2, 0);
    schedule_begin(&schedule, &job, last, last + 30ull * HOUR);
    assert_true(schedule_look(&schedule, &job, last + 30ull * HOUR));
    assert_int_equal(schedule.due_ms, last + 48ull * HOUR);
}

static void clock_jumps(void **state)
{
    (void)state;
    const struct service_job at = {.daily = true, .at_second = second_of(3, 0)};
    const struct service_job every = {.every_ms = 10 * MINUTE};
    struct schedule schedule;
    uint64_t three = utc(1, 10, 2, 0);
    schedule_begin(&schedule, &at, 0, three - MINUTE);
    assert_true(schedule_look(&schedule, &at, three + 50ull * HOUR)); /* forward: once */
    assert_false(schedule_look(&schedule, &at, three + 50ull * HOUR + 1));
    schedule_begin(&schedule, &at, 0, three - MINUTE);
    assert_true(schedule_look(&schedule, &at, three));
    assert_false(schedule_look(&schedule, &at, three - HOUR)); /* back a little: not twice */
    assert_false(schedule_look(&schedule, &at, three));
    assert_false(schedule_look(&schedule, &at, three - 240ull * HOUR)); /* it was wrong before */
    assert_int_equal(schedule.due_ms, three - 240ull * HOUR + 24ull * HOUR);
    schedule_begin(&schedule, &every, 0, three);
    assert_false(schedule_look(&schedule, &every, three - HOUR));
    assert_true(schedule_look(&schedule, &every, three - HOUR + 10 * MINUTE));
}

static void never(void **state)
{
    (void)state;
    const struct service_job job = {.history = 1};
    struct schedule schedule;
    schedule_begin(&schedule, &job, 0, utc(1, 1, 0, 0));
    assert_int_equal(schedule.due_ms, 0);
    assert_false(schedule_look(&schedule, &job, utc(12, 1, 0, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(daily),
        cmocka_unit_test(time_that_does_not_exist),
        cmocka_unit_test(time_that_comes_twice),
        cmocka_unit_test(every_counts_from_starts),
        cmocka_unit_test(missed_while_nobody_looked),
        cmocka_unit_test(clock_jumps),
        cmocka_unit_test(never),
    };
    setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
