#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/top/column.h"

static void assert_figure(enum column column, double value, const char *wanted)
{
    char text[COLUMN_TEXT_BYTES];
    assert_string_equal(column_format(column, value, text), wanted);
}

static void test_figures(void **state)
{
    (void)state;
    assert_figure(COLUMN_RATE, NAN, "-");
    assert_figure(COLUMN_RATE, 0, "0");
    assert_figure(COLUMN_RATE, 12.34, "12.3");
    assert_figure(COLUMN_RATE, 999.4, "999");
    assert_figure(COLUMN_RATE, 999.6, "1.0k");
    assert_figure(COLUMN_CONNECTIONS, 7, "7");
    assert_figure(COLUMN_ERRORS, 123456, "123k");
    assert_figure(COLUMN_MEMORY, 44.25 * 1024 * 1024, "44.2M");
    assert_figure(COLUMN_MEMORY, 2147483648.0, "2.0G");
    assert_figure(COLUMN_CPU, 7.25, "7.2");
    assert_figure(COLUMN_P95, 0.197, "0.20");
    assert_figure(COLUMN_P95, 123.4, "123");
    assert_figure(COLUMN_P95, 12345, "12.3s");
    assert_figure(COLUMN_SINCE, 59.9, "59s");
    assert_figure(COLUMN_SINCE, 3725, "1h02m");
    assert_figure(COLUMN_SINCE, 90000, "1d01h");
    assert_figure(COLUMN_SINCE, -4, "0s");
    assert_figure(COLUMN_SINCE, 1e300, "11574d01h");
}

static void test_figures_fit(void **state)
{
    (void)state;
    for (unsigned column = COLUMN_RATE; column <= COLUMN_SINCE; column++)
        for (double value = 0.001; value < 1e7; value *= 1.37) {
            char text[COLUMN_TEXT_BYTES];
            column_format((enum column)column, value, text);
            size_t length = 0;
            while (text[length])
                length++;
            assert_true(length <= column_row((enum column)column)->width + 1);
        }
}

static unsigned shown_width(const struct column_layout *layout, unsigned *ret_columns)
{
    unsigned all = layout->name_width, columns = 1;
    for (unsigned i = COLUMN_NAME + 1; i < COLUMN_COUNT; i++)
        if (layout->shown[i]) {
            all += 1 + (i == COLUMN_NOTE ? layout->note_width : column_row((enum column)i)->width);
            columns++;
        }
    *ret_columns = columns;
    return all;
}

static void test_layout_fits_every_width(void **state)
{
    (void)state;
    unsigned before = 0;
    for (unsigned width = 1; width <= 400; width++)
        for (unsigned name = 0; name < 60; name += 7) {
            struct column_layout layout;
            unsigned columns;
            column_layout(width, name, &layout);
            assert_true(shown_width(&layout, &columns) <= width);
            assert_true(layout.shown[COLUMN_NAME]);
            /* More room never shows less. */
            assert_true(columns >= before || width == 1);
            before = columns;
        }
    assert_int_equal(before, COLUMN_COUNT);
}

static void test_layout_of_usual_sizes(void **state)
{
    (void)state;
    struct column_layout layout;
    column_layout(80, 20, &layout);
    assert_true(layout.shown[COLUMN_STATE] && layout.shown[COLUMN_RATE] &&
                layout.shown[COLUMN_P95]);
    assert_true(layout.shown[COLUMN_CPU] && layout.shown[COLUMN_MEMORY]);
    assert_false(layout.shown[COLUMN_NOTE]);
    column_layout(10, 20, &layout);
    assert_false(layout.shown[COLUMN_STATE]);
    assert_int_equal(layout.name_width, 10);
    column_layout(200, 20, &layout);
    assert_int_equal(layout.name_width, 20);
    assert_true(layout.note_width > 40);
}

static void test_words(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COLUMN_COUNT; i++)
        assert_int_equal(column_named(column_row((enum column)i)->word), i);
    assert_int_equal(column_named("colour"), COLUMN_COUNT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_figures_fit),
        cmocka_unit_test(test_layout_fits_every_width),
        cmocka_unit_test(test_layout_of_usual_sizes),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
