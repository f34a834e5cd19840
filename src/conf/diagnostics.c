#include "conf/diagnostics.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    MESSAGE_BYTES_MAX = 1024,
    EXCERPT_BYTES_MAX = 160, /* of a source line */
    EXCERPT_LEAD_BYTES = 60, /* kept in front of the place when the line is cut */
};

struct diagnostic {
    enum diagnostic_level level;
    size_t order; /* of arrival, which keeps the sort stable */
    size_t file;  /* in the order in which files were first spoken of */
    size_t line;
    size_t column;
    size_t length;
    char *path;
    char *message;
    char *hint;            /* NULL: none */
    char *excerpt;         /* NULL: no source line to show */
    size_t excerpt_column; /* of the place in the excerpt, from 0 */
};

struct diagnostics {
    struct diagnostic *kept[DIAGNOSTICS_MAX];
    size_t kept_count;
    size_t errors;
    size_t warnings;
};

struct diagnostics *diagnostics_new(void)
{
    return calloc(1, sizeof(struct diagnostics));
}

static void diagnostic_free(struct diagnostic *diagnostic)
{
    free(diagnostic->path);
    free(diagnostic->message);
    free(diagnostic->hint);
    free(diagnostic->excerpt);
    free(diagnostic);
}

void diagnostics_free(struct diagnostics *diagnostics)
{
    if (!diagnostics)
        return;
    for (size_t i = 0; i < diagnostics->kept_count; i++)
        diagnostic_free(diagnostics->kept[i]);
    free(diagnostics);
}

/* A copy that a terminal may be shown: control bytes would let a file write where it likes. */
static char *text_clean(const char *text, size_t length)
{
    char *copy = strndup(text, length);
    for (char *at = copy; at && *at; at++)
        if (((unsigned char)*at < 0x20 && *at != '\t' && *at != '\n') || *at == 0x7f)
            *at = '?';
    return copy;
}

/* A line may be megabytes long; what surrounds the place is enough. */
static void excerpt_take(struct diagnostic *diagnostic, const struct place *place)
{
    if (!place->source || !place->line || !place->column)
        return;
    size_t column = place->column - 1;
    size_t start =
        column > EXCERPT_BYTES_MAX - EXCERPT_LEAD_BYTES ? column - EXCERPT_LEAD_BYTES : 0;
    size_t length = 0;
    while (length < EXCERPT_BYTES_MAX && place->source[start + length] &&
           place->source[start + length] != '\n' && place->source[start + length] != '\r')
        length++;
    diagnostic->excerpt = text_clean(place->source + start, length);
    diagnostic->excerpt_column = column - start;
}

static size_t file_order(const struct diagnostics *diagnostics, const char *path)
{
    size_t next = 0;
    for (size_t i = 0; i < diagnostics->kept_count; i++) {
        const struct diagnostic *other = diagnostics->kept[i];
        if (strcmp(other->path, path) == 0)
            return other->file;
        if (other->file >= next)
            next = other->file + 1;
    }
    return next;
}

static bool diagnostic_known(const struct diagnostics *diagnostics, const struct place *place,
                             const char *message)
{
    for (size_t i = 0; i < diagnostics->kept_count; i++) {
        const struct diagnostic *other = diagnostics->kept[i];
        if (other->line == place->line && other->column == place->column &&
            strcmp(other->path, place->file) == 0 && strcmp(other->message, message) == 0)
            return true;
    }
    return false;
}

static struct diagnostic *diagnostic_new(const struct diagnostics *diagnostics,
                                         enum diagnostic_level level, const struct place *place,
                                         const char *hint, char *message)
{
    struct diagnostic *diagnostic = calloc(1, sizeof *diagnostic);
    if (!diagnostic)
        return NULL;
    diagnostic->level = level;
    diagnostic->order = diagnostics->kept_count;
    diagnostic->file = file_order(diagnostics, place->file);
    diagnostic->line = place->line;
    diagnostic->column = place->column;
    diagnostic->length = place->length;
    diagnostic->path = strdup(place->file);
    diagnostic->message = text_clean(message, strlen(message));
    diagnostic->hint = hint ? text_clean(hint, strlen(hint)) : NULL;
    excerpt_take(diagnostic, place);
    if (diagnostic->path && diagnostic->message)
        return diagnostic;
    diagnostic_free(diagnostic);
    return NULL;
}

void diagnostics_add(struct diagnostics *diagnostics, enum diagnostic_level level,
                     const struct place *place, const char *hint, const char *format, ...)
{
    char message[MESSAGE_BYTES_MAX];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    if (diagnostic_known(diagnostics, place, message))
        return;
    if (level == DIAGNOSTIC_ERROR)
        diagnostics->errors++;
    else
        diagnostics->warnings++;
    if (diagnostics_full(diagnostics))
        return;
    /* Without memory the error still counts: the configuration is not taken. */
    struct diagnostic *diagnostic = diagnostic_new(diagnostics, level, place, hint, message);
    if (diagnostic)
        diagnostics->kept[diagnostics->kept_count++] = diagnostic;
}

size_t diagnostics_errors(const struct diagnostics *diagnostics)
{
    return diagnostics->errors;
}

size_t diagnostics_warnings(const struct diagnostics *diagnostics)
{
    return diagnostics->warnings;
}

bool diagnostics_full(const struct diagnostics *diagnostics)
{
    return diagnostics->kept_count == DIAGNOSTICS_MAX;
}

static int diagnostic_compare(const void *left, const void *right)
{
    const struct diagnostic *a = *(const struct diagnostic *const *)left;
    const struct diagnostic *b = *(const struct diagnostic *const *)right;
    if (a->file != b->file)
        return a->file < b->file ? -1 : 1;
    if (a->line != b->line)
        return a->line < b->line ? -1 : 1;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->order < b->order ? -1 : a->order > b->order;
}

struct palette {
    const char *bold, *error, *warning, *hint, *reset;
};

static const struct palette palette_none = {"", "", "", "", ""};
static const struct palette palette_colour = {"\033[1m", "\033[1;31m", "\033[1;33m", "\033[1;36m",
                                              "\033[0m"};

/* The line of the caret: tabs stay tabs, so that it stands right whatever their width; the bytes
 * that continue a UTF-8 character have no width. */
static void caret_print(const struct diagnostic *diagnostic, FILE *out, const char *colour,
                        const char *reset)
{
    const char *text = diagnostic->excerpt;
    size_t at = 0;
    for (; at < diagnostic->excerpt_column && text[at]; at++)
        if (((unsigned char)text[at] & 0xc0) != 0x80)
            fputc(text[at] == '\t' ? '\t' : ' ', out);
    fprintf(out, "%s^", colour);
    for (size_t end = at + diagnostic->length; text[at] && at + 1 < end && text[at + 1]; at++)
        if (((unsigned char)text[at + 1] & 0xc0) != 0x80)
            fputc('~', out);
    fprintf(out, "%s\n", reset);
}

static void diagnostic_print(const struct diagnostic *diagnostic, FILE *out,
                             const struct palette *palette)
{
    bool error = diagnostic->level == DIAGNOSTIC_ERROR;
    const char *colour = error ? palette->error : palette->warning;
    fprintf(out, "%s%s:", palette->bold, diagnostic->path);
    if (diagnostic->line)
        fprintf(out, "%zu:%zu:", diagnostic->line, diagnostic->column);
    fprintf(out, "%s %s%s:%s %s%s%s\n", palette->reset, colour, error ? "error" : "warning",
            palette->reset, palette->bold, diagnostic->message, palette->reset);
    if (diagnostic->excerpt) {
        fprintf(out, "%6zu | %s\n       | ", diagnostic->line, diagnostic->excerpt);
        caret_print(diagnostic, out, colour, palette->reset);
    }
    if (diagnostic->hint)
        fprintf(out, "       %shint:%s %s\n", palette->hint, palette->reset, diagnostic->hint);
}

void diagnostics_print(const struct diagnostics *diagnostics, FILE *out, bool colour)
{
    const struct palette *palette = colour ? &palette_colour : &palette_none;
    struct diagnostic *sorted[DIAGNOSTICS_MAX];
    size_t count = diagnostics->kept_count;
    memcpy(sorted, diagnostics->kept, count * sizeof sorted[0]);
    qsort(sorted, count, sizeof sorted[0], diagnostic_compare);
    for (size_t i = 0; i < count; i++)
        diagnostic_print(sorted[i], out, palette);
    size_t errors = diagnostics->errors;
    size_t warnings = diagnostics->warnings;
    if (!errors && !warnings)
        return;
    fprintf(out, "%zu error%s, %zu warning%s", errors, errors == 1 ? "" : "s", warnings,
            warnings == 1 ? "" : "s");
    if (errors + warnings > count)
        fprintf(out, " (the first %zu are shown)", count);
    fprintf(out, "\n");
}
