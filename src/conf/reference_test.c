#include "conf/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "conf/directive.h"

static char *text;
static size_t text_size;

static FILE *text_open(void)
{
    free(text);
    text = NULL;
    return open_memstream(&text, &text_size);
}

static int help(const char *directive)
{
    FILE *out = text_open();
    int error = reference_help(out, directive, false);
    fclose(out);
    return error;
}

static void help_explains_a_directive(void **state)
{
    (void)state;
    assert_int_equal(help("start"), 0);
    assert_string_equal(text, "start [within=DURATION];\n\n"
                              "  How long an instance may take until it is healthy.\n\n"
                              "  stands       in `service`\n"
                              "  within=      a start that takes longer has failed; 100ms to 24h; "
                              "default 60s\n"
                              "  example      start within=5m;\n");
}

static void help_for_a_wrong_name_has_the_nearest(void **state)
{
    (void)state;
    assert_int_equal(help("instnces"), -ENOENT);
    assert_string_equal(text, "There is no directive `instnces`. Did you mean `instances`?\n");
    assert_int_equal(help("qqqqqq"), -ENOENT);
    assert_string_equal(text, "There is no directive `qqqqqq`.\n");
}

static void syntax_shows_what_can_be_written(void **state)
{
    (void)state;
    assert_int_equal(help("certificate"), 0);
    assert_non_null(strstr(text, "certificate FILE [key=FILE];\n"));
    help("host");
    assert_non_null(strstr(text, "host NAME… { … }\n"));
    help("port");
    assert_non_null(strstr(text, "port N|none [tcp|udp] [activation=no|yes];\n"));
    help("trust");
    assert_non_null(strstr(text, "trust NETWORK|all…;\n"));
    help("sni");
    assert_non_null(strstr(text, "sni NAME… -> SERVICE;\n"));
    help("timeout");
    assert_non_null(strstr(text, "stands       in `service`"));
    assert_non_null(strstr(text, "stands       in `route`"));
}

static void a_name_with_two_meanings_has_both(void **state)
{
    (void)state;
    assert_int_equal(help("limit"), 0);
    assert_non_null(strstr(text, "setrlimit"));
    assert_non_null(strstr(text, "65536;\n\nlimit [RATE]"));
    assert_non_null(strstr(text, "Retry-After"));
}

static void every_directive_is_in_list_and_manual(void **state)
{
    (void)state;
    FILE *out = text_open();
    reference_list(out);
    fclose(out);
    for (size_t i = 0; directive_nth(i); i++) {
        char line[64];
        snprintf(line, sizeof line, "\n  %s ", directive_nth(i)->name);
        if (!strstr(text, line))
            fail_msg("the list has no `%s`", directive_nth(i)->name);
    }
    out = text_open();
    reference_markdown(out);
    fclose(out);
    for (size_t i = 0; directive_nth(i); i++) {
        char line[64];
        snprintf(line, sizeof line, "\n### %s\n", directive_nth(i)->name);
        if (!strstr(text, line) || !strstr(text, directive_nth(i)->example))
            fail_msg("the manual has no `%s`", directive_nth(i)->name);
    }
}

static void the_committed_manual_is_the_tables(void **state)
{
    (void)state;
    FILE *out = text_open();
    reference_markdown(out);
    fclose(out);
    FILE *file = fopen(getenv("REFERENCE"), "re");
    assert_non_null(file);
    char *committed = calloc(1, text_size + 2);
    size_t length = fread(committed, 1, text_size + 1, file);
    fclose(file);
    if (length != text_size || memcmp(committed, text, text_size) != 0)
        fail_msg("docs/reference.md is not up to date: ninja -C build reference");
    free(committed);
}

static void completion_has_what_can_be_used(void **state)
{
    (void)state;
    FILE *out = text_open();
    reference_completion(out);
    fclose(out);
    assert_non_null(strstr(text, "\ninstances\n"));
    assert_null(strstr(text, "vpn"));
}

/* The table itself: each default is within its own bounds, and all are told apart. */
static void rows_are_sound(void **state)
{
    (void)state;
    for (size_t i = 0; directive_nth(i); i++) {
        const struct directive *row = directive_nth(i);
        assert_non_null(row->help);
        assert_non_null(row->example);
        assert_int_equal(strncmp(row->example, row->name, strlen(row->name)), 0);
        assert_true(row->contexts != 0);
        assert_true(row->id != DIRECTIVE_PLANNED || row->syntax);
        for (size_t j = 0; j < i; j++)
            assert_false(strcmp(row->name, directive_nth(j)->name) == 0 &&
                         (row->contexts & directive_nth(j)->contexts));
        for (size_t j = 0; j < DIRECTIVE_OPTIONS_MAX && row->options[j].type; j++) {
            struct value value;
            struct value_problem problem;
            const struct value_spec *spec = &row->options[j];
            if (spec->fallback && !value_parse(spec, spec->fallback, &value, &problem))
                fail_msg("%s %s: %s", row->name, spec->name, problem.message);
        }
    }
    for (int id = DIRECTIVE_PLANNED; id < DIRECTIVE_COUNT; id++)
        assert_int_equal(directive_by_id((enum directive_id)id)->id, id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_explains_a_directive),
        cmocka_unit_test(help_for_a_wrong_name_has_the_nearest),
        cmocka_unit_test(syntax_shows_what_can_be_written),
        cmocka_unit_test(a_name_with_two_meanings_has_both),
        cmocka_unit_test(every_directive_is_in_list_and_manual),
        cmocka_unit_test(the_committed_manual_is_the_tables),
        cmocka_unit_test(completion_has_what_can_be_used),
        cmocka_unit_test(rows_are_sound),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text);
    return failed;
}
