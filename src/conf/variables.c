#include "conf/variables.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/bundle.h"
#include "conf/nearest.h"

enum { VARIABLE_HINT_BYTES = 256, VARIABLE_MESSAGE_BYTES = 256, CALCULATION_MAX = 1000000000 };

struct expanding {
    const struct variables *variables;
    const struct word *word;
    size_t skip;
    enum expansion kind;
    struct buffer *out;
    struct diagnostics *diagnostics;
};

__attribute__((format(printf, 3, 4))) static bool problem(const struct expanding *expanding,
                                                          const char *hint, const char *format, ...)
{
    char message[VARIABLE_MESSAGE_BYTES];
    va_list list;
    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    struct place place = word_place(expanding->word, expanding->skip);
    diagnostics_add(expanding->diagnostics, DIAGNOSTIC_ERROR, &place, hint, "%s", message);
    return false;
}

/* A value that is put in: in a template its dollar signs mean themselves. */
static void value_append(const struct expanding *expanding, const char *value)
{
    for (const char *at = value; *at; at++) {
        if (*at == '$' && expanding->kind != EXPANSION_PLAIN)
            buffer_puts(expanding->out, "$");
        buffer_append(expanding->out, at, 1);
    }
}

/* The value of `env.NAME`; NULL: it is not set, or there is no memory to note that it was used. */
static const char *environment_find(const struct variables *variables, const char *name,
                                    size_t length)
{
    static const char prefix[] = "env.";
    size_t skip = strlen(prefix);
    if (length <= skip || strncmp(name, prefix, skip) != 0)
        return NULL;
    name += skip;
    length -= skip;
    for (char *const *at = variables->environment; at && *at; at++) {
        if (strncmp(*at, name, length) != 0 || (*at)[length] != '=')
            continue;
        const char *value = *at + length + 1;
        char *copy = variables->collect ? strndup(name, length) : NULL;
        int error = variables->collect && !copy ? -ENOMEM : 0;
        if (copy)
            error = bundle_add(variables->collect, BUNDLE_ENVIRONMENT, copy, value, strlen(value));
        free(copy);
        return error ? NULL : value;
    }
    return NULL;
}

static bool name_is(const char *name, size_t length, const char *other)
{
    return strlen(other) == length && memcmp(name, other, length) == 0;
}

/* A name that ends with a dot stands for all that begin so. */
static bool name_known(const char *const *names, const char *name, size_t length)
{
    for (; names && *names; names++) {
        size_t known = strlen(*names);
        if ((*names)[known - 1] == '.' ? length > known && strncmp(name, *names, known) == 0
                                       : name_is(name, length, *names))
            return true;
    }
    return false;
}

static bool name_unknown(const struct expanding *expanding, const char *name, size_t length)
{
    char text[NEAREST_BYTES_MAX + 1];
    char hint[VARIABLE_HINT_BYTES];
    snprintf(text, sizeof text, "%.*s", (int)length, name);
    struct nearest nearest = {.word = text};
    nearest_try(&nearest, "realm");
    nearest_try(&nearest, "index");
    const char *const *known = expanding->kind == EXPANSION_PATTERN
                                   ? expanding->variables->request
                                   : expanding->variables->run_time;
    for (; known && *known; known++)
        nearest_try(&nearest, *known);
    if (nearest.best)
        snprintf(hint, sizeof hint,
                 "did you mean `$%s`? A dollar sign that means itself is written $$", nearest.best);
    else
        snprintf(hint, sizeof hint,
                 "a dollar sign that means itself is written $$, or the text "
                 "stands in '…'; the caller's environment is $env.%s",
                 text);
    return problem(expanding, hint, "unknown variable `$%.*s`", (int)length, name);
}

static bool environment_append(const struct expanding *expanding, const char *name, size_t length)
{
    const char *value = environment_find(expanding->variables, name, length);
    if (!value)
        return problem(expanding, "set it, or write the value",
                       "`$%.*s` is not set in the environment", (int)length, name);
    value_append(expanding, value);
    return true;
}

static bool name_append(const struct expanding *expanding, const char *name, size_t length)
{
    const struct variables *variables = expanding->variables;
    if (length > 4 && strncmp(name, "env.", 4) == 0)
        return environment_append(expanding, name, length);
    bool realm = name_is(name, length, "realm");
    if (realm || name_is(name, length, "index")) {
        if (!variables->realm)
            return problem(expanding, "it stands for a name of `realm NAMES { … }`",
                           "`$%.*s` has a value only inside a realm", (int)length, name);
        if (realm)
            value_append(expanding, variables->realm);
        else
            buffer_printf(expanding->out, "%u", variables->index);
        return true;
    }
    bool pattern = expanding->kind == EXPANSION_PATTERN;
    if (name_known(pattern ? variables->request : variables->run_time, name, length)) {
        if (expanding->kind == EXPANSION_PLAIN)
            return problem(expanding, "known here: $env.NAME, and $realm $index inside a realm",
                           "`$%.*s` is known only when an instance starts", (int)length, name);
        buffer_printf(expanding->out, "${%.*s}", (int)length, name);
        return true;
    }
    if (isdigit((unsigned char)*name)) { /* a shell's, awk's, …: it means itself */
        value_append(expanding, "$");
        buffer_append(expanding->out, name, length);
        return true;
    }
    return name_unknown(expanding, name, length);
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
static const char *term_read(const struct expanding *expanding, const char *at, int64_t *ret_number)
{
    if (*at != '$')
        return number_read(at, ret_number);
    bool braced = at[1] == '{';
    const char *name = at + 1 + braced;
    size_t length = 0;
    while (isalnum((unsigned char)name[length]) || name[length] == '_' || name[length] == '.')
        length++;
    const struct variables *variables = expanding->variables;
    if (name_is(name, length, "index") && variables->realm) {
        *ret_number = variables->index;
    } else {
        const char *value = environment_find(variables, name, length);
        const char *end = value ? number_read(value, ret_number) : NULL;
        if (!end || *end)
            return NULL;
    }
    if (braced && name[length] != '}')
        return NULL;
    return name + length + braced;
}

/* `text` is behind `$(`. The result is behind its `)`; NULL: reported. */
static const char *calculation_append(const struct expanding *expanding, const char *text)
{
    size_t length = strcspn(text, ")");
    int64_t sum = 0;
    int sign = 1;
    for (const char *at = text;;) {
        int64_t number;
        at = term_read(expanding, blanks_skip(at), &number);
        if (!at)
            break;
        sum += sign * number;
        at = blanks_skip(at);
        if (*at == ')' && sum >= 0) {
            buffer_printf(expanding->out, "%lld", (long long)sum);
            return at + 1;
        }
        if ((*at != '+' && *at != '-') || sum > CALCULATION_MAX || sum < -CALCULATION_MAX)
            break;
        sign = *at++ == '+' ? 1 : -1;
    }
    problem(
        expanding,
        "a sum like $(7000 + $index): whole numbers, $index inside a realm, $env.NAME, + and -; "
        "a shell's own $(…) is written $$(…), or the text stands in '…'",
        "cannot calculate `$(%.*s)`", (int)length, text);
    return NULL;
}

/* At a dollar sign of the canonical text. The result is behind what it began; NULL: reported. */
static const char *dollar_append(const struct expanding *expanding, const char *at)
{
    if (at[1] == '$') {
        buffer_puts(expanding->out, expanding->kind != EXPANSION_PLAIN ? "$$" : "$");
        return at + 2;
    }
    if (at[1] == '(')
        return calculation_append(expanding, at + 2);
    assert(at[1] == '{');
    size_t length = strcspn(at + 2, "}");
    return name_append(expanding, at + 2, length) ? at + 3 + length : NULL;
}

bool variables_expand(const struct variables *variables, const struct word *word, size_t skip,
                      enum expansion kind, struct buffer *out, struct diagnostics *diagnostics)
{
    struct expanding expanding = {variables, word, skip, kind, out, diagnostics};
    const char *at = word->text + skip;
    while (*at) {
        size_t plain = strcspn(at, "$");
        buffer_append(out, at, plain);
        at += plain;
        if (*at && !(at = dollar_append(&expanding, at)))
            return false;
    }
    if (out->overflowed)
        return problem(&expanding, NULL, "the text is too long");
    return true;
}
