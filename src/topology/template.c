#include "topology/template.h"

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"

const char *const template_names[] = {"instance", "cluster", "service", "port",      "state",
                                      "realm",    "address", "home",    "directory", NULL};

enum { NUMBER_BYTES = 16 };

/* The name at a dollar sign, and the end of what stands for it; NULL: none, it means itself. */
static const char *name_at(const char *dollar, size_t *ret_length, const char **ret_end)
{
    bool braced = dollar[1] == '{';
    const char *name = dollar + 1 + braced;
    size_t length = 0;
    if (!isalpha((unsigned char)*name) && *name != '_')
        return NULL;
    while (isalnum((unsigned char)name[length]) || name[length] == '_' ||
           (braced && name[length] == '.'))
        length++;
    if (braced && name[length] != '}')
        return NULL;
    *ret_length = length;
    *ret_end = name + length + braced;
    return name;
}

static bool name_is(const char *name, size_t length, const char *other)
{
    return strlen(other) == length && memcmp(name, other, length) == 0;
}

/* NULL: there is no such name. `number` has room for the digits of a number. */
static const char *value_of(const char *name, size_t length, const struct template_values *values,
                            char number[NUMBER_BYTES])
{
    if (name_is(name, length, "instance") || name_is(name, length, "port")) {
        uint32_t value = name[0] == 'i' ? values->instance : values->port;
        snprintf(number, NUMBER_BYTES, "%u", value);
        return number;
    }
    const struct {
        const char *name;
        const char *value;
    } rows[] = {
        {"cluster", values->cluster},     {"service", values->service}, {"realm", values->realm},
        {"state", values->state},         {"address", values->address}, {"home", values->home},
        {"directory", values->directory},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (name_is(name, length, rows[i].name))
            return rows[i].value ? rows[i].value : "";
    return NULL;
}

/* At a dollar sign; returns the end of what it took. */
static const char *dollar_expand(const char *at, const struct template_values *values,
                                 struct buffer *out)
{
    char number[NUMBER_BYTES];
    size_t length;
    const char *end;
    const char *name = name_at(at, &length, &end);
    const char *value = name ? value_of(name, length, values, number) : NULL;
    if (value) {
        buffer_puts(out, value);
        return end;
    }
    buffer_puts(out, "$");
    return at + (at[1] == '$' ? 2 : 1);
}

char *template_expand(const char *text, const struct template_values *values)
{
    struct buffer out;
    buffer_init(&out, TEMPLATE_BYTES_MAX);
    buffer_puts(&out, "");
    for (const char *at = text; *at;) {
        size_t plain = strcspn(at, "$");
        buffer_append(&out, at, plain);
        at += plain;
        if (*at)
            at = dollar_expand(at, values, &out);
    }
    if (!out.overflowed)
        return out.data;
    buffer_done(&out);
    return NULL;
}

const char *template_unknown(const char *text, size_t *ret_length)
{
    static const struct template_values none = {0};
    char number[NUMBER_BYTES];
    for (const char *at = strchr(text, '$'); at; at = strchr(at, '$')) {
        const char *end = at + (at[1] == '$' ? 2 : 1);
        size_t length;
        const char *name = name_at(at, &length, &end);
        if (name && !value_of(name, length, &none, number)) {
            *ret_length = length;
            return name;
        }
        at = end;
    }
    return NULL;
}
