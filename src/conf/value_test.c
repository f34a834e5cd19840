#include "conf/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <signal.h>

static struct value value;
static struct value_problem problem;

static bool parse(const struct value_spec *spec, const char *text)
{
    value = (struct value){0};
    problem = (struct value_problem){0};
    return value_parse(spec, text, &value, &problem);
}

static void number_is(const struct value_spec *spec, const char *text, uint64_t number)
{
    if (!parse(spec, text))
        fail_msg("`%s`: %s", text, problem.message);
    assert_int_equal(value.number, number);
}

static void wrong(const struct value_spec *spec, const char *text, const char *message)
{
    if (parse(spec, text))
        fail_msg("`%s` is taken", text);
    assert_string_equal(problem.message, message);
}

static void integers_have_bounds(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_INTEGER, .low = 2, .high = 10};
    number_is(&spec, "2", 2);
    number_is(&spec, "10", 10);
    number_is(&spec, "007", 7);
    wrong(&spec, "1", "`1` is too small");
    assert_string_equal(problem.hint, "allowed: 2 to 10");
    wrong(&spec, "11", "`11` is too large");
    wrong(&spec, "99999999999999999999999999", "`99999999999999999999999999` is too large");
    wrong(&spec, "", "`` is not a whole number");
    wrong(&spec, "-3", "`-3` is not a whole number");
    wrong(&spec, "3x", "`3x` is not a whole number");
    wrong(&spec, "+3", "`+3` is not a whole number");
}

static void units_are_applied(void **state)
{
    (void)state;
    const struct value_spec duration = {.type = VALUE_DURATION};
    number_is(&duration, "500ms", 500);
    number_is(&duration, "10s", 10000);
    number_is(&duration, "5m", 300000);
    number_is(&duration, "2h", 7200000);
    number_is(&duration, "0", 0);
    number_is(&duration, "49h", 176400000);
    wrong(&duration, "10", "`10` is not a duration");
    wrong(&duration, "1200h", "`1200h` is too large");
    wrong(&duration, "10 s", "`10 s` is not a duration");
    wrong(&duration, "s", "`s` is not a duration");
    const struct value_spec size = {.type = VALUE_SIZE};
    number_is(&size, "64", 64);
    number_is(&size, "64k", 65536);
    number_is(&size, "256M", 268435456);
    number_is(&size, "2g", 2147483648);
    number_is(&size, "1t", 1099511627776);
    wrong(&size, "17179869185g", "`17179869185g` is too large");
    wrong(&size, "18446744073709551615k", "`18446744073709551615k` is too large");
    const struct value_spec percent = {.type = VALUE_PERCENT, .low = 1};
    number_is(&percent, "50%", 50);
    wrong(&percent, "50", "`50` is not a percentage");
    wrong(&percent, "0%", "`0%` is too small");
    const struct value_spec rate = {.type = VALUE_RATE};
    number_is(&rate, "100/s", 360000);
    number_is(&rate, "100/m", 6000);
    number_is(&rate, "100/h", 100);
    wrong(&rate, "100", "`100` is not a rate");
}

static void ranges_have_two_ends(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_RANGE, .low = 1, .high = 8};
    assert_true(parse(&spec, "1..8"));
    assert_int_equal(value.range.low, 1);
    assert_int_equal(value.range.high, 8);
    assert_true(parse(&spec, "3"));
    assert_int_equal(value.range.low, 3);
    assert_int_equal(value.range.high, 3);
    assert_true(parse(&spec, "0..4"));
    wrong(&spec, "0", "`0` is too small");
    wrong(&spec, "1..9", "`1..9` is too large");
    wrong(&spec, "4..2", "the range `4..2` ends before it starts");
    wrong(&spec, "4..", "`4..` is not a number or a range");
    wrong(&spec, "..4", "`..4` is not a number or a range");
    wrong(&spec, "1..2..3", "`1..2..3` is not a number or a range");
    const struct value_spec pause = {.type = VALUE_DURATION_RANGE, .low = 1};
    assert_true(parse(&pause, "100ms..30s"));
    assert_int_equal(value.range.low, 100);
    assert_int_equal(value.range.high, 30000);
}

static void masks_are_octal(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_OCTAL, .high = 0777};
    number_is(&spec, "027", 027);
    number_is(&spec, "0", 0);
    wrong(&spec, "1000", "`1000` is too large");
    wrong(&spec, "77777777777777777777777777777", "`77777777777777777777777777777` is too large");
    wrong(&spec, "028", "`028` is not an octal number");
    wrong(&spec, "", "`` is not an octal number");
}

static void names_are_plain(void **state)
{
    (void)state;
    const struct value_spec name = {.type = VALUE_NAME};
    const struct value_spec reference = {.type = VALUE_REFERENCE};
    char longest[NAME_BYTES_MAX + 2];
    memset(longest, 'a', sizeof longest);
    longest[NAME_BYTES_MAX] = 0;
    assert_true(parse(&name, "web-1_b"));
    assert_true(parse(&name, longest));
    longest[NAME_BYTES_MAX] = 'a';
    longest[NAME_BYTES_MAX + 1] = 0;
    assert_false(parse(&name, longest));
    wrong(&name, "s1.logic", "`s1.logic` is not a name");
    wrong(&name, "", "`` is not a name");
    wrong(&name, "-a", "`-a` is not a name");
    wrong(&name, "a/b", "`a/b` is not a name");
    assert_true(parse(&reference, "s1.logic"));
    wrong(&reference, "../x", "`../x` is not a name");
}

static void assignments_have_a_name(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_ASSIGNMENT};
    assert_true(parse(&spec, "LANG=C=1"));
    assert_string_equal(value.text, "LANG=C=1");
    assert_true(parse(&spec, "_A1="));
    wrong(&spec, "LANG", "`LANG` is not an assignment");
    wrong(&spec, "=x", "`=x` is not an assignment");
    wrong(&spec, "1A=x", "`1A=x` is not an assignment");
    wrong(&spec, "A-B=x", "`A-B=x` is not an assignment");
}

static void addresses_have_ports(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_ADDRESS};
    struct in6_addr loopback = IN6ADDR_LOOPBACK_INIT;
    assert_true(parse(&spec, "8080"));
    assert_int_equal(value.address.family, AF_UNSPEC);
    assert_int_equal(value.address.port, 8080);
    assert_true(parse(&spec, "*:80"));
    assert_int_equal(value.address.family, AF_UNSPEC);
    assert_true(parse(&spec, "127.0.0.1:65535"));
    assert_int_equal(value.address.family, AF_INET);
    assert_int_equal(value.address.v4.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(value.address.port, 65535);
    assert_true(parse(&spec, "[::1]:81"));
    assert_int_equal(value.address.family, AF_INET6);
    assert_memory_equal(&value.address.v6, &loopback, sizeof loopback);
    wrong(&spec, "0", "`0` is too small");
    wrong(&spec, "127.0.0.1:65536", "`65536` is too large");
    wrong(&spec, "127.0.0.1:0", "`0` is too small");
    static const char *const others[] = {"",
                                         ":80",
                                         "localhost:80",
                                         "::1:80",
                                         "[::1]",
                                         "[1.2.3.4]:80",
                                         "1.2.3:80",
                                         "127.0.0.1:",
                                         "[]:80",
                                         "[:80",
                                         "]:80",
                                         "*",
                                         "1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19:80"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (parse(&spec, others[i]))
            fail_msg("`%s` is taken", others[i]);
}

static void signals_have_names(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_SIGNAL};
    assert_true(parse(&spec, "SIGTERM"));
    assert_int_equal(value.signal, SIGTERM);
    assert_true(parse(&spec, "QUIT"));
    assert_int_equal(value.signal, SIGQUIT);
    assert_true(parse(&spec, "SIGRTMIN+3"));
    assert_int_equal(value.signal, SIGRTMIN + 3);
    wrong(&spec, "SIGTREM", "`SIGTREM` is not a signal");
    assert_string_equal(problem.hint, "did you mean `SIGTERM`?");
    wrong(&spec, "RTMIN+31", "`RTMIN+31` is not a signal");
    wrong(&spec, "15", "`15` is not a signal");
}

static void choices_are_known_planned_or_wrong(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_CHOICE, .choices = "listen notify !http exec"};
    assert_true(parse(&spec, "listen"));
    assert_int_equal(value.choice, 0);
    assert_true(parse(&spec, "exec"));
    assert_int_equal(value.choice, 3);
    wrong(&spec, "http", "`http` is not in this version yet");
    assert_true(problem.planned);
    assert_string_equal(problem.hint, "available: listen, notify or exec");
    const struct value_spec later = {.type = VALUE_CHOICE, .choices = "!http"};
    wrong(&later, "http", "`http` is not in this version yet");
    assert_string_equal(problem.hint, "");
    wrong(&spec, "exce", "`exce` is not known here");
    assert_false(problem.planned);
    assert_string_equal(problem.hint, "allowed: listen, notify or exec; did you mean `exec`?");
    wrong(&spec, "", "`` is not known here");
    const struct value_spec port = {.type = VALUE_PORT, .choices = "none"};
    assert_true(parse(&port, "none"));
    assert_int_equal(value.choice, 0);
    assert_true(parse(&port, "80"));
    assert_int_equal(value.choice, -1);
    assert_int_equal(value.number, 80);
    wrong(&port, "0", "`0` is too small");
    assert_string_equal(problem.hint, "allowed: 1 to 65535, or none");
}

static void network_is(const char *text, const char *address, unsigned length)
{
    const struct value_spec spec = {.type = VALUE_NETWORK};
    uint8_t bytes[16];
    if (!parse(&spec, text))
        fail_msg("`%s`: %s", text, problem.message);
    assert_int_equal(inet_pton(AF_INET6, address, bytes), 1);
    assert_memory_equal(value.network.address, bytes, sizeof bytes);
    assert_int_equal(value.network.length, length);
}

static void networks_are_of_both_families(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_NETWORK, .choices = "all"};
    network_is("10.0.0.0/8", "::ffff:10.0.0.0", 104);
    network_is("192.0.2.1", "::ffff:192.0.2.1", 128);
    network_is("192.0.2.128/25", "::ffff:192.0.2.128", 121);
    network_is("0.0.0.0/0", "::ffff:0.0.0.0", 96);
    network_is("fd00::/8", "fd00::", 8);
    network_is("::1", "::1", 128);
    network_is("::/0", "::", 0);
    assert_true(parse(&spec, "all"));
    assert_int_equal(value.choice, 0);
    wrong(&spec, "10.0.0.1/8", "`10.0.0.1/8` has bits beyond the network's length");
    assert_string_equal(problem.hint, "the network is 10.0.0.0/8");
    wrong(&spec, "fd00::1/64", "`fd00::1/64` has bits beyond the network's length");
    assert_string_equal(problem.hint, "the network is fd00::/64");
    static const char *const bad[] = {"",
                                      "10.0.0.0/",
                                      "10.0.0.0/33",
                                      "::/129",
                                      "x",
                                      "10.0.0.0/8x",
                                      "10.0.0/8",
                                      "/8",
                                      "[::1]",
                                      "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa/1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse(&spec, bad[i]));
}

static void endpoints_have_a_host_and_a_port_or_a_path(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_ENDPOINT};
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
    } wanted[] = {{"10.0.0.7:8080", "10.0.0.7", 8080},
                  {"db.example:5432", "db.example", 5432},
                  {"[::1]:80", "::1", 80},
                  {"a_b-c:65535", "a_b-c", 65535}};
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        assert_true(parse(&spec, wanted[i].text));
        assert_int_equal(value.endpoint.host_length, strlen(wanted[i].host));
        assert_memory_equal(value.endpoint.host, wanted[i].host, strlen(wanted[i].host));
        assert_int_equal(value.endpoint.port, wanted[i].port);
        assert_null(value.endpoint.path);
    }
    assert_true(parse(&spec, "unix:/run/x:1"));
    assert_null(value.endpoint.host);
    assert_string_equal(value.endpoint.path, "/run/x:1");
    static const char *const bad[] = {"",        "x",     "x:",     ":1",    "x:0",
                                      "x:65536", "a b:1", "::1:80", "[::1]", "[x]:1",
                                      "unix:",   "-.:1x", "a..b:1", ".a:1",  "[1.2.3.4]:1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(&spec, bad[i]))
            fail_msg("`%s` is taken", bad[i]);
    char text[300];
    memset(text, 'a', sizeof text);
    strcpy(text + 64, ":1");
    assert_false(parse(&spec, text)); /* a label has at most 63 bytes */
    strcpy(text + 63, ":1");
    assert_true(parse(&spec, text));
}

static void hosts_are_names_and_wildcards(void **state)
{
    (void)state;
    const struct value_spec spec = {.type = VALUE_HOST};
    static const char *const right[] = {"a",     "shop.example",         "*.shop.example",
                                        "*",     "shop.example.",        "10.0.0.1",
                                        "[::1]", "xn--bcher-kva.example"};
    static const char *const bad[] = {"",    "a:80", "*a", "a.*", "*.",      "**",
                                      "a/b", "a..b", ".",  "::1", "*.[::1]", "http://a"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        if (!parse(&spec, right[i]))
            fail_msg("`%s` is refused", right[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (parse(&spec, bad[i]))
            fail_msg("`%s` is taken", bad[i]);
}

static void headers_and_methods_are_tokens(void **state)
{
    (void)state;
    const struct value_spec methods = {.type = VALUE_METHODS};
    assert_true(parse(&methods, "GET"));
    assert_true(parse(&methods, "GET,POST,M-SEARCH"));
    static const char *const bad_methods[] = {"",         "get",     "GET,", ",GET",
                                              "GET,,PUT", "GET PUT", "A1"};
    for (size_t i = 0; i < sizeof bad_methods / sizeof bad_methods[0]; i++)
        assert_false(parse(&methods, bad_methods[i]));
    const struct value_spec name = {.type = VALUE_HEADER};
    assert_true(parse(&name, "X-Real_IP!"));
    assert_false(parse(&name, "X Y"));
    assert_false(parse(&name, "X:"));
    assert_false(parse(&name, ""));
    const struct value_spec match = {.type = VALUE_HEADER_MATCH};
    assert_true(parse(&match, "X-A"));
    assert_int_equal(value.header.name_length, 3);
    assert_null(value.header.wanted);
    assert_true(parse(&match, "X-A:  b c"));
    assert_int_equal(value.header.name_length, 3);
    assert_string_equal(value.header.wanted, "b c");
    assert_true(parse(&match, "X-A:"));
    assert_string_equal(value.header.wanted, "");
    assert_false(parse(&match, "X A: b"));
    assert_false(parse(&match, ": b"));
}

static void statuses_and_places_are_pairs(void **state)
{
    (void)state;
    const struct value_spec status = {.type = VALUE_STATUS}, bytes = {.type = VALUE_BYTES};
    assert_true(parse(&status, "200"));
    assert_int_equal(value.range.low, 200);
    assert_int_equal(value.range.high, 200);
    assert_true(parse(&status, "200-399"));
    assert_int_equal(value.range.high, 399);
    static const char *const bad[] = {"", "99", "600", "300-200", "200-", "-200", "200-300-400"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(parse(&status, bad[i]));
    assert_true(parse(&bytes, "255:16"));
    assert_int_equal(value.range.low, 255);
    assert_int_equal(value.range.high, 16);
    static const char *const bad_bytes[] = {"", "8", "0:0", "0:17", "256:1", ":1", "1:", "1:2:3"};
    for (size_t i = 0; i < sizeof bad_bytes / sizeof bad_bytes[0]; i++)
        assert_false(parse(&bytes, bad_bytes[i]));
}

static void bounds_are_shown_with_their_unit(void **state)
{
    (void)state;
    char text[200];
    const struct value_spec duration = {.type = VALUE_DURATION, .low = 100, .high = 86400000};
    assert_string_equal(value_allowed(&duration, text, sizeof text), "100ms to 24h");
    const struct value_spec size = {.type = VALUE_SIZE, .low = 1 << 20, .high = 1ull << 50};
    assert_string_equal(value_allowed(&size, text, sizeof text), "1m to 1024t");
    const struct value_spec zero = {.type = VALUE_DURATION, .high = 90000};
    assert_string_equal(value_allowed(&zero, text, sizeof text), "0ms to 90s");
    const struct value_spec open = {.type = VALUE_INTEGER, .low = 3};
    assert_string_equal(value_allowed(&open, text, sizeof text), "3 or more");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_have_bounds),
        cmocka_unit_test(units_are_applied),
        cmocka_unit_test(ranges_have_two_ends),
        cmocka_unit_test(masks_are_octal),
        cmocka_unit_test(names_are_plain),
        cmocka_unit_test(assignments_have_a_name),
        cmocka_unit_test(addresses_have_ports),
        cmocka_unit_test(signals_have_names),
        cmocka_unit_test(choices_are_known_planned_or_wrong),
        cmocka_unit_test(networks_are_of_both_families),
        cmocka_unit_test(endpoints_have_a_host_and_a_port_or_a_path),
        cmocka_unit_test(hosts_are_names_and_wildcards),
        cmocka_unit_test(headers_and_methods_are_tokens),
        cmocka_unit_test(statuses_and_places_are_pairs),
        cmocka_unit_test(bounds_are_shown_with_their_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
