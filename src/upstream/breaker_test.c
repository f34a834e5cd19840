#include "upstream/breaker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct service_breaker settings = {
    .failures = 3, .errors_percent = 50, .within_ms = 1000, .open_ms = 500, .probes = 2};

static bool bad(struct breaker *breaker, uint32_t epoch, uint64_t failures, uint64_t tries,
                uint64_t now_ms)
{
    const struct breaker_counts counts = {.tries = tries, .failures = failures};
    return breaker_bad(breaker, &settings, epoch, &counts, now_ms);
}

static struct breaker tripped(uint64_t now_ms)
{
    struct breaker breaker = {0};
    assert_true(bad(&breaker, 0, 3, 3, now_ms));
    return breaker;
}

static void the_table_has_three_states(void **state)
{
    (void)state;
    assert_int_equal(breaker_next(BREAKER_CLOSED, BREAKER_TRIPS), BREAKER_OPEN);
    assert_int_equal(breaker_next(BREAKER_OPEN, BREAKER_RESTED), BREAKER_HALF_OPEN);
    assert_int_equal(breaker_next(BREAKER_HALF_OPEN, BREAKER_PROVED), BREAKER_CLOSED);
    assert_int_equal(breaker_next(BREAKER_HALF_OPEN, BREAKER_PROBE_FAILED), BREAKER_OPEN);
    /* Whatever else happens changes nothing. */
    unsigned changes = 0;
    for (unsigned from = 0; from < BREAKER_STATES; from++)
        for (unsigned event = 0; event < BREAKER_EVENTS; event++)
            changes += breaker_next(from, event) != from;
    assert_int_equal(changes, 4);
    assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half-open");
}

static void it_trips_by_number_and_share(void **state)
{
    (void)state;
    struct breaker breaker = {0};
    assert_true(breaker_passes(&breaker, &settings, 0));
    assert_false(bad(&breaker, 0, 2, 2, 0)); /* all failed, but they are few */
    assert_false(bad(&breaker, 0, 3, 7, 0)); /* enough, but a smaller share */
    assert_true(breaker_passes(&breaker, &settings, 0));
    assert_true(bad(&breaker, 0, 3, 6, 0));
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_false(breaker_passes(&breaker, &settings, 0));
}

static void it_rests_and_lets_probes_pass(void **state)
{
    (void)state;
    struct breaker breaker = tripped(100);
    assert_false(breaker_passes(&breaker, &settings, 599));
    assert_true(breaker_passes(&breaker, &settings, 600));
    assert_true(breaker_passes(&breaker, &settings, 600));
    assert_false(breaker_passes(&breaker, &settings, 600)); /* two are asked for */
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
    assert_false(breaker_good(&breaker, &settings, breaker.epoch));
    assert_false(breaker_passes(&breaker, &settings, 600));
    assert_true(breaker_good(&breaker, &settings, breaker.epoch));
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_true(breaker_passes(&breaker, &settings, 600));
}

static void a_probe_that_fails_opens_it_again(void **state)
{
    (void)state;
    struct breaker breaker = tripped(100);
    assert_true(breaker_passes(&breaker, &settings, 600));
    assert_true(breaker_passes(&breaker, &settings, 600));
    assert_false(breaker_good(&breaker, &settings, breaker.epoch));
    uint32_t epoch = breaker.epoch;
    assert_true(bad(&breaker, epoch, 1, 2, 700));
    assert_int_equal(breaker.state, BREAKER_OPEN);
    assert_false(breaker_passes(&breaker, &settings, 1199));
    assert_true(breaker_passes(&breaker, &settings, 1200));
    /* Of the two from before nothing counts. */
    assert_false(breaker_good(&breaker, &settings, epoch));
    assert_false(breaker_good(&breaker, &settings, epoch));
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
}

static void what_began_before_says_nothing(void **state)
{
    (void)state;
    struct breaker breaker = tripped(100);
    assert_false(bad(&breaker, 0, 9, 9, 200)); /* it is open already, and not for longer */
    assert_true(breaker_passes(&breaker, &settings, 600));
    assert_false(bad(&breaker, 0, 9, 9, 610)); /* it hung since before */
    assert_false(breaker_good(&breaker, &settings, 0));
    assert_int_equal(breaker.state, BREAKER_HALF_OPEN);
    assert_true(breaker_passes(&breaker, &settings, 620));
    uint32_t epoch = breaker.epoch;
    breaker_good(&breaker, &settings, epoch);
    breaker_good(&breaker, &settings, epoch);
    assert_int_equal(breaker.state, BREAKER_CLOSED);
    assert_false(bad(&breaker, epoch, 9, 9, 630));
    assert_false(bad(&breaker, 0, 9, 9, 630));
    assert_int_equal(breaker.state, BREAKER_CLOSED);
}

static void a_probe_that_says_nothing_makes_room(void **state)
{
    (void)state;
    struct breaker breaker = tripped(100);
    assert_true(breaker_passes(&breaker, &settings, 600));
    assert_true(breaker_passes(&breaker, &settings, 600));
    assert_false(breaker_passes(&breaker, &settings, 601));
    breaker_unused(&breaker, breaker.epoch - 1);
    assert_false(breaker_passes(&breaker, &settings, 601));
    breaker_unused(&breaker, breaker.epoch);
    assert_true(breaker_passes(&breaker, &settings, 601));
    /* Those that never come back do not keep it half-open. */
    assert_false(breaker_passes(&breaker, &settings, 1099));
    assert_true(breaker_passes(&breaker, &settings, 1100));
    assert_true(breaker_passes(&breaker, &settings, 1100));
    assert_false(breaker_passes(&breaker, &settings, 1100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_has_three_states),
        cmocka_unit_test(it_trips_by_number_and_share),
        cmocka_unit_test(it_rests_and_lets_probes_pass),
        cmocka_unit_test(a_probe_that_fails_opens_it_again),
        cmocka_unit_test(what_began_before_says_nothing),
        cmocka_unit_test(a_probe_that_says_nothing_makes_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
