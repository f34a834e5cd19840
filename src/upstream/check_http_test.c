#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "upstream/checker.h"

static char why[CHECK_WHY_BYTES];

/* Read byte by byte, as a slow server sends it, the verdict must come once and never change; then
 * as a whole. Returns the verdict of the whole; with `end`, of the whole and the end after it. */
static enum check_verdict judge(const struct service *service, const char *text, bool end)
{
    size_t length = strlen(text);
    enum check_verdict whole = check_http_read(service, text, length, end, why);
    for (size_t i = 0; i <= length; i++) {
        char other_why[CHECK_WHY_BYTES];
        char *exact = malloc(i ? i : 1); /* a look behind its end is one behind an allocation */
        memcpy(exact, text, i);
        enum check_verdict verdict = check_http_read(service, exact, i, false, other_why);
        free(exact);
        if (verdict != CHECK_MORE)
            assert_int_equal(verdict, whole);
    }
    return whole;
}

static const struct service plain;
static const struct service only_204 = {
    .gateway = {.check_status_low = 204, .check_status_high = 204}};
static const struct service ready = {.gateway = {.check_match = "ready"}};

static void a_good_status_is_enough(void **state)
{
    (void)state;
    assert_int_equal(judge(&plain, "HTTP/1.1 200 OK\r\n", false), CHECK_WELL);
    assert_int_equal(judge(&plain, "HTTP/1.0 302\n", false), CHECK_WELL);
    assert_int_equal(judge(&plain, "HTTP/1.1 200 ", false), CHECK_WELL);
    assert_int_equal(judge(&only_204, "HTTP/1.1 204 No Content\r\n\r\n", false), CHECK_WELL);
    assert_int_equal(judge(&plain, "HTTP/1.1 200", false), CHECK_MORE);
    assert_int_equal(judge(&plain, "", false), CHECK_MORE);
}

static void another_status_is_ill(void **state)
{
    (void)state;
    assert_int_equal(judge(&plain, "HTTP/1.1 503 Service Unavailable\r\n", false), CHECK_ILL);
    assert_string_equal(why, "status 503");
    assert_int_equal(judge(&only_204, "HTTP/1.1 200 OK\r\n\r\n", false), CHECK_ILL);
    assert_string_equal(why, "status 200");
    assert_int_equal(judge(&plain, "HTTP/1.1 199 x\r\n\r\nHTTP/1.1 404 no\r\n", false), CHECK_ILL);
    assert_string_equal(why, "status 404");
}

static void what_is_no_http_is_ill(void **state)
{
    static const char *const texts[] = {"SSH-2.0-OpenSSH",  "HTTP/2.0 200 OK\r\n",
                                        "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK",
                                        "http/1.1 200 OK",  "HTTP/1.1 2x0 OK"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(judge(&plain, texts[i], false), CHECK_ILL);
        assert_string_equal(why, "it does not speak HTTP");
    }
}

static void an_end_too_early_is_ill(void **state)
{
    (void)state;
    assert_int_equal(judge(&plain, "", true), CHECK_ILL);
    assert_string_equal(why, "it closed without an answer");
    assert_int_equal(judge(&plain, "HTTP/1.1 20", true), CHECK_ILL);
    assert_string_equal(why, "its answer is cut off");
    assert_int_equal(judge(&ready, "HTTP/1.1 200 OK\r\nA: b\r\n", true), CHECK_ILL);
    assert_string_equal(why, "its answer is cut off");
}

static void interim_answers_are_passed_over(void **state)
{
    (void)state;
    assert_int_equal(
        judge(&plain, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n", false),
        CHECK_WELL);
    assert_int_equal(judge(&plain, "HTTP/1.1 100 Continue\r\n\r\n", false), CHECK_MORE);
    assert_int_equal(judge(&plain, "HTTP/1.1 100 Continue\r\n\r\n", true), CHECK_ILL);
    assert_int_equal(judge(&plain, "HTTP/1.1 101 Switching\r\n\r\n", false), CHECK_ILL);
}

static void the_body_must_hold_the_text(void **state)
{
    (void)state;
    assert_int_equal(judge(&ready, "HTTP/1.1 200 OK\r\n\r\nnot re", false), CHECK_MORE);
    assert_int_equal(judge(&ready, "HTTP/1.1 200 OK\r\n\r\nis ready now", false), CHECK_WELL);
    assert_int_equal(judge(&ready, "HTTP/1.1 200 OK\nready: no\n\nready", false), CHECK_WELL);
    assert_int_equal(judge(&ready, "HTTP/1.1 200 OK\r\nready: no\r\n\r\nsick", true), CHECK_ILL);
    assert_string_equal(why, "its body does not hold \"ready\"");
    assert_int_equal(judge(&ready, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick", false),
                     CHECK_ILL);
    assert_int_equal(judge(&ready, "HTTP/1.1 200 OK\r\ncontent-LENGTH:5\r\n\r\nready", false),
                     CHECK_WELL);
    /* What comes after the body is not the body. */
    assert_int_equal(judge(&ready, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsickready", false),
                     CHECK_ILL);
    assert_int_equal(judge(&ready,
                           "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nready",
                           false),
                     CHECK_WELL);
    assert_int_equal(judge(&ready, "HTTP/1.1 503 No\r\n\r\nready", false), CHECK_ILL);
}

static void chunks_are_put_together(void **state)
{
#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n"
    (void)state;
    assert_int_equal(judge(&ready, CHUNKED "3\r\nrea\r\n2;x=y\r\ndy\r\n", false), CHECK_WELL);
    assert_int_equal(judge(&ready, CHUNKED "3\r\nrea\r\n", false), CHECK_MORE);
    assert_int_equal(judge(&ready, CHUNKED "0A\r\nrea       \r\n0\r\n\r\n", false), CHECK_ILL);
    assert_string_equal(why, "its body does not hold \"ready\"");
    assert_int_equal(judge(&ready, CHUNKED "ready\r\n", false), CHECK_ILL);
    assert_string_equal(why, "its body is no sequence of chunks");
    assert_int_equal(judge(&ready, CHUNKED "3\r\nreaxx\r\n", false), CHECK_ILL);
    assert_int_equal(judge(&ready, CHUNKED "10000000000000002\r\nready", false), CHECK_WELL);
    assert_int_equal(judge(&ready, CHUNKED "ffffffffffffffffffff\r\nready", false), CHECK_WELL);
}

static void an_answer_without_an_end_is_ill(void **state)
{
    static char text[CHECK_ANSWER_BYTES_MAX];
    (void)state;
    memset(text, 'x', sizeof text);
    memcpy(text, "HTTP/1.1 200 OK\r\n\r\n", 19);
    assert_int_equal(check_http_read(&ready, text, sizeof text - 1, false, why), CHECK_MORE);
    assert_int_equal(check_http_read(&ready, text, sizeof text, false, why), CHECK_ILL);
    assert_string_equal(why, "its first 64 KiB do not hold what they should");
    memcpy(text, "HTTP/1.1 100 OK\r\nxx", 19);
    assert_int_equal(check_http_read(&plain, text, sizeof text, false, why), CHECK_ILL);
    assert_string_equal(why, "its head is longer than 64 KiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_status_is_enough),
        cmocka_unit_test(another_status_is_ill),
        cmocka_unit_test(what_is_no_http_is_ill),
        cmocka_unit_test(an_end_too_early_is_ill),
        cmocka_unit_test(interim_answers_are_passed_over),
        cmocka_unit_test(the_body_must_hold_the_text),
        cmocka_unit_test(chunks_are_put_together),
        cmocka_unit_test(an_answer_without_an_end_is_ill),
    };
    return cmocka_run_group_tests_name("check_http", tests, NULL, NULL);
}
