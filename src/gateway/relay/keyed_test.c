#include "gateway/relay/keyed.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { COUNT = 5000 };

static struct key key_of(uint32_t number)
{
    struct key key = {0};
    key_add(&key, &number, number % 4 + 1); /* several lengths */
    key_add(&key, &number, sizeof number);
    return key;
}

static void what_was_put_in_is_found(void **state)
{
    (void)state;
    static struct keyed things[COUNT];
    struct keyed_table table;
    assert_int_equal(keyed_init(&table, 0x1234567), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct key key = key_of(i);
        assert_null(keyed_find(&table, &key));
        keyed_insert(&table, &things[i], &key);
    }
    assert_int_equal(table.bucket_count, 8192);
    for (uint32_t i = 0; i < COUNT; i += 2)
        keyed_remove(&table, &things[i]);
    size_t longest = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        const struct key key = key_of(i);
        assert_ptr_equal(keyed_find(&table, &key), i % 2 ? &things[i] : NULL);
        size_t length = 0;
        for (const struct keyed *at = &things[i]; i % 2 && at; at = at->next)
            length++;
        longest = length > longest ? length : longest;
    }
    assert_in_range(longest, 1, 12); /* the hash spreads */
    for (uint32_t i = 1; i < COUNT; i += 2)
        keyed_remove(&table, &things[i]);
    keyed_done(&table);
}

static void a_key_has_room_for_so_much(void **state)
{
    (void)state;
    struct key key = {0};
    char bytes[64] = {0};
    key_add(&key, bytes, sizeof bytes);
    assert_int_equal(key.length, KEY_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_put_in_is_found),
        cmocka_unit_test(a_key_has_room_for_so_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
