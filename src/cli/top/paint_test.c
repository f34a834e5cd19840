#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top/paint.h"

enum { SERVICES = 30 };

static struct model *model_make(void)
{
    json_t *services = json_array();
    char name[32];
    for (int i = 0; i < SERVICES; i++) {
        snprintf(name, sizeof name, "service-%02d", i);
        json_array_append_new(services, json_pack("{s:s, s:i, s:[{s:i, s:s, s:f, s:s}]}", "name",
                                                  name, "wanted", 1, "instances", "id", 1, "state",
                                                  "up", "cpu_percent", 1.5, "reason",
                                                  i == 3 ? "it \033[2J says" : "fine"));
    }
    json_t *status =
        json_pack("{s:s, s:s, s:o}", "cluster", "shop", "version", "0.1.0", "services", services);
    struct model *model = model_new(status, NULL, 1, 1);
    json_decref(status);
    assert_non_null(model);
    return model;
}

/* The whole page as text. */
static char *page_print(const struct page *page)
{
    size_t size = 0;
    char *text = NULL;
    FILE *out = open_memstream(&text, &size);
    for (unsigned row = 0; row < page->height; row++)
        page_row_print(page, row, out);
    fclose(out);
    return text;
}

static char *painted(struct paint *paint, const struct model *model, unsigned width,
                     unsigned height)
{
    static const struct arrangement arrangement = {.sort = COLUMN_NAME};
    static size_t rows[SERVICES * 2 + 1];
    struct page page = {0};
    assert_true(page_resize(&page, width, height));
    paint->model = model;
    paint->arrangement = &arrangement;
    paint->rows = rows;
    paint->count = model ? arrange(model, &arrangement, rows) : 0;
    if (!paint->line)
        paint->line = paint->asked = "";
    paint->first = paint_first(paint->first, paint->chosen, paint->count, paint_table_rows(height));
    paint_page(&page, paint);
    char *text = page_print(&page);
    page_done(&page);
    return text;
}

static void test_a_usual_screen(void **state)
{
    (void)state;
    struct model *model = model_make();
    struct paint paint = {.chosen = 0};
    char *text = painted(&paint, model, 120, 24);
    assert_memory_equal(text, "shop  enginx 0.1.0", 18);
    assert_non_null(strstr(text, "30 of 30 instances up"));
    assert_non_null(strstr(text, "\nNAME"));
    assert_non_null(strstr(text, "\nservice-00"));
    assert_non_null(strstr(text, "\n  service-00.1"));
    assert_non_null(strstr(text, "q quit"));
    assert_non_null(strstr(text, "it ?[2J says"));
    assert_null(strchr(text, '\033'));
    free(text);
    model_free(model);
}

/* What the table has no room for is said below it. */
static void test_the_note_of_the_chosen_row(void **state)
{
    (void)state;
    struct model *model = model_make();
    struct paint paint = {.chosen = 7}; /* service-03.1 */
    char *text = painted(&paint, model, 80, 24);
    assert_non_null(strstr(text, "\nservice-03.1: it ?[2J says\n"));
    assert_null(strstr(text, "q quit"));
    free(text);
    text = painted(&paint, model, 160, 24);
    assert_null(strstr(text, "service-03.1: "));
    assert_non_null(strstr(text, "q quit"));
    free(text);
    paint.chosen = 6; /* its service has none */
    text = painted(&paint, model, 80, 24);
    assert_non_null(strstr(text, "\n? help"));
    free(text);
    model_free(model);
}

/* Each size, in each mode, with the cursor anywhere; the address sanitizer looks on. */
static void test_every_size(void **state)
{
    (void)state;
    static const unsigned sizes[][2] = {{1, 1},   {1, 50}, {10, 3},  {10, 1},   {3, 2},
                                        {80, 24}, {80, 4}, {40, 10}, {200, 60}, {1024, 3}};
    struct model *model = model_make();
    struct paint_message message = {"something was said", STYLE_BAD};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (unsigned mode = 0; mode < MODE_COUNT; mode++)
            for (size_t chosen = 0; chosen < SERVICES * 2; chosen += 7) {
                struct paint paint = {.mode = (enum mode)mode,
                                      .chosen = chosen,
                                      .menu = chosen % COLUMN_COUNT,
                                      .line = "what is typed",
                                      .asked = "sure? ",
                                      .message = chosen % 2 ? &message : NULL};
                free(painted(&paint, model, sizes[i][0], sizes[i][1]));
                free(painted(&paint, NULL, sizes[i][0], sizes[i][1]));
            }
    model_free(model);
}

/* The chosen row is on the page, wherever it is. */
static void test_scrolling(void **state)
{
    (void)state;
    for (unsigned rows = 1; rows < 12; rows++)
        for (size_t chosen = 0; chosen < 50; chosen++)
            for (size_t before = 0; before < 50; before += 3) {
                size_t first = paint_first(before, chosen, 50, rows);
                assert_true(chosen >= first && chosen < first + rows);
                assert_true(first + rows <= 50);
            }
    assert_int_equal(paint_first(7, 2, 3, 10), 0);
    assert_int_equal(paint_first(0, 0, 0, 0), 0);
    for (unsigned height = 1; height < 30; height++)
        assert_true(paint_table_rows(height) >= 1 && paint_table_rows(height) <= height);
}

static void test_modes(void **state)
{
    (void)state;
    struct model *model = model_make();
    struct paint paint = {.mode = MODE_CONFIRM, .line = "", .asked = "drain web.1? (y/n) "};
    char *text = painted(&paint, model, 80, 24);
    assert_non_null(strstr(text, "\ndrain web.1? (y/n)"));
    free(text);
    paint.mode = MODE_FILTER;
    paint.line = "abc";
    text = painted(&paint, model, 80, 24);
    assert_non_null(strstr(text, "\nfilter: abc"));
    free(text);
    paint.mode = MODE_SORT;
    paint.menu = COLUMN_CPU;
    text = painted(&paint, model, 80, 24);
    assert_non_null(strstr(text, "\n> cpu"));
    free(text);
    paint.mode = MODE_HELP;
    paint.menu = 0;
    text = painted(&paint, model, 80, 24);
    assert_non_null(strstr(text, "drain the instance"));
    free(text);
    model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_usual_screen), cmocka_unit_test(test_the_note_of_the_chosen_row),
        cmocka_unit_test(test_every_size),     cmocka_unit_test(test_scrolling),
        cmocka_unit_test(test_modes),
    };
    if (!setlocale(LC_CTYPE, "C.UTF-8"))
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
