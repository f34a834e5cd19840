/* A byte buffer that grows up to a cap: text being built, or bytes on their way to a descriptor.
 * A value; `buffer_init` sets the cap, `buffer_done` frees. Appending past the cap, or without
 * memory, appends nothing and sets `overflowed`: callers that build a whole message check it once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *data;       /* owned; NULL while empty; data[length] is always 0 once anything is in it */
    size_t length;    /* bytes in use */
    size_t capacity;  /* bytes allocated */
    size_t bytes_max; /* the cap */
    bool overflowed;
};

void buffer_init(struct buffer *buffer, size_t bytes_max);
void buffer_done(struct buffer *buffer);

void buffer_append(struct buffer *buffer, const void *bytes, size_t length);
void buffer_puts(struct buffer *buffer, const char *text);
void buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Drops the first `length` bytes. */
void buffer_consume(struct buffer *buffer, size_t length);
/* Empties it and keeps the memory. */
void buffer_clear(struct buffer *buffer);
