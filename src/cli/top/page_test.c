#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top/page.h"

/* What the row prints, without its newline. */
static char *row_of(const struct page *page, unsigned row)
{
    static char text[4096];
    size_t size = 0;
    char *printed = NULL;
    FILE *out = open_memstream(&printed, &size);
    page_row_print(page, row, out);
    fclose(out);
    assert_true(size > 0 && size < sizeof text && printed[size - 1] == '\n');
    memcpy(text, printed, size - 1);
    text[size - 1] = 0;
    free(printed);
    return text;
}

static void assert_shown(const char *text, const char *wanted)
{
    struct page page = {0};
    assert_true(page_resize(&page, 40, 1));
    page_text(&page, 0, 0, 40, STYLE_PLAIN, text);
    assert_string_equal(row_of(&page, 0), wanted);
    page_done(&page);
}

static void test_what_is_harmless(void **state)
{
    (void)state;
    assert_shown("plain", "plain");
    assert_shown("Grüße 中文", "Grüße 中文");
    assert_shown("\033[31mred\033[0m", "?[31mred?[0m");
    assert_shown("\033]0;title\007", "?]0;title?");
    assert_shown("a\tb\rc\177", "a b?c?");
    assert_shown("\xc2\x9b"
                 "31m",
                 "?31m"); /* CSI as one character of C1 */
    assert_shown("\xff\xfe broken \xc3", "?? broken ?");
    assert_shown("\xe2\x80\xae"
                 "gpj.exe",
                 "?gpj.exe");       /* RIGHT-TO-LEFT OVERRIDE */
    assert_shown("e\xcc\x81", "e"); /* a mark on the one before */
}

static void test_edges(void **state)
{
    (void)state;
    struct page page = {0};
    assert_true(page_resize(&page, 5, 2));
    assert_int_equal(page_text(&page, 0, 0, 99, STYLE_PLAIN, "abcdefgh"), 5);
    assert_string_equal(row_of(&page, 0), "abcde");
    assert_int_equal(page_text(&page, 1, 0, 99, STYLE_PLAIN, "abcd中"), 4); /* half of it fits */
    assert_string_equal(row_of(&page, 1), "abcd");
    assert_int_equal(page_text(&page, 7, 0, 99, STYLE_PLAIN, "x"), 0);
    page_text(&page, 0, 9, 99, STYLE_PLAIN, "x");
    page_text_right(&page, 0, 1, 4, STYLE_PLAIN, "9");
    page_text_right(&page, 1, 0, 3, STYLE_PLAIN, "12345");
    assert_string_equal(row_of(&page, 0), "abc9e");
    assert_string_equal(row_of(&page, 1), "123d");
    assert_true(page_resize(&page, 0, 0));
    page_text(&page, 0, 0, 1, STYLE_PLAIN, "x");
    assert_true(page_resize(&page, 1000000, 1000000));
    assert_int_equal(page.width, PAGE_WIDTH_MAX);
    page_done(&page);
}

static void test_without_utf8(void **state)
{
    (void)state;
    setlocale(LC_CTYPE, "C");
    assert_shown("Gr\xc3\xbc\xc3\x9f", "Gr??");
    setlocale(LC_CTYPE, "C.UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_harmless),
        cmocka_unit_test(test_edges),
        cmocka_unit_test(test_without_utf8),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
