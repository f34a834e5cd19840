#include "event/loop.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

static int order[64];
static int order_count;

static void note_timer(struct timer *timer)
{
    order[order_count++] = *(int *)timer->owner;
}

static void timers_come_in_order_of_time(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    assert_non_null(loop);
    static const int delays[] = {7, 3, 9, 1, 5, 2, 8, 4, 6};
    enum { COUNT = sizeof delays / sizeof delays[0] };
    struct timer timers[COUNT] = {0};
    int values[COUNT];
    order_count = 0;
    for (int i = 0; i < COUNT; i++) {
        values[i] = delays[i];
        assert_int_equal(timer_start(loop, &timers[i], (uint64_t)delays[i], note_timer, &values[i]),
                         0);
    }
    timer_stop(loop, &timers[4]); /* 5 */
    timer_stop(loop, &timers[3]); /* 1: the earliest */
    while (order_count < COUNT - 2)
        assert_int_equal(loop_turn(loop, 100), 0);
    static const int expected[] = {2, 3, 4, 6, 7, 8, 9};
    for (int i = 0; i < COUNT - 2; i++)
        assert_int_equal(order[i], expected[i]);
    assert_false(timer_active(&timers[4]));
    loop_free(loop);
}

static struct watch watches[2];
static struct loop *shared_loop;
static int ready_calls;

/* Both ends are ready in one turn; the first called stops the other. */
static void stop_the_other(struct watch *watch, unsigned events)
{
    assert_int_equal(events & WATCH_READ, WATCH_READ);
    ready_calls++;
    watch_stop(shared_loop, watch == &watches[0] ? &watches[1] : &watches[0]);
}

static void a_stopped_watch_is_not_called_in_the_same_turn(void **state)
{
    (void)state;
    shared_loop = loop_new();
    int pipes[2][2];
    ready_calls = 0;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe2(pipes[i], O_CLOEXEC), 0);
        assert_int_equal(write(pipes[i][1], "x", 1), 1);
        watches[i] = (struct watch){0};
        assert_int_equal(
            watch_start(shared_loop, &watches[i], pipes[i][0], WATCH_READ, stop_the_other, NULL),
            0);
    }
    assert_int_equal(loop_turn(shared_loop, 100), 0);
    assert_int_equal(ready_calls, 1);
    for (int i = 0; i < 2; i++) {
        watch_stop(shared_loop, &watches[i]);
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
    loop_free(shared_loop);
}

static int deferred_calls;

static void defer_again(struct deferred *deferred)
{
    deferred_calls++;
    deferred_start(shared_loop, deferred, defer_again, NULL);
}

static void a_deferred_call_that_defers_itself_runs_once_a_turn(void **state)
{
    (void)state;
    shared_loop = loop_new();
    struct deferred first = {0};
    struct deferred second = {0};
    deferred_calls = 0;
    deferred_start(shared_loop, &first, defer_again, NULL);
    deferred_start(shared_loop, &second, defer_again, NULL);
    deferred_start(shared_loop, &first, defer_again, NULL);
    assert_int_equal(loop_turn(shared_loop, 100), 0);
    assert_int_equal(deferred_calls, 2);
    deferred_stop(shared_loop, &second);
    assert_int_equal(loop_turn(shared_loop, 100), 0);
    assert_int_equal(deferred_calls, 3);
    loop_free(shared_loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_come_in_order_of_time),
        cmocka_unit_test(a_stopped_watch_is_not_called_in_the_same_turn),
        cmocka_unit_test(a_deferred_call_that_defers_itself_runs_once_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
