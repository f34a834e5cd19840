#include "supervise/rollout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct rollout_plan plain;

/* A service of `left` instances, all of which are to be replaced. */
static struct rollout_facts service_of(uint32_t left, uint32_t surge)
{
    return (struct rollout_facts){.surge = surge, .left = left, .can_return = true};
}

static unsigned step(struct rollout *rollout, enum rollout_event event,
                     const struct rollout_facts *facts)
{
    return rollout_step(rollout, event, &plain, facts);
}

static void one_after_the_other(void **state)
{
    (void)state;
    struct rollout rollout = {0};
    struct rollout_facts facts = service_of(2, 1);
    assert_int_equal(step(&rollout, ROLLOUT_BEGIN, &facts), ROLLOUT_DO_SURGE);
    assert_int_equal(rollout.state, ROLLOUT_SURGING);
    assert_int_equal(rollout.outcome, ROLLOUT_FORTH);
    facts.extras = 1;
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_REPLACE);
    assert_int_equal(rollout.state, ROLLOUT_REPLACING);
    facts.left = facts.replaced = 1;
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_REPLACE);
    facts.left = 0;
    facts.replaced = 2;
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_TRIM);
    assert_int_equal(rollout.state, ROLLOUT_TRIMMING);
    facts.extras = 0;
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_END);
    assert_int_equal(rollout.state, ROLLOUT_REST);
    assert_int_equal(rollout.outcome, ROLLOUT_DONE);
}

static void without_surge_in_place(void **state)
{
    (void)state;
    struct rollout rollout = {0};
    struct rollout_facts facts = service_of(1, 0);
    assert_int_equal(step(&rollout, ROLLOUT_BEGIN, &facts), ROLLOUT_DO_REPLACE);
    facts.left = 0;
    facts.replaced = 1;
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_END);
    assert_int_equal(rollout.outcome, ROLLOUT_DONE);
}

static void nothing_to_be_replaced_is_done_at_once(void **state)
{
    (void)state;
    struct rollout rollout = {0};
    struct rollout_facts facts = service_of(0, 1);
    assert_int_equal(step(&rollout, ROLLOUT_BEGIN, &facts), ROLLOUT_DO_END);
    assert_int_equal(rollout.outcome, ROLLOUT_DONE);
    /* Taken over in the midst of it: one is there too much, and has to go. */
    facts.extras = 1;
    assert_int_equal(step(&rollout, ROLLOUT_BEGIN, &facts), ROLLOUT_DO_TRIM);
}

static void pauses_lie_between_steps(void **state)
{
    (void)state;
    struct rollout_plan plan = {.roll = {.pause_ms = 5000, .watch_ms = 30000}};
    struct rollout rollout = {0};
    struct rollout_facts facts = service_of(1, 1);
    rollout_step(&rollout, ROLLOUT_BEGIN, &plan, &facts);
    facts.extras = 1;
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts), ROLLOUT_DO_TIME);
    assert_int_equal(rollout.state, ROLLOUT_PAUSING);
    assert_int_equal(rollout_time_ms(&rollout, &plan), 5000);
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts), 0);
    assert_int_equal(rollout_step(&rollout, ROLLOUT_TIME, &plan, &facts), ROLLOUT_DO_REPLACE);
    assert_int_equal(rollout_time_ms(&rollout, &plan), 0);
    facts.left = 0;
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts), ROLLOUT_DO_TRIM);
    facts.extras = 0;
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts), ROLLOUT_DO_TIME);
    assert_int_equal(rollout.state, ROLLOUT_WATCHING);
    assert_int_equal(rollout_time_ms(&rollout, &plan), 30000);
    assert_false(rollout_moves(&rollout));
    assert_int_equal(rollout_step(&rollout, ROLLOUT_TIME, &plan, &facts), ROLLOUT_DO_END);
    assert_int_equal(rollout.outcome, ROLLOUT_DONE);
}

static void a_canary_grows(void **state)
{
    (void)state;
    struct rollout_plan plan = {.canary_percent = 30, .step_ms = 700};
    struct rollout rollout = {0};
    struct rollout_facts facts = service_of(3, 1);
    rollout_step(&rollout, ROLLOUT_BEGIN, &plan, &facts);
    facts.extras = 1;
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts),
                     ROLLOUT_DO_SHARE | ROLLOUT_DO_TIME);
    assert_int_equal(rollout.state, ROLLOUT_CANARY);
    assert_int_equal(rollout.share_percent, 30);
    assert_int_equal(rollout_time_ms(&rollout, &plan), 700);
    assert_int_equal(rollout_step(&rollout, ROLLOUT_TIME, &plan, &facts),
                     ROLLOUT_DO_SHARE | ROLLOUT_DO_TIME);
    assert_int_equal(rollout.share_percent, 60);
    assert_int_equal(rollout_step(&rollout, ROLLOUT_TIME, &plan, &facts),
                     ROLLOUT_DO_SHARE | ROLLOUT_DO_REPLACE);
    facts.replaced = 1;
    facts.left = 2;
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts), ROLLOUT_DO_REPLACE);
    assert_int_equal(rollout.state, ROLLOUT_REPLACING); /* it was out once */
}

static void a_bad_first_one_goes(void **state)
{
    (void)state;
    struct rollout rollout = {0};
    struct rollout_facts facts = service_of(4, 1);
    step(&rollout, ROLLOUT_BEGIN, &facts);
    facts.extras = 1;
    assert_int_equal(step(&rollout, ROLLOUT_FAILED, &facts),
                     ROLLOUT_DO_TURN | ROLLOUT_DO_SHARE | ROLLOUT_DO_REPLACE);
    assert_true(rollout.back);
    assert_int_equal(rollout.outcome, ROLLOUT_BACK);
    facts.left = 0; /* nobody is to be put back */
    assert_int_equal(step(&rollout, ROLLOUT_FAILED, &facts), 0);
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_TRIM);
    facts.extras = 0;
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_END);
    assert_int_equal(rollout.outcome, ROLLOUT_ROLLED_BACK);
}

static void what_was_replaced_is_put_back(void **state)
{
    (void)state;
    struct rollout_plan plan = {.roll = {.watch_ms = 1000}};
    struct rollout rollout = {.state = ROLLOUT_WATCHING, .outcome = ROLLOUT_FORTH};
    struct rollout_facts facts = {.surge = 1, .replaced = 2, .can_return = true};
    assert_int_equal(rollout_step(&rollout, ROLLOUT_FAILED, &plan, &facts),
                     ROLLOUT_DO_TURN | ROLLOUT_DO_SHARE | ROLLOUT_DO_SURGE);
    assert_int_equal(rollout.state, ROLLOUT_SURGING);
    facts.extras = 1;
    facts.left = 2;
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts), ROLLOUT_DO_REPLACE);
    facts.left = facts.replaced = 0;
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts), ROLLOUT_DO_TRIM);
    facts.extras = 0;
    assert_int_equal(rollout_step(&rollout, ROLLOUT_READY, &plan, &facts), ROLLOUT_DO_END);
    assert_int_equal(rollout.outcome, ROLLOUT_ROLLED_BACK);
}

static void without_the_program_before_it_stops(void **state)
{
    (void)state;
    struct rollout rollout = {.state = ROLLOUT_REPLACING, .outcome = ROLLOUT_FORTH};
    struct rollout_facts facts = {.surge = 1, .extras = 1, .replaced = 1, .left = 1};
    assert_int_equal(step(&rollout, ROLLOUT_FAILED, &facts),
                     ROLLOUT_DO_TURN | ROLLOUT_DO_SHARE | ROLLOUT_DO_TRIM);
    facts.extras = 0;
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_END);
    assert_int_equal(rollout.outcome, ROLLOUT_STOPPED);
    /* Only the added one was of it: everything is as before. */
    rollout = (struct rollout){.state = ROLLOUT_SURGING, .outcome = ROLLOUT_FORTH};
    facts = (struct rollout_facts){.surge = 1, .extras = 1, .left = 2};
    step(&rollout, ROLLOUT_FAILED, &facts);
    facts.extras = 0;
    assert_int_equal(step(&rollout, ROLLOUT_READY, &facts), ROLLOUT_DO_END);
    assert_int_equal(rollout.outcome, ROLLOUT_ROLLED_BACK);
}

static void a_way_back_can_be_gone_on_with(void **state)
{
    (void)state;
    struct rollout rollout = {.back = true};
    struct rollout_facts facts = {.surge = 1, .replaced = 1, .left = 1, .can_return = true};
    assert_int_equal(step(&rollout, ROLLOUT_BEGIN, &facts), ROLLOUT_DO_SURGE);
    assert_int_equal(rollout.outcome, ROLLOUT_BACK);
}

static void any_of_it_can_be_cancelled(void **state)
{
    (void)state;
    struct rollout_facts facts = service_of(1, 1);
    for (enum rollout_state at = ROLLOUT_SURGING; at < ROLLOUT_STATES; at++) {
        struct rollout rollout = {.state = at};
        assert_int_equal(step(&rollout, ROLLOUT_BEGIN, &facts), 0); /* one at a time */
        assert_int_equal(step(&rollout, ROLLOUT_CANCEL, &facts), ROLLOUT_DO_END);
        assert_int_equal(rollout.outcome, ROLLOUT_CANCELLED);
        assert_true(strlen(rollout_name(at)) > 0);
    }
    struct rollout rest = {0};
    assert_int_equal(step(&rest, ROLLOUT_CANCEL, &facts), 0);
    assert_int_equal(step(&rest, ROLLOUT_FAILED, &facts), 0);
}

static void how_many_more_there_may_be(void **state)
{
    (void)state;
    struct service_roll roll = {.surge = ROLL_SURGE_BY_NUMBER};
    assert_int_equal(rollout_surge(&roll, 1), 0);
    assert_int_equal(rollout_surge(&roll, 2), 1);
    assert_int_equal(rollout_unavailable(&roll, 0), 1);
    assert_int_equal(rollout_unavailable(&roll, 1), 0);
    roll = (struct service_roll){.surge = 3, .unavailable = 2};
    assert_int_equal(rollout_surge(&roll, 1), 3);
    assert_int_equal(rollout_unavailable(&roll, 0), 2);
}

static void weights_give_the_share(void **state)
{
    (void)state;
    for (uint32_t fresh = 1; fresh <= 3; fresh++)
        for (uint32_t others = 1; others <= 8; others++)
            for (uint32_t share = 5; share < 100; share += 5) {
                uint32_t of_fresh, of_others;
                rollout_weights(share, fresh, others, &of_fresh, &of_others);
                uint32_t sum = fresh * of_fresh + others * of_others;
                assert_int_equal(fresh * of_fresh * 100, sum * share);
            }
    uint32_t of_fresh, of_others;
    rollout_weights(5, 0, 4, &of_fresh, &of_others);
    assert_int_equal(of_others, 1);
    rollout_weights(5, 1, 0, &of_fresh, &of_others);
    assert_int_equal(of_fresh, 1);
}

static void few_requests_say_nothing(void **state)
{
    (void)state;
    assert_false(rollout_errors_exceed(5, ROLLOUT_REQUESTS_MIN - 1, ROLLOUT_REQUESTS_MIN - 1));
    assert_false(rollout_errors_exceed(5, 100, 5));
    assert_true(rollout_errors_exceed(5, 100, 6));
    assert_false(rollout_errors_exceed(0, 100, 100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_after_the_other),
        cmocka_unit_test(without_surge_in_place),
        cmocka_unit_test(nothing_to_be_replaced_is_done_at_once),
        cmocka_unit_test(pauses_lie_between_steps),
        cmocka_unit_test(a_canary_grows),
        cmocka_unit_test(a_bad_first_one_goes),
        cmocka_unit_test(what_was_replaced_is_put_back),
        cmocka_unit_test(without_the_program_before_it_stops),
        cmocka_unit_test(a_way_back_can_be_gone_on_with),
        cmocka_unit_test(any_of_it_can_be_cancelled),
        cmocka_unit_test(how_many_more_there_may_be),
        cmocka_unit_test(weights_give_the_share),
        cmocka_unit_test(few_requests_say_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
