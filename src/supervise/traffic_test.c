#include "supervise/traffic.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void requests_add(struct tally_traffic *sum, unsigned bucket, uint64_t count)
{
    tally_add(&sum->requests, count);
    tally_add(&sum->latency[bucket], count);
}

static void nothing_is_known_without_requests(void **state)
{
    (void)state;
    struct traffic_look look = {0};
    struct tally_traffic sum = {0};
    const struct traffic *shown = traffic_look(&look, &sum, 5000);
    assert_int_equal(shown->requests, 0);
    assert_false(shown->timed);
    assert_true(shown->requests_per_second == 0);
}

static void a_rate_is_what_came_between_two_looks(void **state)
{
    (void)state;
    struct traffic_look look = {0};
    struct tally_traffic sum = {0};
    requests_add(&sum, 3, 1000);
    assert_true(traffic_look(&look, &sum, 5000)->requests_per_second == 0);
    requests_add(&sum, 0, 500);
    assert_true(traffic_look(&look, &sum, 5100)->requests_per_second == 0); /* too soon */
    assert_int_equal(look.shown.requests, 1500);
    const struct traffic *shown = traffic_look(&look, &sum, 7000);
    assert_true(shown->requests_per_second == 250);
    assert_in_range(shown->p99_us, 1, 100); /* of the new ones, all in the first bucket */
    shown = traffic_look(&look, &sum, 9000);
    assert_true(shown->requests_per_second == 0);
    assert_false(shown->timed);
}

static void quantiles_are_within_their_bucket(void **state)
{
    (void)state;
    uint64_t buckets[TALLY_BUCKETS] = {0};
    assert_int_equal(traffic_quantile_us(buckets, 0.5), 0);
    buckets[0] = 90; /* up to 100 µs */
    buckets[2] = 10; /* 200 to 400 µs */
    assert_int_equal(traffic_quantile_us(buckets, 0.45), 50);
    assert_int_equal(traffic_quantile_us(buckets, 0.95), 300);
    assert_int_equal(traffic_quantile_us(buckets, 1.0), 400);
    buckets[TALLY_BUCKETS - 1] = 1000; /* above all bounds: the last of them is told */
    assert_int_equal(traffic_quantile_us(buckets, 0.99), tally_bucket_us(TALLY_BUCKETS - 2));
}

static void counters_that_begin_anew_are_no_negative_rate(void **state)
{
    (void)state;
    struct traffic_look look = {0};
    struct tally_traffic sum = {0}, fresh = {0};
    requests_add(&sum, 1, 100);
    traffic_look(&look, &sum, 1000);
    requests_add(&fresh, 1, 10);
    assert_true(traffic_look(&look, &fresh, 2000)->requests_per_second == 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_known_without_requests),
        cmocka_unit_test(a_rate_is_what_came_between_two_looks),
        cmocka_unit_test(quantiles_are_within_their_bucket),
        cmocka_unit_test(counters_that_begin_anew_are_no_negative_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
