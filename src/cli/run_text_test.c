#include "cli/run_text.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "topology/build.h"
#include "topology/template.h"

/* What the parser makes of the text that was written. */
static struct topology *parsed(const struct run_options *options, const char *const *given)
{
    struct buffer text;
    char *program[17] = {NULL};
    buffer_init(&text, 1 << 20);
    for (int i = 0; given[i]; i++)
        program[i] = strdup(given[i]);
    run_text_build(&text, options, program);
    for (int i = 0; program[i]; i++)
        free(program[i]);
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology_options how = {.environment = environ};
    struct topology *topology =
        topology_parse(text.data, text.length, "the command line", "/", &how, diagnostics);
    if (!topology)
        diagnostics_print(diagnostics, stderr, false);
    diagnostics_free(diagnostics);
    buffer_done(&text);
    return topology;
}

static void words_arrive_as_they_were_given(void **state)
{
    (void)state;
    const char *const program[] = {"/opt/My Server.py",
                       "two words",
                       "a\"quote\\",
                       "semi;{}#",
                       "line\nline\ttab",
                       "",
                       "\xc3\xa4",
                       "'single'",
                       NULL};
    struct topology *topology = parsed(&(struct run_options){0}, program);
    assert_non_null(topology);
    const struct service *service = &topology->services[0];
    assert_int_equal(service->argc, sizeof program / sizeof program[0] - 1);
    for (size_t i = 0; program[i]; i++)
        assert_string_equal(service->argv[i], program[i]);
    assert_string_equal(topology->name, "my-server-py");
    topology_free(topology);
}

static void only_a_template_variable_is_expanded(void **state)
{
    (void)state;
    const char *const program[] = {"sh", "-c", "echo $HOME ${PATH} $$ $1 $instance ${service} $", NULL};
    struct topology *topology = parsed(&(struct run_options){0}, program);
    assert_non_null(topology);
    struct template_values values = {.cluster = "c", .service = "web", .realm = "", .instance = 3,
                                     .state = "", .address = "", .home = ""};
    char *text = template_expand(topology->services[0].argv[2], &values);
    assert_string_equal(text, "echo $HOME ${PATH} $$ $1 3 web $");
    free(text);
    topology_free(topology);
}

static void options_become_directives(void **state)
{
    (void)state;
    const char *const program[] = {"web", NULL};
    struct run_options options = {.count = "3", .port = "53/udp", .name = "dns", .memory = "64m",
                                  .cpu = "50%", .tasks = "20", .restart = "never"};
    struct topology *topology = parsed(&options, program);
    assert_non_null(topology);
    const struct service *service = &topology->services[0];
    assert_string_equal(topology->name, "dns");
    assert_int_equal(service->instances, 3);
    assert_int_equal(service->quota.memory_bytes, 64u << 20);
    assert_int_equal(service->quota.cpu_percent, 50);
    assert_int_equal(service->quota.tasks, 20);
    assert_int_equal(service->restart, RESTART_NEVER);
    assert_false(service->publish);
    assert_int_equal(topology->listener_count, 1);
    assert_int_equal(topology->listeners[0].port, 53);
    assert_int_equal(topology->listeners[0].protocol, PROTOCOL_UDP);
    topology_free(topology);
}

static void programs_without_a_name_have_one(void **state)
{
    (void)state;
    static const struct {
        const char *program;
        const char *name;
    } rows[] = {{"/usr/bin/python3.11", "python3-11"}, {"./7zip", "program"}, {"/x/", "program"},
                {"\xc3\xa4", "program"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *const program[] = {rows[i].program, NULL};
        struct topology *topology = parsed(&(struct run_options){0}, program);
        assert_non_null(topology);
        assert_string_equal(topology->name, rows[i].name);
        topology_free(topology);
    }
}

static void ports_are_numbers_with_a_protocol(void **state)
{
    (void)state;
    assert_true(run_port_valid("1"));
    assert_true(run_port_valid("65535/tcp"));
    assert_true(run_port_valid("53/udp"));
    static const char *const wrong[] = {"",      "0",      "65536", "-1", "80/sctp",
                                        "80 -> x; }", "http", "80/", "+80", " 80"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(run_port_valid(wrong[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_arrive_as_they_were_given),
        cmocka_unit_test(only_a_template_variable_is_expanded),
        cmocka_unit_test(options_become_directives),
        cmocka_unit_test(programs_without_a_name_have_one),
        cmocka_unit_test(ports_are_numbers_with_a_protocol),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
