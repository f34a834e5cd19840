#include "cli/top/column.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { NAME_WIDTH_LEAST = 8, NAME_WIDTH_MOST = 40, NOTE_WIDTH_LEAST = 12 };

static const struct column_row rows[COLUMN_COUNT] = {
    [COLUMN_NAME] = {"NAME", "name", "service, instance, job", NAME_WIDTH_LEAST, 0, true, 'N'},
    [COLUMN_STATE] = {"STATE", "state", "of an instance; of a service: up of wanted", 9, 1, true,
                      'S'},
    [COLUMN_RATE] = {"RATE/s", "rate", "requests per second; on the direct path, connections", 7, 2,
                     false, 'R'},
    [COLUMN_MEAN] = {"MEAN", "mean", "milliseconds until an instance answers", 7, 10, false, 0},
    [COLUMN_P50] = {"P50", "p50", "milliseconds: half of the requests took less", 7, 9, false, 0},
    [COLUMN_P95] = {"P95", "p95", "milliseconds: of 100 requests 95 took less", 7, 6, false, 'L'},
    [COLUMN_P99] = {"P99", "p99", "milliseconds: of 100 requests 99 took less", 7, 8, false, 0},
    [COLUMN_CPU] = {"CPU%", "cpu", "100 is one core", 6, 3, false, 'P'},
    [COLUMN_MEMORY] = {"MEM", "memory", "in use now", 6, 4, false, 'M'},
    [COLUMN_CONNECTIONS] = {"CONNS", "connections", "open now", 6, 5, false, 'C'},
    [COLUMN_ERRORS] = {"ERRORS", "errors", "failed requests, since it is counted", 6, 7, false,
                       'E'},
    [COLUMN_RESTARTS] = {"STARTS", "restarts", "how often it was started again", 6, 11, false, 'T'},
    [COLUMN_SINCE] = {"SINCE", "since", "how long it has been in its state", 6, 12, false, 0},
    [COLUMN_NOTE] = {"", "note", "why; what it says of itself", NOTE_WIDTH_LEAST, 13, true, 0},
};

const struct column_row *column_row(enum column column)
{
    return &rows[column];
}

enum column column_named(const char *word)
{
    for (unsigned i = 0; i < COLUMN_COUNT; i++)
        if (strcmp(rows[i].word, word) == 0)
            return (enum column)i;
    return COLUMN_COUNT;
}

/* ---- figures ----------------------------------------------------------------------------------
 */

/* 12.3, 123, 12.3k, 4.5M */
static void scaled_format(double value, double step, char *text)
{
    static const char units[] = " kMGTP";
    unsigned unit = 0;
    /* What would be printed as 1000 belongs to the next unit. */
    while (value >= 999.5 && unit + 2 < sizeof units) {
        value /= step;
        unit++;
    }
    int digits = value < 99.95 && (unit || value != (double)(int64_t)value) ? 1 : 0;
    snprintf(text, COLUMN_TEXT_BYTES, "%.*f%.*s", digits, value, unit ? 1 : 0, &units[unit]);
}

static void age_format(double seconds, char *text)
{
    double bounded = seconds < 0 ? 0 : seconds > 1e9 ? 1e9 : seconds;
    unsigned long s = (unsigned long)bounded;
    if (s < 60)
        snprintf(text, COLUMN_TEXT_BYTES, "%lus", s);
    else if (s < 3600)
        snprintf(text, COLUMN_TEXT_BYTES, "%lum%02lus", s / 60, s % 60);
    else if (s < 86400)
        snprintf(text, COLUMN_TEXT_BYTES, "%luh%02lum", s / 3600, s / 60 % 60);
    else
        snprintf(text, COLUMN_TEXT_BYTES, "%lud%02luh", s / 86400, s / 3600 % 24);
}

static void milliseconds_format(double value, char *text)
{
    if (value >= 9999.5)
        snprintf(text, COLUMN_TEXT_BYTES, "%.1fs", value / 1000);
    else
        snprintf(text, COLUMN_TEXT_BYTES, "%.*f", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value);
}

const char *column_format(enum column column, double value, char text[COLUMN_TEXT_BYTES])
{
    snprintf(text, COLUMN_TEXT_BYTES, "-");
    if (isnan(value))
        return text;
    switch (column) {
    case COLUMN_SINCE:
        age_format(value, text);
        break;
    case COLUMN_MEMORY:
        scaled_format(value, 1024, text);
        break;
    case COLUMN_CPU:
        snprintf(text, COLUMN_TEXT_BYTES, "%.*f", value < 999.95 ? 1 : 0, value);
        break;
    case COLUMN_MEAN:
    case COLUMN_P50:
    case COLUMN_P95:
    case COLUMN_P99:
        milliseconds_format(value, text);
        break;
    case COLUMN_RATE:
    case COLUMN_CONNECTIONS:
    case COLUMN_ERRORS:
    case COLUMN_RESTARTS:
    case COLUMN_NAME:
    case COLUMN_STATE:
    case COLUMN_NOTE:
    case COLUMN_COUNT:
        scaled_format(value, 1000, text);
        break;
    }
    return text;
}

/* ---- layout -----------------------------------------------------------------------------------
 */

void column_layout(unsigned width, unsigned name_wanted, struct column_layout *ret_layout)
{
    struct column_layout layout = {.shown = {[COLUMN_NAME] = true}};
    unsigned name = name_wanted < NAME_WIDTH_LEAST  ? NAME_WIDTH_LEAST
                    : name_wanted > NAME_WIDTH_MOST ? NAME_WIDTH_MOST
                                                    : name_wanted;
    unsigned used = NAME_WIDTH_LEAST;
    for (unsigned place = 1; place <= COLUMN_COUNT; place++)
        for (unsigned i = 0; i < COLUMN_COUNT; i++)
            if (rows[i].place == place && used + 1 + rows[i].width <= width) {
                layout.shown[i] = true;
                used += 1 + rows[i].width;
            }
    layout.name_width = width < NAME_WIDTH_LEAST ? width : NAME_WIDTH_LEAST;
    unsigned left = width > used ? width - used : 0;
    unsigned more = name - NAME_WIDTH_LEAST < left ? name - NAME_WIDTH_LEAST : left;
    layout.name_width += width < NAME_WIDTH_LEAST ? 0 : more;
    if (layout.shown[COLUMN_NOTE])
        layout.note_width = NOTE_WIDTH_LEAST + left - more;
    *ret_layout = layout;
}
