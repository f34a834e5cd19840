#include "upstream/retry_budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static unsigned take_all(struct retry_budget *budget, uint64_t now_ms, uint32_t percent)
{
    unsigned taken = 0;
    while (taken < 100000 && retry_budget_take(budget, now_ms, percent)) {
        retry_budget_count(budget, now_ms); /* the retry is a try, too */
        taken++;
    }
    return taken;
}

static void count(struct retry_budget *budget, uint64_t now_ms, unsigned requests)
{
    for (unsigned i = 0; i < requests; i++)
        retry_budget_count(budget, now_ms);
}

static void a_share_of_the_requests_may_be_tried_again(void **state)
{
    (void)state;
    struct retry_budget budget = {0};
    for (unsigned second = 0; second < 10; second++)
        count(&budget, 100000 + 1000 * second, 100);
    assert_int_equal(take_all(&budget, 109999, 20), 200);
    /* A second later a tenth of the requests is too old, but none of the retries. */
    assert_int_equal(take_all(&budget, 110000, 20), 0);
    count(&budget, 110000, 150);
    assert_int_equal(take_all(&budget, 110000, 20), 10);
}

static void a_few_are_always_allowed_unless_none_is(void **state)
{
    (void)state;
    struct retry_budget budget = {0};
    assert_int_equal(take_all(&budget, 50, 20), RETRY_FLOOR);
    assert_int_equal(take_all(&budget, 9999, 20), 0);
    assert_int_equal(take_all(&budget, 10000, 20), RETRY_FLOOR);
    assert_int_equal(take_all(&budget, 10000000, 20), RETRY_FLOOR);
    assert_false(retry_budget_take(&(struct retry_budget){0}, 50, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_share_of_the_requests_may_be_tried_again),
        cmocka_unit_test(a_few_are_always_allowed_unless_none_is),
    };
    return cmocka_run_group_tests_name("retry_budget", tests, NULL, NULL);
}
