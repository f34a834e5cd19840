#include "topology/pattern.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void parts_come_one_after_the_other(void **state)
{
    (void)state;
    const char *at = "https://${host}${uri}$$5${header.X-A}${2}";
    static const struct {
        enum pattern_kind kind;
        const char *text;
        unsigned capture;
    } wanted[] = {
        {PATTERN_LITERAL, "https://", 0}, {PATTERN_HOST, "", 0},     {PATTERN_URI, "", 0},
        {PATTERN_LITERAL, "$", 0},        {PATTERN_LITERAL, "5", 0}, {PATTERN_HEADER, "X-A", 0},
        {PATTERN_CAPTURE, "", 2},
    };
    struct pattern_part part;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_true(pattern_next(&at, &part));
        assert_int_equal(part.kind, wanted[i].kind);
        assert_int_equal(part.capture, wanted[i].capture);
        assert_int_equal(part.length, strlen(wanted[i].text));
        if (part.length)
            assert_memory_equal(part.text, wanted[i].text, part.length);
    }
    assert_false(pattern_next(&at, &part));
}

static void all_names_are_understood(void **state)
{
    (void)state;
    for (size_t i = 0; pattern_names[i]; i++) {
        char text[64];
        struct pattern_part part;
        const char *name = pattern_names[i];
        const char *at = text;
        snprintf(text, sizeof text, "${%s%s}", name, name[strlen(name) - 1] == '.' ? "x" : "");
        assert_true(pattern_next(&at, &part));
        assert_int_not_equal(part.kind, PATTERN_LITERAL);
        assert_false(pattern_next(&at, &part));
    }
}

static void the_largest_capture_is_found(void **state)
{
    (void)state;
    assert_int_equal(pattern_captures("/${2}/${7}/${1}"), 7);
    assert_int_equal(pattern_captures("/$$1/${host}"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_come_one_after_the_other),
        cmocka_unit_test(all_names_are_understood),
        cmocka_unit_test(the_largest_capture_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
