/* The scaler against load curves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "supervise/scaler.h"

static const struct service_scale by_cpu = {
    .low = 1, .high = 8, .cpu_percent = 70, .cool_down_ms = 60000};

/* A service whose work is shared evenly, and whose instances need two looks to come up. */
struct plant {
    struct scaler scaler;
    const struct service_scale *rules;
    uint64_t now_ms;
    uint32_t wanted, up, ceiling;
    int coming;
    int changes, turns; /* changes of direction */
    int direction;
    char why[SCALER_WHY_BYTES];
};

static struct plant plant_new(const struct service_scale *rules, uint32_t wanted)
{
    return (struct plant){
        .rules = rules, .now_ms = 1000, .wanted = wanted, .up = wanted, .ceiling = UINT32_MAX};
}

static void plant_answer(struct plant *plant, const struct scaler_answer *answer)
{
    if (answer->wanted == plant->wanted)
        return;
    int direction = answer->wanted > plant->wanted ? 1 : -1;
    plant->changes++;
    plant->turns += plant->direction == -direction;
    plant->direction = direction;
    plant->wanted = answer->wanted;
    memcpy(plant->why, answer->why, sizeof plant->why);
    if (plant->up > plant->wanted)
        plant->up = plant->wanted;
    plant->coming = 2;
}

static void plant_step(struct plant *plant, struct scaler_look look)
{
    struct scaler_answer answer;
    plant->now_ms += 1000;
    if (plant->coming && --plant->coming == 0)
        plant->up = plant->wanted;
    look.now_ms = plant->now_ms;
    look.wanted = plant->wanted;
    look.up = plant->up;
    look.ceiling = plant->ceiling;
    scaler_step(&plant->scaler, plant->rules, &look, &answer);
    plant_answer(plant, &answer);
}

/* Seconds of a load of so many cores. */
static void plant_cpu(struct plant *plant, double cores, int seconds)
{
    for (int i = 0; i < seconds; i++)
        plant_step(plant,
                   (struct scaler_look){.cpu_percent = plant->up ? 100 * cores / plant->up : 0,
                                        .active = cores > 0});
}

static void it_grows_until_the_mark_is_met(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 1);
    plant_cpu(&plant, 0.6, 30); /* within the tolerance: 60 % of 70 % … 14 % off: one is enough */
    assert_int_equal(plant.wanted, 1);
    plant_cpu(&plant, 0.95, 3);
    assert_int_equal(plant.wanted, 1); /* not for a moment's load */
    plant_cpu(&plant, 0.95, 2);
    assert_int_equal(plant.wanted, 2);
    assert_string_equal(plant.why, "cpu 95%, mark 70%");
    plant_cpu(&plant, 4.0, 6); /* twice as many at most */
    assert_int_equal(plant.wanted, 4);
    plant_cpu(&plant, 4.0, 20);
    assert_int_equal(plant.wanted, 6);
    plant_cpu(&plant, 50, 60);
    assert_int_equal(plant.wanted, 8);
}

static void it_shrinks_when_it_was_quiet_for_a_while(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 8);
    plant_cpu(&plant, 0.5, 60);
    assert_int_equal(plant.wanted, 8);
    plant_cpu(&plant, 0.5, 1);
    assert_int_equal(plant.wanted, 4);
    plant_cpu(&plant, 0.5, 61);
    assert_int_equal(plant.wanted, 2);
    plant_cpu(&plant, 0.5, 61);
    assert_int_equal(plant.wanted, 1);
}

static void a_peak_during_the_cool_down_counts(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 8);
    plant_cpu(&plant, 0.5, 30);
    plant_cpu(&plant, 4.0, 2); /* six would do */
    plant_cpu(&plant, 0.5, 29);
    assert_int_equal(plant.wanted, 6);
}

static void a_load_around_the_mark_changes_nothing(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 4);
    srand(7);
    for (int i = 0; i < 3600; i++)
        plant_cpu(&plant, 2.8 + (rand() % 100 - 50) / 200.0, 1); /* ± 9 % */
    assert_int_equal(plant.changes, 0);
}

/* A day in ten minutes, with noise: up in the morning, down at night, no flapping between. */
static void a_day_goes_up_once_and_down_once(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 1);
    uint32_t most = 0;
    srand(7);
    for (int second = 0; second < 1200; second++) {
        double part = second < 600 ? second / 600.0 : (1200 - second) / 600.0;
        double noise = 1 + (rand() % 100 - 50) / 500.0;
        plant_cpu(&plant, (0.2 + 4.2 * part) * noise, 1);
        most = plant.wanted > most ? plant.wanted : most;
        double served = plant.up * 1.0;
        assert_true(served >= 0.2 + 4.2 * part - 0.5); /* never much behind */
    }
    plant_cpu(&plant, 0.1, 300);
    assert_in_range(most, 6, 8);
    assert_int_equal(plant.wanted, 1);
    assert_int_equal(plant.turns, 1);
}

/* Square waves shorter than the cool-down: the larger number stays. */
static void waves_do_not_make_it_flap(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 1);
    for (int wave = 0; wave < 30; wave++) {
        plant_cpu(&plant, 3.5, 20);
        plant_cpu(&plant, 0.3, 20);
    }
    assert_int_equal(plant.turns, 0);
    assert_in_range(plant.wanted, 5, 6);
}

static void it_waits_for_those_that_come(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 2);
    plant.coming = 1000; /* the second never comes up */
    plant.up = 1;
    for (int i = 0; i < 100; i++)
        plant_cpu(&plant, 5, 1);
    assert_int_equal(plant.wanted, 2);
}

static void the_rule_that_asks_for_most_counts(void **state)
{
    (void)state;
    const struct service_scale rules = {.low = 1,
                                        .high = 10,
                                        .cpu_percent = 70,
                                        .connections = 100,
                                        .memory_percent = 80,
                                        .cool_down_ms = 10000};
    struct plant plant = plant_new(&rules, 2);
    for (int i = 0; i < 6; i++)
        plant_step(&plant, (struct scaler_look){.cpu_percent = 10,
                                                .memory_percent = 120,
                                                .connections = 190,
                                                .active = true});
    assert_int_equal(plant.wanted, 4);
    assert_string_equal(plant.why, "connections 190, mark 100");
}

static void latency_and_queue_go_step_by_step(void **state)
{
    (void)state;
    const struct service_scale rules = {
        .low = 1, .high = 9, .latency_us = 200000, .queue = 10, .cool_down_ms = 10000};
    struct plant plant = plant_new(&rules, 4);
    struct scaler_look slow = {.timed = true, .latency_us = 300000, .active = true};
    for (int i = 0; i < 4; i++)
        plant_step(&plant, slow);
    assert_int_equal(plant.wanted, 6);
    struct scaler_look fair = {.timed = true, .latency_us = 150000, .active = true};
    for (int i = 0; i < 60; i++)
        plant_step(&plant, fair);
    assert_int_equal(plant.wanted, 6);
    fair.held = 11;
    for (int i = 0; i < 4; i++)
        plant_step(&plant, fair);
    assert_int_equal(plant.wanted, 8);
    for (int i = 0; i < 120; i++)
        plant_step(&plant, (struct scaler_look){.active = true});
    assert_int_equal(plant.wanted, 1);
}

static const struct service_scale sleeper = {
    .low = 0, .high = 4, .cpu_percent = 70, .idle_ms = 300000, .cool_down_ms = 60000};

static void it_sleeps_when_nothing_happens(void **state)
{
    (void)state;
    struct plant plant = plant_new(&sleeper, 2);
    plant_cpu(&plant, 0, 100);
    assert_int_equal(plant.wanted, 1);
    plant_cpu(&plant, 0.01, 1); /* somebody came: from anew */
    plant_cpu(&plant, 0, 299);
    assert_int_equal(plant.wanted, 1);
    plant_cpu(&plant, 0, 2);
    assert_int_equal(plant.wanted, 0);
    assert_string_equal(plant.why, "idle");
    plant_cpu(&plant, 0, 1000);
    assert_int_equal(plant.wanted, 0); /* waking is another's */
    plant.wanted = plant.up = 1;
    plant_cpu(&plant, 0, 299);
    assert_int_equal(plant.wanted, 1);
}

static void what_may_not_sleep_does_not(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 1);
    plant_cpu(&plant, 0, 10000);
    assert_int_equal(plant.wanted, 1);
}

static void a_ceiling_holds_at_once(void **state)
{
    (void)state;
    struct plant plant = plant_new(&by_cpu, 6);
    plant.ceiling = 5;
    plant_cpu(&plant, 5, 1);
    assert_int_equal(plant.wanted, 5);
    assert_string_equal(plant.why, "the cluster's quota is short");
    plant_cpu(&plant, 7, 30);
    assert_int_equal(plant.wanted, 5);
    plant.ceiling = 0; /* not below its least */
    plant_cpu(&plant, 7, 1);
    assert_int_equal(plant.wanted, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_grows_until_the_mark_is_met),
        cmocka_unit_test(it_shrinks_when_it_was_quiet_for_a_while),
        cmocka_unit_test(a_peak_during_the_cool_down_counts),
        cmocka_unit_test(a_load_around_the_mark_changes_nothing),
        cmocka_unit_test(a_day_goes_up_once_and_down_once),
        cmocka_unit_test(waves_do_not_make_it_flap),
        cmocka_unit_test(it_waits_for_those_that_come),
        cmocka_unit_test(the_rule_that_asks_for_most_counts),
        cmocka_unit_test(latency_and_queue_go_step_by_step),
        cmocka_unit_test(it_sleeps_when_nothing_happens),
        cmocka_unit_test(what_may_not_sleep_does_not),
        cmocka_unit_test(a_ceiling_holds_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
