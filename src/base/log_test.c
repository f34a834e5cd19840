#include "base/log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char seen[8192];
static int seen_count;

static void keep(void *context, enum log_level level, const char *line, size_t length)
{
    (void)context;
    (void)level;
    snprintf(seen, sizeof seen, "%.*s", (int)length, line);
    seen_count++;
}

static void a_line_has_time_level_role_event_and_values(void **state)
{
    (void)state;
    log_setup("tester", LOG_LEVEL_INFO, keep, NULL);
    seen_count = 0;
    log_warn("disk-full", "path=%s free=%d", "/x", 3);
    assert_int_equal(seen_count, 1);
    assert_non_null(strstr(seen, "Z warn tester disk-full path=/x free=3\n"));
    log_debug("quiet", "%s", "");
    assert_int_equal(seen_count, 1);
    log_info("bare", "%s", "");
    assert_non_null(strstr(seen, " info tester bare\n"));
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    (void)state;
    char long_text[4000];
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = 0;
    log_setup("tester", LOG_LEVEL_INFO, keep, NULL);
    log_info("long", "text=%s", long_text);
    assert_in_range(strlen(seen), 1000, 2048);
    assert_int_equal(seen[strlen(seen) - 1], '\n');
}

static void outside_text_is_escaped(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(log_text("plain", out, sizeof out), "plain");
    assert_string_equal(log_text("two words", out, sizeof out), "\"two words\"");
    assert_string_equal(log_text("a\nb\"c", out, sizeof out), "\"a\\x0ab\\\"c\"");
    assert_string_equal(log_text("", out, sizeof out), "\"\"");
    char small[12];
    log_text("abcdefghijklmnopqrstuvwxyz", small, sizeof small);
    assert_in_range(strlen(small), 4, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_role_event_and_values),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
        cmocka_unit_test(outside_text_is_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
