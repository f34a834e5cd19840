#include "gateway/relay/client_hello.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A ClientHello with an ALPN extension before the name's; `fragment` bytes of it in each record. */
static size_t hello_make(const char *server_name, size_t fragment, uint8_t *out)
{
    uint8_t hello[512] = {1, 0, 0, 0, 3, 3};
    const size_t name_length = strlen(server_name);
    size_t at = 6 + 32;
    static const uint8_t fixed[] = {0, 0, 2, 0x13, 1, 1, 0};
    static const uint8_t alpn[] = {0, 16, 0, 5, 0, 3, 2, 'h', '2'};
    memcpy(hello + at, fixed, sizeof fixed);
    at += sizeof fixed;
    hello[at++] = 0;
    hello[at++] = (uint8_t)(sizeof alpn + 9 + name_length);
    memcpy(hello + at, alpn, sizeof alpn);
    at += sizeof alpn;
    const uint8_t head[] = {0,
                            0,
                            0,
                            (uint8_t)(name_length + 5),
                            0,
                            (uint8_t)(name_length + 3),
                            0,
                            0,
                            (uint8_t)name_length};
    memcpy(hello + at, head, sizeof head);
    at += sizeof head;
    memcpy(hello + at, server_name, name_length);
    at += name_length;
    hello[3] = (uint8_t)(at - 4);
    size_t length = 0;
    for (size_t sent = 0; sent < at; sent += fragment) {
        size_t part = at - sent < fragment ? at - sent : fragment;
        const uint8_t record[] = {22, 3, 1, 0, (uint8_t)part};
        memcpy(out + length, record, sizeof record);
        memcpy(out + length + sizeof record, hello + sent, part);
        length += sizeof record + part;
    }
    return length;
}

static void the_name_is_found_in_lower_case(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    char name[HELLO_NAME_BYTES];
    size_t length = hello_make("Shop.Example", 200, bytes);
    assert_int_equal(client_hello_name(bytes, length, name), HELLO_DONE);
    assert_string_equal(name, "shop.example");
    length = hello_make("a.example.", 200, bytes); /* the root's dot says nothing */
    assert_int_equal(client_hello_name(bytes, length, name), HELLO_DONE);
    assert_string_equal(name, "a.example");
}

static void it_may_come_in_pieces(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    char name[HELLO_NAME_BYTES];
    for (size_t fragment = 1; fragment < 100; fragment += 3) {
        size_t length = hello_make("a.example", fragment, bytes);
        for (size_t part = 0; part < length; part++)
            assert_int_equal(client_hello_name(bytes, part, name), HELLO_MORE);
        assert_int_equal(client_hello_name(bytes, length, name), HELLO_DONE);
        assert_string_equal(name, "a.example");
    }
}

static void what_is_no_hello_is_bad(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    char name[HELLO_NAME_BYTES];
    assert_int_equal(client_hello_name("GET / HTTP/1.1", 14, name), HELLO_BAD);
    size_t length = hello_make("a\tb", 200, bytes);
    assert_int_equal(client_hello_name(bytes, length, name), HELLO_BAD);
    assert_string_equal(name, "");
    length = hello_make("a.example", 200, bytes);
    bytes[5] = 2; /* a ServerHello */
    assert_int_equal(client_hello_name(bytes, length, name), HELLO_BAD);
    bytes[5] = 1;
    bytes[8]++; /* one byte more than there is: waits */
    assert_int_equal(client_hello_name(bytes, length, name), HELLO_MORE);
    bytes[6] = 1; /* 64 KiB: never */
    assert_int_equal(client_hello_name(bytes, length, name), HELLO_BAD);
}

static void a_hello_may_have_no_name(void **state)
{
    (void)state;
    static const uint8_t bare[] = {22, 3, 1,        0, 45, 1,    0, 0, 41,
                                   3,  3, [43] = 0, 0, 2,  0x13, 1, 1, 0};
    char name[HELLO_NAME_BYTES] = "x";
    assert_int_equal(client_hello_name(bare, sizeof bare, name), HELLO_DONE);
    assert_string_equal(name, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_is_found_in_lower_case),
        cmocka_unit_test(it_may_come_in_pieces),
        cmocka_unit_test(what_is_no_hello_is_bad),
        cmocka_unit_test(a_hello_may_have_no_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
