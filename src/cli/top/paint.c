#include "cli/top/paint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

enum { HEIGHT_WITH_HEAD = 7, HEIGHT_WITH_BOTTOM = 3, HEIGHT_WITH_TITLES = 2 };

/* ---- where what stands ------------------------------------------------------------------------
 */

static unsigned head_rows(unsigned height)
{
    return height >= HEIGHT_WITH_HEAD ? PAINT_HEAD_ROWS : 0;
}

unsigned paint_table_rows(unsigned height)
{
    unsigned taken =
        head_rows(height) + (height >= HEIGHT_WITH_TITLES) + (height >= HEIGHT_WITH_BOTTOM);
    return height > taken ? height - taken : 0;
}

size_t paint_first(size_t first, size_t chosen, size_t count, unsigned rows)
{
    if (count <= rows)
        return 0;
    if (chosen < first)
        first = chosen;
    if (rows && chosen >= first + rows)
        first = chosen - rows + 1;
    return first + rows > count ? count - rows : first;
}

/* ---- the head ---------------------------------------------------------------------------------
 */

static void figure_add(struct buffer *text, const char *title, enum column column, double value,
                       double bound)
{
    char figure[COLUMN_TEXT_BYTES], most[COLUMN_TEXT_BYTES];
    const char *percent = column == COLUMN_CPU ? "%" : "";
    if (isnan(value))
        return;
    buffer_printf(text, "%s%s %s%s", text->length ? "  " : "", title,
                  column_format(column, value, figure), percent);
    if (!isnan(bound))
        buffer_printf(text, " of %s%s", column_format(column, bound, most), percent);
}

void paint_head(struct page *page, const struct model *model, unsigned row)
{
    char age[COLUMN_TEXT_BYTES];
    struct buffer text;
    buffer_init(&text, PAINT_MESSAGE_BYTES);
    unsigned at = page_text(page, row, 0, page->width, STYLE_STRONG, model->cluster);
    buffer_printf(&text,
                  "  enginx %s  up %s  generation %llu  %zu service%s  %zu of %zu instances up",
                  model->version, column_format(COLUMN_SINCE, model->up_seconds, age),
                  (unsigned long long)model->generation, model->services,
                  model->services == 1 ? "" : "s", model->instances_up, model->instances);
    page_text(page, row, at, page->width, STYLE_PLAIN, text.data);
    buffer_clear(&text);
    figure_add(&text, "cpu", COLUMN_CPU, model->total[COLUMN_CPU], model->quota_cpu);
    figure_add(&text, "memory", COLUMN_MEMORY, model->total[COLUMN_MEMORY], model->quota_memory);
    figure_add(&text, "rate/s", COLUMN_RATE, model->total[COLUMN_RATE], NAN);
    figure_add(&text, "connections", COLUMN_CONNECTIONS, model->total[COLUMN_CONNECTIONS], NAN);
    figure_add(&text, "errors", COLUMN_ERRORS, model->total[COLUMN_ERRORS], NAN);
    figure_add(&text, "restarts", COLUMN_RESTARTS, model->total[COLUMN_RESTARTS], NAN);
    page_text(page, row + 1, 0, page->width, STYLE_PLAIN, text.data ? text.data : "");
    buffer_done(&text);
}

/* ---- the table --------------------------------------------------------------------------------
 */

static unsigned indent_of(const struct item *item, bool flat)
{
    return item->kind == ITEM_INSTANCE && !flat ? 2 : 0;
}

void paint_layout(const struct model *model, const size_t *rows, size_t count, unsigned width,
                  bool flat, struct column_layout *ret_layout)
{
    unsigned longest = 0;
    for (size_t i = 0; i < count; i++) {
        const struct item *item = &model->items[rows[i]];
        /* Two more for the sign of what is folded. */
        unsigned own = page_text_width(item->name) + indent_of(item, flat) + 2;
        longest = own > longest ? own : longest;
    }
    column_layout(width, longest, ret_layout);
}

static unsigned column_width(const struct column_layout *layout, enum column column)
{
    return column == COLUMN_NAME   ? layout->name_width
           : column == COLUMN_NOTE ? layout->note_width
                                   : column_row(column)->width;
}

void paint_titles(struct page *page, unsigned row, const struct column_layout *layout,
                  const struct arrangement *arrangement)
{
    unsigned at = 0;
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        if (!layout->shown[i])
            continue;
        unsigned end = at + column_width(layout, i);
        bool sorts = arrangement->sort == i;
        unsigned char style = sorts ? STYLE_STRONG : STYLE_DIM;
        const char *title =
            i == COLUMN_NOTE && arrangement->filter[0] ? arrangement->filter : column_row(i)->title;
        if (column_row(i)->text)
            page_text(page, row, at, end, style, title);
        else
            page_text_right(page, row, at, end, style, title);
        at = end + 1;
    }
    page_row_style(page, row, STYLE_REVERSE);
}

static unsigned char item_style(const struct item *item)
{
    static const unsigned char styles[] = {
        [ITEM_WELL] = STYLE_GOOD, [ITEM_CHANGING] = STYLE_WARNING, [ITEM_ILL] = STYLE_BAD};
    return item->kind == ITEM_LISTENER ? STYLE_PLAIN : styles[item->mood];
}

static void name_paint(struct page *page, unsigned row, unsigned end, const struct item *item,
                       bool flat)
{
    unsigned char style = item->kind == ITEM_INSTANCE ? STYLE_PLAIN : STYLE_STRONG;
    unsigned at = indent_of(item, flat);
    if (item->folded)
        at = page_text(page, row, at, end, style, "+ ");
    page_text(page, row, at, end, style, item->name);
}

void paint_item(struct page *page, unsigned row, const struct column_layout *layout,
                const struct item *item, bool flat, bool chosen)
{
    char figure[COLUMN_TEXT_BYTES];
    unsigned at = 0;
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        if (!layout->shown[i])
            continue;
        unsigned end = at + column_width(layout, i);
        if (i == COLUMN_NAME)
            name_paint(page, row, end, item, flat);
        else if (i == COLUMN_STATE)
            page_text(page, row, at, end, item_style(item), item->state);
        else if (i == COLUMN_NOTE)
            page_text(page, row, at, end, STYLE_DIM, item->note);
        else
            page_text_right(page, row, at, end, STYLE_PLAIN,
                            column_format(i, item->value[i], figure));
        at = end + 1;
    }
    if (chosen)
        page_row_style(page, row, STYLE_REVERSE);
}

/* ---- what lies above the table ----------------------------------------------------------------
 */

static void box_clear(struct page *page, unsigned row, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        page_text(page, row, i, i + 1, STYLE_PLAIN, " ");
}

static void menu_paint(struct page *page, size_t chosen, unsigned row)
{
    enum { MENU_WIDTH = 60 };
    unsigned rows = page->height > row ? page->height - row : 0;
    size_t first = paint_first(0, chosen, COLUMN_COUNT, rows);
    for (unsigned i = 0; i < rows && first + i < COLUMN_COUNT; i++) {
        const struct column_row *column = column_row((enum column)(first + i));
        bool here = first + i == chosen;
        unsigned char style = here ? STYLE_STRONG | STYLE_REVERSE : STYLE_PLAIN;
        box_clear(page, row + i, MENU_WIDTH);
        page_text(page, row + i, 0, 14, style, here ? ">" : " ");
        page_text(page, row + i, 2, 14, style, column->word);
        page_text(page, row + i, 15, MENU_WIDTH, STYLE_PLAIN, column->says);
    }
}

static void help_paint(struct page *page, size_t first)
{
    const struct key_help *line;
    for (unsigned i = 0; i < page->height; i++) {
        box_clear(page, i, page->width);
        line = key_help((unsigned)first + i);
        if (!line)
            continue;
        page_text(page, i, 0, 26, STYLE_STRONG, line->keys);
        page_text(page, i, 27, page->width, STYLE_PLAIN, line->says);
    }
}

/* ---- the page ---------------------------------------------------------------------------------
 */

/* The chosen row's, where the table has no room for all of it; NULL: it has. */
static const struct item *note_cut(const struct page *page, const struct paint *paint)
{
    struct column_layout layout;
    if (!paint->model || paint->chosen >= paint->count)
        return NULL;
    const struct item *item = &paint->model->items[paint->rows[paint->chosen]];
    paint_layout(paint->model, paint->rows, paint->count, page->width, paint->arrangement->flat,
                 &layout);
    unsigned room = layout.shown[COLUMN_NOTE] ? layout.note_width : 0;
    return page_text_width(item->note) > room ? item : NULL;
}

/* What keys do; of a row that is not well, rather why. */
static void hint_paint(struct page *page, const struct paint *paint, unsigned row)
{
    static const char keys[] =
        "? help  / filter  < > sort  space fold  l logs  d drain  r restart  "
        "o roll  s scale  q quit";
    static const char log_keys[] = "q back  arrows PgUp PgDn scroll  End follow";
    const struct item *item = paint->mode == MODE_LOGS ? NULL : note_cut(page, paint);
    if (!item) {
        page_text(page, row, 0, page->width, STYLE_DIM, paint->mode == MODE_LOGS ? log_keys : keys);
        return;
    }
    unsigned at = page_text(page, row, 0, page->width, item_style(item), item->name);
    at = page_text(page, row, at, page->width, item_style(item), ": ");
    page_text(page, row, at, page->width, STYLE_PLAIN, item->note);
}

void paint_bottom(struct page *page, const struct paint *paint)
{
    unsigned row = page->height - 1;
    unsigned at = 0;
    if (page->height < HEIGHT_WITH_BOTTOM)
        return;
    if (paint->mode == MODE_FILTER || paint->mode == MODE_SCALE || paint->mode == MODE_CONFIRM) {
        at = page_text(page, row, at, page->width, STYLE_STRONG,
                       paint->mode == MODE_FILTER ? "filter: " : paint->asked);
        at = page_text(page, row, at, page->width, STYLE_PLAIN, paint->line);
        page_text(page, row, at, page->width, STYLE_PLAIN | STYLE_REVERSE, " ");
    } else if (paint->message && paint->message->text[0]) {
        page_text(page, row, 0, page->width, (unsigned char)paint->message->style,
                  paint->message->text);
    } else {
        hint_paint(page, paint, row);
    }
}

static void table_paint(struct page *page, const struct paint *paint, unsigned row)
{
    struct column_layout layout;
    unsigned rows = paint_table_rows(page->height);
    size_t left = paint->count - paint->first;
    size_t shown = left < rows ? left : rows;
    bool flat = paint->arrangement->flat;
    paint_layout(paint->model, paint->rows, paint->count, page->width, flat, &layout);
    if (page->height >= HEIGHT_WITH_TITLES)
        paint_titles(page, row++, &layout, paint->arrangement);
    for (size_t i = 0; i < shown; i++)
        paint_item(page, row + (unsigned)i, &layout,
                   &paint->model->items[paint->rows[paint->first + i]], flat,
                   paint->first + i == paint->chosen);
}

void paint_page(struct page *page, const struct paint *paint)
{
    page_clear(page);
    unsigned row = head_rows(page->height);
    if (paint->model && row)
        paint_head(page, paint->model, 0);
    if (paint->model)
        table_paint(page, paint, row);
    if (paint->mode == MODE_SORT)
        menu_paint(page, paint->menu, row);
    if (paint->mode == MODE_HELP)
        help_paint(page, paint->menu);
    else
        paint_bottom(page, paint);
}
