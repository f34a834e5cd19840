#include "gateway/relay/proxy_header.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct sockaddr_storage address(const char *host, uint16_t port)
{
    struct sockaddr_storage storage = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&storage;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&storage;
    if (inet_pton(AF_INET, host, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port = htons(port);
        return storage;
    }
    assert_int_equal(inet_pton(AF_INET6, host, &six->sin6_addr), 1);
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    return storage;
}

static void expect_address(const struct sockaddr_storage *got, const char *host, uint16_t port)
{
    struct sockaddr_storage wanted = address(host, port);
    assert_memory_equal(got, &wanted, sizeof wanted);
}

static enum proxy_result read_text(const char *text, struct proxy_header *ret_header,
                                   size_t *ret_length)
{
    return proxy_header_read(text, strlen(text), ret_header, ret_length);
}

static void version_1_is_a_line(void **state)
{
    (void)state;
    struct proxy_header header;
    size_t length;
    assert_int_equal(
        read_text("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nGET /", &header, &length),
        PROXY_DONE);
    assert_int_equal(length, 45);
    assert_true(header.known);
    expect_address(&header.source, "192.0.2.1", 56324);
    expect_address(&header.destination, "198.51.100.2", 443);
    assert_int_equal(read_text("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", &header, &length),
                     PROXY_DONE);
    expect_address(&header.source, "2001:db8::1", 1);
    expect_address(&header.destination, "::1", 65535);
    assert_int_equal(read_text("PROXY UNKNOWN what ever\r\n", &header, &length), PROXY_DONE);
    assert_false(header.known);
}

static void what_is_no_header_is_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "GET / HTTP/1.1\r\n",
        "proxy TCP4 1.1.1.1 2.2.2.2 1 1\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 1 \r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 1 1\r\n",
        "PROXY TCP4  1.1.1.1 2.2.2.2 1 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 1\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 01 1\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 1 65536\r\n",
        "PROXY TCP4 1.1.1.1 2.2.2.2 -1 1\r\n",
        "PROXY TCP4 1.1.1 2.2.2.2 1 1\r\n",
        "PROXY TCP4 ::1 2.2.2.2 1 1\r\n",
        "PROXY TCP6 1.1.1.1 ::1 1 1\r\n",
        "PROXY TCP5 1.1.1.1 2.2.2.2 1 1\r\n",
        "PROXY UNKNOWN "
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
        "xxxxxxxxxxxxxxxxxxxx\r\n",
    };
    struct proxy_header header;
    size_t length;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (read_text(bad[i], &header, &length) != PROXY_BAD)
            fail_msg("taken: %s", bad[i]);
}

static void version_2_is_binary(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0x0d, 0x0a, 0x0d, 0x0a, 0,    0x0d, 0x0a, 0x51, 0x55,
                                    0x49, 0x54, 0x0a, 0x21, 0x11, 0,    16,   192,  0,
                                    2,    1,    198,  51,   100,  2,    1,    2,    3,
                                    4,    4,    0,    1,    'x',  'm',  'o'};
    struct proxy_header header;
    size_t length;
    for (size_t part = 0; part < 32; part++)
        assert_int_equal(proxy_header_read(bytes, part, &header, &length), PROXY_MORE);
    assert_int_equal(proxy_header_read(bytes, sizeof bytes, &header, &length), PROXY_DONE);
    assert_int_equal(length, 32); /* the TLV is passed over */
    expect_address(&header.source, "192.0.2.1", 0x0102);
    expect_address(&header.destination, "198.51.100.2", 0x0304);
    uint8_t changed[sizeof bytes];
    memcpy(changed, bytes, sizeof bytes);
    changed[12] = 0x20; /* LOCAL */
    assert_int_equal(proxy_header_read(changed, sizeof bytes, &header, &length), PROXY_DONE);
    assert_false(header.known);
    changed[12] = 0x31;
    assert_int_equal(proxy_header_read(changed, sizeof bytes, &header, &length), PROXY_BAD);
    changed[12] = 0x21;
    changed[14] = 4; /* over the bound */
    assert_int_equal(proxy_header_read(changed, sizeof bytes, &header, &length), PROXY_BAD);
    changed[14] = 0;
    changed[13] = 0x21; /* too short for IPv6 */
    assert_int_equal(proxy_header_read(changed, sizeof bytes, &header, &length), PROXY_BAD);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    static const char *const hosts[][2] = {{"192.0.2.1", "10.0.0.1"}, {"2001:db8::1", "::1"}};
    for (int version = 1; version <= 2; version++) {
        for (int i = 0; i < 2; i++) {
            struct sockaddr_storage source = address(hosts[i][0], 65535);
            struct sockaddr_storage destination = address(hosts[i][1], 80);
            uint8_t bytes[PROXY_HEADER_BYTES_MAX];
            struct proxy_header header;
            size_t length = 0;
            size_t written = proxy_header_write(version, &source, &destination, bytes);
            assert_int_equal(proxy_header_read(bytes, written, &header, &length), PROXY_DONE);
            assert_int_equal(length, written);
            expect_address(&header.source, hosts[i][0], 65535);
            expect_address(&header.destination, hosts[i][1], 80);
        }
    }
}

static void a_mapped_address_is_written_as_ipv4(void **state)
{
    (void)state;
    struct sockaddr_storage source = address("::ffff:192.0.2.1", 1);
    struct sockaddr_storage destination = address("::ffff:10.0.0.1", 2);
    char bytes[PROXY_HEADER_BYTES_MAX] = "";
    size_t written = proxy_header_write(1, &source, &destination, bytes);
    bytes[written] = 0;
    assert_string_equal(bytes, "PROXY TCP4 192.0.2.1 10.0.0.1 1 2\r\n");
    destination = (struct sockaddr_storage){.ss_family = AF_UNIX};
    bytes[proxy_header_write(1, &source, &destination, bytes)] = 0;
    assert_string_equal(bytes, "PROXY UNKNOWN\r\n");
    assert_int_equal(proxy_header_write(2, &source, &destination, bytes), 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_is_a_line),
        cmocka_unit_test(what_is_no_header_is_bad),
        cmocka_unit_test(version_2_is_binary),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_mapped_address_is_written_as_ipv4),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
