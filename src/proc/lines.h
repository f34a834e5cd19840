/* Splitting into lines: bytes of many sources come in chunks that end anywhere, whole lines go out.
 * What a source has begun and not ended is held, up to LINES_LINE_BYTES_MAX for each and
 * LINES_HELD_BYTES_MAX for all (then everything held goes out as it stands). A source that holds
 * nothing costs nothing. Owned by the logger's process; times are milliseconds of the caller's. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LINES_LINE_BYTES_MAX = 8 * 1024,
    LINES_HELD_BYTES_MAX = 4 * 1024 * 1024,
};

struct lines;

/* `text` has no newline; it is valid during the call. */
typedef void lines_emit(void *owner, const char *source, const char *text, size_t length);

struct lines *lines_new(lines_emit *emit, void *owner); /* NULL: no memory */
void lines_free(struct lines *lines);                   /* what is held is forgotten */

/* Without memory the begun line goes out at once, so nothing is lost. */
void lines_feed(struct lines *lines, const char *source, const char *bytes, size_t length,
                uint64_t now_ms);
/* Emits the begun line of one source, if there is one. */
void lines_end(struct lines *lines, const char *source);
/* Emits the begun lines of all sources that were last fed at `until_ms` or before. */
void lines_end_quiet(struct lines *lines, uint64_t until_ms);
bool lines_held(const struct lines *lines); /* is any begun? */
