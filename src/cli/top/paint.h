/* What `enginx top` shows, painted on a page: head, table, and a line for what is to be said. Pure:
 * the same for a terminal and for --batch. */
#pragma once

#include "cli/top/arrange.h"
#include "cli/top/keys.h"
#include "cli/top/page.h"

enum { PAINT_HEAD_ROWS = 2, PAINT_MESSAGE_BYTES = 512 };

struct paint_message {
    char text[PAINT_MESSAGE_BYTES]; /* "": none */
    enum page_style style;
};

/* Rows of the page that hold rows of the table: what is left of the height beside head, titles and
 * the last line, which give way in this order where there is no room: head, the last line, titles.
 */
unsigned paint_table_rows(unsigned height);
/* The first row to show so that the chosen one is on the page; `first` is where it was before. */
size_t paint_first(size_t first, size_t chosen, size_t count, unsigned rows);

struct paint {
    const struct model *model; /* NULL: nothing is known yet */
    const struct arrangement *arrangement;
    const size_t *rows; /* of the arrangement */
    size_t count;
    size_t first, chosen;
    enum mode mode;
    const char *line;                    /* what is typed in MODE_FILTER and MODE_SCALE */
    size_t menu;                         /* the chosen line of MODE_SORT, the first of MODE_HELP */
    const char *asked;                   /* of MODE_CONFIRM and MODE_SCALE: what for */
    const struct paint_message *message; /* the last line's */
};

/* The two lines of the head, for the whole of the cluster. */
void paint_head(struct page *page, const struct model *model, unsigned row);
/* Titles and one item. `chosen`: the cursor is on it. */
void paint_titles(struct page *page, unsigned row, const struct column_layout *layout,
                  const struct arrangement *arrangement);
void paint_item(struct page *page, unsigned row, const struct column_layout *layout,
                const struct item *item, bool flat, bool chosen);
/* The layout for what is shown in so many characters. */
void paint_layout(const struct model *model, const size_t *rows, size_t count, unsigned width,
                  bool flat, struct column_layout *ret_layout);
/* The whole page, but for MODE_LOGS. */
void paint_page(struct page *page, const struct paint *paint);
/* The last line. */
void paint_bottom(struct page *page, const struct paint *paint);
