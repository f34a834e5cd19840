#include "conf/value.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/nearest.h"
#include "conf/value_private.h"

enum { SHOWN_BYTES_MAX = VALUE_SHOWN_BYTES_MAX };

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit units_duration[] = {
    {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0}};
static const struct unit units_size[] = {
    {"t", 1ull << 40}, {"g", 1ull << 30}, {"m", 1ull << 20}, {"k", 1ull << 10}, {"", 1},
    {"T", 1ull << 40}, {"G", 1ull << 30}, {"M", 1ull << 20}, {"K", 1ull << 10}, {NULL, 0}};
static const struct unit units_percent[] = {{"%", 1}, {NULL, 0}};
static const struct unit units_rate[] = {{"/s", 3600}, {"/m", 60}, {"/h", 1}, {NULL, 0}};
static const struct unit units_none[] = {{"", 1}, {NULL, 0}};

struct type_row {
    const char *noun;         /* "is not …" */
    const char *sign;         /* in syntax */
    const char *shape;        /* for hints */
    const struct unit *units; /* of types that are numbers */
    uint64_t high;            /* when the spec has no bound of its own */
};

static const struct type_row types[] = {
    [VALUE_WORD] = {.noun = "a word", .sign = "TEXT"},
    [VALUE_TEMPLATE] = {.noun = "a text", .sign = "TEXT"},
    [VALUE_PATH] = {.noun = "a path", .sign = "PATH"},
    [VALUE_ASSIGNMENT] = {.noun = "an assignment",
                          .sign = "NAME=value",
                          .shape = "NAME=value, like LANG=C.UTF-8"},
    [VALUE_NAME] = {.noun = "a name",
                    .sign = "NAME",
                    .shape = "letters, digits, `-` and `_`, at most 63, a letter or digit first"},
    [VALUE_REFERENCE] = {.noun = "a name",
                         .sign = "NAME",
                         .shape = "a service's name, like web or s1.logic"},
    [VALUE_CHOICE] = {.noun = "a value", .sign = "WORD"},
    [VALUE_INTEGER] = {.noun = "a whole number",
                       .sign = "N",
                       .units = units_none,
                       .high = UINT32_MAX},
    [VALUE_RANGE] = {.noun = "a number or a range",
                     .sign = "N",
                     .shape = "a number like 4, or a range like 1..8",
                     .units = units_none,
                     .high = UINT32_MAX},
    [VALUE_OCTAL] = {.noun = "an octal number", .sign = "N", .shape = "digits 0 to 7, like 027"},
    [VALUE_DURATION] = {.noun = "a duration",
                        .sign = "DURATION",
                        .shape = "a number with ms, s, m or h: 500ms, 10s, 5m, 2h",
                        .units = units_duration,
                        .high = UINT32_MAX},
    [VALUE_DURATION_RANGE] = {.noun = "a range of durations",
                              .sign = "MIN..MAX",
                              .shape = "two durations, like 100ms..30s",
                              .units = units_duration,
                              .high = UINT32_MAX},
    [VALUE_SIZE] = {.noun = "a size",
                    .sign = "SIZE",
                    .shape = "a number, with k, m, g or t: 64k, 256m, 2g",
                    .units = units_size,
                    .high = 1ull << 50},
    [VALUE_PERCENT] = {.noun = "a percentage",
                       .sign = "N%",
                       .shape = "a number with %, like 50%",
                       .units = units_percent,
                       .high = UINT32_MAX},
    [VALUE_RATE] = {.noun = "a rate",
                    .sign = "RATE",
                    .shape = "a number with /s, /m or /h, like 100/s",
                    .units = units_rate,
                    .high = UINT32_MAX},
    [VALUE_PORT] = {.noun = "a port", .sign = "PORT", .units = units_none, .high = 65535},
    [VALUE_ADDRESS] = {.noun = "an address",
                       .sign = "ADDRESS",
                       .shape = "8080, 127.0.0.1:8080, [::1]:8080 or *:8080"},
    [VALUE_SIGNAL] = {.noun = "a signal",
                      .sign = "SIGNAL",
                      .shape = "a signal's name, like SIGTERM, SIGINT, SIGQUIT or SIGRTMIN+3"},
    [VALUE_ARROW] = {.noun = "->", .sign = "->"},
    [VALUE_FILE] = {.noun = "a file", .sign = "FILE"},
    [VALUE_PATTERN] = {.noun = "a text",
                       .sign = "TEXT",
                       .shape = "text, in which $host $path $query $uri $scheme $method $client "
                                "$port $request_id $user $header.NAME $cookie.NAME $arg.NAME "
                                "$jwt.NAME and, of a regular expression, $1 to $9 stand for what "
                                "the request has"},
    [VALUE_TARGET] = {.noun = "a name",
                      .sign = "SERVICE",
                      .shape = "services, like api, or api weight=95, canary weight=5"},
    [VALUE_LIST] = {.noun = "a list", .sign = "A,B", .shape = "words with commas between them"},
    [VALUE_NETWORK] = {.noun = "a network",
                       .sign = "NETWORK",
                       .shape = "an address, or a network like 10.0.0.0/8 or fd00::/8"},
    [VALUE_ENDPOINT] = {.noun = "an endpoint",
                        .sign = "ENDPOINT",
                        .shape = "HOST:PORT, like 10.0.0.7:8080, [::1]:8080 or db.example:5432, "
                                 "or unix:/path"},
    [VALUE_HOST] = {.noun = "a host name",
                    .sign = "NAME",
                    .shape = "a name without a port, like shop.example, *.shop.example for all "
                             "below it, or * for all"},
    [VALUE_METHODS] = {.noun = "a list of methods", .sign = "METHODS", .shape = "like GET,POST"},
    [VALUE_HEADER] = {.noun = "a header's name", .sign = "NAME", .shape = "like X-Real-IP"},
    [VALUE_HEADER_MATCH] = {.noun = "a header",
                            .sign = "HEADER",
                            .shape = "\"Name\", or \"Name: value\""},
    [VALUE_STATUS] = {.noun = "a status",
                      .sign = "STATUS",
                      .shape = "a number from 100 to 599, or a range like 200-399"},
    [VALUE_BYTES] = {.noun = "a place in a datagram",
                     .sign = "AT:BYTES",
                     .shape = "AT:BYTES, like 0:8 for the first eight; AT up to 255, BYTES 1 to "
                              "16"},
    [VALUE_FACTOR] = {.noun = "a factor",
                      .sign = "FACTOR",
                      .shape = "a number like 1.25, with two digits behind the point at most"},
};

enum expansion value_expansion(enum value_type type)
{
    if (type == VALUE_PATTERN)
        return EXPANSION_PATTERN;
    bool template = type == VALUE_TEMPLATE || type == VALUE_PATH || type == VALUE_ASSIGNMENT;
    return template ? EXPANSION_TEMPLATE : EXPANSION_PLAIN;
}

const char *value_sign(enum value_type type)
{
    return types[type].sign;
}

static uint64_t spec_high(const struct value_spec *spec)
{
    return spec->high ? spec->high : types[spec->type].high;
}

static uint64_t spec_low(const struct value_spec *spec)
{
    return spec->type == VALUE_PORT && !spec->low ? 1 : spec->low;
}

/* With the first unit that it is a whole number of; 0 in the smallest. */
static void number_format(enum value_type type, uint64_t number, char *text, size_t size)
{
    const struct unit *unit = types[type].units;
    while (number % unit->factor || number / unit->factor == 0) {
        if (!unit[1].name || unit->factor == 1)
            break;
        unit++;
    }
    snprintf(text, size, "%llu%s", (unsigned long long)(number / unit->factor), unit->name);
}

const char *value_allowed(const struct value_spec *spec, char *text, size_t size)
{
    const struct type_row *type = &types[spec->type];
    *text = 0;
    if (type->units) {
        char low[32], high[32];
        number_format(spec->type, spec_low(spec), low, sizeof low);
        number_format(spec->type, spec_high(spec), high, sizeof high);
        if (!spec->high && spec->type != VALUE_PORT)
            snprintf(text, size, "%s or more", low);
        else
            snprintf(text, size, "%s to %s", low, high);
    } else if (spec->type == VALUE_FACTOR) {
        snprintf(text, size, "%g to %g", (double)spec->low / 100, (double)spec->high / 100);
    } else if (spec->type == VALUE_OCTAL) {
        snprintf(text, size, "0 to %llo", (unsigned long long)spec->high);
    } else if (type->shape) {
        value_text_add(text, size, type->shape);
    }
    if (spec->choices) {
        value_text_add(text, size, *text ? ", or " : "");
        value_choices_add(spec->choices, text, size);
    }
    return text;
}

bool value_wrong(const struct value_spec *spec, const char *text, struct value_problem *problem)
{
    const struct type_row *type = &types[spec->type];
    char allowed[VALUE_HINT_BYTES - SHOWN_BYTES_MAX];
    value_allowed(spec, allowed, sizeof allowed);
    if (!*allowed)
        snprintf(problem->hint, sizeof problem->hint, "it is empty");
    else if (type->units && type->shape)
        snprintf(problem->hint, sizeof problem->hint, "%s; allowed: %s", type->shape, allowed);
    else
        snprintf(problem->hint, sizeof problem->hint, "allowed: %s", allowed);
    snprintf(problem->message, sizeof problem->message, "`%.*s` is not %s", SHOWN_BYTES_MAX, text,
             type->noun);
    return false;
}

static bool problem_bounds(const struct value_spec *spec, const char *text, bool low,
                           struct value_problem *problem)
{
    char allowed[VALUE_HINT_BYTES - SHOWN_BYTES_MAX];
    snprintf(problem->hint, sizeof problem->hint, "allowed: %s",
             value_allowed(spec, allowed, sizeof allowed));
    snprintf(problem->message, sizeof problem->message, "`%.*s` is too %s", SHOWN_BYTES_MAX, text,
             low ? "small" : "large");
    return false;
}

enum reading value_number_read(const struct value_spec *spec, const char *text, size_t length,
                               uint64_t *ret_number)
{
    uint64_t number = 0;
    bool large = false;
    size_t digits = 0;
    for (; digits < length && isdigit((unsigned char)text[digits]); digits++)
        large |= __builtin_mul_overflow(number, 10, &number) ||
                 __builtin_add_overflow(number, (uint64_t)(text[digits] - '0'), &number);
    if (!digits)
        return READING_WRONG;
    const struct unit *unit = types[spec->type].units;
    while (unit->name && (strlen(unit->name) != length - digits ||
                          memcmp(unit->name, text + digits, length - digits) != 0))
        unit++;
    /* Nothing is needed to say that 0 is nothing. */
    if (!unit->name && number == 0 && digits == length && spec->type == VALUE_DURATION)
        unit = units_none;
    if (!unit->name)
        return READING_WRONG;
    if (large || __builtin_mul_overflow(number, unit->factor, &number) || number > spec_high(spec))
        return READING_LARGE;
    if (number < spec_low(spec))
        return READING_SMALL;
    *ret_number = number;
    return READING_DONE;
}

bool value_reading_finish(const struct value_spec *spec, const char *text, enum reading reading,
                          struct value_problem *problem)
{
    if (reading == READING_DONE)
        return true;
    if (reading == READING_WRONG)
        return value_wrong(spec, text, problem);
    return problem_bounds(spec, text, reading == READING_SMALL, problem);
}

static bool number_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                         struct value_problem *problem)
{
    enum reading reading = value_number_read(spec, text, strlen(text), &ret_value->number);
    return value_reading_finish(spec, text, reading, problem);
}

/* `A..B`, or `A` for A..A. */
static bool range_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                        struct value_problem *problem)
{
    const char *dots = strstr(text, "..");
    size_t low_length = dots ? (size_t)(dots - text) : strlen(text);
    uint64_t low, high;
    enum reading reading = value_number_read(spec, text, low_length, &low);
    if (reading == READING_SMALL && dots)
        reading = READING_DONE, low = 0; /* 0..4 is another matter than 0 */
    if (reading == READING_DONE && dots)
        reading = value_number_read(spec, dots + 2, strlen(dots + 2), &high);
    else
        high = low;
    if (reading == READING_DONE && low > high) {
        snprintf(problem->message, sizeof problem->message,
                 "the range `%.*s` ends before it starts", SHOWN_BYTES_MAX, text);
        snprintf(problem->hint, sizeof problem->hint, "the smaller value stands first");
        return false;
    }
    if (reading == READING_DONE) {
        ret_value->range.low = low;
        ret_value->range.high = high;
    }
    return value_reading_finish(spec, text, reading, problem);
}

static bool octal_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                        struct value_problem *problem)
{
    uint64_t number = 0;
    if (!*text)
        return value_wrong(spec, text, problem);
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '7')
            return value_wrong(spec, text, problem);
        number = number * 8 + (uint64_t)(*at - '0');
        if (number > spec->high)
            return problem_bounds(spec, text, false, problem);
    }
    ret_value->number = number;
    return true;
}

static bool factor_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                         struct value_problem *problem)
{
    size_t whole = strspn(text, "0123456789");
    size_t digits = text[whole] == '.' ? strspn(text + whole + 1, "0123456789") : 0;
    bool pointed = text[whole] == '.';
    if (!whole || whole > 9 || digits > 2 || (pointed && !digits) || text[whole + pointed + digits])
        return value_wrong(spec, text, problem);
    uint64_t number = 0;
    for (size_t i = 0; i < whole; i++)
        number = number * 10 + (uint64_t)(text[i] - '0');
    for (size_t i = 0; i < 2; i++)
        number = number * 10 + (i < digits ? (uint64_t)(text[whole + 1 + i] - '0') : 0);
    if (number < spec->low || number > spec->high)
        return problem_bounds(spec, text, number < spec->low, problem);
    ret_value->number = number;
    return true;
}

static bool name_parse(const struct value_spec *spec, const char *text,
                       struct value_problem *problem)
{
    bool dots = spec->type == VALUE_REFERENCE;
    size_t length = strlen(text);
    bool good = length && length <= (dots ? 2 * NAME_BYTES_MAX + 1 : NAME_BYTES_MAX) &&
                isalnum((unsigned char)text[0]);
    for (size_t i = 0; good && i < length; i++)
        good = isalnum((unsigned char)text[i]) || text[i] == '-' || text[i] == '_' ||
               (dots && text[i] == '.');
    return good || value_wrong(spec, text, problem);
}

static bool assignment_parse(const struct value_spec *spec, const char *text,
                             struct value_problem *problem)
{
    size_t length = 0;
    while (isalnum((unsigned char)text[length]) || text[length] == '_')
        length++;
    return (length && !isdigit((unsigned char)text[0]) && text[length] == '=') ||
           value_wrong(spec, text, problem);
}

static bool signal_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                         struct value_problem *problem)
{
    const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
    if (strncmp(name, "RTMIN+", 6) == 0) {
        static const struct value_spec offset_spec = {.type = VALUE_INTEGER, .high = 30};
        uint64_t offset;
        if (value_number_read(&offset_spec, name + 6, strlen(name + 6), &offset) != READING_DONE)
            return value_wrong(spec, text, problem);
        ret_value->signal = SIGRTMIN + (int)offset;
        return true;
    }
    for (int number = 1; number < __SIGRTMIN; number++) {
        const char *known = sigabbrev_np(number);
        if (known && strcmp(known, name) == 0) {
            ret_value->signal = number;
            return true;
        }
    }
    value_wrong(spec, text, problem);
    struct nearest nearest = {.word = name};
    for (int number = 1; number < __SIGRTMIN; number++)
        if (sigabbrev_np(number))
            nearest_try(&nearest, sigabbrev_np(number));
    if (nearest.best)
        snprintf(problem->hint, sizeof problem->hint, "did you mean `SIG%s`?", nearest.best);
    return false;
}

static bool arrow_parse(const char *text, struct value_problem *problem)
{
    if (strcmp(text, "->") == 0)
        return true;
    snprintf(problem->message, sizeof problem->message, "`->` is missing before `%.*s`",
             SHOWN_BYTES_MAX, text);
    problem->hint[0] = 0;
    return false;
}

bool value_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                 struct value_problem *ret_problem)
{
    bool planned = false;
    ret_problem->planned = false;
    ret_value->given = true;
    ret_value->choice = spec->choices ? value_choice_find(spec, text, &planned) : -1;
    if (planned)
        return value_choice_planned(spec, text, ret_problem);
    if (ret_value->choice >= 0)
        return true;
    switch (spec->type) {
    case VALUE_CHOICE:
        return value_choice_wrong(spec, text, ret_problem);
    case VALUE_WORD:
    case VALUE_FILE:
    case VALUE_PATH:
    case VALUE_TARGET:
    case VALUE_LIST:
        ret_value->text = text;
        return *text || value_wrong(spec, text, ret_problem);
    case VALUE_TEMPLATE:
    case VALUE_PATTERN:
        ret_value->text = text;
        return true;
    case VALUE_ASSIGNMENT:
        ret_value->text = text;
        return assignment_parse(spec, text, ret_problem);
    case VALUE_NAME:
    case VALUE_REFERENCE:
        ret_value->text = text;
        return name_parse(spec, text, ret_problem);
    case VALUE_INTEGER:
    case VALUE_DURATION:
    case VALUE_SIZE:
    case VALUE_PERCENT:
    case VALUE_RATE:
    case VALUE_PORT:
        return number_parse(spec, text, ret_value, ret_problem);
    case VALUE_RANGE:
    case VALUE_DURATION_RANGE:
        return range_parse(spec, text, ret_value, ret_problem);
    case VALUE_OCTAL:
        return octal_parse(spec, text, ret_value, ret_problem);
    case VALUE_ADDRESS:
    case VALUE_NETWORK:
    case VALUE_ENDPOINT:
    case VALUE_HOST:
    case VALUE_BYTES:
        return value_network_parse(spec, text, ret_value, ret_problem);
    case VALUE_METHODS:
    case VALUE_HEADER:
    case VALUE_HEADER_MATCH:
    case VALUE_STATUS:
        return value_http_parse(spec, text, ret_value, ret_problem);
    case VALUE_FACTOR:
        return factor_parse(spec, text, ret_value, ret_problem);
    case VALUE_SIGNAL:
        return signal_parse(spec, text, ret_value, ret_problem);
    case VALUE_ARROW:
        return arrow_parse(text, ret_problem);
    case VALUE_END:
        break;
    }
    assert(false && "a row's argument without a type");
    return false;
}
