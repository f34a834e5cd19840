#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

enum { LOG_LINE_BYTES_MAX = 2048 };

static struct {
    const char *role;
    enum log_level level_max;
    log_sink *sink;
    void *context;
} log_state = {.role = "enginx", .level_max = LOG_LEVEL_INFO};

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",   [LOG_LEVEL_WARN] = "warn",   [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_CHANGE] = "change", [LOG_LEVEL_DEBUG] = "debug",
};

void log_setup(const char *role, enum log_level level_max, log_sink *sink, void *context)
{
    log_state.role = role;
    log_state.level_max = level_max;
    log_state.sink = sink;
    log_state.context = context;
}

void log_event(enum log_level level, const char *event, const char *format, ...)
{
    if (level > log_state.level_max)
        return;
    char line[LOG_LINE_BYTES_MAX];
    char time[CLOCK_TEXT_BYTES];
    int head = snprintf(line, sizeof line, "%s %s %s %s ", clock_format_ms(clock_wall_ms(), time),
                        level_names[level], log_state.role, event);
    size_t length = (size_t)head;
    va_list list;
    va_start(list, format);
    int tail = vsnprintf(line + length, sizeof line - length - 1, format, list);
    va_end(list);
    if (tail > 0)
        length += (size_t)tail < sizeof line - length - 2 ? (size_t)tail : sizeof line - length - 2;
    while (length && line[length - 1] == ' ')
        length--;
    line[length++] = '\n';
    if (log_state.sink)
        log_state.sink(log_state.context, level, line, length);
    else if (write(STDERR_FILENO, line, length) < 0)
        return; /* nobody is left to tell */
}

const char *log_text(const char *text, char *out, size_t size)
{
    bool quote = !*text || strpbrk(text, " \t\"=") != NULL;
    size_t at = 0;
    if (quote && at + 1 < size)
        out[at++] = '"';
    for (; *text && at + 6 < size; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 0x20 || byte == 0x7f)
            at += (size_t)snprintf(out + at, size - at, "\\x%02x", byte);
        else if (byte == '"' || byte == '\\')
            at += (size_t)snprintf(out + at, size - at, "\\%c", byte);
        else
            out[at++] = (char)byte;
    }
    if (quote && at + 1 < size)
        out[at++] = '"';
    out[at < size ? at : size - 1] = 0;
    return out;
}
