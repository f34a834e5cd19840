#include "base/table.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void ten_thousand_names_are_found_again(void **state)
{
    (void)state;
    enum { COUNT = 10000 };
    static char names[COUNT][16];
    struct table *table = table_new();
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "service-%d", i);
        assert_int_equal(table_add(table, names[i], names[i], NULL), 0);
    }
    assert_int_equal(table_count(table), COUNT);
    for (int i = 0; i < COUNT; i++) {
        char name[16];
        snprintf(name, sizeof name, "service-%d", i);
        assert_ptr_equal(table_get(table, name), names[i]);
    }
    assert_null(table_get(table, "service-10000"));
    table_free(table);
}

static void a_second_of_a_name_is_refused(void **state)
{
    (void)state;
    int first = 1;
    int second = 2;
    void *other = NULL;
    struct table *table = table_new();
    assert_int_equal(table_add(table, "a", &first, &other), 0);
    assert_null(other);
    assert_int_equal(table_add(table, "a", &second, &other), -EEXIST);
    assert_ptr_equal(other, &first);
    assert_ptr_equal(table_get(table, "a"), &first);
    table_free(table);
}

/* Home addresses depend on this hash: it may never change. Vectors of the FNV-1a page, I. Noll. */
static void the_hash_is_fnv_1a(void **state)
{
    (void)state;
    assert_true(hash_bytes("", 0, hash_seed()) == 0xcbf29ce484222325ull);
    assert_true(hash_bytes("a", 1, hash_seed()) == 0xaf63dc4c8601ec8cull);
    assert_true(hash_bytes("foobar", 6, hash_seed()) == 0x85944171f73967e8ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_thousand_names_are_found_again),
        cmocka_unit_test(a_second_of_a_name_is_refused),
        cmocka_unit_test(the_hash_is_fnv_1a),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
