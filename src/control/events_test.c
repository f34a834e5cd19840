#include "control/events.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "control/event.h"

static const char *field(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(json_object_get(object, "fields"), key));
}

static json_t *parsed(const char *line)
{
    return event_object(line, strlen(line), 7);
}

static void a_line_is_an_object(void **state)
{
    (void)state;
    json_t *object = parsed("2026-01-02T03:04:05.678Z info supervisor instance-up "
                            "instance=api.1 pid=4711 ms=-3 service=12 to=0.1.0\n");
    const json_t *fields = json_object_get(object, "fields");
    assert_string_equal(json_string_value(json_object_get(object, "event")), "instance-up");
    assert_string_equal(json_string_value(json_object_get(object, "time")),
                        "2026-01-02T03:04:05.678Z");
    assert_string_equal(json_string_value(json_object_get(object, "level")), "info");
    assert_int_equal(json_integer_value(json_object_get(object, "number")), 7);
    assert_string_equal(field(object, "instance"), "api.1");
    assert_int_equal(json_integer_value(json_object_get(fields, "pid")), 4711);
    assert_int_equal(json_integer_value(json_object_get(fields, "ms")), -3);
    assert_string_equal(field(object, "service"), "12"); /* a name, whatever it looks like */
    assert_string_equal(field(object, "to"), "0.1.0");
    json_decref(object);
}

static void texts_are_whole(void **state)
{
    (void)state;
    json_t *object = parsed("T warn s e why=\"it said \"no\" at x=1, so\" text=\"a\\x0ab\\\"c=\" "
                            "bare=two words last=\"");
    assert_string_equal(field(object, "why"), "it said \"no\" at x=1, so");
    assert_string_equal(field(object, "text"), "a\nb\"c=");
    assert_string_equal(field(object, "bare"), "two words");
    assert_string_equal(field(object, "last"), "");
    json_decref(object);
}

static void what_is_no_event_is_none(void **state)
{
    (void)state;
    assert_null(parsed(""));
    assert_null(parsed("T info role\n"));
    assert_null(parsed("T  role event"));
    json_t *bare = parsed("T info role ready\n");
    assert_int_equal(json_object_size(json_object_get(bare, "fields")), 0);
    json_decref(bare);
}

static void add(struct events *events, int from, int to)
{
    char line[64];
    for (int i = from; i <= to; i++) {
        int length = snprintf(line, sizeof line, "T info s e i=%d\n", i);
        events_add(events, line, (size_t)length);
    }
}

static void takes(const struct events *events, uint64_t *next, const char *key, int value)
{
    json_t *object = events_take(events, next);
    assert_non_null(object);
    assert_int_equal(json_integer_value(json_object_get(object, key)), value);
    json_decref(object);
}

static void readers_go_on_where_they_were(void **state)
{
    (void)state;
    struct events *events = events_new();
    uint64_t early = events_from(events, 0);
    assert_null(events_take(events, &early));
    add(events, 1, 3);
    uint64_t late = events_from(events, 2);
    takes(events, &early, "number", 1);
    takes(events, &late, "number", 2);
    takes(events, &late, "number", 3);
    assert_null(events_take(events, &late));
    add(events, 4, 4);
    takes(events, &late, "number", 4);
    uint64_t all = events_from(events, UINT64_MAX);
    takes(events, &all, "number", 1);
    events_free(events);
}

static void who_is_overtaken_is_told(void **state)
{
    (void)state;
    struct events *events = events_new();
    uint64_t next = events_from(events, 0);
    add(events, 1, EVENTS_KEPT);
    takes(events, &next, "number", 1);
    add(events, EVENTS_KEPT + 1, EVENTS_KEPT + 5);
    takes(events, &next, "lost", 4);
    for (int i = 6; i <= EVENTS_KEPT + 5; i++)
        takes(events, &next, "number", i);
    assert_null(events_take(events, &next));
    events_free(events);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_an_object),      cmocka_unit_test(texts_are_whole),
        cmocka_unit_test(what_is_no_event_is_none), cmocka_unit_test(readers_go_on_where_they_were),
        cmocka_unit_test(who_is_overtaken_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
