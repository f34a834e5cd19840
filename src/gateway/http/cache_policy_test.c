/* RFC 9111's arithmetic, by a clock that is a number. What requests and responses may say stands in
 * tests/conformance/rfc9111_test.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/cache_policy.h"

enum { NOW_S = 784111777 }; /* Sun, 06 Nov 1994 08:49:37 GMT */
#define NOW_MS ((uint64_t)NOW_S * 1000)

static const uint16_t statuses[] = {200, 404, 0};
static struct route_cache rules;
static struct cache_life life;

/* "Name: value" …, the last NULL. Why it may not be stored, or NULL with `life`. */
static const char *judge(uint16_t status, uint64_t asked_ms, const char *const *lines)
{
    struct field fields[8];
    uint32_t count = 0;
    for (; *lines; lines++) {
        const char *colon = strchr(*lines, ':');
        struct field *field = &fields[count++];
        *field = (struct field){.name = {*lines, (uint32_t)(colon - *lines)},
                                .value = {colon + 2, (uint32_t)strlen(colon + 2)}};
        field->id = (uint8_t)field_id_of(field->name);
    }
    struct cache_request request = {0};
    struct cache_response facts;
    cache_response_read(fields, count, &facts);
    rules.statuses = statuses;
    return cache_may_store(&request, &facts, status, &rules, asked_ms, NOW_MS, &life);
}

#define JUDGE(...) judge(200, NOW_MS, (const char *const[]){__VA_ARGS__, NULL})

static int rules_none(void **state)
{
    (void)state;
    rules = (struct route_cache){0};
    return 0;
}

/* ---- §4.2.1 ---- */

static void the_lifetime_is_what_is_said_first(void **state)
{
    (void)state;
    assert_null(JUDGE("Cache-Control: max-age=60"));
    assert_int_equal(life.lifetime_ms, 60000);
    assert_null(JUDGE("Cache-Control: max-age=60, s-maxage=5"));
    assert_int_equal(life.lifetime_ms, 5000);
    assert_null(JUDGE("Cache-Control: max-age=60", "Expires: Sun, 06 Nov 1994 09:49:37 GMT"));
    assert_int_equal(life.lifetime_ms, 60000);
    assert_null(
        JUDGE("Expires: Sun, 06 Nov 1994 09:49:37 GMT", "Date: Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_int_equal(life.lifetime_ms, 3600000);
    assert_null(JUDGE("Expires: Sun, 06 Nov 1994 09:49:37 GMT")); /* without Date: from now on */
    assert_int_equal(life.lifetime_ms, 3600000);
    assert_null(JUDGE("Cache-Control: max-age=99999999999999999999"));
    assert_int_equal(life.lifetime_ms, (uint64_t)CONTROL_SECONDS_MAX * 1000);
}

static void ttl_is_for_its_statuses_and_what_says_nothing(void **state)
{
    (void)state;
    assert_non_null(JUDGE("X: 1"));
    rules.ttl_ms = 7000;
    assert_null(JUDGE("X: 1"));
    assert_int_equal(life.lifetime_ms, 7000);
    assert_non_null(judge(500, NOW_MS, (const char *const[]){"X: 1", NULL}));
    assert_null(JUDGE("Cache-Control: max-age=60"));
    assert_int_equal(life.lifetime_ms, 60000);
}

/* ---- §4.2.3 ---- */

static void the_age_is_the_largest_that_can_be(void **state)
{
    (void)state;
    assert_null(JUDGE("Cache-Control: max-age=60", "Age: 7"));
    assert_int_equal(life.age_ms, 7000);
    assert_null(JUDGE("Cache-Control: max-age=60", "Date: Sun, 06 Nov 1994 08:49:07 GMT"));
    assert_int_equal(life.age_ms, 30000);
    assert_null(
        JUDGE("Cache-Control: max-age=60", "Date: Sun, 06 Nov 1994 08:49:07 GMT", "Age: 40"));
    assert_int_equal(life.age_ms, 40000);
    assert_null(judge(200, NOW_MS - 1500,
                      (const char *const[]){"Cache-Control: max-age=60", "Age: 7", NULL}));
    assert_int_equal(life.age_ms, 8500);                       /* it took that long to come */
    assert_null(JUDGE("Cache-Control: max-age=60", "Age: x")); /* none */
    assert_int_equal(life.age_ms, 0);
    assert_null(JUDGE("Cache-Control: max-age=60", "Date: Sun, 06 Nov 1994 09:49:37 GMT"));
    assert_int_equal(life.age_ms, 0); /* its clock goes before ours */
    assert_int_equal(cache_age_ms(&life, NOW_MS + 2000), 2000);
    assert_int_equal(cache_age_ms(&life, NOW_MS - 2000), 0); /* ours was set back */
}

/* ---- §4.2.4, RFC 5861 ---- */

static void it_is_used_for_as_long_as_it_may(void **state)
{
    (void)state;
    assert_null(JUDGE("Cache-Control: max-age=10, stale-while-revalidate=20, stale-if-error=100",
                      "Age: 5"));
    assert_int_equal(cache_may_use(&life, NULL, NOW_MS + 4999), USE_FRESH);
    assert_int_equal(cache_may_use(&life, NULL, NOW_MS + 5000), USE_WHILE_REFRESHED);
    assert_int_equal(cache_may_use(&life, NULL, NOW_MS + 24999), USE_WHILE_REFRESHED);
    assert_int_equal(cache_may_use(&life, NULL, NOW_MS + 25000), USE_VALIDATED);
    assert_true(cache_may_use_stale(&life, NOW_MS + 104999));
    assert_false(cache_may_use_stale(&life, NOW_MS + 105000));
}

static void what_the_route_says_is_for_answers_that_do_not(void **state)
{
    (void)state;
    rules.stale_ms = 9000;
    rules.refresh_ms = 8000;
    assert_null(JUDGE("Cache-Control: max-age=10"));
    assert_int_equal(life.stale_ms, 9000);
    assert_int_equal(life.refresh_ms, 8000);
    assert_null(JUDGE("Cache-Control: max-age=10, stale-if-error=1, stale-while-revalidate=0"));
    assert_int_equal(life.stale_ms, 1000);
    assert_int_equal(life.refresh_ms, 0);
    static const char *const prohibiting[] = {
        "Cache-Control: max-age=10, must-revalidate", "Cache-Control: max-age=10, proxy-revalidate",
        "Cache-Control: s-maxage=10", "Cache-Control: max-age=10, no-cache, stale-if-error=5"};
    for (size_t i = 0; i < 4; i++) {
        assert_null(JUDGE(prohibiting[i], "ETag: \"a\""));
        assert_int_equal(life.stale_ms, 0);
        assert_int_equal(life.refresh_ms, 0);
        assert_true(life.strict);
    }
    assert_null(JUDGE("Cache-Control: s-maxage=10, stale-if-error=5"));
    assert_int_equal(life.stale_ms, 5000);
}

/* ---- §5.2.1 ---- */

static enum cache_use asked(const char *control, uint64_t after_ms)
{
    struct cache_control request = {0};
    cache_control_read(&request, (struct slice){control, (uint32_t)strlen(control)});
    return cache_may_use(&life, &request, NOW_MS + after_ms);
}

static void clients_narrow_and_stretch_it(void **state)
{
    (void)state;
    assert_null(JUDGE("Cache-Control: max-age=10"));
    assert_int_equal(asked("max-age=5", 4999), USE_FRESH);
    assert_int_equal(asked("max-age=5", 5000), USE_VALIDATED);
    assert_int_equal(asked("min-fresh=3", 6999), USE_FRESH);
    assert_int_equal(asked("min-fresh=3", 7000), USE_VALIDATED);
    assert_int_equal(asked("max-stale=3", 12999), USE_FRESH);
    assert_int_equal(asked("max-stale=3", 13000), USE_VALIDATED);
    assert_int_equal(asked("max-stale", 1000000), USE_FRESH);
    assert_int_equal(asked("no-cache, max-stale", 0), USE_VALIDATED);
    assert_null(JUDGE("Cache-Control: max-age=10, must-revalidate"));
    assert_int_equal(asked("max-stale", 10000), USE_VALIDATED);
}

static void a_stale_answer_that_nothing_can_make_fresh_is_not_kept(void **state)
{
    (void)state;
    assert_non_null(JUDGE("Cache-Control: max-age=10", "Age: 10"));
    assert_null(JUDGE("Cache-Control: max-age=10", "Age: 10", "ETag: \"a\""));
    assert_null(JUDGE("Cache-Control: max-age=10, stale-if-error=5", "Age: 10"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_lifetime_is_what_is_said_first, rules_none),
        cmocka_unit_test_setup(ttl_is_for_its_statuses_and_what_says_nothing, rules_none),
        cmocka_unit_test_setup(the_age_is_the_largest_that_can_be, rules_none),
        cmocka_unit_test_setup(it_is_used_for_as_long_as_it_may, rules_none),
        cmocka_unit_test_setup(what_the_route_says_is_for_answers_that_do_not, rules_none),
        cmocka_unit_test_setup(clients_narrow_and_stretch_it, rules_none),
        cmocka_unit_test_setup(a_stale_answer_that_nothing_can_make_fresh_is_not_kept, rules_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
