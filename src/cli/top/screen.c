#define _XOPEN_SOURCE_EXTENDED 1
#include "cli/top/screen.h"

#include <curses.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/top/keys.h"

/* curses.h makes macros of some of its functions. */
#undef getch
#undef wget_wch
#undef refresh
#undef wmove

enum { ESCAPE_DELAY_MS = 25 }; /* how long the rest of a key's sequence may be on its way */

/* What is used of it, by its names. */
static struct curses {
    SCREEN *(*newterm)(const char *, FILE *, FILE *);
    int (*cbreak)(void);
    int (*noecho)(void);
    int (*nonl)(void);
    int (*endwin)(void);
    int (*keypad)(WINDOW *, bool);
    int (*nodelay)(WINDOW *, bool);
    int (*curs_set)(int);
    int (*set_escdelay)(int);
    bool (*has_colors)(void);
    int (*start_color)(void);
    int (*use_default_colors)(void);
    int (*init_pair)(short, short, short);
    int (*wattr_set)(WINDOW *, attr_t, short, void *);
    int (*wmove)(WINDOW *, int, int);
    int (*waddnwstr)(WINDOW *, const wchar_t *, int);
    int (*werase)(WINDOW *);
    int (*wrefresh)(WINDOW *);
    int (*clearok)(WINDOW *, bool);
    int (*wget_wch)(WINDOW *, wint_t *);
    int (*resizeterm)(int, int);
    char *(*tigetstr)(const char *);
    WINDOW **stdscr;
} curses;

static const struct {
    const char *name;
    size_t offset;
} symbols[] = {
#define SYMBOL(name)                                                                               \
    {                                                                                              \
#name, offsetof(struct curses, name)                                                       \
    }
    SYMBOL(newterm),      SYMBOL(cbreak),

    SYMBOL(noecho),       SYMBOL(nonl),
    SYMBOL(endwin),       SYMBOL(keypad),
    SYMBOL(nodelay),      SYMBOL(curs_set),
    SYMBOL(set_escdelay), SYMBOL(has_colors),
    SYMBOL(start_color),  SYMBOL(use_default_colors),
    SYMBOL(init_pair),    SYMBOL(wattr_set),
    SYMBOL(wmove),        SYMBOL(waddnwstr),
    SYMBOL(werase),       SYMBOL(wrefresh),
    SYMBOL(clearok),      SYMBOL(wget_wch),
    SYMBOL(resizeterm),   SYMBOL(tigetstr),
    SYMBOL(stdscr),
};

static struct {
    bool open, colours;
    WINDOW *window;
    wint_t kept; /* a key that was read behind an Escape; 0: none */
    int kept_kind;
} screen;

static bool library_load(char *why, size_t why_size)
{
    void *library = dlopen("libncursesw.so.6", RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        snprintf(why, why_size, "%s (package libncursesw6); `--batch` does without", dlerror());
        return false;
    }
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *found = dlsym(library, symbols[i].name);
        if (!found) {
            snprintf(why, why_size, "%s", dlerror());
            dlclose(library);
            return false;
        }
        memcpy((char *)&curses + symbols[i].offset, &found, sizeof found);
    }
    return true;
}

/* ---- opening and closing ----------------------------------------------------------------------
 */

static const short colours_of[] = {
    [STYLE_PLAIN] = -1,
    [STYLE_STRONG] = -1,
    [STYLE_DIM] = -1,
    [STYLE_GOOD] = COLOR_GREEN,
    [STYLE_WARNING] = COLOR_YELLOW,
    [STYLE_BAD] = COLOR_RED,
};

static void colours_begin(void)
{
    curses.start_color();
    curses.use_default_colors();
    for (short i = STYLE_GOOD; i <= STYLE_BAD; i++)
        curses.init_pair(i, colours_of[i], -1);
}

bool screen_open(bool colours, char *why, size_t why_size)
{
    const char *term = getenv("TERM");
    if (!library_load(why, why_size))
        return false;
    curses.set_escdelay(ESCAPE_DELAY_MS);
    if (!curses.newterm(NULL, stdout, stdin)) {
        snprintf(why, why_size, "nobody knows the terminal TERM=%s; try --batch", term ? term : "");
        return false;
    }
    const char *moves = curses.tigetstr("cup");
    if (!moves || moves == (char *)-1) {
        curses.endwin();
        snprintf(why, why_size, "the terminal TERM=%s cannot move its cursor; try --batch",
                 term ? term : "");
        return false;
    }
    screen.open = true;
    screen.window = *curses.stdscr;
    screen.colours = colours && curses.has_colors();
    curses.cbreak();
    curses.noecho();
    curses.nonl();
    curses.keypad(screen.window, true);
    curses.nodelay(screen.window, true);
    curses.curs_set(0);
    if (screen.colours)
        colours_begin();
    return true;
}

void screen_close(void)
{
    if (screen.open)
        curses.endwin();
    screen.open = false;
}

/* ---- showing ----------------------------------------------------------------------------------
 */

void screen_size(unsigned *ret_width, unsigned *ret_height)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col && size.ws_row)
        curses.resizeterm(size.ws_row, size.ws_col);
    *ret_width = (unsigned)getmaxx(screen.window);
    *ret_height = (unsigned)getmaxy(screen.window);
}

static attr_t attributes_of(unsigned char style)
{
    static const attr_t attributes[] = {
        [STYLE_PLAIN] = A_NORMAL, [STYLE_STRONG] = A_BOLD,  [STYLE_DIM] = A_DIM,
        [STYLE_GOOD] = A_NORMAL,  [STYLE_WARNING] = A_BOLD, [STYLE_BAD] = A_BOLD,
    };
    return attributes[style & STYLE_KIND] | (style & STYLE_REVERSE ? A_REVERSE : A_NORMAL);
}

/* The cells from `from` on that look alike; how many. */
static unsigned run_show(const struct cell *cells, unsigned from, unsigned width)
{
    wchar_t text[PAGE_WIDTH_MAX];
    int length = 0;
    unsigned at = from;
    unsigned char style = cells[from].style;
    for (; at < width && cells[at].style == style; at++)
        if (cells[at].character)
            text[length++] = cells[at].character;
    short pair = screen.colours && (style & STYLE_KIND) >= STYLE_GOOD ? style & STYLE_KIND : 0;
    curses.wattr_set(screen.window, attributes_of(style), pair, NULL);
    curses.waddnwstr(screen.window, text, length);
    return at - from;
}

void screen_show(const struct page *page)
{
    curses.werase(screen.window);
    for (unsigned row = 0; row < page->height; row++) {
        curses.wmove(screen.window, (int)row, 0);
        for (unsigned at = 0; at < page->width;)
            at += run_show(&page->cells[(size_t)row * page->width], at, page->width);
    }
    curses.wrefresh(screen.window);
}

void screen_forget(void)
{
    curses.clearok(screen.window, true);
}

/* ---- keys -------------------------------------------------------------------------------------
 */

static unsigned function_key(wint_t key)
{
    static const struct {
        wint_t theirs;
        unsigned ours;
    } keys[] = {
        {KEY_UP, KEY_ARROW_UP},       {KEY_DOWN, KEY_ARROW_DOWN}, {KEY_LEFT, KEY_ARROW_LEFT},
        {KEY_RIGHT, KEY_ARROW_RIGHT}, {KEY_PPAGE, KEY_PAGE_UP},   {KEY_NPAGE, KEY_PAGE_DOWN},
        {KEY_HOME, KEY_FIRST},        {KEY_END, KEY_LAST},        {KEY_ENTER, KEY_RETURN},
        {KEY_BACKSPACE, KEY_ERASE},   {KEY_DC, KEY_ERASE},
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (keys[i].theirs == key)
            return keys[i].ours;
    if (key >= KEY_F0 && key < KEY_F0 + 64)
        return KEY_OF_FUNCTION + (unsigned)(key - KEY_F0);
    return KEY_NONE;
}

/* Behind an Escape: the rest of a sequence that the library does not know, which is passed over, or
 * the next key, which is kept. False: it was the key Escape. */
static bool sequence_skip(void)
{
    wint_t key = 0;
    int kind = curses.wget_wch(screen.window, &key);
    if (kind == ERR)
        return false;
    if (kind == KEY_CODE_YES || (key != '[' && key != 'O')) {
        screen.kept = key;
        screen.kept_kind = kind;
        return false;
    }
    do
        kind = curses.wget_wch(screen.window, &key);
    while (kind == OK && (key < '@' || key > '~'));
    return true;
}

/* As wget_wch. */
static int key_read(wint_t *ret_key)
{
    if (!screen.kept)
        return curses.wget_wch(screen.window, ret_key);
    *ret_key = screen.kept;
    screen.kept = 0;
    return screen.kept_kind;
}

unsigned screen_key(bool *ret_ended)
{
    wint_t key = 0;
    int kind;
    int waiting = 0;
    *ret_ended = false;
    while ((kind = key_read(&key)) != ERR) {
        /* The library's word that the size has changed is no key of ours. */
        unsigned ours = kind == KEY_CODE_YES ? function_key(key)
                        : key == '\n'        ? KEY_RETURN
                        : key == 0x7f        ? KEY_ERASE
                                             : (unsigned)key;
        if (ours && (ours != KEY_ESCAPE || !sequence_skip()))
            return ours;
    }
    *ret_ended = ioctl(STDIN_FILENO, FIONREAD, &waiting) != 0;
    return KEY_NONE;
}
