/* A line of a log file:  2026-01-02T03:04:05.123Z api.1 text
 * The first word is the time (RFC 3339, UTC, milliseconds: always LOGLINE_TIME_BYTES), the second
 * the source: a service and the number of its instance, or only a service. Text only; no state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LOGLINE_TIME_BYTES = 24,
    LOGLINE_SOURCE_BYTES = 200,
    LOGLINE_HEAD_BYTES_MAX = LOGLINE_TIME_BYTES + 1 + LOGLINE_SOURCE_BYTES + 1,
    /* The whole line with its newline; longer output lines are cut into several. */
    LOGLINE_BYTES_MAX = LOGLINE_HEAD_BYTES_MAX + 8 * 1024 + 1,
};

/* Writes time and source with the spaces after them into `head`; the number of bytes. */
size_t logline_head(char head[LOGLINE_HEAD_BYTES_MAX], uint64_t wall_ms, const char *source);

struct logline { /* points into the text that was parsed */
    uint64_t wall_ms;
    const char *source;
    size_t source_bytes;
    const char *text;
    size_t text_bytes; /* without the newline */
};

/* False: it is not of our making. */
bool logline_parse(const char *line, size_t length, struct logline *ret_line);

/* "api.12" → 3, the length of the service's name; *ret_instance 12. "api" → 3 and 0. */
size_t logline_service(const char *source, size_t length, uint32_t *ret_instance);
