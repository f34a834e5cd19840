#include "cli/top/page.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <wctype.h>

#include "base/utf8.h"

bool page_resize(struct page *page, unsigned width, unsigned height)
{
    unsigned bounded_width = width < PAGE_WIDTH_MAX ? width : PAGE_WIDTH_MAX;
    unsigned bounded_height = height < PAGE_HEIGHT_MAX ? height : PAGE_HEIGHT_MAX;
    size_t count = (size_t)bounded_width * bounded_height;
    struct cell *cells = calloc(count ? count : 1, sizeof *cells);
    if (!cells)
        return false;
    free(page->cells);
    *page = (struct page){bounded_width, bounded_height, cells};
    page_clear(page);
    return true;
}

void page_clear(struct page *page)
{
    for (size_t i = 0; i < (size_t)page->width * page->height; i++)
        page->cells[i] = (struct cell){L' ', STYLE_PLAIN};
}

void page_done(struct page *page)
{
    free(page->cells);
    *page = (struct page){0};
}

static wchar_t sequence_decode(const unsigned char *text, size_t length)
{
    static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    wchar_t character = text[0] & masks[length];
    for (size_t i = 1; i < length; i++)
        character = (wchar_t)((unsigned)character << 6 | (text[i] & 0x3f));
    return character;
}

/* U+200E, U+200F, U+202A…U+202E, U+2066…U+2069: what follows them would stand elsewhere. */
static bool turns_direction(wchar_t character)
{
    return character == 0x200e || character == 0x200f || character == 0x061c ||
           (character >= 0x202a && character <= 0x202e) ||
           (character >= 0x2066 && character <= 0x2069);
}

/* The next character, and the cells that it takes: 0 (a mark on the one before, left out), 1, 2. */
static const char *character_next(const char *text, wchar_t *ret_character, unsigned *ret_width)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = utf8_sequence(bytes, strnlen(text, 4));
    wchar_t character = length ? sequence_decode(bytes, length) : L'?';
    int width = character == L'\t' ? 1 : turns_direction(character) ? -1 : wcwidth(character);
    *ret_character = character == L'\t' ? L' ' : width < 0 ? L'?' : character;
    *ret_width = width < 0 ? 1 : (unsigned)width;
    return text + (length ? length : 1);
}

unsigned page_text_width(const char *text)
{
    unsigned all = 0, width;
    wchar_t character;
    while (*text) {
        text = character_next(text, &character, &width);
        all += width;
    }
    return all;
}

unsigned page_text(struct page *page, unsigned row, unsigned column, unsigned end,
                   unsigned char style, const char *text)
{
    unsigned edge = end < page->width ? end : page->width;
    wchar_t character;
    unsigned width;
    if (row >= page->height)
        return column;
    struct cell *cells = &page->cells[(size_t)row * page->width];
    while (*text) {
        text = character_next(text, &character, &width);
        if (!width)
            continue;
        if (column + width > edge)
            break;
        cells[column] = (struct cell){character, style};
        if (width == 2)
            cells[column + 1] = (struct cell){0, style};
        column += width;
    }
    return column;
}

void page_text_right(struct page *page, unsigned row, unsigned column, unsigned end,
                     unsigned char style, const char *text)
{
    unsigned width = page_text_width(text);
    unsigned start = end > column && width < end - column ? end - width : column;
    page_text(page, row, start, end, style, text);
}

void page_row_style(struct page *page, unsigned row, unsigned char bits)
{
    for (unsigned i = 0; row < page->height && i < page->width; i++)
        page->cells[(size_t)row * page->width + i].style |= bits;
}

void page_row_print(const struct page *page, unsigned row, FILE *out)
{
    const struct cell *cells = &page->cells[(size_t)row * page->width];
    unsigned end = page->width;
    mbstate_t state = {0};
    char bytes[MB_LEN_MAX];
    while (end && cells[end - 1].character == L' ')
        end--;
    for (unsigned i = 0; i < end; i++) {
        if (!cells[i].character)
            continue;
        size_t length = wcrtomb(bytes, cells[i].character, &state);
        fwrite(length == (size_t)-1 ? "?" : bytes, 1, length == (size_t)-1 ? 1 : length, out);
    }
    fputc('\n', out);
}
