#include "control/event.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "control/text.h"

enum { INTEGER_DIGITS_MAX = 18 };

/* The length of a key at the beginning of this text, which `=` follows; 0: there is none. */
static size_t key_length(const char *text, const char *end)
{
    size_t length = 0;
    while (text + length < end && (islower((unsigned char)text[length]) ||
                                   isdigit((unsigned char)text[length]) || text[length] == '_'))
        length++;
    return text + length < end && text[length] == '=' ? length : 0;
}

/* Does the value end here: at the line's end, or before the next key? */
static bool value_over(const char *at, const char *end)
{
    return at == end || (*at == ' ' && key_length(at + 1, end));
}

/* Behind the value, whose quotes are among it. Texts within quotes are not always escaped, so a
 * quote ends one only where it can. */
static const char *value_end(const char *at, const char *end)
{
    bool quoted = at < end && *at == '"';
    for (at += quoted; at < end; at++) {
        if (!quoted && value_over(at, end))
            return at;
        if (quoted && *at == '\\' && at + 1 < end)
            at++;
        else if (quoted && *at == '"' && value_over(at + 1, end))
            return at + 1;
    }
    return end;
}

/* Takes back what log_text did, in place. */
static void text_restore(char *text)
{
    char *to = text;
    for (const char *at = text; *at; at++) {
        char digits[3] = "";
        if (at[0] == '\\' && (at[1] == '"' || at[1] == '\\')) {
            at++;
        } else if (at[0] == '\\' && at[1] == 'x' && isxdigit((unsigned char)at[2]) &&
                   isxdigit((unsigned char)at[3])) {
            memcpy(digits, at + 2, 2);
            at += 3;
        }
        char byte = digits[0] ? (char)strtol(digits, NULL, 16) : *at;
        *to++ = byte ? byte : '?';
    }
    *to = 0;
}

static bool text_always(const char *key)
{
    static const char *const keys[] = {"cluster", "instance", "service", "uses",    "name",
                                       "why",     "text",     "error",   "version", "listener"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(keys[i], key) == 0)
            return true;
    return false;
}

static bool integer_like(const char *text)
{
    size_t digits = strspn(text + (*text == '-'), "0123456789");
    return digits && digits <= INTEGER_DIGITS_MAX && !text[(*text == '-') + digits];
}

static json_t *value_object(const char *key, const char *from, const char *end)
{
    bool quoted = from < end && *from == '"';
    from += quoted;
    end -= quoted && end > from && end[-1] == '"';
    scoped_memory char *text = strndup(from, (size_t)(end - from));
    if (!text)
        return NULL;
    if (quoted)
        text_restore(text);
    else if (integer_like(text) && !text_always(key))
        return json_integer(strtoll(text, NULL, 10));
    return json_text(text);
}

static void fields_add(json_t *fields, const char *at, const char *end)
{
    size_t length;
    while ((length = key_length(at, end))) {
        scoped_memory char *key = strndup(at, length);
        const char *value = at + length + 1;
        const char *over = value_end(value, end);
        if (key)
            json_object_set_new(fields, key, value_object(key, value, over));
        at = over < end ? over + 1 : end;
    }
}

json_t *event_object(const char *line, size_t length, uint64_t number)
{
    enum { TIME, LEVEL, ROLE, EVENT, WORDS };
    char *words[WORDS];
    scoped_memory char *copy = strndup(line, length);
    if (!copy)
        return NULL;
    copy[strcspn(copy, "\n")] = 0;
    char *rest = copy;
    char *end = copy + strlen(copy);
    for (int i = 0; i < WORDS; i++)
        if (!(words[i] = strsep(&rest, " ")) || !*words[i])
            return NULL;
    json_t *object = json_object();
    json_t *fields = json_object();
    json_object_set_new(object, "event", json_text(words[EVENT]));
    json_object_set_new(object, "number", json_integer((json_int_t)number));
    json_object_set_new(object, "time", json_text(words[TIME]));
    json_object_set_new(object, "level", json_text(words[LEVEL]));
    if (rest)
        fields_add(fields, rest, end);
    json_object_set_new(object, "fields", fields);
    return object;
}
