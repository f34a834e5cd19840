#include "proc/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char logged[4096];

static void keep(void *context, enum log_level level, const char *line, size_t length)
{
    (void)context, (void)level;
    snprintf(logged, sizeof logged, "%.*s", (int)length, line);
}

static bool made(const char *line, struct message *message)
{
    return report_make(line, strlen(line), LOG_LEVEL_WARN, message);
}

static void a_line_becomes_the_same_event_of_another_process(void **state)
{
    (void)state;
    struct message message;
    assert_true(made(
        "2026-01-02T03:04:05.678Z warn gateway remote-ill service=back why=\"it is\"\n", &message));
    assert_string_equal(message.name, "remote-ill");
    log_setup("supervisor", LOG_LEVEL_INFO, keep, NULL);
    assert_true(report_log(&message));
    assert_non_null(strstr(logged, " warn supervisor remote-ill service=back why=\"it is\"\n"));
    assert_true(made("T warn gateway resolved", &message));
    assert_true(report_log(&message));
    assert_non_null(strstr(logged, " resolved\n"));
}

static void other_lines_are_not_for_others(void **state)
{
    (void)state;
    struct message message;
    const char *const lines[] = {"",
                                 "\n",
                                 "T warn gateway",
                                 "T warn gateway generation number=7\n",
                                 "T warn gateway remote-illness service=a\n",
                                 "T warn remote-ill service=a\n",
                                 "T warn gateway a-name-that-is-longer-than-any-of-an-event x=y\n"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_false(made(lines[i], &message));
    static char line[2 * REPORT_BYTES_MAX];
    int head = snprintf(line, sizeof line, "T warn gateway remote-ill ");
    memset(line + head, 'x', REPORT_BYTES_MAX);
    assert_true(made(line, &message));
    line[head + REPORT_BYTES_MAX] = 'x';
    assert_false(made(line, &message));
}

static void only_what_is_one_is_believed(void **state)
{
    (void)state;
    struct message message;
    log_setup("supervisor", LOG_LEVEL_INFO, keep, NULL);
    assert_true(made("T warn gateway remote-well service=%s%n\n", &message));
    assert_true(report_log(&message));
    assert_non_null(strstr(logged, "remote-well service=%s%n\n"));
    logged[0] = 0;
    message.number = LOG_LEVEL_CHANGE;
    assert_false(report_log(&message));
    message.number = UINT64_MAX;
    assert_false(report_log(&message));
    message.number = LOG_LEVEL_INFO;
    message.bytes = "service=a\nT warn supervisor instance-failed";
    message.length = strlen(message.bytes);
    assert_false(report_log(&message));
    strcpy(message.name, "instance-failed");
    message.length = 1;
    assert_false(report_log(&message));
    assert_string_equal(logged, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_becomes_the_same_event_of_another_process),
        cmocka_unit_test(other_lines_are_not_for_others),
        cmocka_unit_test(only_what_is_one_is_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
