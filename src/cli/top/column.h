/* The columns of `enginx top`: what they are called, how wide they are, and in which order they
 * give way where the screen is narrow. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum column {
    COLUMN_NAME,
    COLUMN_STATE,
    COLUMN_RATE, /* requests, or connections, per second */
    COLUMN_MEAN, /* of times: milliseconds */
    COLUMN_P50,
    COLUMN_P95,
    COLUMN_P99,
    COLUMN_CPU,    /* percent of a core */
    COLUMN_MEMORY, /* bytes */
    COLUMN_CONNECTIONS,
    COLUMN_ERRORS,
    COLUMN_RESTARTS,
    COLUMN_SINCE, /* seconds */
    COLUMN_NOTE,
    COLUMN_COUNT,
};

enum { COLUMN_TEXT_BYTES = 24 };

struct column_row {
    const char *title;
    const char *word; /* of `--sort` */
    const char *says; /* for people */
    unsigned width;   /* on the screen; of the name: at least */
    unsigned place;   /* the higher, the earlier it gives way; 0: never */
    bool text;        /* sorted as text, first from a to z; numbers begin with the highest */
    char key;         /* sorts by it; 0: none */
};

const struct column_row *column_row(enum column column);
/* COLUMN_COUNT: there is none of that name. */
enum column column_named(const char *word);
/* Figures as people read them, in at most seven characters: "12.3k", "42.2M", "3h12m"; "-" for what
 * is not known. */
const char *column_format(enum column column, double value, char text[COLUMN_TEXT_BYTES]);

struct column_layout {
    bool shown[COLUMN_COUNT];
    unsigned name_width; /* of the name */
    unsigned note_width; /* what is left for the note; 0: it is not shown */
};
/* Which columns fit into so many characters, with one between them, where the longest name has
 * `name_wanted`. The name is always shown. Pure. */
void column_layout(unsigned width, unsigned name_wanted, struct column_layout *ret_layout);
