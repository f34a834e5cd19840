#include "cli/top/keys.h"

#include <stddef.h>

enum {
    F1 = KEY_OF_FUNCTION + 1,
    F3 = KEY_OF_FUNCTION + 3,
    F4 = KEY_OF_FUNCTION + 4,
    F5 = KEY_OF_FUNCTION + 5,
    F6 = KEY_OF_FUNCTION + 6,
    F10 = KEY_OF_FUNCTION + 10
};

#define IN(mode) (1u << (mode))
enum {
    IN_LIST = IN(MODE_LIST),
    IN_LINES = IN(MODE_FILTER) | IN(MODE_SCALE),
    IN_OTHERS = IN(MODE_SORT) | IN(MODE_HELP) | IN(MODE_LOGS),
    MOVES = IN(MODE_LIST) | IN(MODE_SORT) | IN(MODE_HELP) | IN(MODE_LOGS),
    EVERYWHERE = (1u << MODE_COUNT) - 1,
};

/* The first row that fits holds. */
static const struct binding {
    unsigned modes;
    unsigned key;
    enum action action;
} bindings[] = {
    {EVERYWHERE, KEY_INTERRUPT, ACTION_QUIT},
    {EVERYWHERE, KEY_REDRAW, ACTION_REDRAW},
    {EVERYWHERE, F10, ACTION_QUIT},

    {MOVES, KEY_ARROW_UP, ACTION_UP},
    {MOVES, KEY_ARROW_DOWN, ACTION_DOWN},
    {MOVES, KEY_PAGE_UP, ACTION_PAGE_UP},
    {MOVES, KEY_PAGE_DOWN, ACTION_PAGE_DOWN},
    {MOVES, KEY_FIRST, ACTION_FIRST},
    {MOVES, KEY_LAST, ACTION_LAST},

    {IN_LIST, 'q', ACTION_QUIT},
    {IN_LIST, '?', ACTION_HELP},
    {IN_LIST, 'h', ACTION_HELP},
    {IN_LIST, F1, ACTION_HELP},
    {IN_LIST, '/', ACTION_FILTER_OPEN},
    {IN_LIST, '\\', ACTION_FILTER_OPEN},
    {IN_LIST, F3, ACTION_FILTER_OPEN},
    {IN_LIST, F4, ACTION_FILTER_OPEN},
    {IN_LIST, KEY_ESCAPE, ACTION_ERASE_ALL},
    {IN_LIST, '<', ACTION_SORT_LEFT},
    {IN_LIST, '>', ACTION_SORT_RIGHT},
    {IN_LIST, '.', ACTION_SORT_RIGHT},
    {IN_LIST, ',', ACTION_SORT_LEFT},
    {IN_LIST, F6, ACTION_SORT_OPEN},
    {IN_LIST, 'I', ACTION_SORT_OTHER_WAY},
    {IN_LIST, 'N', ACTION_SORT_BY},
    {IN_LIST, 'S', ACTION_SORT_BY},
    {IN_LIST, 'R', ACTION_SORT_BY},
    {IN_LIST, 'L', ACTION_SORT_BY},
    {IN_LIST, 'P', ACTION_SORT_BY},
    {IN_LIST, 'M', ACTION_SORT_BY},
    {IN_LIST, 'C', ACTION_SORT_BY},
    {IN_LIST, 'E', ACTION_SORT_BY},
    {IN_LIST, 'T', ACTION_SORT_BY},
    {IN_LIST, ' ', ACTION_FOLD},
    {IN_LIST, '+', ACTION_FOLD},
    {IN_LIST, '-', ACTION_FOLD},
    {IN_LIST, '*', ACTION_FOLD_ALL},
    {IN_LIST, 't', ACTION_FLAT},
    {IN_LIST, F5, ACTION_FLAT},
    {IN_LIST, 'v', ACTION_VIEW},
    {IN_LIST, KEY_TABULATOR, ACTION_VIEW},
    {IN_LIST, 'd', ACTION_DRAIN},
    {IN_LIST, 'u', ACTION_UNDRAIN},
    {IN_LIST, 'r', ACTION_RESTART},
    {IN_LIST, 'o', ACTION_ROLL},
    {IN_LIST, 's', ACTION_SCALE_OPEN},
    {IN_LIST, 'j', ACTION_JOB},
    {IN_LIST, 'l', ACTION_LOGS},
    {IN_LIST, KEY_RETURN, ACTION_LOGS},

    {IN_LINES, KEY_ESCAPE, ACTION_CLOSE},
    {IN_LINES, KEY_RETURN, ACTION_ACCEPT},
    {IN_LINES, KEY_ERASE, ACTION_ERASE},
    {IN_LINES, KEY_KILL_LINE, ACTION_ERASE_ALL},
    {IN_LINES, KEY_ANY, ACTION_TYPE},

    {IN(MODE_CONFIRM), 'y', ACTION_ACCEPT},
    {IN(MODE_CONFIRM), 'Y', ACTION_ACCEPT},
    {IN(MODE_CONFIRM), KEY_ANY, ACTION_CLOSE},

    {IN(MODE_SORT), KEY_RETURN, ACTION_SORT_ACCEPT},
    {IN(MODE_SORT), F6, ACTION_CLOSE},
    {IN_OTHERS, 'q', ACTION_CLOSE},
    {IN_OTHERS, KEY_ESCAPE, ACTION_CLOSE},
    {IN(MODE_HELP), '?', ACTION_CLOSE},
    {IN(MODE_HELP), F1, ACTION_CLOSE},
};

enum action key_action(enum mode mode, unsigned key)
{
    for (size_t i = 0; i < sizeof bindings / sizeof bindings[0]; i++)
        if ((bindings[i].modes & IN(mode)) &&
            (bindings[i].key == key || bindings[i].key == KEY_ANY))
            return bindings[i].action;
    return ACTION_NOTHING;
}

/* Zero is MODE_LIST, so what is not named stays where it is: in a list that is said by MODE_COUNT.
 */
enum mode key_mode_after(enum mode mode, enum action action)
{
    switch (action) {
    case ACTION_QUIT:
        return MODE_QUIT;
    case ACTION_SORT_OPEN:
        return MODE_SORT;
    case ACTION_FILTER_OPEN:
        return MODE_FILTER;
    case ACTION_SCALE_OPEN:
        return MODE_SCALE;
    case ACTION_HELP:
        return MODE_HELP;
    case ACTION_LOGS:
        return MODE_LOGS;
    case ACTION_DRAIN:
    case ACTION_RESTART:
    case ACTION_ROLL:
    case ACTION_JOB:
        return MODE_CONFIRM;
    case ACTION_ACCEPT:
    case ACTION_SORT_ACCEPT:
    case ACTION_CLOSE:
        return MODE_LIST;
    case ACTION_NOTHING:
    case ACTION_UP:
    case ACTION_DOWN:
    case ACTION_PAGE_UP:
    case ACTION_PAGE_DOWN:
    case ACTION_FIRST:
    case ACTION_LAST:
    case ACTION_FOLD:
    case ACTION_FOLD_ALL:
    case ACTION_FLAT:
    case ACTION_VIEW:
    case ACTION_SORT_LEFT:
    case ACTION_SORT_RIGHT:
    case ACTION_SORT_BY:
    case ACTION_SORT_OTHER_WAY:
    case ACTION_UNDRAIN:
    case ACTION_REDRAW:
    case ACTION_TYPE:
    case ACTION_ERASE:
    case ACTION_ERASE_ALL:
        return mode;
    }
    return mode;
}

const struct key_help *key_help(unsigned number)
{
    static const struct key_help lines[] = {
        {"arrows PgUp PgDn Home End", "choose a row"},
        {"space", "fold a service, or unfold it; * all of them"},
        {"t F5", "instances alone, and back to the tree"},
        {"v Tab", "listeners, and back"},
        {"/ F4", "show what has this in its name, state or note; Escape: all again"},
        {"< > F6", "sort by another column"},
        {"P M R L", "sort by cpu, memory, rate, 95th percentile of times"},
        {"C E T N S", "sort by connections, errors, restarts, name, state"},
        {"I", "the other way round"},
        {"l Return", "logs of the chosen row"},
        {"d u", "drain the instance; undo it"},
        {"r", "restart the instance, or all of the service"},
        {"o", "roll the service: new instances for old ones"},
        {"s", "scale the service"},
        {"j", "run the job now"},
        {"? F1", "this"},
        {"q F10", "quit"},
    };
    return number < sizeof lines / sizeof lines[0] ? &lines[number] : NULL;
}
