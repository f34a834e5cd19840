/* What keys mean: a pure table of mode × key → action, and which mode follows an action.
 *
 * The modes. LIST is where it begins: rows, one of them chosen. From there FILTER and SCALE take a
 * line of text, which Enter accepts and Escape drops; CONFIRM holds a command until `y` says yes,
 * and any other key drops it; SORT lists the columns, HELP the keys, LOGS shows what an instance
 * prints, until Escape or `q`. All lead back to LIST, and none is left by what happens in the
 * cluster. QUIT is the end. */
#pragma once

enum key { /* beyond those that are characters (Unicode) */
           KEY_NONE = 0,
           KEY_ESCAPE = 0x1b,
           KEY_RETURN = 0x0d,
           KEY_ERASE = 0x08,
           KEY_INTERRUPT = 0x03,
           KEY_TABULATOR = 0x09,
           KEY_REDRAW = 0x0c,
           KEY_KILL_LINE = 0x15,
           KEY_OF_FUNCTION = 0x110000, /* F0; the others follow */
           KEY_ARROW_UP = 0x110100,
           KEY_ARROW_DOWN,
           KEY_ARROW_LEFT,
           KEY_ARROW_RIGHT,
           KEY_PAGE_UP,
           KEY_PAGE_DOWN,
           KEY_FIRST,
           KEY_LAST,
           KEY_ANY, /* of the table: whatever no other row has */
};

enum mode {
    MODE_LIST,
    MODE_FILTER,
    MODE_SCALE,
    MODE_CONFIRM,
    MODE_SORT,
    MODE_HELP,
    MODE_LOGS,
    MODE_QUIT,
    MODE_COUNT
};

enum action {
    ACTION_NOTHING,
    ACTION_QUIT,
    ACTION_UP,
    ACTION_DOWN,
    ACTION_PAGE_UP,
    ACTION_PAGE_DOWN,
    ACTION_FIRST,
    ACTION_LAST,
    ACTION_FOLD, /* the chosen service's instances away, or back */
    ACTION_FOLD_ALL,
    ACTION_FLAT, /* instances without their services, and back */
    ACTION_VIEW, /* services ↔ listeners */
    ACTION_SORT_LEFT,
    ACTION_SORT_RIGHT,
    ACTION_SORT_BY, /* the column whose key it was */
    ACTION_SORT_OTHER_WAY,
    ACTION_SORT_OPEN,
    ACTION_SORT_ACCEPT,
    ACTION_FILTER_OPEN,
    ACTION_SCALE_OPEN,
    ACTION_DRAIN,
    ACTION_UNDRAIN,
    ACTION_RESTART,
    ACTION_ROLL,
    ACTION_JOB,
    ACTION_LOGS,
    ACTION_HELP,
    ACTION_REDRAW,
    ACTION_TYPE, /* a character goes into the line */
    ACTION_ERASE,
    ACTION_ERASE_ALL,
    ACTION_ACCEPT, /* the line, or yes */
    ACTION_CLOSE,  /* back to the list, and nothing is done */
};

enum action key_action(enum mode mode, unsigned key);
/* Where the action leads, if it can be done; what asks for a confirmation leads to CONFIRM. */
enum mode key_mode_after(enum mode mode, enum action action);
/* A line of help on the keys: "d", "drain the instance"; false: no more. */
struct key_help {
    const char *keys, *says;
};
const struct key_help *key_help(unsigned number); /* NULL: no more */
