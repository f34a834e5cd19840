/* The parser against the rules of RFC 9112 and RFC 9110, a row for each. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/h1_fields.h"
#include "gateway/http/h1_scan.h"

enum { FIELDS_ROOM = 16 };

static struct field fields[FIELDS_ROOM];
static struct head head;
static struct h1_refusal refusal;

/* Parses bytes that end exactly where their allocation does. */
static enum h1_result request_parse(const char *text, size_t length)
{
    char *exact = malloc(length ? length : 1);
    memcpy(exact, text, length);
    head = (struct head){.fields = fields, .fields_room = FIELDS_ROOM};
    refusal = (struct h1_refusal){0};
    enum h1_result result = h1_request_parse(exact, length, &head, &refusal);
    free(exact);
    return result;
}

static enum h1_result request(const char *text)
{
    head = (struct head){.fields = fields, .fields_room = FIELDS_ROOM};
    refusal = (struct h1_refusal){0};
    request_parse(text, strlen(text)); /* for what looks behind its end */
    return h1_request_parse(text, strlen(text), &head, &refusal);
}

static void assert_slice(struct slice slice, const char *text)
{
    if (!slice_is(slice, text))
        fail_msg("“%.*s” is not “%s”", (int)slice.length, slice.bytes, text);
}

/* ---- scanning ------------------------------------------------------------------------------- */

static unsigned kinds_by_the_book(int byte)
{
    bool alpha = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
    bool digit = byte >= '0' && byte <= '9';
    bool hex = digit || (byte >= 'a' && byte <= 'f') || (byte >= 'A' && byte <= 'F');
    bool token = alpha || digit || (byte && strchr("!#$%&'*+-.^_`|~", byte));
    bool host = alpha || digit || (byte && strchr("-._~!$&'()*+;=", byte));
    bool value = byte == '\t' || (byte >= 0x20 && byte != 0x7f);
    bool target = byte > 0x20 && byte < 0x7f && byte != '#';
    return (token ? BYTE_TOKEN : 0u) | (host ? BYTE_HOST : 0u) | (value ? BYTE_VALUE : 0u) |
           (target ? BYTE_TARGET : 0u) | (hex ? BYTE_HEX : 0u);
}

static void the_table_of_bytes_is_the_rfcs(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++)
        assert_int_equal(h1_bytes[byte], kinds_by_the_book(byte));
}

static void vectors_and_bytes_find_the_same(void **state)
{
    (void)state;
    char bytes[80];
    for (int byte = 0; byte < 256; byte++) {
        for (size_t place = 0; place < 40; place++) {
            memset(bytes, 'a', sizeof bytes);
            bytes[place] = (char)byte;
            bool value = h1_byte((char)byte, BYTE_VALUE);
            bool line = byte == '\r' || byte == '\n' || !byte;
            assert_ptr_equal(h1_value_end(bytes, bytes + 50), bytes + (value ? 50 : place));
            assert_ptr_equal(h1_line_byte(bytes, bytes + 50), bytes + (line ? place : 50));
        }
    }
}

/* ---- the end of a head ---------------------------------------------------------------------- */

static void a_head_that_comes_byte_by_byte_ends_where_it_does_at_once(void **state)
{
    (void)state;
    static const char text[] =
        "GET / HTTP/1.1\r\nHost: a\r\nX-Long: 0123456789012345678\r\n\r\nrest";
    size_t whole = sizeof text - 1 - 4;
    size_t scanned = 0, found = 0;
    for (size_t length = 0; length < whole; length++)
        assert_int_equal(h1_head_end(text, length, &scanned, &found), H1_MORE);
    assert_int_equal(h1_head_end(text, whole, &scanned, &found), H1_DONE);
    assert_int_equal(found, whole);
    scanned = 0;
    assert_int_equal(h1_head_end(text, sizeof text - 1, &scanned, &found), H1_DONE);
    assert_int_equal(found, whole);
}

static void bare_ends_of_lines_and_nul_are_seen_on_the_way(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t length;
    } rows[] = {
        {"GET / HTTP/1.1\n", 15},
        {"GET / HTTP/1.1\r\nHost: a\n\r\n", 26},
        {"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", 26},
        {"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", 26},
        {"GET / HTTP/1.1\r\r\n\r\n", 19},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        size_t scanned = 0, found;
        assert_int_equal(h1_head_end(rows[i].text, rows[i].length, &scanned, &found), H1_BAD);
    }
}

static void at_most_two_empty_lines_go_before_a_request(void **state)
{
    (void)state;
    assert_int_equal(h1_blank("GET", 3), 0);
    assert_int_equal(h1_blank("\r\nGET", 5), 2);
    assert_int_equal(h1_blank("\r\n\r\nGET", 7), 4);
    assert_int_equal(h1_blank("\r\n\r\n\r\nGET", 9), 4);
    assert_int_equal(h1_blank("\r", 1), 0);
    assert_int_equal(h1_blank("\n\n", 2), 0);
}

/* ---- requests ------------------------------------------------------------------------------- */

static void a_request_is_taken_apart(void **state)
{
    (void)state;
    assert_int_equal(request("POST /a/b?c=d?e HTTP/1.1\r\nHost: Shop.example:8080\r\n"
                             "Content-Length: 12\r\nX-Empty:\r\nX-Spaced: \t a b \t\r\n"
                             "X-Obs: \xc3\xa4\r\n\r\n"),
                     H1_DONE);
    assert_int_equal(head.method, METHOD_POST);
    assert_slice(head.method_name, "POST");
    assert_slice(head.target, "/a/b?c=d?e");
    assert_slice(head.path, "/a/b");
    assert_slice(head.query, "c=d?e");
    assert_true(head.has_query);
    assert_slice(head.authority, "Shop.example:8080");
    assert_slice(head.host, "Shop.example");
    assert_int_equal(head.port, 8080);
    assert_int_equal(head.version_minor, 1);
    assert_true(head.keep_alive);
    assert_int_equal(head.body, BODY_LENGTH);
    assert_int_equal(head.body_length, 12);
    assert_int_equal(head.field_count, 5);
    assert_slice(head.fields[2].value, "");
    assert_slice(head.fields[3].value, "a b");
    assert_slice(head.fields[4].value, "\xc3\xa4");
    assert_ptr_equal(head_find(&head, "x-SPACED"), &head.fields[3]);
    assert_null(head_find(&head, "x-spaced-"));
}

static void forms_of_the_target(void **state)
{
    (void)state;
    static const struct {
        const char *line, *target, *path, *authority;
    } rows[] = {
        {"GET http://b.example/x?y HTTP/1.1", "/x?y", "/x", "b.example"},
        {"GET HTTPS://b.example:444 HTTP/1.1", "/", "/", "b.example:444"},
        {"GET http://b.example: HTTP/1.1", "/", "/", "b.example"},
        {"GET http://b.example?y HTTP/1.1", "?y", "/", "b.example"},
        {"GET http://[::1]:80/ HTTP/1.1", "/", "/", "[::1]:80"},
        {"OPTIONS * HTTP/1.1", "*", "*", "a"},
        {"OPTIONS http://b.example HTTP/1.1", "*", "*", "b.example"},
        {"GET //x/../y HTTP/1.1", "//x/../y", "//x/../y", "a"},
        {"GET /{a|b}\"<>\\^` HTTP/1.1", "/{a|b}\"<>\\^`", "/{a|b}\"<>\\^`", "a"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        snprintf(text, sizeof text, "%s\r\nHost: a\r\n\r\n", rows[i].line);
        assert_int_equal(request(text), H1_DONE);
        assert_slice(head.target, rows[i].target);
        assert_slice(head.path, rows[i].path);
        assert_slice(head.authority, rows[i].authority);
    }
}

struct refused {
    const char *text; /* what follows "GET / HTTP/1.1\r\nHost: a\r\n", or a whole head */
    uint16_t status;
};

static void requests_that_are_refused(void **state)
{
    (void)state;
    static const struct refused rows[] = {
        {"GET / HTTP/1.1\r\n\r\n", 400},                       /* no Host */
        {"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400},              /* empty */
        {"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400}, /* two */
        {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: [x]\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a%2\r\n\r\n", 400},
        {"GET http://a/ HTTP/1.1\r\n\r\n", 400}, /* also then: a Host */
        {"GET http://a/ HTTP/1.1\r\nHost: b c\r\n\r\n", 400},
        {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET http://u:p@a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET ftp://a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        {"GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
        {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"G\"T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\r\nHost: a\r\n\r\n", 400}, /* HTTP/0.9 */
        {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/1.12\r\nHost: a\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\n", 505},
        {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
        {"X: a\r\nHost: a\r\n\r\n", 400},
        {"\r\n", 400},
        {"Y: b\r\n folded\r\n\r\n", 400},
        {"Y: b\r\n\tfolded\r\n\r\n", 400},
        {" Y: b\r\n\r\n", 400},
        {"Y : b\r\n\r\n", 400},
        {"Y\t: b\r\n\r\n", 400},
        {"Y\r\n\r\n", 400},
        {": b\r\n\r\n", 400},
        {"Y\x7f: b\r\n\r\n", 400},
        {"Y: b\x01\r\n\r\n", 400},
        {"Y: b\x7f\r\n\r\n", 400},
        {"Y: b\n\r\n", 400},
        {"Y: b\rc\r\n\r\n", 400},
        {"Content-Length: 1\r\nContent-Length: 1\r\n\r\n", 400},
        {"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
        {"Content-Length: 1, 1\r\n\r\n", 400},
        {"Content-Length: +1\r\n\r\n", 400},
        {"Content-Length: -1\r\n\r\n", 400},
        {"Content-Length: 0x1\r\n\r\n", 400},
        {"Content-Length: 1 1\r\n\r\n", 400},
        {"Content-Length:\r\n\r\n", 400},
        {"Content-Length: 9999999999999999999\r\n\r\n", 400},
        {"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
        {"Transfer-Encoding: chunked, chunked\r\n\r\n", 400},
        {"Transfer-Encoding: chunked, gzip\r\n\r\n", 400},
        {"Transfer-Encoding: gzip\r\n\r\n", 400},
        {"Transfer-Encoding: gzip, chunked\r\n\r\n", 501},
        {"Transfer-Encoding: identity\r\n\r\n", 501},
        {"Transfer-Encoding: xchunked\r\n\r\n", 501},
        {"Transfer-Encoding: chunked;q=1\r\n\r\n", 400},
        {"Transfer-Encoding: \"chunked\"\r\n\r\n", 400},
        {"Transfer-Encoding:\r\n\r\n", 400},
        {"Transfer-Encoding: ,\r\n\r\n", 400},
        {"Transfer-Encoding: \x0b"
         "chunked\r\n\r\n",
         400},
        {"Transfer-Encoding : chunked\r\n\r\n", 400},
        {"Expect: 200-ok\r\n\r\n", 417},
        {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[512];
        bool whole = strstr(rows[i].text, "HTTP/") || rows[i].text[0] == '\r' ||
                     strstr(rows[i].text, "Host") || !strncmp(rows[i].text, "GET", 3);
        snprintf(text, sizeof text, "%s%s", whole ? "" : "GET / HTTP/1.1\r\nHost: a\r\n",
                 rows[i].text);
        if (request(text) != H1_BAD)
            fail_msg("was taken: %s", text);
        assert_non_null(refusal.why);
        if (refusal.status != rows[i].status)
            fail_msg("%d for: %s", refusal.status, text);
    }
}

static void too_many_fields_are_431(void **state)
{
    (void)state;
    char text[1024] = "GET / HTTP/1.1\r\nHost: a\r\n";
    for (int i = 1; i < FIELDS_ROOM; i++)
        strcat(text, "A: b\r\n");
    char over[1024];
    snprintf(over, sizeof over, "%sA: b\r\n\r\n", text);
    strcat(text, "\r\n");
    assert_int_equal(request(text), H1_DONE);
    assert_int_equal(request(over), H1_BAD);
    assert_int_equal(refusal.status, 431);
}

static void a_head_without_its_end_or_with_more_is_refused(void **state)
{
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET";
    for (size_t length = 0; length < sizeof text; length++)
        assert_int_equal(request_parse(text, length),
                         length == sizeof text - 1 - 3 ? H1_DONE : H1_BAD);
}

static void who_keeps_the_connection(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool keeps;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, CLOSE\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.0\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", false},
        {"GET / HTTP/1.7\r\nHost: a\r\n\r\n", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(request(rows[i].text), H1_DONE);
        assert_int_equal(head.keep_alive, rows[i].keeps);
    }
}

static void what_connection_names_is_dropped(void **state)
{
    (void)state;
    assert_int_equal(request("GET / HTTP/1.1\r\nHost: a\r\nX-One: 1\r\nx-two: 2\r\n"
                             "Connection: x-one, , X-TWO\r\nX-Three: 3\r\nx-one: 4\r\n\r\n"),
                     H1_DONE);
    assert_true(head_find(&head, "x-one")->dropped);
    assert_true(head_find(&head, "x-two")->dropped);
    assert_true(head.fields[5].dropped);
    assert_false(head_find(&head, "x-three")->dropped);
    char text[2048] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: a";
    for (int i = 0; i < 40; i++)
        strcat(text, ",a");
    strcat(text, "\r\n\r\n");
    assert_int_equal(request(text), H1_BAD);
}

static void names_disguised_for_cgi_are_dropped(void **state)
{
    (void)state;
    assert_int_equal(request("GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded-For: 1\r\n"
                             "Content_Length: 2\r\nX_Y: 3\r\n\r\n"),
                     H1_DONE);
    assert_true(head.fields[1].dropped);
    assert_true(head.fields[2].dropped);
    assert_false(head.fields[3].dropped);
    assert_int_equal(head.body, BODY_NONE);
}

static void upgrade_te_and_expect(void **state)
{
    (void)state;
    assert_int_equal(request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, TE\r\n"
                             "Upgrade: websocket\r\nTE: gzip, Trailers\r\n\r\n"),
                     H1_DONE);
    assert_true(head.upgrade);
    assert_true(head.te_trailers);
    assert_int_equal(request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"), H1_DONE);
    assert_false(head.upgrade);
    assert_int_equal(request("POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n"
                             "Upgrade: websocket\r\nContent-Length: 1\r\n\r\n"),
                     H1_DONE);
    assert_false(head.upgrade);
    assert_int_equal(request("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n"
                             "Content-Length: 1\r\n\r\n"),
                     H1_DONE);
    assert_true(head.expect_continue);
    assert_int_equal(request("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"),
                     H1_DONE);
    assert_int_equal(head.body, BODY_CHUNKED);
}

static void each_known_name_is_found_in_any_case(void **state)
{
    (void)state;
    static const char *const names[] = {
        "Host",
        "Connection",
        "Content-Length",
        "Transfer-Encoding",
        "Upgrade",
        "Expect",
        "TE",
        "Trailer",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Proxy-Authorization",
        "HTTP2-Settings",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Real-IP",
        "Forwarded",
        "X-Request-ID",
        "traceparent",
        "Cookie",
        "Set-Cookie",
        "Date",
        "Server",
        "Via",
        "Max-Forwards",
        "Retry-After",
        "Content-Type",
        "User-Agent",
        "Referer",
    };
    _Static_assert(sizeof names / sizeof names[0] == FIELD_COUNT - 1, "each has its name here");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct slice name = {names[i], (uint32_t)strlen(names[i])};
        assert_int_equal(field_id_of(name), i + 1);
        char other[32];
        for (size_t j = 0; j <= name.length; j++)
            other[j] =
                (char)(names[i][j] >= 'a' && names[i][j] <= 'z' ? names[i][j] - 32 : names[i][j]);
        assert_int_equal(field_id_of((struct slice){other, name.length}), i + 1);
        other[0] = 'q';
        assert_int_equal(field_id_of((struct slice){other, name.length}), FIELD_OTHER);
    }
    assert_int_equal(field_id_of(SLICE("X-Unknown")), FIELD_OTHER);
}

/* ---- responses ------------------------------------------------------------------------------ */

static enum h1_result response(const char *text, enum http_method method)
{
    const char *why = NULL;
    head = (struct head){.fields = fields, .fields_room = FIELDS_ROOM};
    enum h1_result result = h1_response_parse(text, strlen(text), method, &head, &why);
    if (result == H1_BAD)
        assert_non_null(why);
    return result;
}

static void how_a_response_ends(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum http_method method;
        enum body_kind body;
        bool keeps;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", METHOD_GET, BODY_LENGTH, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", METHOD_GET, BODY_NONE, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", METHOD_HEAD, BODY_NONE, true},
        {"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", METHOD_GET, BODY_NONE, true},
        {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", METHOD_GET, BODY_NONE, true},
        {"HTTP/1.1 100 Continue\r\n\r\n", METHOD_GET, BODY_NONE, true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", METHOD_GET, BODY_CHUNKED, true},
        {"HTTP/1.1 200 OK\r\n\r\n", METHOD_GET, BODY_CLOSE, false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", METHOD_GET, BODY_LENGTH, false},
        {"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", METHOD_GET,
         BODY_LENGTH, true},
        {"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\n", METHOD_GET, BODY_LENGTH, true},
        {"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", METHOD_GET, BODY_LENGTH, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(response(rows[i].text, rows[i].method), H1_DONE);
        assert_int_equal(head.body, rows[i].body);
        assert_int_equal(head.keep_alive, rows[i].keeps);
    }
}

static void responses_that_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 600 What\r\n\r\n",
        "HTTP/1.1 099 What\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 200 O\x01K\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (response(rows[i], METHOD_GET) != H1_BAD)
            fail_msg("was taken: %s", rows[i]);
}

/* ---- chunks --------------------------------------------------------------------------------- */

/* Decodes it in pieces of `step` bytes. */
static enum h1_result decode(const char *text, size_t step, char *out, size_t *ret_used,
                             struct h1_chunks *chunks)
{
    size_t length = strlen(text), at = 0, got = 0;
    enum h1_result result = H1_MORE;
    while (at < length && result == H1_MORE) {
        char piece[256];
        size_t size = length - at < step ? length - at : step;
        memcpy(piece, text + at, size);
        char *data;
        size_t used, run;
        result = h1_chunks_decode(chunks, piece, size, &used, &data, &run);
        if (result == H1_BAD)
            return result;
        memcpy(out + got, data, run);
        got += run;
        at += used;
    }
    out[got] = 0;
    *ret_used = at;
    return result;
}

static void chunks_decode_alike_however_they_come(void **state)
{
    (void)state;
    static const char text[] = "5\r\nhello\r\n006 ; a=\"b;c\"\r\n world\r\n1;x\r\n!\r\n"
                               "000;last\r\nA: b\r\nC:\r\n\r\nGET";
    for (size_t step = 1; step < sizeof text; step++) {
        struct h1_chunks chunks;
        h1_chunks_init(&chunks);
        char out[128], trailer[CHUNK_TRAILER_BYTES_MAX];
        chunks.trailer = trailer;
        size_t used;
        assert_int_equal(decode(text, step, out, &used, &chunks), H1_DONE);
        assert_string_equal(out, "hello world!");
        assert_int_equal(used, sizeof text - 1 - 3);
        assert_int_equal(h1_trailers_parse(&chunks, fields, FIELDS_ROOM), 2);
        assert_slice(fields[0].value, "b");
    }
}

static void chunks_that_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "+1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 \r\n",
        "1\n",
        "1\r\rx",
        "1;a\nx",
        "1;a\x01\r\n",
        ";a\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na0\r\n",
        "1000000000000000\r\n",
        "0000000000000001\r\n",
        "0\r\nA: b\n",
        "0\r\n\n",
        "0\r\nno field\r\n\r\n",
        "0\r\nname\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\n: b\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        for (size_t step = 1; step < 4; step++) {
            struct h1_chunks chunks;
            h1_chunks_init(&chunks);
            char out[128];
            size_t used;
            if (decode(rows[i], step, out, &used, &chunks) != H1_BAD)
                fail_msg("was taken: %s", rows[i]);
        }
}

static void extensions_and_trailers_have_bounds(void **state)
{
    (void)state;
    for (int trailer = 0; trailer < 2; trailer++) {
        struct h1_chunks chunks;
        h1_chunks_init(&chunks);
        size_t used, data;
        const char *start = trailer ? "0\r\n" : "1;";
        assert_int_equal(h1_chunks_next(&chunks, start, strlen(start), &used, &data), H1_MORE);
        enum h1_result result = H1_MORE;
        int count = 0;
        for (; result == H1_MORE && count < 100000; count++)
            result = h1_chunks_next(&chunks, "a", 1, &used, &data);
        assert_int_equal(result, H1_BAD);
        assert_int_equal(count,
                         (trailer ? CHUNK_TRAILER_BYTES_MAX : CHUNK_EXTENSION_BYTES_MAX) + 1);
    }
}

static void trailers_cannot_frame_or_route(void **state)
{
    (void)state;
    char text[] = "Content-Length: 5\r\nHost: b\r\nTransfer-Encoding: chunked\r\nX-Sum: 1\r\n\r\n";
    struct h1_chunks chunks = {.trailer = text, .trailer_bytes = sizeof text - 1};
    assert_int_equal(h1_trailers_parse(&chunks, fields, FIELDS_ROOM), 1);
    assert_slice(fields[0].name, "X-Sum");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_bytes_is_the_rfcs),
        cmocka_unit_test(vectors_and_bytes_find_the_same),
        cmocka_unit_test(a_head_that_comes_byte_by_byte_ends_where_it_does_at_once),
        cmocka_unit_test(bare_ends_of_lines_and_nul_are_seen_on_the_way),
        cmocka_unit_test(at_most_two_empty_lines_go_before_a_request),
        cmocka_unit_test(a_request_is_taken_apart),
        cmocka_unit_test(forms_of_the_target),
        cmocka_unit_test(requests_that_are_refused),
        cmocka_unit_test(too_many_fields_are_431),
        cmocka_unit_test(a_head_without_its_end_or_with_more_is_refused),
        cmocka_unit_test(who_keeps_the_connection),
        cmocka_unit_test(what_connection_names_is_dropped),
        cmocka_unit_test(names_disguised_for_cgi_are_dropped),
        cmocka_unit_test(upgrade_te_and_expect),
        cmocka_unit_test(each_known_name_is_found_in_any_case),
        cmocka_unit_test(how_a_response_ends),
        cmocka_unit_test(responses_that_are_refused),
        cmocka_unit_test(chunks_decode_alike_however_they_come),
        cmocka_unit_test(chunks_that_are_refused),
        cmocka_unit_test(extensions_and_trailers_have_bounds),
        cmocka_unit_test(trailers_cannot_frame_or_route),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
