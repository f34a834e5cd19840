#include "gateway/relay/wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <unistd.h>

#include <cmocka.h>

enum { COUNT = 300 };

struct thing {
    struct wheel_entry entry;
    uint64_t due_ms; /* loop time */
    uint64_t ended_ms;
    int asked;
};

static struct loop *loop;
static struct wheel wheel;
static struct thing things[COUNT];
static int ended;

static uint64_t ask(struct wheel_entry *entry)
{
    struct thing *thing = (struct thing *)entry;
    thing->asked++;
    if (loop_now(loop) < thing->due_ms)
        return thing->due_ms - loop_now(loop);
    thing->ended_ms = loop_now(loop);
    ended++;
    return WHEEL_GONE;
}

static void each_ends_in_its_time(void **state)
{
    (void)state;
    loop = loop_new();
    wheel_init(&wheel, loop, ask);
    for (int i = 0; i < COUNT; i++) {
        things[i].due_ms = loop_now(loop) + (uint64_t)i * 4;
        assert_int_equal(wheel_add(&wheel, &things[i].entry, (uint64_t)i * 4), 0);
    }
    wheel_remove(&wheel, &things[7].entry);
    /* One is put off while it stands in the wheel, as by a byte that moved. */
    things[8].due_ms += 1000;
    while (ended < COUNT - 1)
        assert_int_equal(loop_turn(loop, 2000), 0);
    for (int i = 0; i < COUNT; i++) {
        if (i == 7)
            continue;
        assert_in_range(things[i].ended_ms, things[i].due_ms, things[i].due_ms + 400);
        /* Once too early for what stands in the midst of a tick, and again for a turn that is late.
         */
        assert_in_range(things[i].asked, 1, 4);
    }
    assert_int_equal(things[7].asked, 0);
    assert_null(wheel_first(&wheel));
    wheel_done(&wheel);
    loop_free(loop);
}

static void what_is_far_ahead_costs_no_wake_up(void **state)
{
    (void)state;
    loop = loop_new();
    wheel_init(&wheel, loop, ask);
    struct thing far = {.due_ms = UINT64_MAX};
    assert_int_equal(wheel_add(&wheel, &far.entry, UINT32_MAX), 0);
    assert_true(wheel.timer.due_ms > loop_now(loop) + 20000);
    struct thing near = {.due_ms = 0};
    ended = 0;
    assert_int_equal(wheel_add(&wheel, &near.entry, 10), 0);
    while (!ended)
        assert_int_equal(loop_turn(loop, 2000), 0);
    assert_true(wheel.timer.due_ms > loop_now(loop) + 20000);
    assert_int_equal(far.asked, 0);
    wheel_remove(&wheel, &far.entry);
    wheel_done(&wheel);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_ends_in_its_time),
        cmocka_unit_test(what_is_far_ahead_costs_no_wake_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
