#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/path.h"

static void normal(const char *path, const char *expected)
{
    char out[256];
    ssize_t length =
        path_normalise((struct slice){path, (uint32_t)strlen(path)}, out, sizeof out - 1);
    if (!expected) {
        if (length >= 0)
            fail_msg("%s is taken as %.*s", path, (int)length, out);
        return;
    }
    if (length < 0)
        fail_msg("%s is refused", path);
    out[length] = 0;
    assert_string_equal(out, expected);
}

static void encodings_of_one_byte_are_one(void **state)
{
    (void)state;
    normal("/abc", "/abc");
    normal("/%61b%63", "/abc");
    normal("/a%7e%2D%5f%2E", "/a~-_.");
    normal("/a%2fb", "/a%2Fb");
    normal("/%25%36%31", "/%2561"); /* undone once, not again and again */
    normal("/a%3fb%23", "/a%3Fb%23");
    normal("/caf\xc3\xa9", "/caf%C3%A9");
    normal("/caf%c3%a9", "/caf%C3%A9");
    normal("/a\"b|c", "/a%22b%7Cc");
    normal("/!$&'()*+,;=:@", "/!$&'()*+,;=:@");
}

static void dot_segments_go(void **state)
{
    (void)state;
    normal("/a/./b", "/a/b");
    normal("/a/../b", "/b");
    normal("/a/b/..", "/a/");
    normal("/a/b/.", "/a/b/");
    normal("/.", "/");
    normal("/a/%2e%2E/b", "/b");
    normal("/a/.%2e/b", "/b");
    normal("/a//../b", "/a/b"); /* an empty segment is a segment */
    normal("/...", "/...");
    normal("/.a/..b", "/.a/..b");
    normal("/a/b/../../c", "/c");
}

static void what_is_no_path_is_refused(void **state)
{
    (void)state;
    normal("", NULL);
    normal("a", NULL);
    normal("*", NULL);
    normal("/..", NULL);
    normal("/a/../../b", NULL);
    normal("/%2e%2e/b", NULL);
    normal("/a%00b", NULL);
    normal("/a%", NULL);
    normal("/a%4", NULL);
    normal("/a%4g", NULL);
    normal("/a\nb", NULL);
    normal("/a\x7f", NULL);
}

static void nothing_is_written_behind_the_room(void **state)
{
    (void)state;
    char out[8];
    for (size_t room = 0; room < sizeof out; room++) {
        memset(out, '#', sizeof out);
        ssize_t length = path_normalise(SLICE("/\xff\xff"), out, room);
        assert_int_equal(length, room < 7 ? -1 : 7);
        for (size_t i = room; i < sizeof out; i++)
            assert_int_equal(out[i], '#');
    }
}

static void globs_keep_their_marks_and_dots(void **state)
{
    (void)state;
    char out[64] = "";
    ssize_t length = path_normalise_glob(SLICE("*/../?.%70hp\xe9"), out, sizeof out);
    assert_int_equal(length, 13);
    assert_memory_equal(out, "*/../?.php%E9", 13);
}

static void encoded(const char *text, enum path_part part, const char *expected)
{
    char out[128];
    out[path_encode((struct slice){text, (uint32_t)strlen(text)}, part, out)] = 0;
    assert_string_equal(out, expected);
}

static void encoding_leaves_what_may_stand(void **state)
{
    (void)state;
    encoded("https://[::1]/a b?c#d\r\n%41\xff", PATH_PART_URI,
            "https://[::1]/a%20b?c#d%0D%0A%41%FF");
    encoded("/a?b#[c", PATH_PART_PATH, "/a%3Fb%23%5Bc");
    encoded("a?b#[c=/d", PATH_PART_QUERY, "a?b%23%5Bc=/d");
    encoded("\\evil", PATH_PART_URI, "%5Cevil");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encodings_of_one_byte_are_one),
        cmocka_unit_test(dot_segments_go),
        cmocka_unit_test(what_is_no_path_is_refused),
        cmocka_unit_test(nothing_is_written_behind_the_room),
        cmocka_unit_test(globs_keep_their_marks_and_dots),
        cmocka_unit_test(encoding_leaves_what_may_stand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
