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
        cmocka_unit_test(bounds_are_shown_with_their_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
