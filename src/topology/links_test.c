#include "topology/links.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void lists_are_the_topology_the_other_way_round(void **state)
{
    (void)state;
    const uint32_t both[] = {2, 0};
    const uint32_t last[] = {2};
    struct service services[4] = {
        [1] = {.uses = both, .uses_count = 2}, [3] = {.uses = last, .uses_count = 1}};
    struct listener listeners[3] = {{.service = 3}, {.service = 0}, {.service = 3}};
    struct topology topology = {
        .services = services, .service_count = 4, .listeners = listeners, .listener_count = 3};
    size_t count = 0;
    struct links *users = links_users_new(&topology);
    const uint32_t *list = links_of(users, 2, &count);
    assert_int_equal(count, 2);
    assert_int_equal(list[0], 1);
    assert_int_equal(list[1], 3);
    list = links_of(users, 0, &count);
    assert_int_equal(count, 1);
    assert_int_equal(list[0], 1);
    links_of(users, 3, &count);
    assert_int_equal(count, 0);
    links_free(users);

    struct links *leading = links_listeners_new(&topology);
    list = links_of(leading, 3, &count);
    assert_int_equal(count, 2);
    assert_int_equal(list[0], 0);
    assert_int_equal(list[1], 2);
    links_of(leading, 1, &count);
    assert_int_equal(count, 0);
    links_free(leading);
}

/* By a route or a name of TLS; a service that is led to twice is listed once. */
static void listeners_may_lead_to_many_services(void **state)
{
    (void)state;
    const struct route_target both[] = {{.service = 2}, {.service = 0}};
    const struct route routes[] = {{.targets = both, .target_count = 2},
                                   {.targets = both, .target_count = 1}};
    const struct site_host host = {.routes = routes, .route_count = 2};
    const struct site site = {.hosts = &host, .host_count = 1};
    const struct sni_target snis[] = {{.service = 1}, {.service = 2}};
    struct service services[3] = {0};
    struct listener listeners[3] = {{.service = UINT32_MAX, .site = &site},
                                    {.service = UINT32_MAX, .snis = snis, .sni_count = 2},
                                    {.service = 0}};
    struct topology topology = {
        .services = services, .service_count = 3, .listeners = listeners, .listener_count = 3};
    size_t count = 0;
    struct links *leading = links_listeners_new(&topology);
    const uint32_t *list = links_of(leading, 0, &count);
    assert_int_equal(count, 2);
    assert_int_equal(list[0], 0);
    assert_int_equal(list[1], 2);
    list = links_of(leading, 1, &count);
    assert_int_equal(count, 1);
    assert_int_equal(list[0], 1);
    list = links_of(leading, 2, &count);
    assert_int_equal(count, 2);
    assert_int_equal(list[0], 0);
    assert_int_equal(list[1], 1);
    links_free(leading);
}

static void a_topology_without_services_has_links_too(void **state)
{
    (void)state;
    struct topology empty = {0};
    struct links *links = links_users_new(&empty);
    assert_non_null(links);
    links_free(links);
    links_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_the_topology_the_other_way_round),
        cmocka_unit_test(listeners_may_lead_to_many_services),
        cmocka_unit_test(a_topology_without_services_has_links_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
