/* What is a call, how long it may take, and what its failures are called. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/grpc.h"

static struct head head_of(const char *name, const char *value, struct field *field)
{
    struct slice text = {name, (uint32_t)strlen(name)};
    *field = (struct field){.name = text, .value = {value, (uint32_t)strlen(value)}};
    field->id = (uint8_t)field_id_of(text);
    struct head head = {.fields = field, .field_count = 1};
    head.first[field->id] = 1;
    return head;
}

static bool is(const char *type)
{
    struct field field;
    struct head head = head_of("content-type", type, &field);
    return grpc_is(&head);
}

static void a_call_is_known_by_its_type(void **state)
{
    (void)state;
    assert_true(is("application/grpc"));
    assert_true(is("application/grpc+proto"));
    assert_true(is("Application/GRPC; charset=utf-8"));
    assert_false(is("application/grpc-web"));
    assert_false(is("application/grpcx"));
    assert_false(is("application/grp"));
    assert_false(is("text/html"));
    assert_false(is(""));
    const struct head none = {0};
    assert_false(grpc_is(&none));
}

static uint64_t timeout(const char *text)
{
    struct field field;
    struct head head = head_of("grpc-timeout", text, &field);
    return grpc_timeout_ms(&head);
}

static void a_timeout_is_read(void **state)
{
    (void)state;
    assert_int_equal(timeout("1S"), 1001);
    assert_int_equal(timeout("250m"), 251);
    assert_int_equal(timeout("2M"), 120001);
    assert_int_equal(timeout("3H"), 3 * 3600 * 1000 + 1);
    assert_int_equal(timeout("99999999H"), (uint64_t)99999999 * 3600 * 1000 + 1);
    assert_int_equal(timeout("1500u"), 2);
    assert_int_equal(timeout("99999999n"), 100);
    assert_int_equal(timeout("0S"), 1);
    static const char *const bad[] = {"",    "S",          "1",    "1s", "-1S",
                                      "1 S", "123456789S", "1.5S", "1SS"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(timeout(bad[i]), 0);
}

static void failures_have_a_number(void **state)
{
    (void)state;
    static const struct {
        uint16_t status;
        const char *code;
    } rows[] = {{404, "12"}, {502, "14"}, {503, "14"}, {504, "4"},
                {429, "8"},  {403, "7"},  {401, "16"}, {418, "2"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct field fields[GRPC_TRAILERS];
        grpc_trailers(rows[i].status, fields);
        assert_true(slice_is(fields[0].name, "grpc-status"));
        assert_true(slice_is(fields[0].value, rows[i].code));
        assert_true(fields[1].value.length > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_known_by_its_type),
        cmocka_unit_test(a_timeout_is_read),
        cmocka_unit_test(failures_have_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
