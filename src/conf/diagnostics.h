/* Diagnostics: what is wrong with a configuration, all of it at once, each with file, line, column,
 * the source line, a caret and a hint. Owned by the command that loads the file. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { DIAGNOSTICS_MAX = 100 }; /* further ones are counted, not kept */

enum diagnostic_level { DIAGNOSTIC_ERROR, DIAGNOSTIC_WARNING };

struct diagnostics;

struct place { /* where something stands; line and column start at 1; line 0: the whole file */
    const char *file;
    const char *source; /* the start of its line; NULL: none to show */
    size_t line;
    size_t column; /* in bytes, as compilers count */
    size_t length; /* in bytes, of what the caret underlines */
};

/* NULL: no memory. */
struct diagnostics *diagnostics_new(void);
void diagnostics_free(struct diagnostics *diagnostics);

/* Copies everything it is given; `hint` may be NULL. The same message at the same place is kept
 * once: a realm's block is checked once for each of its names. */
void diagnostics_add(struct diagnostics *diagnostics, enum diagnostic_level level,
                     const struct place *place, const char *hint, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
size_t diagnostics_errors(const struct diagnostics *diagnostics);
size_t diagnostics_warnings(const struct diagnostics *diagnostics);
/* True when a further one would only be counted: whoever searches for a hint may save the work. */
bool diagnostics_full(const struct diagnostics *diagnostics);
/* Prints all, in the order of file and line, and a closing line with their number. Control bytes of
 * the configuration are shown as `?`. */
void diagnostics_print(const struct diagnostics *diagnostics, FILE *out, bool colour);
