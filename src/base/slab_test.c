#include "base/slab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { COUNT = 3000, SIZE = 52 };

static void objects_are_apart_and_come_again(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, SIZE);
    static char *objects[COUNT];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < COUNT; i++) {
            objects[i] = slab_take(&slab);
            assert_non_null(objects[i]);
            assert_int_equal((uintptr_t)objects[i] % sizeof(void *), 0);
            memset(objects[i], i & 0xff, SIZE);
        }
        for (int i = 0; i < COUNT; i++) {
            for (int at = 0; at < SIZE; at++)
                assert_int_equal((unsigned char)objects[i][at], i & 0xff);
            slab_give(&slab, objects[i]);
        }
    }
    slab_give(&slab, NULL);
    slab_done(&slab);
    assert_null(slab.chunks);
}

static void the_last_given_is_the_next_taken(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, SIZE);
    void *one = slab_take(&slab);
    void *two = slab_take(&slab);
    slab_give(&slab, one);
    slab_give(&slab, two);
#ifndef __SANITIZE_ADDRESS__ /* under which nothing is recycled */
    assert_ptr_equal(slab_take(&slab), two);
    assert_ptr_equal(slab_take(&slab), one);
#endif
    slab_done(&slab);
}

static void a_large_object_has_a_chunk_of_its_own(void **state)
{
    (void)state;
    struct slab slab;
    slab_init(&slab, 100000);
    void *one = memset(slab_take(&slab), 1, 100000);
    void *two = memset(slab_take(&slab), 2, 100000);
    slab_give(&slab, one);
    slab_give(&slab, two);
    slab_done(&slab);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_apart_and_come_again),
        cmocka_unit_test(the_last_given_is_the_next_taken),
        cmocka_unit_test(a_large_object_has_a_chunk_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
