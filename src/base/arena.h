/* An arena: memory that is given out piece by piece and freed whole.
 *
 * Owned by whoever called arena_new; a configuration generation has one, and everything that the
 * generation consists of lives in it. The arena has a cap in bytes. When the cap or the machine's
 * memory is reached, the arena jumps to the trap that its owner has set; the owner frees the arena
 * and reports one error, so that code which builds from an arena need not check each allocation.
 * Not for use by several threads at once. */
#pragma once

#include <setjmp.h>
#include <stddef.h>

struct arena;

/* NULL: no memory. bytes_max is the sum of all pieces that may be given out. */
struct arena *arena_new(size_t bytes_max);
void arena_free(struct arena *arena);

/* The place that an exhausted arena jumps to (longjmp with value 1). Must be set before the first
 * allocation and must stay valid for as long as anybody allocates. */
void arena_trap_set(struct arena *arena, jmp_buf *trap);

/* Zeroed, aligned for any type; never NULL. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((returns_nonnull, malloc));
/* As arena_alloc of count * size, checked for overflow. */
void *arena_array(struct arena *arena, size_t count, size_t size)
    __attribute__((returns_nonnull, malloc));
char *arena_strndup(struct arena *arena, const char *text, size_t length)
    __attribute__((returns_nonnull));
char *arena_strdup(struct arena *arena, const char *text) __attribute__((returns_nonnull));
char *arena_printf(struct arena *arena, const char *format, ...)
    __attribute__((returns_nonnull, nonnull(2), format(printf, 2, 3)));

/* Bytes given out so far. */
size_t arena_used(const struct arena *arena);
