/* `allow` and `deny`, compiled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/random.h"
#include "topology/access.h"

enum { BYTES_MAX = 1 << 24 };

static struct arena *arena;
static jmp_buf trap;

static int setup(void **state)
{
    (void)state;
    arena = arena_new(BYTES_MAX);
    if (setjmp(trap))
        abort();
    arena_trap_set(arena, &trap);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(arena);
    return 0;
}

static bool inside(const struct network *network, const uint8_t address[16])
{
    for (unsigned bit = 0; bit < network->length; bit++) {
        uint8_t mask = (uint8_t)(0x80 >> bit % 8);
        if ((network->address[bit / 8] ^ address[bit / 8]) & mask)
            return false;
    }
    return true;
}

/* A walk over all: what the compiled list must say. */
static enum access_verdict expected(const struct access_rule *rules, size_t count,
                                    const uint8_t address[16])
{
    for (size_t i = 0; i < count; i++)
        if (inside(&rules[i].network, address))
            return rules[i].verdict;
    return ACCESS_NONE;
}

/* Few different bytes, so that networks meet and lie in each other. */
static void address_random(struct random_state *random, uint8_t address[16])
{
    static const uint8_t bytes[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
    for (int i = 0; i < 16; i++)
        address[i] = i < 2 || i > 13 ? bytes[random_below(random, sizeof bytes)]
                                     : (uint8_t)(random_below(random, 2) ? 0 : 0xff);
}

static void rule_random(struct random_state *random, struct access_rule *rule)
{
    static const uint8_t lengths[] = {0, 1, 7, 8, 9, 15, 16, 17, 112, 119, 120, 121, 127, 128};
    struct network *network = &rule->network;
    address_random(random, network->address);
    network->length = lengths[random_below(random, sizeof lengths)];
    for (unsigned bit = network->length; bit < 128; bit++)
        network->address[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    rule->verdict = random_below(random, 2) ? ACCESS_ALLOW : ACCESS_DENY;
}

/* The ends of each network and their neighbours are where mistakes show. */
static void neighbours_verify(const struct access_list *list, const struct access_rule *rules,
                              size_t count, const struct network *network)
{
    for (int step = -1; step <= 1; step++)
        for (int end = 0; end < 2; end++) {
            uint8_t address[16];
            memcpy(address, network->address, 16);
            for (unsigned bit = network->length; end && bit < 128; bit++)
                address[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
            for (int i = 15, carry = step; i >= 0 && carry; i--) {
                int sum = address[i] + carry;
                address[i] = (uint8_t)sum;
                carry = sum < 0 ? -1 : sum > 255 ? 1 : 0;
            }
            assert_int_equal(access_list_find(list, address), expected(rules, count, address));
        }
}

static void it_says_what_a_walk_over_all_says(void **state)
{
    (void)state;
    struct random_state random;
    random_seed(&random, 11);
    for (int round = 0; round < 2000; round++) {
        struct access_rule rules[24];
        size_t count = 1 + random_below(&random, 24);
        for (size_t i = 0; i < count; i++)
            rule_random(&random, &rules[i]);
        const struct access_list *list = access_list_make(arena, arena, rules, count);
        for (size_t i = 0; i < count; i++)
            neighbours_verify(list, rules, count, &rules[i].network);
        for (int i = 0; i < 50; i++) {
            uint8_t address[16];
            address_random(&random, address);
            assert_int_equal(access_list_find(list, address), expected(rules, count, address));
        }
    }
}

/* As deep as networks can lie in each other. */
static void networks_lie_in_networks(void **state)
{
    (void)state;
    struct access_rule rules[129] = {0};
    for (unsigned i = 0; i < 129; i++) {
        rules[i].network.length = (uint8_t)(128 - i); /* the narrowest goes first */
        rules[i].verdict = i % 2 ? ACCESS_ALLOW : ACCESS_DENY;
    }
    const struct access_list *list = access_list_make(arena, arena, rules, 129);
    for (unsigned i = 0; i < 129; i++)
        neighbours_verify(list, rules, 129, &rules[i].network);
}

static void thousands_are_few_segments_each(void **state)
{
    enum { RULES = 30000 };
    (void)state;
    struct access_rule *rules = calloc(RULES, sizeof *rules);
    for (uint32_t i = 0; i < RULES; i++) {
        rules[i].network.length = 128;
        memcpy(rules[i].network.address + 12, &i, sizeof i);
        rules[i].verdict = ACCESS_DENY;
    }
    const struct access_list *list = access_list_make(arena, arena, rules, RULES);
    assert_true(list->count <= 2 * (size_t)RULES + 1);
    for (uint32_t i = 0; i < 2 * RULES; i++) {
        uint8_t address[16] = {0};
        memcpy(address + 12, &i, sizeof i);
        assert_int_equal(access_list_find(list, address), i < RULES ? ACCESS_DENY : ACCESS_NONE);
    }
    free(rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_what_a_walk_over_all_says, setup, teardown),
        cmocka_unit_test_setup_teardown(networks_lie_in_networks, setup, teardown),
        cmocka_unit_test_setup_teardown(thousands_are_few_segments_each, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
