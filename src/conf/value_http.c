#include <assert.h>
#include <ctype.h>
#include <string.h>

#include "conf/value_private.h"

enum { HEADER_NAME_BYTES_MAX = 255, METHOD_BYTES_MAX = 32, STATUS_LOW = 100, STATUS_HIGH = 599 };

/* A byte of a token: RFC 9110 §5.6.2. */
static bool byte_in_token(char byte)
{
    return isalnum((unsigned char)byte) || (byte && strchr("!#$%&'*+-.^_`|~", byte));
}

static size_t token_length(const char *text)
{
    size_t length = 0;
    while (byte_in_token(text[length]))
        length++;
    return length;
}

static bool methods_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                          struct value_problem *problem)
{
    ret_value->text = text;
    for (const char *at = text;; at++) {
        size_t length = 0;
        while (isupper((unsigned char)at[length]) || at[length] == '-')
            length++;
        at += length;
        if (!length || length > METHOD_BYTES_MAX || (*at && *at != ','))
            return value_wrong(spec, text, problem);
        if (!*at)
            return true;
    }
}

static bool header_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                         struct value_problem *problem)
{
    size_t length = token_length(text);
    ret_value->text = text;
    return (length && length <= HEADER_NAME_BYTES_MAX && !text[length]) ||
           value_wrong(spec, text, problem);
}

static bool header_match_parse(const struct value_spec *spec, const char *text,
                               struct value *ret_value, struct value_problem *problem)
{
    size_t length = token_length(text);
    const char *wanted = NULL;
    if (!length || length > HEADER_NAME_BYTES_MAX || (text[length] && text[length] != ':'))
        return value_wrong(spec, text, problem);
    if (text[length]) {
        wanted = text + length + 1;
        wanted += strspn(wanted, " ");
    }
    ret_value->header =
        (struct value_header){.text = text, .wanted = wanted, .name_length = (uint16_t)length};
    return true;
}

static bool status_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                         struct value_problem *problem)
{
    static const struct value_spec number = {
        .type = VALUE_INTEGER, .low = STATUS_LOW, .high = STATUS_HIGH};
    size_t length = strcspn(text, "-");
    const char *second = text[length] ? text + length + 1 : text;
    uint64_t low, high;
    if (value_number_read(&number, text, length, &low) != READING_DONE ||
        value_number_read(&number, second, strlen(second), &high) != READING_DONE || low > high)
        return value_wrong(spec, text, problem);
    ret_value->range.low = low;
    ret_value->range.high = high;
    return true;
}

bool value_http_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                      struct value_problem *problem)
{
    switch ((int)spec->type) {
    case VALUE_METHODS:
        return methods_parse(spec, text, ret_value, problem);
    case VALUE_HEADER:
        return header_parse(spec, text, ret_value, problem);
    case VALUE_HEADER_MATCH:
        return header_match_parse(spec, text, ret_value, problem);
    case VALUE_STATUS:
        return status_parse(spec, text, ret_value, problem);
    default:
        break;
    }
    assert(false && "not a value of HTTP");
    return false;
}
