#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "topology/job_text.h"

static void test_times(void **state)
{
    static const struct {
        struct service_job job;
        const char *text;
    } cases[] = {
        {{.every_ms = 3600000}, "every 1h"},
        {{.every_ms = 5400000}, "every 90m"},
        {{.every_ms = 1000}, "every 1s"},
        {{.every_ms = 1500}, "every 1500ms"},
        {{.every_ms = UINT64_MAX}, "every 18446744073709551615ms"},
        {{.daily = true, .at_second = 3 * 3600}, "at 03:00"},
        {{.daily = true, .at_second = 0}, "at 00:00"},
        {{.daily = true, .at_second = 86399}, "at 23:59:59"},
        {{.history = 10}, "when it is asked for"},
    };
    char text[JOB_TEXT_BYTES];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(job_text_times(&cases[i].job, text), cases[i].text);
}

static void test_bounds(void **state)
{
    char text[JOB_TEXT_BYTES];
    (void)state;
    assert_string_equal(job_text_bounds(&(struct service_job){0}, text), "");
    assert_string_equal(job_text_bounds(&(struct service_job){.timeout_ms = 600000}, text),
                        "timeout 10m");
    assert_string_equal(job_text_bounds(&(struct service_job){.overlap = JOB_REPLACE}, text),
                        "overlap replace");
    struct service_job both = {.overlap = JOB_QUEUE, .timeout_ms = 200};
    assert_string_equal(job_text_bounds(&both, text), "overlap queue, timeout 200ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_times),
        cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
