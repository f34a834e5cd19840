#include "topology/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "topology/build.h"

static struct topology *parsed(const char *text)
{
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology_options options = {0};
    struct topology *topology =
        topology_parse(text, strlen(text), "test.conf", "/srv", &options, diagnostics);
    if (!topology)
        diagnostics_print(diagnostics, stderr, false);
    assert_non_null(topology);
    diagnostics_free(diagnostics);
    return topology;
}

/* "a -c": service 0 is a, 1 is absent and was c. */
static void expect(const struct topology *topology, const char *names)
{
    char text[256] = "";
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service *service = &topology->services[i];
        assert_int_equal(service->index, i);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s%s", i ? " " : "",
                 service->absent ? "-" : "", service->name);
    }
    assert_string_equal(text, names);
}

#define A    "service a { run a; port 3000; }\n"
#define B    "service b { run b; port 4000; uses a; }\n"
#define C    "service c { run c; port 5000; uses b; }\n"
#define LONE "service b { run b; port 4000; }\n"

static void services_keep_their_places(void **state)
{
    (void)state;
    struct topology *before = parsed(A B C);
    struct topology *after =
        parsed("service d { run d; port 1; }" C B A
               "listen 1 tcp -> c; listen 2 tcp { sni x -> d; sni y -> a; }"
               "listen 3 http { auth request -> c; host z { route /x -> b, d weight=3; "
               "route /y -> b; } }");
    static const uint32_t places[] = {3, 2, 1, 0};
    assert_int_equal(topology_place(after, places, 4, before), 0);
    expect(after, "a b c d");
    assert_int_equal(after->services[1].uses[0], 0);
    assert_int_equal(after->services[2].uses[0], 1);
    assert_int_equal(after->listeners[0].service, 2);
    assert_int_equal(after->listeners[1].snis[0].service, 3);
    assert_int_equal(after->listeners[1].snis[1].service, 0);
    const struct route *route = &after->listeners[2].site->hosts[0].routes[0];
    assert_int_equal(route->targets[0].service, 1);
    assert_int_equal(route->targets[1].service, 3);
    assert_int_equal(route->guards[0].request->route->targets->service, 2);
    bool seen[4] = {0};
    assert_int_equal(after->start_count, 4);
    for (size_t i = 0; i < 4; i++) {
        const struct service *service = &after->services[after->start_order[i]];
        for (size_t k = 0; k < service->uses_count; k++)
            assert_true(seen[service->uses[k]]);
        seen[service->index] = true;
    }
    topology_free(before);
    topology_free(after);
}

static void what_is_gone_leaves_its_place(void **state)
{
    (void)state;
    static const uint32_t first_places[] = {0, 1, 3}, second_places[] = {0, 1};
    static const uint32_t third_places[] = {0, 2};
    struct topology *first = parsed(A B C);
    assert_int_equal(topology_place(first, first_places, 4, NULL), 0);
    expect(first, "a b - c");
    assert_true(first->services[2].absent);
    struct topology *second = parsed(A LONE);
    assert_int_equal(topology_place(second, second_places, 4, first), 0);
    expect(second, "a b - -c");
    assert_int_equal(second->services[3].instances, 0);
    struct topology *third = parsed(A "service e { run e; port 1; }");
    assert_int_equal(topology_place(third, third_places, 4, second), 0);
    expect(third, "a -b e -c");
    topology_free(first);
    topology_free(second);
    topology_free(third);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(services_keep_their_places),
        cmocka_unit_test(what_is_gone_leaves_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
