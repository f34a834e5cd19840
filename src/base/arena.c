#include "base/arena.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 64 * 1024 };

struct chunk {
    struct chunk *next;
    size_t size;
    size_t used;
    max_align_t data[];
};

struct arena {
    struct chunk *chunks; /* the newest first; the first is the one being filled */
    size_t bytes_max;
    size_t bytes_used;
    jmp_buf *trap;
};

struct arena *arena_new(size_t bytes_max)
{
    struct arena *arena = calloc(1, sizeof *arena);
    if (arena)
        arena->bytes_max = bytes_max;
    return arena;
}

void arena_free(struct arena *arena)
{
    if (!arena)
        return;
    while (arena->chunks) {
        struct chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk);
    }
    free(arena);
}

void arena_trap_set(struct arena *arena, jmp_buf *trap)
{
    arena->trap = trap;
}

static _Noreturn void arena_exhausted(struct arena *arena)
{
    assert(arena->trap);
    longjmp(*arena->trap, 1);
}

static struct chunk *chunk_add(struct arena *arena, size_t size)
{
    size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    struct chunk *chunk = calloc(1, sizeof *chunk + room);
    if (!chunk)
        arena_exhausted(arena);
    chunk->size = room;
    /* A piece larger than a chunk goes behind the one being filled, which keeps its room. */
    if (size > CHUNK_BYTES && arena->chunks) {
        chunk->next = arena->chunks->next;
        arena->chunks->next = chunk;
    } else {
        chunk->next = arena->chunks;
        arena->chunks = chunk;
    }
    return chunk;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    size_t align = _Alignof(max_align_t);
    if (size > SIZE_MAX - align || size > arena->bytes_max - arena->bytes_used)
        arena_exhausted(arena);
    size = (size + align - 1) / align * align;
    struct chunk *chunk = arena->chunks;
    if (!chunk || chunk->size - chunk->used < size)
        chunk = chunk_add(arena, size);
    void *piece = (char *)chunk->data + chunk->used;
    chunk->used += size;
    arena->bytes_used += size;
    if (arena->bytes_used > arena->bytes_max)
        arena->bytes_used = arena->bytes_max;
    return piece;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        arena_exhausted(arena);
    return arena_alloc(arena, total);
}

char *arena_strndup(struct arena *arena, const char *text, size_t length)
{
    char *copy = arena_alloc(arena, length + 1);
    memcpy(copy, text, length);
    return copy;
}

char *arena_strdup(struct arena *arena, const char *text)
{
    return arena_strndup(arena, text, strlen(text));
}

char *arena_printf(struct arena *arena, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int length = vsnprintf(NULL, 0, format, list);
    va_end(list);
    assert(length >= 0);
    char *text = arena_alloc(arena, (size_t)length + 1);
    va_start(list, format);
    vsnprintf(text, (size_t)length + 1, format, list);
    va_end(list);
    return text;
}

size_t arena_used(const struct arena *arena)
{
    return arena->bytes_used;
}
