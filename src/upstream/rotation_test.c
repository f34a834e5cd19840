#include "upstream/rotation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static uint32_t slots[ROTATION_MAX];

static size_t times(const uint32_t *in, size_t length, uint32_t slot)
{
    size_t found = 0;
    for (size_t i = 0; i < length; i++)
        found += in[i] == slot;
    return found;
}

static void a_cycle_has_each_member_once(void **state)
{
    (void)state;
    const struct rotation_member members[] = {{7, 1}, {8, 0}, {9, 5}};
    assert_int_equal(rotation_cycle(members, 3, slots), 2);
    assert_int_equal(slots[0], 7);
    assert_int_equal(slots[1], 9);
    assert_int_equal(rotation_cycle(members + 1, 1, slots), 0);
}

/* The sequence that nginx's change log gives for 5, 1, 1: a a b a c a a. */
static void weights_are_spread_smoothly(void **state)
{
    (void)state;
    const struct rotation_member members[] = {{0, 50}, {1, 10}, {2, 10}};
    const uint32_t expected[] = {0, 0, 1, 0, 2, 0, 0};
    assert_int_equal(rotation_weighted(members, 3, slots), 7);
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(slots[i], expected[i]);
}

static void huge_weights_are_scaled_and_nobody_is_lost(void **state)
{
    (void)state;
    const struct rotation_member members[] = {{0, UINT32_MAX}, {1, UINT32_MAX / 2}, {2, 1}, {3, 0}};
    size_t length = rotation_weighted(members, 4, slots);
    assert_true(length > ROTATION_MAX / 2 && length <= ROTATION_MAX);
    size_t first = times(slots, length, 0);
    size_t second = times(slots, length, 1);
    assert_true(first > 2 * second - 20 && first < 2 * second + 20);
    assert_int_equal(times(slots, length, 2), 1);
    assert_int_equal(times(slots, length, 3), 0);
}

static void a_thousand_members_fit(void **state)
{
    (void)state;
    enum { COUNT = 1024 };
    static struct rotation_member members[COUNT];
    static uint64_t names[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        members[i] = (struct rotation_member){i, 1 + i % 7};
        names[i] = i;
    }
    assert_true(rotation_weighted(members, COUNT, slots) <= ROTATION_MAX);
    assert_int_equal(rotation_cycle(members, COUNT, slots), COUNT);
    size_t length = rotation_hash(members, names, COUNT, slots);
    assert_int_equal(length, 4093);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_true(times(slots, length, i) >= 1);
}

static void a_hash_table_is_prime_and_fair(void **state)
{
    (void)state;
    const struct rotation_member members[] = {{0, 1}, {1, 1}, {2, 2}, {3, 0}};
    const uint64_t names[] = {11, 12, 13, 14};
    size_t length = rotation_hash(members, names, 4, slots);
    assert_int_equal(length, 251);
    assert_in_range(times(slots, length, 0), 62, 63);
    assert_in_range(times(slots, length, 1), 62, 63);
    assert_in_range(times(slots, length, 2), 125, 127);
    assert_int_equal(times(slots, length, 3), 0);
    assert_int_equal(rotation_hash(members + 3, names + 3, 1, slots), 0);
}

/* Maglev's promise: what a member had moves, and little else. */
static void few_clients_move_when_a_member_goes(void **state)
{
    (void)state;
    enum { COUNT = 10 };
    struct rotation_member members[COUNT];
    uint64_t names[COUNT];
    static uint32_t before[ROTATION_MAX];
    for (uint32_t i = 0; i < COUNT; i++) {
        members[i] = (struct rotation_member){i, 1};
        names[i] = 100 + i;
    }
    size_t length = rotation_hash(members, names, COUNT, before);
    members[3].weight = 0;
    assert_int_equal(rotation_hash(members, names, COUNT, slots), length);
    size_t moved = 0;
    for (size_t i = 0; i < length; i++)
        moved += before[i] != 3 && slots[i] != before[i];
    assert_in_range(moved, 0, length / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cycle_has_each_member_once),
        cmocka_unit_test(weights_are_spread_smoothly),
        cmocka_unit_test(huge_weights_are_scaled_and_nobody_is_lost),
        cmocka_unit_test(a_thousand_members_fit),
        cmocka_unit_test(a_hash_table_is_prime_and_fair),
        cmocka_unit_test(few_clients_move_when_a_member_goes),
    };
    return cmocka_run_group_tests_name("rotation", tests, NULL, NULL);
}
