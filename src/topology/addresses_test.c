#include "topology/addresses.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = TOPOLOGY_SERVICES_MAX };

static struct service services[MANY];
static char names[MANY][16];
static uint32_t homes[MANY];

static void homes_of(const char *cluster, size_t count)
{
    struct topology topology = {
        .name = cluster,
        .services = services,
        .service_count = count,
    };
    addresses_homes(&topology, homes);
}

static void home_is(uint32_t home, const char *expected)
{
    char text[ADDRESS_TEXT_BYTES];
    assert_string_equal(address_format(home, text), expected);
}

/* If one of these fails, programs on the machines of a running cluster would look for each other at
 * the wrong place after an upgrade. */
static void homes_never_change(void **state)
{
    (void)state;
    services[0].name = "web";
    services[1].name = "db";
    services[2].name = "s1.logic";
    homes_of("shop", 3);
    home_is(homes[0], "127.86.160.57");
    home_is(homes[1], "127.86.5.38");
    home_is(homes[2], "127.86.47.72");
    homes_of("other", 1);
    home_is(homes[0], "127.86.251.160");
}

static void homes_do_not_depend_on_the_order(void **state)
{
    (void)state;
    uint32_t before[MANY];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "s%zu", i);
        services[i].name = names[i];
    }
    homes_of("shop", MANY);
    memcpy(before, homes, sizeof before);
    for (size_t i = 0; i < MANY; i++)
        services[i].name = names[MANY - 1 - i];
    homes_of("shop", MANY);
    for (size_t i = 0; i < MANY; i++)
        assert_int_equal(homes[i], before[MANY - 1 - i]);
}

static void homes_are_unique_and_in_their_net(void **state)
{
    (void)state;
    static bool taken[1 << 16];
    memset(taken, 0, sizeof taken);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "s%zu", i);
        services[i].name = names[i];
    }
    homes_of("shop", MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(homes[i] >> 16, 127 << 8 | 86);
        assert_in_range(homes[i] & 255, 1, 254);
        assert_false(taken[homes[i] & 0xffff]);
        taken[homes[i] & 0xffff] = true;
    }
}

static void blocks_have_their_order(void **state)
{
    (void)state;
    home_is(addresses_block(0), "127.77.1.0");
    home_is(addresses_block(1), "127.77.2.0");
    home_is(addresses_block(254), "127.77.255.0");
    home_is(addresses_block(255), "127.77.0.0");
    home_is(addresses_block(256), "127.64.0.0");
    home_is(addresses_block(256 + 255), "127.64.255.0");
    home_is(addresses_block(256 + 12 * 256), "127.76.0.0");
    home_is(addresses_block(256 + 13 * 256), "127.78.0.0");
    home_is(addresses_block(256 + 20 * 256 + 255), "127.85.255.0");
    home_is(addresses_block(256 + 21 * 256), "127.87.0.0");
    home_is(addresses_block(BLOCK_COUNT - 1), "127.127.255.0");
}

static void blocks_are_unique_and_leave_the_homes_out(void **state)
{
    (void)state;
    static bool taken[1 << 14];
    memset(taken, 0, sizeof taken);
    for (uint32_t i = 0; i < BLOCK_COUNT; i++) {
        uint32_t block = addresses_block(i);
        assert_int_equal(block >> 22, 127 << 2 | 1);
        assert_int_equal(block & 255, 0);
        assert_true(block >> 16 != (127 << 8 | 86));
        assert_false(taken[block >> 8 & 0x3fff]);
        taken[block >> 8 & 0x3fff] = true;
    }
}

static void instances_fill_blocks(void **state)
{
    (void)state;
    assert_int_equal(addresses_blocks_needed(1), 1);
    assert_int_equal(addresses_blocks_needed(254), 1);
    assert_int_equal(addresses_blocks_needed(255), 2);
    assert_int_equal(addresses_blocks_needed(1024), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(homes_never_change),
        cmocka_unit_test(homes_do_not_depend_on_the_order),
        cmocka_unit_test(homes_are_unique_and_in_their_net),
        cmocka_unit_test(blocks_have_their_order),
        cmocka_unit_test(blocks_are_unique_and_leave_the_homes_out),
        cmocka_unit_test(instances_fill_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
