#include "cli/cli.h"

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

static const char *file, *lines;
static bool follow;

static const struct cli_option table[] = {{"--follow", "-f", NULL, &follow},
                                          {"--lines", "-n", &lines, NULL},
                                          {"--file", NULL, &file, NULL}};

/* Parses a command's words (which end with NULL, and are copied); the number left. */
static int parse(struct cli *cli, const char *const *given, bool stop_early)
{
    static char texts[16][32];
    static char *words[16 + 1];
    int count = 0;
    for (; given[count]; count++)
        words[count] = strcpy(texts[count], given[count]);
    words[count] = NULL;
    follow = false;
    file = lines = NULL;
    *cli = (struct cli){.argc = count, .argv = words};
    return cli_options(cli, table, sizeof table / sizeof table[0], stop_early);
}

#define PARSE(early, ...)                                                                          \
    const char *const words[] = {"logs", __VA_ARGS__, NULL};                                       \
    struct cli cli;                                                                                \
    int left = parse(&cli, words, early)

static void options_stand_anywhere(void **state)
{
    (void)state;
    PARSE(false, "-n", "5", "api", "--follow", "--file=x=y");
    assert_int_equal(left, 2);
    assert_string_equal(cli.argv[1], "api");
    assert_null(cli.argv[2]);
    assert_true(follow);
    assert_string_equal(lines, "5");
    assert_string_equal(file, "x=y");
}

static void behind_two_dashes_there_are_none(void **state)
{
    (void)state;
    PARSE(false, "-f", "--", "-n", "--");
    assert_int_equal(left, 3);
    assert_string_equal(cli.argv[1], "-n");
    assert_string_equal(cli.argv[2], "--");
    assert_null(lines);
}

static void a_program_keeps_its_own(void **state)
{
    (void)state;
    PARSE(true, "-n", "2", "sh", "-c", "-n");
    assert_int_equal(left, 4);
    assert_string_equal(cli.argv[1], "sh");
    assert_string_equal(cli.argv[2], "-c");
    assert_string_equal(lines, "2");
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    PARSE(false, "--fly");
    assert_int_equal(left, -1);
    const char *const no_value[] = {"logs", "-n", NULL};
    assert_int_equal(parse(&cli, no_value, false), -1);
    const char *const prefix[] = {"logs", "--fil", "x", NULL}; /* no guessing */
    assert_int_equal(parse(&cli, prefix, false), -1);
    const char *const dash[] = {"logs", "-", NULL}; /* a word of its own */
    assert_int_equal(parse(&cli, dash, false), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_stand_anywhere),
        cmocka_unit_test(behind_two_dashes_there_are_none),
        cmocka_unit_test(a_program_keeps_its_own),
        cmocka_unit_test(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
