#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void pieces_are_zeroed_aligned_and_apart(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1 << 20);
    jmp_buf trap;
    assert_int_equal(setjmp(trap), 0);
    arena_trap_set(arena, &trap);
    char *last = NULL;
    for (size_t size = 1; size < 2000; size += 7) {
        char *piece = arena_alloc(arena, size);
        assert_int_equal((uintptr_t)piece % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < size; i++)
            assert_int_equal(piece[i], 0);
        memset(piece, 0xaa, size);
        assert_ptr_not_equal(piece, last);
        last = piece;
    }
    assert_string_equal(arena_printf(arena, "%s-%d", "a", 7), "a-7");
    assert_string_equal(arena_strndup(arena, "hello", 4), "hell");
    arena_free(arena);
}

static void a_large_piece_leaves_the_current_chunk_in_use(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1 << 20);
    jmp_buf trap;
    assert_int_equal(setjmp(trap), 0);
    arena_trap_set(arena, &trap);
    char *first = arena_alloc(arena, 16);
    char *large = arena_alloc(arena, 300000);
    memset(large, 1, 300000);
    char *second = arena_alloc(arena, 16);
    assert_ptr_equal(second, first + 16);
    arena_free(arena);
}

static void at_the_cap_the_trap_is_taken(void **state)
{
    (void)state;
    struct arena *arena = arena_new(1000);
    jmp_buf trap;
    volatile int given = 0;
    if (setjmp(trap) == 0) {
        arena_trap_set(arena, &trap);
        for (;;) {
            arena_alloc(arena, 100);
            given++;
        }
    }
    assert_in_range(given, 8, 10);
    volatile int overflow_trapped = 0;
    if (setjmp(trap) == 0)
        arena_array(arena, SIZE_MAX / 2, 4);
    else
        overflow_trapped = 1;
    assert_int_equal(overflow_trapped, 1);
    arena_free(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_zeroed_aligned_and_apart),
        cmocka_unit_test(a_large_piece_leaves_the_current_chunk_in_use),
        cmocka_unit_test(at_the_cap_the_trap_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
