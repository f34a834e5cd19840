#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top/keys.h"
#include "cli/top/typing.h"

static void test_adds_and_erases_whole_characters(void **state)
{
    static const unsigned keys[] = {'a', 0xfc, 0x4e2d, 0x1f600};
    static const char *const lines[] = {"a", "aü", "aü中", "aü中😀"};
    char line[32] = "";
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        typing_add(line, sizeof line, keys[i]);
        assert_string_equal(line, lines[i]);
    }
    for (size_t i = 4; i-- > 1;) {
        typing_erase(line);
        assert_string_equal(line, lines[i - 1]);
    }
    typing_erase(line);
    assert_string_equal(line, "");
    typing_erase(line);
    assert_string_equal(line, "");
}

static void test_takes_characters_alone(void **state)
{
    static const unsigned keys[] = {KEY_NONE, KEY_ESCAPE, KEY_RETURN,      KEY_ERASE, 0x7f,
                                    0xd800,   0xdfff,     KEY_OF_FUNCTION, KEY_ANY};
    char line[8] = "";
    (void)state;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        typing_add(line, sizeof line, keys[i]);
    assert_string_equal(line, "");
}

static void test_keeps_to_its_room(void **state)
{
    char line[] = "ab\0de";
    (void)state;
    typing_add(line, 4, 0xfc); /* two bytes and the closing one: no room */
    assert_string_equal(line, "ab");
    typing_add(line, 4, 'c');
    assert_string_equal(line, "abc");
    typing_add(line, 4, 'd');
    assert_string_equal(line, "abc");
    assert_int_equal(line[4], 'e');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_adds_and_erases_whole_characters),
        cmocka_unit_test(test_takes_characters_alone),
        cmocka_unit_test(test_keeps_to_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
