#include "conf/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static jmp_buf trap;

/* A text checked as the block of a service, and all that it takes. */
struct fixture {
    struct sources sources;
    struct arena *arena;
    struct buffer scratch;
    struct diagnostics *diagnostics;
    struct variables variables;
    struct checker checker;
};

static int setup(void **state)
{
    static const char *const run_time[] = {"instance", "state", NULL};
    static const char *const request[] = {"host", "header.", "cookie.", "1", NULL};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->arena = arena_new(1 << 20);
    fixture->diagnostics = diagnostics_new();
    fixture->variables.run_time = run_time;
    fixture->variables.request = request;
    arena_trap_set(fixture->arena, &trap);
    buffer_init(&fixture->scratch, WORD_BYTES_MAX);
    fixture->checker = (struct checker){
        .arena = fixture->arena, .diagnostics = fixture->diagnostics, .scratch = &fixture->scratch};
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    sources_done(&fixture->sources);
    arena_free(fixture->arena);
    buffer_done(&fixture->scratch);
    diagnostics_free(fixture->diagnostics);
    free(fixture);
    return 0;
}

static const struct statement *check_in(struct fixture *fixture, enum context context,
                                        const char *text)
{
    char problem[SOURCE_PROBLEM_BYTES];
    struct tree_reader reader = {.sources = &fixture->sources,
                                 .arena = fixture->arena,
                                 .diagnostics = fixture->diagnostics,
                                 .variables = &fixture->variables,
                                 .scratch = &fixture->scratch};
    const struct source *source =
        sources_copy(&fixture->sources, text, strlen(text), "t", NULL, problem);
    const struct node *first = tree_read(&reader, source);
    tree_reader_done(&reader);
    return check_block(&fixture->checker, first, context, &fixture->variables);
}

static const struct statement *check(struct fixture *fixture, const char *text)
{
    return check_in(fixture, CONTEXT_SERVICE, text);
}

static void values_have_types_places_and_defaults(void **state)
{
    struct fixture *fixture = *state;
    const struct statement *at =
        check(fixture, "restart never tries=3;\nrun a \"b=c\" $instance $$;");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 0);
    assert_int_equal(at->directive->id, DIRECTIVE_RESTART);
    assert_int_equal(at->argument_count, 1);
    assert_int_equal(at->arguments[0].choice, 2);
    assert_null(at->options[0].word);
    assert_true(at->options[0].given);
    assert_int_equal(at->options[0].range.low, 100);
    assert_int_equal(at->options[1].number, 3);
    struct place place = value_place(&at->options[1]);
    assert_int_equal(place.column, 21);
    assert_int_equal(place.length, 1);
    at = at->next;
    assert_int_equal(statement_place(at).line, 2);
    assert_int_equal(at->argument_count, 4);
    assert_string_equal(at->arguments[1].text, "b=c");
    assert_string_equal(at->arguments[2].text, "${instance}");
    assert_string_equal(at->arguments[3].text, "$$");
    assert_null(at->next);
}

static void options_of_one_are_not_those_of_another(void **state)
{
    struct fixture *fixture = *state;
    const struct statement *at = check(fixture, "limit nofile 1; stop INT within=1s;");
    assert_int_equal(at->next->options[0].number, 1000);
    at = check(fixture, "stop INT;");
    assert_int_equal(at->options[0].number, 30000);
    at = check_defaults(&fixture->checker, DIRECTIVE_STOP);
    assert_int_equal(at->options[0].number, 30000);
    assert_int_equal(at->argument_count, 1);
    assert_null(at->node);
}

static void an_argument_may_be_left_out_in_the_middle(void **state)
{
    struct fixture *fixture = *state;
    const struct statement *at =
        check_in(fixture, CONTEXT_TOP,
                 "listen 80 tcp -> a; listen 81 http tls; listen 82 tcp tls "
                 "-> b { }");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 0);
    assert_int_equal(at->argument_count, 5);
    assert_int_equal(at->arguments[2].choice, -1);
    assert_null(at->arguments[2].word);
    assert_string_equal(at->arguments[4].text, "a");
    at = at->next;
    assert_int_equal(at->argument_count, 3);
    assert_int_equal(at->arguments[2].choice, 0);
    at = at->next;
    assert_int_equal(at->arguments[2].choice, 0);
    assert_string_equal(at->arguments[4].text, "b");
}

static void an_arrow_ends_many_arguments(void **state)
{
    struct fixture *fixture = *state;
    const struct statement *at = check_in(fixture, CONTEXT_LISTEN, "sni a *.b -> s; sni * -> t;");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 0);
    assert_int_equal(at->argument_count, 4);
    assert_string_equal(at->arguments[1].text, "*.b");
    assert_string_equal(at->arguments[3].text, "s");
    at = check_in(fixture, CONTEXT_LISTEN, "sni a b; sni -> s; sni a ->;");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 3);
    for (; at; at = at->next)
        assert_false(at->valid);
}

static void an_option_may_be_given_again_where_its_row_says_so(void **state)
{
    struct fixture *fixture = *state;
    const struct statement *at = check_in(fixture, CONTEXT_LISTEN,
                                          "route / header=A header=\"B: c\" header=D -> a;"
                                          "route / -> b;");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 0);
    size_t count = 0;
    for (const struct value *value = &at->options[1]; value; value = value->next)
        count++;
    assert_int_equal(count, 3);
    assert_false(at->next->options[1].given);
    assert_null(at->next->options[1].next);
    check_in(fixture, CONTEXT_LISTEN, "route / method=GET method=PUT -> a;");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 1);
}

static void a_block_may_be_optional(void **state)
{
    struct fixture *fixture = *state;
    check_in(fixture, CONTEXT_LISTEN, "route / -> a; route /b -> a { }");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 0);
    check_in(fixture, CONTEXT_LISTEN, "host a; trust all { }");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 2);
}

static void pools_are_nested(void **state)
{
    struct fixture *fixture = *state;
    size_t outer = check_pool_begin(&fixture->checker);
    const struct statement *first = check(fixture, "umask 7;");
    size_t inner = check_pool_begin(&fixture->checker);
    const struct statement *second = check(fixture, "umask 6;");
    check_pool_end(&fixture->checker, inner);
    const struct statement *third = check(fixture, "umask 5;");
    check_pool_end(&fixture->checker, outer);
    assert_ptr_equal(second, third);
    assert_int_equal(first->arguments[0].number, 7);
}

static void variables_go_with_the_kind_of_text(void **state)
{
    struct fixture *fixture = *state;
    const struct statement *at = check_in(
        fixture, CONTEXT_LISTEN, "redirect /$host/${1}$header.X-A-$$;header request set A $host;");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 0);
    assert_string_equal(at->arguments[0].text, "/${host}/${1}${header.X-A}-$$");
    at = check(fixture, "run sh -c \"echo $1 ${9}\";"); /* a shell's */
    assert_string_equal(at->arguments[2].text, "echo $$1 $$9");
    at = check(fixture, "user $1;");
    assert_string_equal(at->arguments[0].text, "$1");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 0);
    check_in(fixture, CONTEXT_LISTEN, "redirect /$instance; rewrite prefix=/$host;");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 2);
}

static void all_examples_of_the_table_are_right(void **state)
{
    struct fixture *fixture = *state;
    const struct directive *row;
    for (size_t i = 0; (row = directive_nth(i)); i++) {
        if (row->id == DIRECTIVE_PLANNED || row->id == DIRECTIVE_INCLUDE)
            continue;
        for (unsigned bit = 1; bit <= CONTEXT_LAST; bit <<= 1) {
            if (!(row->contexts & bit))
                continue;
            fixture->variables.realm = "r";
            const struct statement *at = check_in(fixture, (enum context)bit, row->example);
            if (!at || !at->valid || diagnostics_errors(fixture->diagnostics))
                fail_msg("`%s` is refused %s", row->example, context_place((enum context)bit));
            assert_ptr_equal(at->directive, row);
        }
    }
}

static void what_is_wrong_is_marked_or_left_out(void **state)
{
    struct fixture *fixture = *state;
    const struct statement *at = check(fixture, "rnu x; umask 9; umask 7; shell x;");
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 3);
    assert_int_equal(at->directive->id, DIRECTIVE_UMASK);
    assert_false(at->valid);
    assert_int_equal(at->next->directive->id, DIRECTIVE_SHELL);
    assert_true(at->next->valid);
    assert_null(at->next->next);
    at = check_in(fixture, CONTEXT_TOP, "dns 53; cluster a;"); /* of a later version */
    assert_int_equal(diagnostics_errors(fixture->diagnostics), 4);
    assert_int_equal(at->directive->id, DIRECTIVE_CLUSTER);
    assert_null(at->next);
}

static void a_pool_is_taken_again(void **state)
{
    struct fixture *fixture = *state;
    check_pool_begin(&fixture->checker);
    const struct statement *first = check(fixture, "umask 7; stop INT within=1s;");
    check_pool_end(&fixture->checker, 0);
    const struct statement *apart = check(fixture, "umask 6;");
    check_pool_begin(&fixture->checker);
    const struct statement *second = check(fixture, "umask 5;");
    check_pool_end(&fixture->checker, 0);
    assert_ptr_equal(first, second);
    assert_ptr_not_equal(first, apart);
    assert_int_equal(apart->arguments[0].number, 6);
    assert_int_equal(second->arguments[0].number, 5);
    assert_null(second->next);
}

static void a_pool_that_is_full_is_no_end(void **state)
{
    struct fixture *fixture = *state;
    char text[20000];
    char *at = text;
    for (int i = 0; i < 1000; i++)
        at += sprintf(at, "limit cpu %d;", i);
    check_pool_begin(&fixture->checker);
    const struct statement *statement = check(fixture, text);
    check_pool_end(&fixture->checker, 0);
    for (unsigned i = 0; i < 1000; i++, statement = statement->next)
        assert_int_equal(statement->arguments[1].number, i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(values_have_types_places_and_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(options_of_one_are_not_those_of_another, setup, teardown),
        cmocka_unit_test_setup_teardown(an_argument_may_be_left_out_in_the_middle, setup, teardown),
        cmocka_unit_test_setup_teardown(an_arrow_ends_many_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(an_option_may_be_given_again_where_its_row_says_so, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_block_may_be_optional, setup, teardown),
        cmocka_unit_test_setup_teardown(pools_are_nested, setup, teardown),
        cmocka_unit_test_setup_teardown(variables_go_with_the_kind_of_text, setup, teardown),
        cmocka_unit_test_setup_teardown(all_examples_of_the_table_are_right, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_wrong_is_marked_or_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pool_is_taken_again, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pool_that_is_full_is_no_end, setup, teardown),
    };
    if (setjmp(trap))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
