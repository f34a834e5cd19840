#include "base/buffer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void text_is_built_and_consumed(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    buffer_puts(&buffer, "one ");
    buffer_printf(&buffer, "%d", 2);
    buffer_append(&buffer, " three", 6);
    assert_string_equal(buffer.data, "one 2 three");
    buffer_consume(&buffer, 4);
    assert_string_equal(buffer.data, "2 three");
    assert_int_equal(buffer.length, 7);
    assert_false(buffer.overflowed);
    buffer_done(&buffer);
}

static void past_the_cap_nothing_is_appended(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 10);
    buffer_puts(&buffer, "12345678");
    buffer_puts(&buffer, "abc");
    assert_true(buffer.overflowed);
    assert_string_equal(buffer.data, "12345678");
    buffer_printf(&buffer, "%s", "90");
    assert_string_equal(buffer.data, "1234567890");
    buffer_append(&buffer, "x", SIZE_MAX);
    assert_int_equal(buffer.length, 10);
    buffer_clear(&buffer);
    assert_false(buffer.overflowed);
    assert_int_equal(buffer.length, 0);
    buffer_done(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_built_and_consumed),
        cmocka_unit_test(past_the_cap_nothing_is_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
