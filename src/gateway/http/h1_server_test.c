/* The engine from a client's socket to an instance's and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http/h1_parse.h"
#include "gateway/http/h1_rig.h"
#include "gateway/http/h1_server.h"

#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void assert_has(const struct rig *rig, const char *text)
{
    if (!strstr(rig->text, text))
        fail_msg("no “%s” in: %s", text, rig->text);
}

static void assert_lacks(const struct rig *rig, const char *text)
{
    if (strcasestr(rig->text, text))
        fail_msg("“%s” in: %s", text, rig->text);
}

/* One request through to instance 1 and back; the sockets stay open. */
static void round_trip(struct rig *rig, int client, int *origin)
{
    rig_say(rig, client, "GET /a?b HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    if (*origin < 0)
        *origin = rig_origin(rig, 1);
    rig_hear(rig, *origin, "\r\n\r\n");
    rig_say(rig, *origin, OK_2);
    rig_hear(rig, client, "ok");
}

/* ---- requests ------------------------------------------------------------------------------- */

static void a_request_goes_through_and_both_connections_are_kept(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig), origin = -1;
    for (int i = 0; i < 3; i++) {
        round_trip(rig, client, &origin);
        assert_has(rig, "HTTP/1.1 200 OK\r\n");
        assert_has(rig, "Content-Length: 2\r\n");
        assert_has(rig, "Date: ");
        assert_lacks(rig, "Connection:");
        assert_false(rig_origin_waits(rig, 1));
    }
    int other = rig_client(rig);
    round_trip(rig, other, &origin);
    close(client);
    close(other);
    close(origin);
}

static void the_head_is_written_anew(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client,
            "GET http://real.example:81/a HTTP/1.1\r\nhost: other.example\r\n"
            "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nTE: gzip\r\n"
            "Proxy-Authorization: p\r\nUpgrade: h2c\r\nX-Forwarded-For: 9.9.9.9\r\n"
            "X-Real-IP: 8.8.8.8\r\nX-Forwarded-Proto: https\r\nX_Forwarded_Host: x\r\n"
            "X-Request-ID: mine\r\ntraceparent: 00-1-2-01\r\nX-Obs: \xc3\xa4\r\nEmpty:\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "GET /a HTTP/1.1\r\nHost: real.example:81\r\n");
    assert_lacks(rig, "other.example");
    assert_lacks(rig, "X-Hop");
    assert_lacks(rig, "Keep-Alive");
    assert_lacks(rig, "TE:");
    assert_lacks(rig, "Proxy-");
    assert_lacks(rig, "Upgrade");
    assert_lacks(rig, "9.9.9.9");
    assert_lacks(rig, "8.8.8.8");
    assert_lacks(rig, "X_Forwarded");
    assert_lacks(rig, "mine");
    assert_lacks(rig, "Content-Length");
    assert_lacks(rig, "Transfer-Encoding");
    assert_has(rig, "X-Forwarded-For: 127.0.0.1\r\n");
    assert_has(rig, "X-Forwarded-Proto: http\r\n");
    assert_has(rig, "X-Forwarded-Host: real.example:81\r\n");
    assert_has(rig, "X-Forwarded-Port: ");
    assert_has(rig, "X-Request-ID: ");
    assert_has(rig, "traceparent: 00-1-2-01\r\n");
    assert_has(rig, "X-Obs: \xc3\xa4\r\n");
    assert_has(rig, "Empty: \r\n");
    close(client);
    close(origin);
}

static void trusted_proxies_are_believed(void **state)
{
    struct rig *rig = *state;
    static const struct network loopback = {
        {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 0}, 104};
    rig->site.trusted = &loopback;
    rig->site.trusted_count = 1;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client,
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 7.7.7.7\r\n"
            "X-Forwarded-Proto: https\r\nX-Request-ID: mine\r\nForwarded: for=9.9.9.9\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "X-Forwarded-For: 9.9.9.9, 7.7.7.7, 127.0.0.1\r\n");
    assert_has(rig, "X-Forwarded-Proto: https\r\n");
    assert_lacks(rig, "X-Forwarded-Proto: http\r\n");
    assert_has(rig, "X-Request-ID: mine\r\n");
    assert_has(rig, "Forwarded: for=9.9.9.9, for=127.0.0.1;host=\"a\";proto=http\r\n");
    close(client);
    close(origin);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client,
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HT");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "GET /1 ");
    assert_lacks(rig, "/2");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none");
    rig_hear(rig, client, "one");
    rig_hear(rig, origin, "GET /2 ");
    rig_say(rig, client, "TP/1.1\r\nHost: a\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo");
    rig_hear(rig, client, "two");
    rig_hear(rig, origin, "GET /3 ");
    close(client);
    close(origin);
}

static void a_head_may_come_byte_by_byte(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    static const char text[] = "\r\nGET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    for (size_t i = 0; i < sizeof text - 1; i++)
        rig_say_bytes(rig, client, text + i, 1);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "GET /slow HTTP/1.1\r\n");
    static const char answer[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                 "5;x\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n";
    for (size_t i = 0; i < sizeof answer - 1; i++)
        rig_say_bytes(rig, origin, answer + i, 1);
    rig_hear(rig, client, "0\r\n\r\n");
    assert_has(rig, "Transfer-Encoding: chunked\r\n");
    assert_lacks(rig, "Content-Length");
    round_trip(rig, client, &origin);
    close(client);
    close(origin);
}

static void refused(struct rig *rig, const char *request, const char *status)
{
    int client = rig_client(rig);
    rig_say(rig, client, request);
    assert_true(rig_hear_end(rig, client));
    char line[64];
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    assert_has(rig, line);
    assert_has(rig, "Connection: close\r\n");
    assert_has(rig, "X-Request-ID: ");
    assert_has(rig, "failed: client");
    assert_false(rig_origin_waits(rig, 1));
    close(client);
}

static void bad_requests_are_answered_and_the_connection_closed(void **state)
{
    struct rig *rig = *state;
    rig->site.header_bytes_max = 1000;
    rig_start(rig, 1);
    refused(rig, "GET / HTTP/1.1\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    refused(rig, "GET / HTTP/1.1\nHost: a\n\n", "400");
    refused(rig,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "400");
    refused(rig, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "501");
    refused(rig, "GET / HTTP/3.0\r\nHost: a\r\n\r\n", "505");
    char large[1200];
    memset(large, 'a', sizeof large);
    memcpy(large, "GET /", 5);
    large[sizeof large - 1] = 0;
    refused(rig, large, "414");
    memcpy(large, "GET / HTTP/1.1\r\nHost: a\r\nX: ", 28);
    refused(rig, large, "431");
    memcpy(large + sizeof large - 5, "\r\n\r\n", 4);
    refused(rig, large, "431");
}

/* ---- bodies of requests --------------------------------------------------------------------- */

static void a_body_goes_with_its_head_and_keeps_its_length(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig), origin = -1;
    rig_say(rig, client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET /n");
    origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\nhello");
    assert_has(rig, "Content-Length: 5\r\n");
    assert_lacks(rig, "GET");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_say(rig, client, " HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_hear(rig, origin, "GET /n HTTP/1.1\r\n");
    close(client);
    close(origin);
}

static void a_chunked_body_is_framed_anew(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig), origin = -1;
    rig_say(rig, client,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n"
            "00002;ext=\"a\"\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n");
    origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_has(rig, "Transfer-Encoding: chunked\r\n");
    assert_lacks(rig, "ext");
    assert_lacks(rig, "X-Trailer");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    round_trip(rig, client, &origin);
    rig_say(rig, client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe");
    rig_hear(rig, origin, "2\r\nhe\r\n");
    rig_say(rig, client, "XX");
    assert_true(rig_hear_end(rig, client));
    assert_has(rig, "HTTP/1.1 400 ");
    rig_hear_end(rig, origin); /* it must not take what it has for a whole request */
    close(client);
    close(origin);
}

/* To an origin that reads nothing until nobody can send any more. */
static void large_request(struct rig *rig, bool is_chunked)
{
    enum { BYTES = 12 * 1024 * 1024, ROOM = BYTES * 2 };
    int client = rig_client(rig);
    char *sent = malloc(BYTES), *got = malloc(ROOM);
    for (size_t i = 0; i < BYTES; i++)
        sent[i] = (char)('a' + i % 23);
    char head[128];
    snprintf(head, sizeof head, "PUT /big HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n%s",
             is_chunked ? "Transfer-Encoding: chunked" : "Content-Length: 12582912",
             is_chunked ? "c00000\r\n" : "");
    rig_say(rig, client, head);
    int origin = rig_origin(rig, 1);
    size_t at = 0, have = 0;
    for (int stuck = 0; at < BYTES || stuck < 2000;) {
        ssize_t count = send(client, sent + at, BYTES - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        at += count > 0 ? (size_t)count : 0;
        stuck = count > 0 ? 0 : stuck + 1;
        loop_turn(rig->worker.loop, 0);
        if (stuck < 50)
            continue;
        count = recv(origin, got + have, ROOM - have, MSG_DONTWAIT);
        have += count > 0 ? (size_t)count : 0;
        stuck = count > 0 && at < BYTES ? 0 : stuck;
    }
    if (is_chunked)
        rig_say(rig, client, "\r\n0\r\n\r\n");
    for (int turn = 0; turn < 2000; turn++) {
        loop_turn(rig->worker.loop, 0);
        ssize_t count = recv(origin, got + have, ROOM - have, MSG_DONTWAIT);
        have += count > 0 ? (size_t)count : 0;
    }
    char *body = (char *)memmem(got, have, "\r\n\r\n", 4) + 4;
    size_t length = have - (size_t)(body - got), used;
    struct h1_chunks chunks;
    h1_chunks_init(&chunks);
    if (is_chunked)
        assert_int_equal(h1_chunks_decode(&chunks, body, length, &used, &body, &length), H1_DONE);
    assert_int_equal(length, BYTES);
    assert_memory_equal(body, sent, BYTES);
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    round_trip(rig, client, &origin);
    free(sent);
    free(got);
    close(client);
    close(origin);
}

static void large_bodies_wait_for_a_slow_origin(void **state)
{
    rig_start(*state, 1);
    large_request(*state, false);
    large_request(*state, true);
}

static void bodies_have_a_bound(void **state)
{
    struct rig *rig = *state;
    rig->site.body_bytes_max = 10;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello");
    rig_hear(rig, client, "request: ");
    assert_has(rig, "HTTP/1.1 413 ");
    /* So little is read over, and the connection kept. */
    rig_say(rig, client,
            " world"
            "GET / HTTP/1.1\r\n\r\n");
    rig_hear(rig, client, "HTTP/1.1 400 ");
    close(client);
    client = rig_client(rig);
    rig_say(rig, client,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "hello");
    rig_say(rig, client, "6\r\nhello!\r\n");
    assert_true(rig_hear_end(rig, client));
    assert_has(rig, "HTTP/1.1 413 ");
    rig_hear_end(rig, origin);
    close(client);
    close(origin);
}

static void expect_100_is_the_origins_to_answer(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "Expect: 100-continue\r\n");
    rig_quiet(rig, client);
    rig_say(rig, origin, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(rig_hear(rig, client, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    rig_say(rig, client, "hello");
    rig_hear(rig, origin, "hello");
    rig_say(rig, origin, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" OK_2);
    rig_hear(rig, client, "ok");
    assert_has(rig, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n");
    round_trip(rig, client, &origin);
    close(client);
    close(origin);
}

static void an_early_answer_ends_the_body(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\nhello");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "hello");
    rig_say(rig, origin, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno");
    rig_say(rig, client, "more of it");
    assert_true(rig_hear_end(rig, client));
    assert_has(rig, "HTTP/1.1 413 Too Large\r\n");
    assert_has(rig, "Connection: close\r\n");
    rig_hear_end(rig, origin);
    close(client);
    close(origin);
}

/* ---- bodies of responses -------------------------------------------------------------------- */

static void old_clients_get_no_chunks(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "Host: api\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    assert_has(rig, "Connection: keep-alive\r\n");
    rig_say(rig, client, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n");
    rig_hear(rig, client, "he");
    assert_lacks(rig, "Transfer-Encoding");
    assert_has(rig, "Connection: close\r\n");
    rig_say(rig, origin, "3\r\nllo\r\n0\r\n\r\n");
    assert_true(rig_hear_end(rig, client));
    assert_string_equal(rig->text, "llo");
    close(client);
    client = rig_client(rig);
    rig_say(rig, client, "GET / HTTP/1.0\r\n\r\n");
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2);
    assert_true(rig_hear_end(rig, client));
    close(client);
    close(origin);
}

static void what_ends_with_its_connection_is_chunked(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.0 200 OK\r\n\r\nhello");
    rig_hear(rig, client, "5\r\nhello\r\n");
    rig_say(rig, origin, " you");
    rig_hear(rig, client, "4\r\n you\r\n");
    close(origin);
    rig_hear(rig, client, "0\r\n\r\n");
    origin = -1;
    round_trip(rig, client, &origin);
    close(client);
    close(origin);
}

static void no_body_where_there_is_none(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "HEAD / ");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    rig_hear(rig, client, "\r\n\r\n");
    assert_has(rig, "Content-Length: 1000\r\n");
    rig_say(rig, client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_hear(rig, origin, "GET / ");
    rig_say(rig, origin, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n");
    rig_hear(rig, client, "\r\n\r\n");
    assert_lacks(rig, "Content-Length");
    rig_say(rig, client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_hear(rig, origin, "GET / ");
    rig_say(rig, origin, "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
    rig_hear(rig, client, "\r\n\r\n");
    assert_lacks(rig, "Content-Length");
    round_trip(rig, client, &origin);
    close(client);
    close(origin);
}

static void trailers_go_to_who_asks_for_them(void **state)
{
    struct rig *rig = *state;
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
        "2\r\nok\r\n0\r\nX-Sum: 7\r\nContent-Length: 3\r\n\r\n";
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "TE: trailers\r\n");
    rig_say(rig, origin, answer);
    rig_hear(rig, client, "2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n");
    assert_has(rig, "Trailer: X-Sum\r\n");
    rig_say(rig, client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, answer);
    rig_hear(rig, client, "ok");
    assert_lacks(rig, "X-Sum");
    round_trip(rig, client, &origin);
    close(client);
    close(origin);
}

/* So large that it is spliced (`chunked`: that it cannot be), to a client that reads late. */
static void large_response(struct rig *rig, bool is_chunked)
{
    enum { BYTES = 12 * 1024 * 1024 };
    int client = rig_client(rig);
    rig_say(rig, client, "GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    char *body = malloc(BYTES + 64);
    int length = snprintf(body, 64, "HTTP/1.1 200 OK\r\n%s: %s\r\n\r\n",
                          is_chunked ? "Transfer-Encoding" : "Content-Length",
                          is_chunked ? "chunked" : "12582912");
    rig_say_bytes(rig, origin, body, (size_t)length);
    if (is_chunked)
        rig_say(rig, origin, "c00000\r\n");
    for (size_t i = 0; i < BYTES; i++)
        body[i] = (char)('a' + i % 23);
    char *got = malloc(BYTES + 65536);
    size_t sent = 0, have = 0;
    for (int turn = 0; sent < BYTES || turn < 200; turn++) {
        ssize_t count = send(origin, body + sent, BYTES - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += count > 0 ? (size_t)count : 0;
        loop_turn(rig->worker.loop, 0);
        if (turn < 50) /* the client sleeps */
            continue;
        count = recv(client, got + have, BYTES + 65536 - have, MSG_DONTWAIT);
        have += count > 0 ? (size_t)count : 0;
    }
    if (is_chunked)
        rig_say(rig, origin, "\r\n0\r\n\r\n");
    for (int turn = 0; turn < 1000; turn++) {
        loop_turn(rig->worker.loop, 0);
        ssize_t count = recv(client, got + have, BYTES + 65536 - have, MSG_DONTWAIT);
        have += count > 0 ? (size_t)count : 0;
    }
    char *start = memmem(got, have, "\r\n\r\n", 4);
    assert_non_null(start);
    start += 4;
    if (!is_chunked) {
        assert_int_equal(have - (size_t)(start - got), BYTES);
        assert_memory_equal(start, body, BYTES);
    } else { /* decoded again, it is what was sent */
        size_t at = 0;
        for (char *end = start;;) {
            size_t chunk = strtoul(start, &end, 16);
            start = end + 2;
            if (!chunk)
                break;
            assert_memory_equal(start, body + at, chunk);
            at += chunk;
            start += chunk + 2;
        }
        assert_int_equal(at, BYTES);
    }
    round_trip(rig, client, &origin);
    free(body);
    free(got);
    close(client);
    close(origin);
}

static void large_responses_arrive_whole(void **state)
{
    rig_start(*state, 1);
    large_response(*state, false);
    large_response(*state, true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        TEST(a_request_goes_through_and_both_connections_are_kept),
        TEST(the_head_is_written_anew),
        TEST(trusted_proxies_are_believed),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(a_head_may_come_byte_by_byte),
        TEST(bad_requests_are_answered_and_the_connection_closed),
        TEST(a_body_goes_with_its_head_and_keeps_its_length),
        TEST(a_chunked_body_is_framed_anew),
        TEST(large_bodies_wait_for_a_slow_origin),
        TEST(bodies_have_a_bound),
        TEST(expect_100_is_the_origins_to_answer),
        TEST(an_early_answer_ends_the_body),
        TEST(old_clients_get_no_chunks),
        TEST(what_ends_with_its_connection_is_chunked),
        TEST(no_body_where_there_is_none),
        TEST(trailers_go_to_who_asks_for_them),
        TEST(large_responses_arrive_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
