/* FastCGI without a connection: records, heads of CGI responses, and which script a path is of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/cgi_response.h"
#include "gateway/http/cgi_script.h"
#include "gateway/http/fcgi_record.h"

/* ---- records -------------------------------------------------------------------------------- */

struct result {
    char out[256], err[256];
    size_t out_length, err_length, used;
    enum fcgi_event last;
};

/* All of it, in pieces of so many bytes. */
static struct result records_read(const char *bytes, size_t length, size_t piece)
{
    struct fcgi_reader reader = {0};
    struct result result = {.last = FCGI_MORE};
    while (result.used < length && result.last <= FCGI_STDERR) {
        size_t left = length - result.used, used, run;
        const char *at = bytes + result.used;
        result.last = fcgi_next(&reader, at, left < piece ? left : piece, &used, &run);
        result.used += used;
        if (result.last == FCGI_STDOUT) {
            memcpy(result.out + result.out_length, at + used - run, run);
            result.out_length += run;
        } else if (result.last == FCGI_STDERR) {
            memcpy(result.err + result.err_length, at + used - run, run);
            result.err_length += run;
        }
    }
    return result;
}

#define RECORD(type, length, padding) "\1" type "\0\1\0" length padding "\0"
#define END(status)                   RECORD("\3", "\10", "\0") "\0\0\0\0" status "\0\0\0"

static const char response[] =
    RECORD("\6", "\5", "\3") "hello___" RECORD("\7", "\4", "\0") "oops" RECORD(
        "\6", "\1", "\0") "!" RECORD("\6", "\0", "\0") END("\0") "behind";

static void records_are_read_in_any_pieces(void **state)
{
    (void)state;
    for (size_t piece = 1; piece <= sizeof response; piece++) {
        struct result result = records_read(response, sizeof response - 1, piece);
        assert_int_equal(result.last, FCGI_END);
        assert_int_equal(result.out_length, 6);
        assert_memory_equal(result.out, "hello!", 6);
        assert_int_equal(result.err_length, 4);
        assert_memory_equal(result.err, "oops", 4);
        assert_int_equal(result.used, sizeof response - 1 - strlen("behind"));
    }
}

static void a_refusal_is_told(void **state)
{
    (void)state;
    static const char overloaded[] = END("\2");
    assert_int_equal(records_read(overloaded, sizeof overloaded - 1, 64).last, FCGI_REFUSED);
}

static void what_may_not_stand_there_is_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\2\6\0\1\0\0\0\0",                      /* version */
        "\1\6\0\2\0\0\0\0",                      /* another request's */
        "\1\6\1\1\0\0\0\0",  "\1\5\0\1\0\0\0\0", /* STDIN is ours */
        "\1\3\0\1\0\7\0\0",                      /* END_REQUEST has 8 bytes */
        "\1\12\0\0\0\0\0\0",                     /* nobody asked for values */
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(records_read(bad[i], 8, 8).last, FCGI_BAD);
}

static void records_are_written(void **state)
{
    (void)state;
    char bytes[FCGI_BEGIN_BYTES], length[4];
    fcgi_begin_write(bytes, true);
    assert_memory_equal(bytes, "\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0", sizeof bytes);
    fcgi_header_write(bytes, FCGI_TYPE_STDIN, 0x1234);
    assert_memory_equal(bytes, "\1\5\0\1\x12\x34\0\0", FCGI_HEADER_BYTES);
    assert_int_equal(fcgi_length_write(length, 127), 1);
    assert_int_equal(fcgi_length_write(length, 128), 4);
    assert_memory_equal(length, "\x80\0\0\x80", 4);
}

/* ---- responses ------------------------------------------------------------------------------ */

static enum h1_result parse(const char *text, enum http_method method, struct head *head)
{
    static struct field fields[HEAD_FIELDS_MAX];
    const char *why = NULL;
    *head = (struct head){.fields = fields, .fields_room = HEAD_FIELDS_MAX};
    enum h1_result result = cgi_response_parse(text, strlen(text), method, head, &why);
    assert_true((result == H1_DONE) == !why);
    return result;
}

static void responses_have_a_status(void **state)
{
    (void)state;
    struct head head;
    assert_int_equal(parse("Content-Type: a\r\n\r\n", METHOD_GET, &head), H1_DONE);
    assert_int_equal(head.status, 200);
    assert_int_equal(head.body, BODY_CLOSE);
    assert_int_equal(parse("STATUS: 404 Not Here\r\nX: y\r\n\r\n", METHOD_GET, &head), H1_DONE);
    assert_int_equal(head.status, 404);
    assert_true(slice_is(head.reason, "Not Here"));
    assert_true(head.fields[0].dropped && !head.fields[1].dropped);
    assert_int_equal(parse("Location: /x\r\n\r\n", METHOD_GET, &head), H1_DONE);
    assert_int_equal(head.status, 302);
    assert_int_equal(parse("Location: /x\r\nStatus: 201\r\n\r\n", METHOD_GET, &head), H1_DONE);
    assert_int_equal(head.status, 201);
}

static void responses_have_a_body(void **state)
{
    (void)state;
    struct head head;
    assert_int_equal(parse("Content-Length: 5\r\n\r\n", METHOD_GET, &head), H1_DONE);
    assert_int_equal(head.body, BODY_LENGTH);
    assert_int_equal(head.body_length, 5);
    assert_int_equal(parse("Content-Length: 5\r\n\r\n", METHOD_HEAD, &head), H1_DONE);
    assert_int_equal(head.body, BODY_NONE);
    assert_int_equal(parse("Status: 304\r\n\r\n", METHOD_GET, &head), H1_DONE);
    assert_int_equal(head.body, BODY_NONE);
}

static void broken_responses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Status: 99\r\n\r\n",
        "Status: 101 Switching\r\n\r\n",
        "Status: 2000\r\n\r\n",
        "Status: \r\n\r\n",
        "Status: 200\r\nStatus: 200\r\n\r\n",
        "Content-Length: 5x\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
        "A : b\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
    };
    struct head head;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse(bad[i], METHOD_GET, &head), H1_BAD);
}

/* ---- scripts -------------------------------------------------------------------------------- */

static void paths_are_split(void **state)
{
    (void)state;
    static const struct {
        const char *path, *index, *name, *info; /* name NULL: no script's */
    } cases[] = {
        {"/a.php", "index.php", "/a.php", ""},
        {"/d/a.php/b/c", "index.php", "/d/a.php", "/b/c"},
        {"/a.php/b.php", "index.php", "/a.php", "/b.php"},
        {"/a.phpx/b.php", "index.php", "/a.phpx/b.php", ""},
        {"/a.jpg/b.php", "index.php", "/a.jpg/b.php", ""},
        {"/.php", "index.php", NULL, ""},
        {"/", "index.php", "/index.php", ""},
        {"/d/", "index.php", "/d/index.php", ""},
        {"/d", "index.php", NULL, ""},
        {"/a.jpg", "index.php", NULL, ""},
        {"/d", "/index.php", "/index.php", ""},
        {"/d/", "/app/front.php", "/app/front.php", ""},
        {"/a.php/x", "/index.php", "/a.php", "/x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char joined[64];
        struct cgi_script script;
        struct slice path = {cases[i].path, (uint32_t)strlen(cases[i].path)};
        bool found = cgi_script_split(path, cases[i].index, ".php", joined, &script);
        assert_int_equal(found, cases[i].name != NULL);
        if (!found)
            continue;
        assert_true(slice_is(script.name, cases[i].name));
        assert_true(slice_is(script.info, cases[i].info));
    }
}

static void decoded_paths_do_not_climb(void **state)
{
    (void)state;
    static const char *const good[] = {"/a", "/a%20b", "/a..b/.c/..d/...", "/%25"};
    static const char *const bad[] = {"/..%2Fa", "/a/..%2F..%2Fb", "/a%2F..", "/a%2F.%2Fb"};
    char out[64];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(cgi_path_decode((struct slice){good[i], (uint32_t)strlen(good[i])}, out) > 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(cgi_path_decode((struct slice){bad[i], (uint32_t)strlen(bad[i])}, out),
                         -1);
    assert_int_equal(cgi_path_decode(SLICE("/a%20b"), out), 4);
    assert_memory_equal(out, "/a b", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_in_any_pieces),  cmocka_unit_test(a_refusal_is_told),
        cmocka_unit_test(what_may_not_stand_there_is_bad), cmocka_unit_test(records_are_written),
        cmocka_unit_test(responses_have_a_status),         cmocka_unit_test(responses_have_a_body),
        cmocka_unit_test(broken_responses_are_refused),    cmocka_unit_test(paths_are_split),
        cmocka_unit_test(decoded_paths_do_not_climb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
