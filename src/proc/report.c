#include "proc/report.h"

#include <string.h>

enum { EVENT_NAME_BYTES = 32, WORDS_BEFORE = 3 };

static const char *const events[] = {"remote-ill",      "remote-well",     "remote-role",
                                     "primary-deposed", "resolved",        "resolve-failed",
                                     "jwks-fetched",    "jwks-not-fetched"};

static bool event_known(const char *name)
{
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (strcmp(events[i], name) == 0)
            return true;
    return false;
}

/* Behind "TIME level role "; NULL: it has no such beginning. */
static const char *event_in(const char *line, const char *end)
{
    for (int words = 0; line && words < WORDS_BEFORE; words++) {
        line = memchr(line, ' ', (size_t)(end - line));
        line = line ? line + 1 : NULL;
    }
    return line;
}

bool report_make(const char *line, size_t length, enum log_level level, struct message *ret_message)
{
    const char *end = line + length - (length && line[length - 1] == '\n');
    const char *event = event_in(line, end);
    if (!event)
        return false;
    const char *space = memchr(event, ' ', (size_t)(end - event));
    const char *over = space ? space : end;
    char name[EVENT_NAME_BYTES] = "";
    if ((size_t)(over - event) >= sizeof name)
        return false;
    memcpy(name, event, (size_t)(over - event));
    const char *text = space ? space + 1 : end;
    if (!event_known(name) || (size_t)(end - text) > REPORT_BYTES_MAX ||
        message_init(ret_message, MESSAGE_EVENT, name))
        return false;
    ret_message->number = level;
    ret_message->bytes = text;
    ret_message->length = (size_t)(end - text);
    return true;
}

/* No line of it is another's. */
static bool is_text(const char *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)bytes[i] < 0x20 || bytes[i] == 0x7f)
            return false;
    return true;
}

bool report_log(const struct message *message)
{
    if (!event_known(message->name) || message->number > LOG_LEVEL_INFO ||
        message->length > REPORT_BYTES_MAX || !is_text(message->bytes, message->length))
        return false;
    log_event((enum log_level)message->number, message->name, "%.*s", (int)message->length,
              message->length ? message->bytes : "");
    return true;
}
