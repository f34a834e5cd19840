/* A head being written into a worker's output. */
#pragma once

#include <string.h>

#include "gateway/core/worker.h"
#include "gateway/http/h1_output.h"
#include "gateway/http/h1_scan.h"
#include "gateway/http/head.h"

enum { TEXT_BYTES_MAX = WORKER_OUTPUT_BYTES - OUTPUT_COPIED_MAX - 1024 };

struct text {
    char *bytes;
    size_t length;
    bool full; /* something did not fit: not to be sent */
};

static inline void put(struct text *text, const char *bytes, size_t length)
{
    if (text->length + length > TEXT_BYTES_MAX) {
        text->full = true;
        return;
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

#define PUT(text, literal) put((text), (literal), sizeof(literal) - 1)

static inline void put_slice(struct text *text, struct slice slice)
{
    put(text, slice.bytes, slice.length);
}

static inline void put_number(struct text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
    } while (number /= 10);
    put(text, digits + at, sizeof digits - at);
}

static inline void put_field(struct text *text, const struct field *field)
{
    put_slice(text, field->name);
    PUT(text, ": ");
    put_slice(text, field->value);
    PUT(text, "\r\n");
}

/* What was not parsed but made, of a request's bytes maybe: does it end no line? */
static inline bool field_sane(const struct field *field)
{
    const char *name_end = field->name.bytes + field->name.length;
    const char *value_end = field->value.bytes + field->value.length;
    return field->name.length && h1_skip(field->name.bytes, name_end, BYTE_TOKEN) == name_end &&
           h1_value_end(field->value.bytes, value_end) == value_end;
}
