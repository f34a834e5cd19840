#include "topology/order.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MANY = TOPOLOGY_SERVICES_MAX, USES = 4 };

static struct service services[MANY];
static uint32_t uses[MANY][USES];
static uint32_t order[MANY];
static uint32_t scratch[3 * MANY];
static char circles[256];

static void circle_note(void *context, const uint32_t *members, size_t count)
{
    (void)context;
    size_t at = strlen(circles);
    for (size_t i = 0; i < count && at < sizeof circles - 16; i++)
        at += (size_t)snprintf(circles + at, sizeof circles - at, "%u ", members[i]);
    if (at < sizeof circles - 16)
        snprintf(circles + at, sizeof circles - at, "; ");
}

static void begin(void)
{
    memset(services, 0, sizeof services);
    circles[0] = 0;
    for (size_t i = 0; i < MANY; i++)
        services[i].uses = uses[i];
}

static void use(uint32_t user, uint32_t used)
{
    uses[user][services[user].uses_count++] = used;
}

static void make(size_t count)
{
    struct topology topology = {.services = services, .service_count = count};
    memset(order, 0xff, sizeof order);
    order_make(&topology, order, scratch, circle_note, NULL);
}

static void without_uses_the_files_order_holds(void **state)
{
    (void)state;
    begin();
    make(3);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(order[i], i);
}

static void the_used_start_first(void **state)
{
    (void)state;
    static const uint32_t expected[] = {3, 1, 2, 0, 4};
    begin();
    use(0, 1);
    use(0, 2);
    use(1, 3);
    use(2, 3);
    make(5);
    assert_memory_equal(order, expected, sizeof expected);
    assert_string_equal(circles, "");
}

static void circles_are_named_and_all_services_are_placed(void **state)
{
    (void)state;
    bool seen[5] = {false};
    begin();
    use(0, 1);
    use(1, 2);
    use(2, 1);
    use(3, 3);
    use(4, 0);
    make(5);
    assert_string_equal(circles, "1 2 ; 3 ; ");
    for (size_t i = 0; i < 5; i++)
        seen[order[i]] = true;
    for (size_t i = 0; i < 5; i++)
        assert_true(seen[i]);
}

static void a_chain_of_all_services_is_no_depth(void **state)
{
    (void)state;
    begin();
    for (uint32_t i = 0; i + 1 < MANY; i++)
        use(i, i + 1);
    make(MANY);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(order[i], MANY - 1 - i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_uses_the_files_order_holds),
        cmocka_unit_test(the_used_start_first),
        cmocka_unit_test(circles_are_named_and_all_services_are_placed),
        cmocka_unit_test(a_chain_of_all_services_is_no_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
