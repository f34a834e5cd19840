#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/top/command.h"

static const struct item service = {.kind = ITEM_SERVICE, .name = "s1.web", .service = "s1.web"};
static const struct item instance = {
    .kind = ITEM_INSTANCE, .name = "s1.web.2", .service = "s1.web", .number = 2};
static const struct item job = {.kind = ITEM_JOB, .name = "report", .service = "report"};
static const struct item listener = {.kind = ITEM_LISTENER, .name = "tcp:80"};

static void assert_asked(enum action action, const struct item *item, uint32_t count,
                         const char *wanted, const char *says)
{
    char text[COMMAND_TEXT_BYTES];
    json_t *request = command_request(action, item, count, text);
    assert_non_null(request);
    char *dump = json_dumps(request, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(dump, wanted);
    assert_string_equal(text, says);
    free(dump);
    json_decref(request);
}

static void assert_refused(enum action action, const struct item *item)
{
    char text[COMMAND_TEXT_BYTES] = "";
    assert_null(command_request(action, item, 1, text));
    assert_true(text[0]);
}

static void test_requests(void **state)
{
    (void)state;
    assert_asked(ACTION_DRAIN, &instance, 0,
                 "{\"command\":\"drain\",\"instance\":2,\"service\":\"s1.web\",\"undo\":false}",
                 "drain s1.web.2");
    assert_asked(ACTION_UNDRAIN, &instance, 0,
                 "{\"command\":\"drain\",\"instance\":2,\"service\":\"s1.web\",\"undo\":true}",
                 "undrain s1.web.2");
    assert_asked(ACTION_RESTART, &instance, 0,
                 "{\"command\":\"restart\",\"instance\":2,\"service\":\"s1.web\"}",
                 "restart s1.web.2");
    assert_asked(ACTION_RESTART, &service, 0, "{\"command\":\"restart\",\"service\":\"s1.web\"}",
                 "restart all instances of s1.web");
    assert_asked(ACTION_ROLL, &instance, 0, "{\"command\":\"roll\",\"service\":\"s1.web\"}",
                 "roll s1.web");
    assert_asked(ACTION_SCALE_OPEN, &service, 5,
                 "{\"command\":\"scale\",\"count\":5,\"service\":\"s1.web\"}", "scale s1.web to 5");
    assert_asked(ACTION_JOB, &job, 0, "{\"command\":\"job\",\"job\":\"report\"}", "run job report");
}

static void test_refusals(void **state)
{
    (void)state;
    assert_refused(ACTION_DRAIN, NULL);
    assert_refused(ACTION_DRAIN, &service);
    assert_refused(ACTION_DRAIN, &job);
    assert_refused(ACTION_JOB, &instance);
    for (unsigned action = ACTION_DRAIN; action <= ACTION_JOB; action++)
        assert_refused((enum action)action, &listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
