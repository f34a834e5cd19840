#include "conf/lexer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static jmp_buf trap;

struct fixture {
    struct arena *arena;
    struct buffer scratch;
    struct sources sources;
    struct diagnostics *diagnostics;
    struct lexer lexer;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->arena = arena_new(1 << 20);
    arena_trap_set(fixture->arena, &trap);
    buffer_init(&fixture->scratch, 1 << 16);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    arena_free(fixture->arena);
    buffer_done(&fixture->scratch);
    sources_done(&fixture->sources);
    diagnostics_free(fixture->diagnostics);
    free(fixture);
    return 0;
}

static void begin(struct fixture *fixture, const char *text)
{
    char problem[SOURCE_PROBLEM_BYTES];
    const struct source *source =
        sources_copy(&fixture->sources, text, strlen(text), "t", NULL, problem);
    assert_non_null(source);
    diagnostics_free(fixture->diagnostics);
    fixture->diagnostics = diagnostics_new();
    lexer_init(&fixture->lexer, source, fixture->arena, &fixture->scratch, fixture->diagnostics);
}

/* All tokens of a text, each word in <>. */
static const char *tokens(struct fixture *fixture, const char *text)
{
    static char all[4096];
    size_t at = 0;
    struct token token;
    begin(fixture, text);
    all[0] = 0;
    for (lexer_next(&fixture->lexer, &token); token.kind != TOKEN_END;
         lexer_next(&fixture->lexer, &token)) {
        const char *kinds[] = {[TOKEN_OPEN] = "{", [TOKEN_CLOSE] = "}", [TOKEN_SEMICOLON] = ";"};
        if (token.kind == TOKEN_WORD)
            at += (size_t)snprintf(all + at, sizeof all - at, "<%s>", token.word.text);
        else
            at += (size_t)snprintf(all + at, sizeof all - at, "%s", kinds[token.kind]);
    }
    return all;
}

static size_t errors(const struct fixture *fixture)
{
    return diagnostics_errors(fixture->diagnostics);
}

static void words_and_signs_are_told_apart(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(tokens(fixture, ""), "");
    assert_string_equal(tokens(fixture, "service web{run x;}"), "<service><web>{<run><x>;}");
    assert_string_equal(tokens(fixture, "a # b ; c\n#\n  d#e\r\n;#"), "<a><d#e>;");
    assert_string_equal(tokens(fixture, "listen 80 tcp -> web"), "<listen><80><tcp><->><web>");
    assert_string_equal(tokens(fixture, "\xef\xbb\xbf"
                                        "a"),
                        "<a>");
    assert_string_equal(tokens(fixture, "\xff\xc3\xa4"), "<\xff\xc3\xa4>");
    assert_int_equal(errors(fixture), 0);
}

static void strings_have_escapes(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(tokens(fixture, "\"a b;{}#\" ''"), "<a b;{}#><>");
    assert_string_equal(tokens(fixture, "\"\\n\\t\\r\\e\\\\\\\"\\'\\x41\\xC3\""),
                        "<\n\t\r\033\\\"'A\xc3>");
    assert_string_equal(tokens(fixture, "\"one\\\ntwo\nthree\""), "<onetwo\nthree>");
    assert_string_equal(tokens(fixture, "'a\\n\"$x'"), "<a\\n\"$$x>");
    assert_string_equal(tokens(fixture, "NAME=\"a b\"'c'd"), "<NAME=a bcd>");
    assert_string_equal(tokens(fixture, "a\\ b\\;\\{\\\\d\\d C:\\x \\$a"),
                        "<a b;{\\d\\d><C:\\x><$$a>");
    assert_int_equal(errors(fixture), 0);
}

static void dollars_become_canonical(void **state)
{
    struct fixture *fixture = *state;
    assert_string_equal(tokens(fixture, "$a ${a}b \"$a\"'b' x$a-"), "<${a}><${a}b><${a}b><x${a}->");
    assert_string_equal(tokens(fixture, "$env.HOME/x ${env.A_1} $env $env.1 $environment.x"),
                        "<${env.HOME}/x><${env.A_1}><${env}><${env}.1><${environment}.x>");
    assert_string_equal(tokens(fixture, "$$ 5$ $1 \"\\$a \\x24\" $$$a"),
                        "<$$><5$$><${1}><$$a $$><$$${a}>");
    assert_string_equal(tokens(fixture, "$header.X-A-/$cookie.a_b$arg.q-1 $arg.-x $0"),
                        "<${header.X-A}-/${cookie.a_b}${arg.q-1}><${arg}.-x><$$0>");
    assert_string_equal(tokens(fixture, "$(7000 + $index)x;"), "<$(7000 + $index)x>;");
    assert_int_equal(errors(fixture), 0);
}

static void places_are_exact(void **state)
{
    struct fixture *fixture = *state;
    struct token token;
    begin(fixture, "one\n  \"two\n2\" three\\\n;");
    lexer_next(&fixture->lexer, &token);
    lexer_next(&fixture->lexer, &token);
    struct place place = word_place(&token.word, 0);
    assert_int_equal(place.line, 2);
    assert_int_equal(place.column, 3);
    assert_int_equal(place.length, 7);
    assert_memory_equal(place.source, "  \"two", 6);
    assert_true(token.word.quoted);
    lexer_next(&fixture->lexer, &token);
    place = word_place(&token.word, 2);
    assert_int_equal(place.line, 3);
    assert_int_equal(place.column, 6);
    assert_int_equal(place.length, 4);
    assert_false(token.word.quoted);
    lexer_next(&fixture->lexer, &token);
    assert_int_equal(token.kind, TOKEN_SEMICOLON);
    assert_int_equal(token.word.line, 4);
}

static void lines_in_strings_count(void **state)
{
    struct fixture *fixture = *state;
    struct token token;
    begin(fixture, "\"a\\\nb\nc\" 'd\ne' f");
    for (int i = 0; i < 3; i++)
        lexer_next(&fixture->lexer, &token);
    struct place place = word_place(&token.word, 0);
    assert_string_equal(token.word.text, "f");
    assert_int_equal(place.line, 4);
    assert_int_equal(place.column, 4);
}

static void wrong_spellings_are_reported(void **state)
{
    struct fixture *fixture = *state;
    static const char *const wrong[] = {"\"a",       "'a",     "a\"b",   "\"\\q\"", "\"\\x0g\"",
                                        "\"\\x00\"", "${",     "${a",    "${a b}",  "${12}",
                                        "$(1",       "$(1\n)", "a\x01z", "\x7f",    "\"\\"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        tokens(fixture, wrong[i]);
        if (!errors(fixture))
            fail_msg("`%s` is taken", wrong[i]);
    }
}

static void what_is_quoted_reads_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    char every[256], canonical[300];
    for (int i = 0; i < 255; i++)
        every[i] = (char)(i + 1);
    every[255] = 0;
    const char *const texts[] = {"",      "plain",    "a b;{}#", "it's \"so\"",
                                 "\\n\\", "every=1s", "->",      every};
    struct buffer quoted;
    buffer_init(&quoted, 4096);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct token token;
        buffer_clear(&quoted);
        word_quote(&quoted, texts[i]);
        begin(fixture, quoted.data);
        lexer_next(&fixture->lexer, &token);
        snprintf(canonical, sizeof canonical, "%s", texts[i]);
        char *dollar = strchr(canonical, '$');
        if (dollar) /* a word's text has it doubled */
            memmove(dollar + 1, dollar, strlen(dollar) + 1);
        assert_string_equal(token.word.text, canonical);
        assert_true(token.word.quoted);
        lexer_next(&fixture->lexer, &token);
        assert_int_equal(token.kind, TOKEN_END);
        assert_int_equal(errors(fixture), 0);
    }
    buffer_done(&quoted);
}

static void a_word_has_a_maximum(void **state)
{
    struct fixture *fixture = *state;
    static char text[100000];
    memset(text, 'x', sizeof text - 1);
    text[0] = '"';
    text[sizeof text - 2] = '"';
    begin(fixture, text);
    struct token token;
    lexer_next(&fixture->lexer, &token);
    assert_int_equal(errors(fixture), 1);
    lexer_next(&fixture->lexer, &token);
    assert_int_equal(token.kind, TOKEN_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(words_and_signs_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(strings_have_escapes, setup, teardown),
        cmocka_unit_test_setup_teardown(dollars_become_canonical, setup, teardown),
        cmocka_unit_test_setup_teardown(places_are_exact, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_in_strings_count, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_spellings_are_reported, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_quoted_reads_as_it_was, setup, teardown),
        cmocka_unit_test_setup_teardown(a_word_has_a_maximum, setup, teardown),
    };
    if (setjmp(trap))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
