#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/bump.h"

static void pieces_are_aligned_and_apart(void **state)
{
    (void)state;
    struct bump_store *store = bump_store_new(4);
    struct bump *bump = bump_new(store, 64 * 1024);
    char *last = NULL;
    for (size_t size = 1; size < 200; size++) {
        char *piece = bump_alloc(bump, size);
        assert_non_null(piece);
        assert_int_equal((uintptr_t)piece % 16, 0);
        memset(piece, (int)size, size);
        if (last)
            assert_int_equal(last[size - 2], (char)(size - 1));
        last = piece;
    }
    assert_string_equal(bump_copy(bump, "text and more", 4), "text");
    bump_free(bump);
    bump_store_free(store);
}

static void the_cap_holds(void **state)
{
    (void)state;
    struct bump_store *store = bump_store_new(4);
    struct bump *bump = bump_new(store, 40 * 1024);
    size_t sum = 0;
    while (bump_alloc(bump, 1000))
        sum += 1000;
    assert_in_range(sum, 24 * 1024, 41 * 1024);
    assert_null(bump_alloc(bump, 100 * 1024));
    assert_null(bump_alloc(bump, SIZE_MAX));
    bump_free(bump);
    bump = bump_new(store, 64 * 1024);
    assert_non_null(bump_alloc(bump, 20 * 1024));
    assert_null(bump_alloc(bump, 60 * 1024));
    bump_free(bump);
    bump_store_free(store);
}

#ifndef __SANITIZE_ADDRESS__
static void chunks_come_back(void **state)
{
    (void)state;
    struct bump_store *store = bump_store_new(1);
    struct bump *bump = bump_new(store, 64 * 1024);
    void *piece = bump_alloc(bump, 8);
    bump_free(bump);
    bump = bump_new(store, 64 * 1024);
    assert_ptr_equal(bump_alloc(bump, 8), piece);
    bump_free(bump);
    bump_free(NULL);
    bump_store_free(store);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_aligned_and_apart),
        cmocka_unit_test(the_cap_holds),
#ifndef __SANITIZE_ADDRESS__
        cmocka_unit_test(chunks_come_back),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
