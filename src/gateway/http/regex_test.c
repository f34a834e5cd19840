#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "gateway/http/regex.h"

static enum regex_result once(const char *text, const char *subject, struct slice *ret_captures)
{
    char why[128];
    struct regex *regex = regex_new(text, why, sizeof why);
    assert_non_null(regex);
    enum regex_result result =
        regex_match(regex, (struct slice){subject, (uint32_t)strlen(subject)}, ret_captures);
    regex_free(regex);
    return result;
}

static void captures_are_parts_of_the_subject(void **state)
{
    (void)state;
    struct slice captures[REGEX_CAPTURES];
    assert_int_equal(once("^/(a)?(x)?/([0-9]+)$", "/a/42", captures), REGEX_YES);
    assert_true(slice_is(captures[0], "/a/42"));
    assert_true(slice_is(captures[1], "a"));
    assert_null(captures[2].bytes);
    assert_true(slice_is(captures[3], "42"));
    assert_null(captures[4].bytes);
    assert_int_equal(once("^/b", "/a/42", captures), REGEX_NO);
}

static void more_groups_than_there_is_room(void **state)
{
    (void)state;
    struct slice captures[REGEX_CAPTURES];
    assert_int_equal(once("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)(k)", "abcdefghijk", captures), REGEX_YES);
    assert_true(slice_is(captures[9], "i"));
}

static void what_costs_too_much_is_given_up(void **state)
{
    (void)state;
    struct slice captures[REGEX_CAPTURES];
    assert_int_equal(once("^(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", captures),
                     REGEX_GAVE_UP);
    /* PCRE2 by itself would go on here. */
    assert_int_equal(once("^(a+)+$", "aaaaaaaaaaaaaaaaaaaab", captures), REGEX_GAVE_UP);
    /* A pattern cannot lift its own bounds. */
    assert_int_equal(once("(*LIMIT_MATCH=4000000000)^(a+)+$",
                          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", captures),
                     REGEX_GAVE_UP);
    assert_int_equal(
        once("(*NO_JIT)^(a+)+$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", captures),
        REGEX_GAVE_UP);
}

static void what_is_no_expression_is_named(void **state)
{
    (void)state;
    char why[128] = "";
    assert_null(regex_new("^/(a", why, sizeof why));
    assert_non_null(strstr(why, "parenthes"));
    assert_non_null(strstr(why, "byte 4"));
}

static void *thread(void *regex)
{
    struct slice captures[REGEX_CAPTURES];
    for (int i = 0; i < 10000; i++) {
        char text[] = "/a/0";
        text[3] = (char)('0' + i % 10);
        if (regex_match(regex, (struct slice){text, 4}, captures) != REGEX_YES ||
            captures[1].bytes != text + 3)
            return regex;
    }
    return NULL;
}

static void threads_share_an_expression(void **state)
{
    (void)state;
    char why[128];
    struct regex *regex = regex_new("^/a/([0-9])$", why, sizeof why);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, thread, regex), 0);
    for (int i = 0; i < 4; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    regex_free(regex);
}

static void beginning(const char *text, const char *expected)
{
    char out[32];
    size_t length = regex_beginning(text, out, sizeof out - 1);
    out[length] = 0;
    assert_string_equal(out, expected);
}

static void beginnings_are_what_all_matches_have(void **state)
{
    (void)state;
    beginning("^/u/([0-9]+)$", "/u/");
    beginning("/u/", "");
    beginning("^/a|/b", "");
    beginning("^/a(b|c)", "/a");
    beginning("^/a[(]|/b)", ""); /* a parenthesis in brackets is none */
    beginning("^/a\\.b\\/c\\d", "/a.b/c");
    beginning("^/ab?c", "/a");
    beginning("^/ab*", "/a");
    beginning("^/ab{0,1}", "/a");
    beginning("^/ab+c", "/ab");
    beginning("^(?i)/a", "");
    beginning("^\\Q/a\\E", "");
    beginning("^/a\\.?b", "/a");
    beginning("^/0123456789012345678901234567890123456789", "/012345678901234567890123456789");
    beginning("^", "");
    beginning("", "");
    beginning("^/a\\", "/a");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captures_are_parts_of_the_subject),
        cmocka_unit_test(more_groups_than_there_is_room),
        cmocka_unit_test(what_costs_too_much_is_given_up),
        cmocka_unit_test(what_is_no_expression_is_named),
        cmocka_unit_test(threads_share_an_expression),
        cmocka_unit_test(beginnings_are_what_all_matches_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
