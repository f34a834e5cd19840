#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/top/keys.h"

static enum mode after(enum mode mode, unsigned key)
{
    return key_mode_after(mode, key_action(mode, key));
}

static void test_ways_there_and_back(void **state)
{
    (void)state;
    assert_int_equal(after(MODE_LIST, '/'), MODE_FILTER);
    assert_int_equal(after(MODE_FILTER, KEY_RETURN), MODE_LIST);
    assert_int_equal(after(MODE_FILTER, KEY_ESCAPE), MODE_LIST);
    assert_int_equal(after(MODE_LIST, 's'), MODE_SCALE);
    assert_int_equal(after(MODE_LIST, 'l'), MODE_LOGS);
    assert_int_equal(after(MODE_LOGS, 'q'), MODE_LIST);
    assert_int_equal(after(MODE_LIST, KEY_OF_FUNCTION + 6), MODE_SORT);
    assert_int_equal(after(MODE_SORT, KEY_RETURN), MODE_LIST);
    assert_int_equal(after(MODE_LIST, '?'), MODE_HELP);
    assert_int_equal(after(MODE_HELP, KEY_ESCAPE), MODE_LIST);
    assert_int_equal(after(MODE_LIST, 'q'), MODE_QUIT);
    assert_int_equal(after(MODE_LIST, 'Z'), MODE_LIST);
}

static void test_every_mode_ends(void **state)
{
    (void)state;
    for (unsigned mode = MODE_LIST; mode < MODE_QUIT; mode++) {
        assert_int_equal(after((enum mode)mode, KEY_INTERRUPT), MODE_QUIT);
        assert_int_equal(after((enum mode)mode, KEY_ESCAPE), MODE_LIST);
    }
}

/* What changes something asks first, and only `y` says yes. */
static void test_confirmation(void **state)
{
    (void)state;
    const char destructive[] = "droj";
    for (size_t i = 0; destructive[i]; i++)
        assert_int_equal(after(MODE_LIST, (unsigned char)destructive[i]), MODE_CONFIRM);
    unsigned agreed = 0;
    for (unsigned key = 1; key < 0x110110; key++)
        if (key_action(MODE_CONFIRM, key) == ACTION_ACCEPT) {
            assert_true(key == 'y' || key == 'Y');
            agreed++;
        }
    assert_int_equal(agreed, 2);
    assert_int_equal(after(MODE_CONFIRM, 'd'), MODE_LIST);
}

/* Where text is typed, letters are letters. */
static void test_typing(void **state)
{
    (void)state;
    for (unsigned key = ' '; key < 0x7f; key++) {
        assert_int_equal(key_action(MODE_FILTER, key), ACTION_TYPE);
        assert_int_equal(after(MODE_FILTER, key), MODE_FILTER);
        assert_int_equal(after(MODE_SCALE, key), MODE_SCALE);
    }
    assert_int_equal(key_action(MODE_FILTER, 0xe9), ACTION_TYPE);
    assert_int_equal(key_action(MODE_FILTER, KEY_ERASE), ACTION_ERASE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ways_there_and_back),
        cmocka_unit_test(test_every_mode_ends),
        cmocka_unit_test(test_confirmation),
        cmocka_unit_test(test_typing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
