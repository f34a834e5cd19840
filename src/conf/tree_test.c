#include "conf/tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Files that include files are tested with topology_load, in topology/build_test.c. */
static jmp_buf trap;
static char shown[4 * NODE_WORDS_MAX];

/* The tree as a text: names and words, blocks in braces. */
static void show(const struct node *first, size_t depth)
{
    for (const struct node *node = first; node; node = node->next) {
        size_t at = strlen(shown);
        at += (size_t)snprintf(shown + at, sizeof shown - at, "%s", node->name.text);
        for (const struct word *word = node->words; word; word = word->next)
            at += (size_t)snprintf(shown + at, sizeof shown - at, " %s", word->text);
        strcat(shown, node->block ? "{" : ";");
        if (node->children && depth < NESTING_MAX)
            show(node->children, depth + 1);
        if (node->block)
            strcat(shown, "}");
    }
}

/* How many errors the text has; `shown` is what was read in spite of them. */
static size_t read_errors(const char *text)
{
    char problem[SOURCE_PROBLEM_BYTES];
    struct sources sources = {0};
    struct buffer scratch;
    const struct variables variables = {0};
    struct diagnostics *diagnostics = diagnostics_new();
    struct arena *arena = arena_new(64 << 20);
    arena_trap_set(arena, &trap);
    buffer_init(&scratch, WORD_BYTES_MAX);
    struct tree_reader reader = {.sources = &sources,
                                 .arena = arena,
                                 .diagnostics = diagnostics,
                                 .variables = &variables,
                                 .scratch = &scratch};
    const struct source *source = sources_copy(&sources, text, strlen(text), "t", NULL, problem);
    assert_non_null(source);
    shown[0] = 0;
    show(tree_read(&reader, source), 0);
    size_t errors = diagnostics_errors(diagnostics);
    tree_reader_done(&reader);
    buffer_done(&scratch);
    sources_done(&sources);
    arena_free(arena);
    diagnostics_free(diagnostics);
    return errors;
}

static void directives_have_words_and_blocks(void **state)
{
    (void)state;
    assert_int_equal(read_errors("a; b c 'd e' { f { } g h; } i{}"), 0);
    assert_string_equal(shown, "a;b c d e{f{}g h;}i{}");
    assert_int_equal(read_errors(""), 0);
    assert_string_equal(shown, "");
}

static void after_an_error_the_rest_is_read(void **state)
{
    (void)state;
    assert_int_equal(read_errors("a { b c } d;"), 1);
    assert_string_equal(shown, "a{b c;}d;");
    assert_int_equal(read_errors("} a; ; b"), 3);
    assert_string_equal(shown, "a;b;");
    assert_int_equal(read_errors("{ a; } b;"), 1);
    assert_string_equal(shown, "b;");
    assert_int_equal(read_errors("a { b { c; "), 2);
    assert_string_equal(shown, "a{b{c;}}");
    assert_int_equal(read_errors("include x; a;"), 1);
    assert_string_equal(shown, "a;");
}

static void nesting_has_a_maximum(void **state)
{
    (void)state;
    char text[8 * NESTING_MAX] = "";
    for (int i = 0; i < NESTING_MAX; i++)
        strcat(text, "a{");
    for (int i = 0; i < NESTING_MAX; i++)
        strcat(text, "}");
    assert_int_equal(read_errors(text), 0);
    strcpy(text, "");
    for (int i = 0; i <= NESTING_MAX; i++)
        strcat(text, "a{");
    assert_int_equal(read_errors(text), 1);
}

static void words_have_a_maximum(void **state)
{
    (void)state;
    static char text[2 * NODE_WORDS_MAX + 16];
    char *at = stpcpy(text, "n");
    for (int i = 0; i < NODE_WORDS_MAX; i++)
        at = stpcpy(at, " a");
    strcpy(at, ";");
    assert_int_equal(read_errors(text), 0);
    strcpy(at, " b c;");
    assert_int_equal(read_errors(text), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(directives_have_words_and_blocks),
        cmocka_unit_test(after_an_error_the_rest_is_read),
        cmocka_unit_test(nesting_has_a_maximum),
        cmocka_unit_test(words_have_a_maximum),
    };
    if (setjmp(trap))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
