#include "proc/lines.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proc/logline.h"

static char seen[4096];
static size_t emitted;
static size_t longest;

static void note(void *owner, const char *source, const char *text, size_t length)
{
    (void)owner;
    emitted++;
    longest = length > longest ? length : longest;
    size_t at = strlen(seen);
    if (length < 40)
        snprintf(seen + at, sizeof seen - at, "%s<%.*s>", source, (int)length, text);
    else
        snprintf(seen + at, sizeof seen - at, "%s<%c*%zu>", source, *text, length);
}

static struct lines *fresh(void)
{
    seen[0] = 0;
    emitted = longest = 0;
    return lines_new(note, NULL);
}

static void feed(struct lines *lines, const char *source, const char *text)
{
    lines_feed(lines, source, text, strlen(text), 0);
}

static void lines_are_joined_across_chunks_for_each_source(void **state)
{
    (void)state;
    struct lines *lines = fresh();
    feed(lines, "a.1", "one\n\ntwo ");
    feed(lines, "a.2", "x\ny");
    feed(lines, "a.1", "more\nth");
    feed(lines, "a.1", "ree");
    assert_string_equal(seen, "a.1<one>a.1<>a.2<x>a.1<two more>");
    assert_true(lines_held(lines));
    lines_end(lines, "a.1");
    lines_end(lines, "a.1");
    lines_end(lines, "a.2");
    assert_string_equal(seen, "a.1<one>a.1<>a.2<x>a.1<two more>a.1<three>a.2<y>");
    assert_false(lines_held(lines));
    lines_free(lines);
}

static void any_way_of_cutting_gives_the_same_lines(void **state)
{
    (void)state;
    const char text[] = "a\nbcd\n\n\nefghijk\nlm\n";
    for (size_t first = 0; first < sizeof text; first++) {
        for (size_t second = first; second < sizeof text; second++) {
            struct lines *lines = fresh();
            lines_feed(lines, "s", text, first, 0);
            lines_feed(lines, "s", text + first, second - first, 0);
            lines_feed(lines, "s", text + second, sizeof text - 1 - second, 0);
            assert_string_equal(seen, "s<a>s<bcd>s<>s<>s<efghijk>s<lm>");
            assert_false(lines_held(lines));
            lines_free(lines);
        }
    }
}

static void a_line_of_the_limit_is_whole_and_a_longer_one_is_cut(void **state)
{
    (void)state;
    static char text[3 * LINES_LINE_BYTES_MAX];
    memset(text, 'x', sizeof text);
    struct lines *lines = fresh();
    lines_feed(lines, "s", text, LINES_LINE_BYTES_MAX, 0);
    assert_string_equal(seen, "");
    feed(lines, "s", "\n");
    assert_string_equal(seen, "s<x*8192>");
    lines_feed(lines, "s", text, sizeof text, 0); /* in one chunk */
    assert_string_equal(seen, "s<x*8192>s<x*8192>s<x*8192>");
    feed(lines, "s", "end\n");
    assert_string_equal(seen, "s<x*8192>s<x*8192>s<x*8192>s<x*8192>s<end>");
    seen[0] = 0;
    for (size_t i = 0; i < LINES_LINE_BYTES_MAX + 10; i++) /* byte by byte */
        lines_feed(lines, "s", text, 1, 0);
    feed(lines, "s", "\n");
    assert_string_equal(seen, "s<x*8192>s<xxxxxxxxxx>");
    lines_free(lines);
}

static void only_quiet_sources_are_ended(void **state)
{
    (void)state;
    struct lines *lines = fresh();
    lines_feed(lines, "old", "a", 1, 1000);
    lines_feed(lines, "new", "b", 1, 1500);
    lines_end_quiet(lines, 1000);
    assert_string_equal(seen, "old<a>");
    lines_end_quiet(lines, 2000);
    assert_string_equal(seen, "old<a>new<b>");
    lines_free(lines);
}

static void memory_for_begun_lines_is_bounded(void **state)
{
    (void)state;
    static char text[5000];
    memset(text, 'x', sizeof text);
    struct lines *lines = fresh();
    char source[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(source, sizeof source, "s.%d", i);
        lines_feed(lines, source, text, sizeof text, 0);
        seen[0] = 0;
    }
    assert_true(emitted >= 2000); /* 3000 × 8 KiB were too much at once */
    lines_end_quiet(lines, UINT64_MAX);
    assert_int_equal(emitted, 3000);
    lines_free(lines);
}

static void a_line_of_the_log_is_read_as_it_was_written(void **state)
{
    (void)state;
    uint64_t times[] = {0, 951782400123 /* 29 February 2000 */, 1767323045123, 4102444799999};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        char text[LOGLINE_HEAD_BYTES_MAX + 16];
        size_t length = logline_head(text, times[i], "s1.logic.12");
        memcpy(text + length, "hello  you\n", 11);
        struct logline line;
        assert_true(logline_parse(text, length + 11, &line));
        assert_true(line.wall_ms == times[i]);
        assert_int_equal(line.text_bytes, 10);
        assert_memory_equal(line.text, "hello  you", 10);
        uint32_t instance;
        assert_int_equal(logline_service(line.source, line.source_bytes, &instance), 8);
        assert_int_equal(instance, 12);
    }
    struct logline line;
    const char *bad[] = {"",
                         "x",
                         "2026-01-02T03:04:05.123Z",
                         "2026-01-02T03:04:05.123Z api.1",
                         "2026-13-02T03:04:05.123Z api.1 x",
                         "2026-01-02 03:04:05.123Z api.1 x",
                         "2026-01-02T03:04:05.123Z  x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(logline_parse(bad[i], strlen(bad[i]), &line));
    uint32_t instance;
    assert_int_equal(logline_service("api", 3, &instance), 3);
    assert_int_equal(instance, 0);
    assert_int_equal(logline_service("a.b", 3, &instance), 3);
    assert_int_equal(logline_service(".1", 2, &instance), 2);
    assert_int_equal(logline_service("v2", 2, &instance), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_joined_across_chunks_for_each_source),
        cmocka_unit_test(any_way_of_cutting_gives_the_same_lines),
        cmocka_unit_test(a_line_of_the_limit_is_whole_and_a_longer_one_is_cut),
        cmocka_unit_test(only_quiet_sources_are_ended),
        cmocka_unit_test(memory_for_begun_lines_is_bounded),
        cmocka_unit_test(a_line_of_the_log_is_read_as_it_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
