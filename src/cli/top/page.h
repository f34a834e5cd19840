/* A page of text cells: what a screen shows, before anybody knows which terminal it is. Text from
 * outside becomes harmless here: whatever is no printable character of the locale — control
 * characters, escape sequences, bytes that are not UTF-8, marks that turn the direction of writing
 * — becomes `?`. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <wchar.h>

enum page_style { STYLE_PLAIN, STYLE_STRONG, STYLE_DIM, STYLE_GOOD, STYLE_WARNING, STYLE_BAD };
enum { STYLE_REVERSE = 0x80, STYLE_KIND = 0x7f }; /* may be added to a style */

enum { PAGE_WIDTH_MAX = 1024, PAGE_HEIGHT_MAX = 1024 };

struct cell {
    wchar_t character; /* 0: the right half of a wide one */
    unsigned char style;
};

struct page {
    unsigned width, height;
    struct cell *cells; /* row by row; owned */
};

/* Makes it that large (at most …_MAX) and empty. False: no memory; it is as it was. */
bool page_resize(struct page *page, unsigned width, unsigned height);
void page_clear(struct page *page);
void page_done(struct page *page);

/* Writes UTF-8 from (row, column) on, up to `end` or the page's edge, whichever comes first; gives
 * the column behind it. A row that is not there is passed over. */
unsigned page_text(struct page *page, unsigned row, unsigned column, unsigned end,
                   unsigned char style, const char *text);
/* The same at the right of [column, end); what does not fit is cut on its right. */
void page_text_right(struct page *page, unsigned row, unsigned column, unsigned end,
                     unsigned char style, const char *text);
/* Adds the style's bits to a whole row. */
void page_row_style(struct page *page, unsigned row, unsigned char bits);
/* Characters of the screen that the text takes. */
unsigned page_text_width(const char *text);

/* Prints a row without the spaces at its end, as the locale writes it. */
void page_row_print(const struct page *page, unsigned row, FILE *out);
