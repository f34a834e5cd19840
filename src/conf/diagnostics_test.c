#include "conf/diagnostics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *text; /* what printed() wrote last */
static size_t text_size;

static void printed(const struct diagnostics *diagnostics, bool colour)
{
    free(text);
    text = NULL;
    FILE *out = open_memstream(&text, &text_size);
    diagnostics_print(diagnostics, out, colour);
    fclose(out);
}

static void they_are_sorted_with_source_caret_and_hint(void **state)
{
    (void)state;
    struct diagnostics *diagnostics = diagnostics_new();
    const char *source = "first\n\tseconds 1;\r\nthird";
    struct place late = {"a.conf", source + 6, 2, 2, 7};
    struct place early = {"a.conf", source, 1, 1, 5};
    struct place other = {"b.conf", NULL, 0, 0, 0};
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &late, "a hint", "late %d", 7);
    diagnostics_add(diagnostics, DIAGNOSTIC_WARNING, &other, NULL, "other");
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &early, NULL, "early");
    printed(diagnostics, false);
    assert_string_equal(text, "a.conf:1:1: error: early\n"
                              "     1 | first\n"
                              "       | ^~~~~\n"
                              "a.conf:2:2: error: late 7\n"
                              "     2 | \tseconds 1;\n"
                              "       | \t^~~~~~~\n"
                              "       hint: a hint\n"
                              "b.conf: warning: other\n"
                              "2 errors, 1 warning\n");
    assert_int_equal(diagnostics_errors(diagnostics), 2);
    assert_int_equal(diagnostics_warnings(diagnostics), 1);
    diagnostics_free(diagnostics);
}

static void without_any_nothing_is_printed(void **state)
{
    (void)state;
    struct diagnostics *diagnostics = diagnostics_new();
    printed(diagnostics, false);
    assert_string_equal(text, "");
    diagnostics_free(diagnostics);
}

static void the_same_twice_is_kept_once(void **state)
{
    (void)state;
    struct diagnostics *diagnostics = diagnostics_new();
    struct place place = {"a", NULL, 3, 1, 1};
    struct place elsewhere = {"a", NULL, 4, 1, 1};
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "same");
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "same");
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &elsewhere, NULL, "same");
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "different");
    assert_int_equal(diagnostics_errors(diagnostics), 3);
    diagnostics_free(diagnostics);
}

static void more_than_the_maximum_are_counted(void **state)
{
    (void)state;
    struct diagnostics *diagnostics = diagnostics_new();
    for (size_t i = 0; i < DIAGNOSTICS_MAX + 5; i++) {
        struct place place = {"a", NULL, i + 1, 1, 1};
        assert_int_equal(diagnostics_full(diagnostics), i >= DIAGNOSTICS_MAX);
        diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "wrong");
    }
    printed(diagnostics, false);
    assert_non_null(strstr(text, "\n105 errors, 0 warnings (the first 100 are shown)\n"));
    assert_null(strstr(text, "a:101:"));
    diagnostics_free(diagnostics);
}

static void a_file_cannot_write_to_the_terminal(void **state)
{
    (void)state;
    struct diagnostics *diagnostics = diagnostics_new();
    struct place place = {"a", "x\033[2Jy", 1, 1, 6};
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, "\033h", "bad \033[2J");
    printed(diagnostics, false);
    assert_null(strchr(text, '\033'));
    assert_non_null(strstr(text, "bad ?[2J"));
    assert_non_null(strstr(text, "x?[2Jy"));
    diagnostics_free(diagnostics);
}

static void of_a_long_line_a_part_is_shown(void **state)
{
    (void)state;
    static char line[100001];
    memset(line, 'x', sizeof line - 1);
    line[50000] = 'Y';
    struct diagnostics *diagnostics = diagnostics_new();
    struct place place = {"a", line, 1, 50001, 40000};
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "here");
    printed(diagnostics, false);
    assert_true(strlen(text) < 500);
    const char *excerpt = strstr(text, "     1 | ");
    const char *caret = strstr(text, "       | ");
    assert_int_equal(strchr(excerpt, 'Y') - excerpt, strchr(caret, '^') - caret);
    diagnostics_free(diagnostics);
}

static void the_caret_counts_characters_not_bytes(void **state)
{
    (void)state;
    struct diagnostics *diagnostics = diagnostics_new();
    struct place place = {"a", "\xc3\xa4\xc3\xb6 w\xc3\xbcrd;", 1, 6, 5};
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "here");
    printed(diagnostics, false);
    assert_non_null(strstr(text, "       |    ^~~~\n"));
    diagnostics_free(diagnostics);
}

static void colours_are_asked_for(void **state)
{
    (void)state;
    struct diagnostics *diagnostics = diagnostics_new();
    struct place place = {"a", "word", 1, 1, 4};
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, "h", "here");
    printed(diagnostics, true);
    assert_non_null(strstr(text, "\033[1;31merror:\033[0m"));
    diagnostics_free(diagnostics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_sorted_with_source_caret_and_hint),
        cmocka_unit_test(without_any_nothing_is_printed),
        cmocka_unit_test(the_same_twice_is_kept_once),
        cmocka_unit_test(more_than_the_maximum_are_counted),
        cmocka_unit_test(a_file_cannot_write_to_the_terminal),
        cmocka_unit_test(of_a_long_line_a_part_is_shown),
        cmocka_unit_test(the_caret_counts_characters_not_bytes),
        cmocka_unit_test(colours_are_asked_for),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text);
    return failed;
}
