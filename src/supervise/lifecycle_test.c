#include "supervise/lifecycle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const struct service service = {
    .name = "api",
    .restart = RESTART_ALWAYS,
    .backoff_min_ms = 100,
    .backoff_max_ms = 1000,
    .restart_tries = 5,
    .restart_reset_ms = 10000,
    .start_within_ms = 2000,
    .stop_within_ms = 3000,
    .stop_drain_ms = 500,
};

static struct random_state dice;

static unsigned step(struct lifecycle *life, enum lifecycle_event event, uint64_t now_ms)
{
    return lifecycle_step(life, event, now_ms, &service, &dice);
}

static struct lifecycle brought_up(uint64_t now_ms)
{
    struct lifecycle life = {0};
    assert_int_equal(step(&life, EVENT_START, now_ms), ACTION_SPAWN | ACTION_DEADLINE);
    assert_int_equal(step(&life, EVENT_READY, now_ms), ACTION_ROTATE | ACTION_NO_DEADLINE);
    assert_int_equal(life.state, STATE_UP);
    return life;
}

static void a_good_life(void **state)
{
    (void)state;
    struct lifecycle life = brought_up(0);
    life.goal = GOAL_REST;
    assert_int_equal(step(&life, EVENT_STOP, 100), ACTION_ROTATE | ACTION_DEADLINE);
    assert_int_equal(life.state, STATE_DRAINING);
    assert_int_equal(lifecycle_deadline_ms(&life, &service), 500);
    assert_int_equal(step(&life, EVENT_QUIET, 200), ACTION_SIGNAL | ACTION_DEADLINE);
    assert_int_equal(lifecycle_deadline_ms(&life, &service), 3000);
    assert_int_equal(step(&life, EVENT_DEADLINE, 3200), ACTION_KILL);
    assert_int_equal(step(&life, EVENT_EXIT, 3201), ACTION_NO_DEADLINE);
    assert_int_equal(life.state, STATE_IDLE);
}

static void a_crash_after_a_good_run_restarts_at_once(void **state)
{
    (void)state;
    struct lifecycle life = brought_up(0);
    assert_int_equal(step(&life, EVENT_EXIT, 20000),
                     ACTION_ROTATE | ACTION_SPAWN | ACTION_DEADLINE);
    assert_int_equal(life.state, STATE_STARTING);
    assert_int_equal(life.failures, 1);
}

static void pauses_double_up_to_the_maximum_with_jitter(void **state)
{
    (void)state;
    static const uint32_t expected[] = {0, 0, 100, 200, 400, 800, 1000, 1000};
    struct service patient = service;
    patient.restart_tries = 0;
    struct lifecycle life = {0};
    lifecycle_step(&life, EVENT_START, 0, &patient, &dice);
    for (uint32_t failures = 1; failures < 8; failures++) {
        unsigned actions = lifecycle_step(&life, EVENT_EXIT, 1, &patient, &dice);
        if (failures == 1) {
            assert_int_equal(actions, ACTION_SPAWN | ACTION_DEADLINE);
            continue;
        }
        assert_int_equal(life.state, STATE_BACKOFF);
        assert_in_range(life.pause_ms, expected[failures] * 3 / 4, expected[failures]);
        assert_int_equal(lifecycle_step(&life, EVENT_DEADLINE, 2, &patient, &dice),
                         ACTION_SPAWN | ACTION_DEADLINE);
    }
}

static void a_loop_of_crashes_ends_in_failed_and_a_restart_begins_anew(void **state)
{
    (void)state;
    struct lifecycle life = {0};
    step(&life, EVENT_START, 0);
    unsigned actions = 0;
    for (int i = 0; i < 5; i++) {
        assert_int_not_equal(life.state, STATE_FAILED);
        actions = step(&life, EVENT_EXIT, 1);
        if (life.state == STATE_BACKOFF)
            step(&life, EVENT_DEADLINE, 2);
    }
    assert_int_equal(life.state, STATE_FAILED);
    assert_true(actions & ACTION_FAILED);
    life.goal = GOAL_REST;
    step(&life, EVENT_STOP, 3);
    assert_int_equal(life.state, STATE_FAILED);
    life.goal = GOAL_RESTART;
    assert_int_equal(step(&life, EVENT_STOP, 4), ACTION_SPAWN | ACTION_DEADLINE);
    assert_int_equal(life.failures, 0);
    assert_int_equal(life.goal, GOAL_RUN);
}

static void what_cannot_be_started_fails_at_once_and_a_starved_machine_is_waited_for(void **state)
{
    (void)state;
    struct lifecycle life = {.blame = BLAME_HOPELESS};
    step(&life, EVENT_START, 0);
    assert_true(step(&life, EVENT_EXIT, 1) & ACTION_FAILED);
    assert_int_equal(life.state, STATE_FAILED);
    life = (struct lifecycle){.blame = BLAME_MACHINE};
    step(&life, EVENT_START, 0);
    for (int i = 0; i < 50; i++) {
        step(&life, EVENT_EXIT, 1);
        assert_int_not_equal(life.state, STATE_FAILED);
        step(&life, EVENT_DEADLINE, 2);
    }
}

static void a_start_that_takes_too_long_is_a_failure(void **state)
{
    (void)state;
    struct lifecycle life = {0};
    step(&life, EVENT_START, 0);
    assert_int_equal(lifecycle_deadline_ms(&life, &service), 2000);
    assert_int_equal(step(&life, EVENT_DEADLINE, 2000),
                     ACTION_TIMED_OUT | ACTION_SIGNAL | ACTION_DEADLINE);
    assert_int_equal(life.state, STATE_STOPPING);
    assert_int_equal(step(&life, EVENT_READY, 2001), 0);
    step(&life, EVENT_EXIT, 2100);
    assert_int_equal(life.state, STATE_STARTING);
    assert_int_equal(life.failures, 1);
}

static void policies_decide_what_an_exit_means(void **state)
{
    (void)state;
    struct service other = service;
    for (int clean = 0; clean < 2; clean++) {
        other.restart = RESTART_ON_FAILURE;
        struct lifecycle life = brought_up(0);
        life.clean = clean;
        lifecycle_step(&life, EVENT_EXIT, 1, &other, &dice);
        assert_int_equal(life.state, clean ? STATE_IDLE : STATE_STARTING);
        other.restart = RESTART_NEVER;
        life = brought_up(0);
        life.clean = clean;
        lifecycle_step(&life, EVENT_EXIT, 1, &other, &dice);
        assert_int_equal(life.state, clean ? STATE_IDLE : STATE_FAILED);
    }
}

static void no_time_to_stop_means_at_once_and_not_for_ever(void **state)
{
    (void)state;
    struct service impatient = service;
    impatient.stop_within_ms = 0;
    struct lifecycle life = {.state = STATE_STOPPING};
    assert_int_equal(lifecycle_deadline_ms(&life, &impatient), 1);
}

static void drained_on_request_it_stays_until_it_is_called_back(void **state)
{
    (void)state;
    struct lifecycle life = brought_up(0);
    life.goal = GOAL_HOLD;
    assert_int_equal(step(&life, EVENT_DRAIN, 1), ACTION_ROTATE);
    assert_int_equal(lifecycle_deadline_ms(&life, &service), 0);
    assert_int_equal(step(&life, EVENT_QUIET, 2), 0);
    life.goal = GOAL_RUN;
    assert_int_equal(step(&life, EVENT_UNDRAIN, 3), ACTION_ROTATE | ACTION_NO_DEADLINE);
    assert_int_equal(life.state, STATE_UP);
}

static void removal_ends_in_gone_from_every_state(void **state)
{
    (void)state;
    for (enum lifecycle_state from = STATE_IDLE; from < STATE_GONE; from++) {
        struct lifecycle life = {.state = from, .goal = GOAL_REMOVE};
        unsigned all = step(&life, EVENT_STOP, 1);
        if (life.state == STATE_DRAINING)
            all |= step(&life, EVENT_DEADLINE, 2);
        if (life.state == STATE_STOPPING)
            all |= step(&life, EVENT_EXIT, 3);
        assert_int_equal(life.state, STATE_GONE);
        assert_true(all & ACTION_RELEASE);
    }
}

static void going_down_does_not_wait_for_connections(void **state)
{
    (void)state;
    struct lifecycle life = brought_up(0);
    life.goal = GOAL_REST;
    life.abrupt = true;
    assert_int_equal(step(&life, EVENT_STOP, 1), ACTION_ROTATE | ACTION_SIGNAL | ACTION_DEADLINE);
    assert_int_equal(life.state, STATE_STOPPING);
}

static void every_state_and_event_has_a_name_and_no_pair_is_fatal(void **state)
{
    (void)state;
    for (enum lifecycle_state from = STATE_IDLE; from < STATE_COUNT; from++) {
        assert_non_null(lifecycle_name(from));
        for (enum lifecycle_event event = EVENT_START; event < EVENT_COUNT; event++) {
            assert_non_null(lifecycle_event_name(event));
            for (enum lifecycle_goal goal = GOAL_RUN; goal <= GOAL_REMOVE; goal++) {
                struct lifecycle life = {.state = from, .goal = goal};
                step(&life, event, 5);
                assert_in_range(life.state, STATE_IDLE, STATE_COUNT - 1);
                if (from == STATE_GONE)
                    assert_int_equal(life.state, STATE_GONE);
            }
        }
    }
}

static void steps_come_before_a_start_and_after_an_end(void **state)
{
    (void)state;
    struct lifecycle life = {0};
    unsigned actions = step(&life, EVENT_START, 0);
    assert_int_equal(lifecycle_prepare(&life, actions), ACTION_PREPARE | ACTION_NO_DEADLINE);
    assert_int_equal(life.state, STATE_PREPARING);
    assert_true(lifecycle_running(life.state));
    life.step_ms = 70;
    assert_int_equal(lifecycle_deadline_ms(&life, &service), 70);
    assert_int_equal(step(&life, EVENT_READY, 1), 0);
    assert_int_equal(step(&life, EVENT_PREPARED, 2), ACTION_SPAWN | ACTION_DEADLINE);
    assert_int_equal(life.state, STATE_STARTING);
    step(&life, EVENT_READY, 3);
    life.finishes = true;
    assert_int_equal(step(&life, EVENT_EXIT, 20000),
                     ACTION_ROTATE | ACTION_FINISH | ACTION_NO_DEADLINE);
    assert_int_equal(life.state, STATE_FINISHING);
    assert_int_equal(step(&life, EVENT_EXIT, 20001), 0);
    assert_int_equal(step(&life, EVENT_STOP, 20001), 0);
    assert_int_equal(step(&life, EVENT_DEADLINE, 20002), ACTION_KILL);
    assert_int_equal(step(&life, EVENT_FINISHED, 20003), ACTION_SPAWN | ACTION_DEADLINE);
    assert_int_equal(life.state, STATE_STARTING);
    assert_int_equal(life.failures, 1); /* it had run well, and steps took time */
}

static void a_step_that_fails_or_overruns_is_a_failed_start(void **state)
{
    (void)state;
    struct lifecycle life = {0};
    lifecycle_prepare(&life, step(&life, EVENT_START, 0));
    step(&life, EVENT_EXIT, 1);
    assert_int_equal(life.failures, 1);
    lifecycle_prepare(&life, ACTION_SPAWN | ACTION_DEADLINE);
    assert_int_equal(step(&life, EVENT_DEADLINE, 2),
                     ACTION_TIMED_OUT | ACTION_SIGNAL | ACTION_DEADLINE);
    assert_int_equal(life.state, STATE_STOPPING);
    assert_int_equal(lifecycle_deadline_ms(&life, &service), 3000);
    step(&life, EVENT_EXIT, 3);
    assert_int_equal(life.state, STATE_BACKOFF);
    assert_int_equal(life.failures, 2);
}

static void what_is_to_rest_or_go_finishes_first(void **state)
{
    (void)state;
    static const struct {
        enum lifecycle_goal goal;
        enum lifecycle_state next;
    } ends[] = {{GOAL_REST, STATE_IDLE}, {GOAL_REMOVE, STATE_GONE}, {GOAL_RESTART, STATE_STARTING}};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        struct lifecycle life = brought_up(0);
        life.goal = GOAL_RESTART;
        life.abrupt = life.finishes = true;
        step(&life, EVENT_STOP, 1);
        step(&life, EVENT_EXIT, 2);
        assert_int_equal(life.state, STATE_FINISHING);
        life.goal = ends[i].goal; /* asked meanwhile */
        step(&life, EVENT_STOP, 3);
        step(&life, EVENT_FINISHED, 4);
        assert_int_equal(life.state, ends[i].next);
    }
}

static void who_is_held_is_drained_again_after_whatever_ended_it(void **state)
{
    (void)state;
    for (int asked = 0; asked < 2; asked++) {
        struct lifecycle life = brought_up(0);
        life.goal = GOAL_HOLD;
        life.held = true;
        step(&life, EVENT_DRAIN, 1);
        if (asked) {
            life.goal = GOAL_RESTART;
            life.abrupt = true;
            step(&life, EVENT_STOP, 2);
        }
        assert_true(step(&life, EVENT_EXIT, 3) & ACTION_SPAWN);
        assert_int_equal(life.goal, GOAL_HOLD);
        assert_int_equal(step(&life, EVENT_READY, 4), ACTION_NO_DEADLINE);
        assert_int_equal(life.state, STATE_DRAINING);
        assert_int_equal(step(&life, EVENT_QUIET, 5), 0);
        assert_int_equal(step(&life, EVENT_UNDRAIN, 6), ACTION_NO_DEADLINE);
        assert_int_equal(life.state, STATE_DRAINING);
        life.held = false;
        life.goal = GOAL_RUN;
        step(&life, EVENT_UNDRAIN, 7);
        assert_int_equal(life.state, STATE_UP);
    }
}

int main(void)
{
    random_seed(&dice, 7);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_life),
        cmocka_unit_test(a_crash_after_a_good_run_restarts_at_once),
        cmocka_unit_test(pauses_double_up_to_the_maximum_with_jitter),
        cmocka_unit_test(a_loop_of_crashes_ends_in_failed_and_a_restart_begins_anew),
        cmocka_unit_test(what_cannot_be_started_fails_at_once_and_a_starved_machine_is_waited_for),
        cmocka_unit_test(a_start_that_takes_too_long_is_a_failure),
        cmocka_unit_test(policies_decide_what_an_exit_means),
        cmocka_unit_test(no_time_to_stop_means_at_once_and_not_for_ever),
        cmocka_unit_test(drained_on_request_it_stays_until_it_is_called_back),
        cmocka_unit_test(removal_ends_in_gone_from_every_state),
        cmocka_unit_test(going_down_does_not_wait_for_connections),
        cmocka_unit_test(every_state_and_event_has_a_name_and_no_pair_is_fatal),
        cmocka_unit_test(steps_come_before_a_start_and_after_an_end),
        cmocka_unit_test(a_step_that_fails_or_overruns_is_a_failed_start),
        cmocka_unit_test(what_is_to_rest_or_go_finishes_first),
        cmocka_unit_test(who_is_held_is_drained_again_after_whatever_ended_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
