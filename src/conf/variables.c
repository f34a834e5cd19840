#include "conf/variables.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "conf/nearest.h"

enum { VARIABLE_HINT_BYTES = 256, VARIABLE_MESSAGE_BYTES = 256, CALCULATION_MAX = 1000000000 };

struct expansion {
    const struct variables *variables;
    const struct word *word;
    size_t skip;
    bool template;
    struct buffer *out;
    struct diagnostics *diagnostics;
};

__attribute__((format(printf, 3, 4))) static bool problem(const struct expansion *expansion,
                                                          const char *hint, const char *format, ...)
{
    char message[VARIABLE_MESSAGE_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    struct place place = word_place(expansion->word, expansion->skip);
    diagnostics_add(expansion->diagnostics, DIAGNOSTIC_ERROR, &place, hint, "%s", message);
    return false;
}

/* A value that is put in: in a template its dollar signs mean themselves. */
static void value_append(const struct expansion *expansion, const char *value)
{
    for (const char *at = value; *at; at++) {
        if (*at == '$' && expansion->template)
            buffer_puts(expansion->out, "$");
        buffer_append(expansion->out, at, 1);
    }
}

static const char *environment_find(char *const *environment, const char *name, size_t length)
{
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

static bool name_is(const char *name, size_t length, const char *other)
{
    return strlen(other) == length && memcmp(name, other, length) == 0;
}

static bool name_unknown(const struct expansion *expansion, const char *name, size_t length)
{
    char text[NEAREST_BYTES_MAX + 1];
    char hint[VARIABLE_HINT_BYTES];
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    struct nearest nearest = {.word = text};
    nearest_try(&nearest, "realm");
    nearest_try(&nearest, "index");
    for (const char *const *known = expansion->variables->run_time; known && *known; known++)
        nearest_try(&nearest, *known);
    if (nearest.best)
        snprintf(hint, sizeof hint,
                 "did you mean `$%s`? A dollar sign that means itself is written $$", nearest.best);
    else
        snprintf(hint, sizeof hint,
                 "a dollar sign that means itself is written $$, or the text "
                 "stands in '…'; the caller's environment is $env.%s",
                 text);
    return problem(expansion, hint, "unknown variable `$%.*s`", (int)length, name);
}

static bool environment_append(const struct expansion *expansion, const char *name, size_t length)
{
    const char *value = environment_find(expansion->variables->environment, name + 4, length - 4);
    if (!value)
        return problem(expansion, "set it, or write the value",
                       "`$%.*s` is not set in the environment", (int)length, name);
    value_append(expansion, value);
    return true;
}

static bool name_append(const struct expansion *expansion, const char *name, size_t length)
{
    const struct variables *variables = expansion->variables;
    if (length > 4 && strncmp(name, "env.", 4) == 0)
        return environment_append(expansion, name, length);
    bool realm = name_is(name, length, "realm");
    if (realm || name_is(name, length, "index")) {
        if (!variables->realm)
            return problem(expansion, "it stands for a name of `realm NAMES { … }`",
                           "`$%.*s` has a value only inside a realm", (int)length, name);
        if (realm)
            value_append(expansion, variables->realm);
        else
            buffer_printf(expansion->out, "%u", variables->index);
        return true;
    }
    for (const char *const *known = variables->run_time; known && *known; known++) {
        if (!name_is(name, length, *known))
            continue;
        if (!expansion->template)
            return problem(expansion, "known here: $env.NAME, and $realm $index inside a realm",
                           "`$%.*s` is known only when an instance starts", (int)length, name);
        buffer_printf(expansion->out, "${%s}", *known);
        return true;
    }
    return name_unknown(expansion, name, length);
}

static const char *blanks_skip(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

static const char *number_read(const char *at, int64_t *ret_number)
{
    if (!isdigit((unsigned char)*at))
        return NULL;
    int64_t number = 0;
    for (; isdigit((unsigned char)*at); at++) {
        number = number * 10 + (*at - '0');
        if (number > CALCULATION_MAX)
            return NULL;
    }
    *ret_number = number;
    return at;
}

/* A number, or a variable whose value is one. NULL: neither. */
static const char *term_read(const struct expansion *expansion, const char *at, int64_t *ret_number)
{
    if (*at != '$')
        return number_read(at, ret_number);
    bool braced = at[1] == '{';
    const char *name = at + 1 + braced;
    size_t length = 0;
    while (isalnum((unsigned char)name[length]) || name[length] == '_' || name[length] == '.')
        length++;
    const struct variables *variables = expansion->variables;
    if (name_is(name, length, "index") && variables->realm) {
        *ret_number = variables->index;
    } else {
        const char *value = length > 4 && strncmp(name, "env.", 4) == 0
                                ? environment_find(variables->environment, name + 4, length - 4)
                                : NULL;
        const char *end = value ? number_read(value, ret_number) : NULL;
        if (!end || *end)
            return NULL;
    }
    if (braced && name[length] != '}')
        return NULL;
    return name + length + braced;
}

/* `text` is behind `$(`. The result is behind its `)`; NULL: reported. */
static const char *calculation_append(const struct expansion *expansion, const char *text)
{
    size_t length = strcspn(text, ")");
    int64_t sum = 0;
    int sign = 1;
    for (const char *at = text;;) {
        int64_t number;
        at = term_read(expansion, blanks_skip(at), &number);
        if (!at)
            break;
        sum += sign * number;
        at = blanks_skip(at);
        if (*at == ')' && sum >= 0) {
            buffer_printf(expansion->out, "%lld", (long long)sum);
            return at + 1;
        }
        if ((*at != '+' && *at != '-') || sum > CALCULATION_MAX || sum < -CALCULATION_MAX)
            break;
        sign = *at++ == '+' ? 1 : -1;
    }
    problem(
        expansion,
        "a sum like $(7000 + $index): whole numbers, $index inside a realm, $env.NAME, + and -; "
        "a shell's own $(…) is written $$(…), or the text stands in '…'",
        "cannot calculate `$(%.*s)`", (int)length, text);
    return NULL;
}

/* At a dollar sign of the canonical text. The result is behind what it began; NULL: reported. */
static const char *dollar_append(const struct expansion *expansion, const char *at)
{
    if (at[1] == '$') {
        buffer_puts(expansion->out, expansion->template ? "$$" : "$");
        return at + 2;
    }
    if (at[1] == '(')
        return calculation_append(expansion, at + 2);
    assert(at[1] == '{');
    size_t length = strcspn(at + 2, "}");
    return name_append(expansion, at + 2, length) ? at + 3 + length : NULL;
}

bool variables_expand(const struct variables *variables, const struct word *word, size_t skip,
                      bool template, struct buffer *out, struct diagnostics *diagnostics)
{
    struct expansion expansion = {variables, word, skip, template, out, diagnostics};
    const char *at = word->text + skip;
    while (*at) {
        size_t plain = strcspn(at, "$");
        buffer_append(out, at, plain);
        at += plain;
        if (*at && !(at = dollar_append(&expansion, at)))
            return false;
    }
    if (out->overflowed)
        return problem(&expansion, NULL, "the text is too long");
    return true;
}
