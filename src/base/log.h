/* enginx's own log: `time level role event key=value`, one line an event, to one sink.
 *
 * Event names are stable and are words joined by dashes ("instance-up"). error: somebody must act;
 * warn: degraded, and what is done instead; info: state changes; change: smaller ones, which only
 * who watches events is told (control/events.h); debug: for the developer. Values that come from
 * outside are escaped by log_text. The sink must not block. */
#pragma once

#include <stddef.h>

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARN,
    LOG_LEVEL_INFO,
    LOG_LEVEL_CHANGE,
    LOG_LEVEL_DEBUG
};

/* `line` ends with a newline; `level` lets the sink colour it. */
typedef void log_sink(void *context, enum log_level level, const char *line, size_t length);

/* Without a sink lines go to standard error. `role` must be static text. */
void log_setup(const char *role, enum log_level level_max, log_sink *sink, void *context);

/* `format` gives the "key=value" part and may be "". */
void log_event(enum log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#define log_error(...)  log_event(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)   log_event(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)   log_event(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_change(...) log_event(LOG_LEVEL_CHANGE, __VA_ARGS__)
#define log_debug(...)  log_event(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* Writes `text` into `out` with quotes where it has spaces, control bytes as \xHH, cut to fit. */
const char *log_text(const char *text, char *out, size_t size);
