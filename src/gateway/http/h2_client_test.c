/* HTTP/2 to instances, which are libnghttp2's servers, or bytes; the clients speak HTTP/1.1. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <nghttp2/nghttp2.h>

#include "gateway/http/h1_rig.h"
#include "gateway/http/h1_server.h"
#include "gateway/http/h2_client.h"

enum { STREAMS_MAX = 512 };

#define GET  "GET /a HTTP/1.1\r\nHost: shop.example\r\nTE: trailers\r\nConnection: TE\r\n\r\n"
#define POST "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"

struct asked { /* a request, as an instance sees it */
    char head[2048];
    char trailer[64];
    size_t body;
    bool ended, closed;
    uint32_t error;
};

struct origin { /* an instance's end of a connection */
    struct rig *rig;
    nghttp2_session *session;
    int fd;
    struct asked asked[STREAMS_MAX]; /* by stream id */
    unsigned count;
    unsigned pings;
    bool silent; /* answers no PING */
    bool over;
    const char *body;
    size_t body_left;
    bool endless; /* the body does not end yet */
    bool hoards;  /* windows are not opened */
};

/* ---- an instance ---------------------------------------------------------------------------- */

static int came_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                       void *owner)
{
    (void)session, (void)flags;
    struct origin *origin = owner;
    struct asked *asked = &origin->asked[frame->hd.stream_id];
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        size_t at = strlen(asked->head);
        snprintf(asked->head + at, sizeof asked->head - at, "%.*s: %.*s\n", (int)name_length, name,
                 (int)value_length, value);
    } else {
        snprintf(asked->trailer, sizeof asked->trailer, "%.*s=%.*s", (int)name_length, name,
                 (int)value_length, value);
    }
    return 0;
}

static int came_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                     size_t length, void *owner)
{
    (void)flags, (void)bytes;
    struct origin *origin = owner;
    origin->asked[id].body += length;
    if (!origin->hoards)
        nghttp2_session_consume(session, id, length);
    return 0;
}

static int came_frame(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    (void)session;
    struct origin *origin = owner;
    struct asked *asked = &origin->asked[frame->hd.stream_id];
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        origin->count++;
    if (frame->hd.type == NGHTTP2_PING && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        origin->pings++;
    if (frame->hd.stream_id && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        asked->ended = true;
    return 0;
}

static int closed(nghttp2_session *session, int32_t id, uint32_t error, void *owner)
{
    (void)session;
    struct origin *origin = owner;
    origin->asked[id].closed = true;
    origin->asked[id].error = error;
    return 0;
}

/* Reads and answers what there is, until all is quiet. */
static void turn(struct origin *origin)
{
    static uint8_t bytes[65536];
    for (int quiet = 0; quiet < 4;) {
        const uint8_t *out;
        ssize_t length;
        quiet++;
        while (!origin->silent && (length = nghttp2_session_mem_send(origin->session, &out)) > 0) {
            rig_say_bytes(origin->rig, origin->fd, (const char *)out, (size_t)length);
            quiet = 0;
        }
        rig_turns(origin->rig);
        loop_turn(origin->rig->worker.loop, quiet > 1 ? 3 : 0);
        ssize_t count;
        while ((count = recv(origin->fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0) {
            assert_true(nghttp2_session_mem_recv(origin->session, bytes, (size_t)count) >= 0);
            quiet = 0;
        }
        origin->over |= count == 0;
    }
}

/* The next connection to an instance. `streams`: that it allows at a time. */
static struct origin *origin_new(struct rig *rig, uint32_t number, uint32_t streams)
{
    struct origin *origin = calloc(1, sizeof *origin);
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    origin->rig = rig;
    origin->fd = rig_origin(rig, number);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_option_new(&option);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, came_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, came_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, came_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, closed);
    assert_int_equal(nghttp2_session_server_new2(&origin->session, callbacks, origin, option), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    const nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams};
    nghttp2_submit_settings(origin->session, NGHTTP2_FLAG_NONE, &settings, 1);
    turn(origin);
    return origin;
}

static void origin_free(struct origin *origin)
{
    struct rig *rig = origin->rig;
    nghttp2_session_del(origin->session);
    close(origin->fd);
    free(origin);
    rig_turns(rig);
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static ssize_t body_read(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *owner)
{
    struct origin *origin = owner;
    const char *trailer = source->ptr;
    size_t part = length < origin->body_left ? length : origin->body_left;
    if (!part && origin->endless)
        return NGHTTP2_ERR_DEFERRED;
    memcpy(bytes, origin->body, part);
    origin->body += part;
    origin->body_left -= part;
    if (origin->body_left || origin->endless)
        return (ssize_t)part;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (trailer) {
        const nghttp2_nv field = nv("grpc-status", trailer);
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, &field, 1);
    }
    return (ssize_t)part;
}

static void answer(struct origin *origin, int32_t id, const char *body, size_t length,
                   const char *trailer)
{
    const nghttp2_nv fields[] = {nv(":status", "200"), nv("server", "origin")};
    const nghttp2_data_provider provider = {.source.ptr = (void *)(uintptr_t)trailer,
                                            .read_callback = body_read};
    origin->body = body;
    origin->body_left = length;
    nghttp2_submit_response(origin->session, id, fields, 2, &provider);
    turn(origin);
}

static void rig_start_h2(struct rig *rig, uint32_t instances)
{
    rig->service.gateway.speaks = SPEAKS_HTTP2;
    rig_start(rig, instances);
}

static void heard(struct rig *rig, int client, const char *status, const char *until)
{
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    rig_hear(rig, client, until);
    if (!strstr(rig->text, line))
        fail_msg("no “%s” in: %s", line, rig->text);
}

static void reset(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    shutdown(fd, SHUT_RDWR);
}

/* ---- requests and answers ------------------------------------------------------------------- */

static void a_request_and_its_answer(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    assert_non_null(strstr(origin->asked[1].head,
                           ":method: GET\n:scheme: http\n:authority: shop.example\n:path: /a\n"));
    assert_non_null(strstr(origin->asked[1].head, "te: trailers\n"));
    assert_null(strstr(origin->asked[1].head, "connection"));
    assert_true(origin->asked[1].ended);
    answer(origin, 1, "ok", 2, "7");
    heard(rig, client, "200", "0\r\ngrpc-status: 7\r\n\r\n");
    assert_non_null(strstr(rig->text, "server: origin\r\n"));
    assert_true(origin->asked[1].closed);
    assert_int_equal(origin->asked[1].error, 0);
    close(client);
    origin_free(origin);
}

static void a_request_has_a_body_and_trailers(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client,
            "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            "3\r\nabc\r\n0\r\nX-Sum: 6\r\nContent-Length: 9\r\n\r\n");
    struct origin *origin = origin_new(rig, 1, 100);
    assert_int_equal(origin->asked[1].body, 3);
    assert_string_equal(origin->asked[1].trailer, "x-sum=6");
    answer(origin, 1, "ok", 2, NULL);
    heard(rig, client, "200", "0\r\n\r\n");
    close(client);
    origin_free(origin);
}

static void an_answer_may_begin_before_the_request_has_ended(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    struct origin *origin = origin_new(rig, 1, 100);
    origin->endless = true;
    answer(origin, 1, "one", 3, NULL);
    heard(rig, client, "200", "3\r\none\r\n");
    rig_say(rig, client, "5\r\nhello\r\n");
    turn(origin);
    assert_int_equal(origin->asked[1].body, 5);
    origin->body = "two";
    origin->body_left = 3;
    nghttp2_session_resume_data(origin->session, 1);
    turn(origin);
    rig_hear(rig, client, "3\r\ntwo\r\n");
    rig_say(rig, client, "0\r\n\r\n");
    turn(origin);
    assert_true(origin->asked[1].ended);
    origin->endless = false;
    nghttp2_session_resume_data(origin->session, 1);
    turn(origin);
    rig_hear(rig, client, "0\r\n\r\n");
    close(client);
    origin_free(origin);
}

/* ---- sharing -------------------------------------------------------------------------------- */

static void requests_share_a_connection(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 1);
    int one = rig_client(rig), other = rig_client(rig);
    rig_say(rig, one, GET);
    rig_say(rig, other, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    assert_int_equal(origin->count, 2);
    assert_false(rig_origin_waits(rig, 1));
    answer(origin, 3, "second", 6, NULL);
    heard(rig, other, "200", "second");
    rig_quiet(rig, one);
    answer(origin, 1, "first", 5, NULL);
    heard(rig, one, "200", "first");
    close(one);
    close(other);
    origin_free(origin);
}

static void no_more_streams_than_the_endpoint_allows(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 1);
    int clients[3];
    clients[0] = rig_client(rig);
    rig_say(rig, clients[0], GET);
    struct origin *first = origin_new(rig, 1, 1);
    for (int i = 1; i < 3; i++)
        clients[i] = rig_client(rig);
    rig_say(rig, clients[1], GET);
    turn(first);
    assert_int_equal(first->count, 1);
    struct origin *second = origin_new(rig, 1, 1);
    assert_int_equal(second->count, 1);
    answer(first, 1, "ok", 2, NULL); /* now it has room again */
    heard(rig, clients[0], "200", "ok");
    rig_say(rig, clients[2], GET);
    turn(first);
    assert_int_equal(first->count, 2);
    assert_false(rig_origin_waits(rig, 1));
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    origin_free(first);
    origin_free(second);
}

static void the_bound_on_connections_is_kept(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.connections_max = 1;
    rig_start_h2(rig, 1);
    int one = rig_client(rig), other = rig_client(rig);
    rig_say(rig, one, GET);
    struct origin *origin = origin_new(rig, 1, 1);
    rig_say(rig, other, GET);
    turn(origin);
    assert_int_equal(origin->count, 1);
    assert_false(rig_origin_waits(rig, 1)); /* it waits */
    answer(origin, 1, "ok", 2, NULL);
    heard(rig, one, "200", "ok");
    turn(origin);
    assert_int_equal(origin->count, 2);
    answer(origin, 3, "ko", 2, NULL);
    heard(rig, other, "200", "ko");
    close(one);
    close(other);
    origin_free(origin);
}

/* ---- trying again --------------------------------------------------------------------------- */

static void what_was_refused_goes_elsewhere_whatever_it_is(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 2);
    int client = rig_client(rig);
    rig_say(rig, client, POST);
    uint32_t number = rig_origin_waits(rig, 1) ? 1 : 2;
    struct origin *first = origin_new(rig, number, 100);
    nghttp2_submit_rst_stream(first->session, NGHTTP2_FLAG_NONE, 1, NGHTTP2_REFUSED_STREAM);
    turn(first);
    struct origin *second = origin_new(rig, 3 - number, 100);
    assert_int_equal(second->asked[1].body, 5);
    answer(second, 1, "ok", 2, NULL);
    heard(rig, client, "200", "ok");
    close(client);
    origin_free(first);
    origin_free(second);
}

static void a_goaway_loses_nothing(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 1);
    int one = rig_client(rig), other = rig_client(rig);
    rig_say(rig, one, POST);
    rig_say(rig, other, POST);
    struct origin *origin = origin_new(rig, 1, 100);
    assert_int_equal(origin->count, 2);
    nghttp2_submit_goaway(origin->session, NGHTTP2_FLAG_NONE, 1, NGHTTP2_NO_ERROR, NULL, 0);
    turn(origin);
    struct origin *next = origin_new(rig, 1, 100); /* the second was not begun with */
    assert_int_equal(next->count, 1);
    answer(next, 1, "new", 3, NULL);
    heard(rig, other, "200", "new");
    answer(origin, 1, "old", 3, NULL);
    heard(rig, one, "200", "old");
    turn(origin);
    assert_true(origin->over);
    close(one);
    close(other);
    origin_free(origin);
    origin_free(next);
}

static void a_connection_that_breaks_fails_all_that_is_on_it(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.retry_tries = 0;
    rig_start_h2(rig, 1);
    int one = rig_client(rig), other = rig_client(rig);
    rig_say(rig, one, GET);
    rig_say(rig, other, POST);
    struct origin *origin = origin_new(rig, 1, 100);
    reset(origin->fd);
    heard(rig, one, "502", "\r\n\r\n");
    heard(rig, other, "502", "\r\n\r\n");
    close(one);
    close(other);
    origin_free(origin);
}

static void what_crossed_the_end_of_a_kept_connection_is_sent_again(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.retry_tries = 0;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    answer(origin, 1, "ok", 2, NULL);
    heard(rig, client, "200", "ok");
    shutdown(origin->fd, SHUT_RDWR);
    rig_say(rig, client, POST); /* must not be sent twice: the connection is looked at */
    struct origin *next = origin_new(rig, 1, 100);
    answer(next, 1, "ok", 2, NULL);
    heard(rig, client, "200", "ok");
    close(client);
    origin_free(origin);
    origin_free(next);
}

static void who_refuses_is_passed_over(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 2);
    rig_refuse(rig, 1);
    struct origin *origin = NULL;
    for (int i = 0; i < 4; i++) {
        int client = rig_client(rig);
        rig_say(rig, client, POST);
        if (!origin)
            origin = origin_new(rig, 2, 100);
        turn(origin);
        answer(origin, 2 * i + 1, "ok", 2, NULL);
        heard(rig, client, "200", "ok");
        close(client);
    }
    origin_free(origin);
}

/* ---- flow control --------------------------------------------------------------------------- */

static void a_slow_client_stops_nobody_else(void **state)
{
    struct rig *rig = *state;
    static char body[4 * 1024 * 1024];
    memset(body, 'x', sizeof body);
    rig->narrow = true;
    rig_start_h2(rig, 1);
    int slow = rig_client(rig), other = rig_client(rig);
    rig_say(rig, slow, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    answer(origin, 1, body, sizeof body, NULL);
    size_t left = origin->body_left;
    assert_in_range(sizeof body - left, H2_LINK_WINDOW_BYTES, 4 * H2_LINK_WINDOW_BYTES);
    rig_say(rig, other, GET);
    turn(origin);
    origin->body_left = 0; /* of the slow one's nothing more will come: it is cut below */
    const nghttp2_nv field = nv(":status", "204");
    nghttp2_submit_response(origin->session, 3, &field, 1, NULL);
    turn(origin);
    heard(rig, other, "204", "\r\n\r\n");
    close(slow);
    close(other);
    turn(origin);
    assert_true(origin->asked[1].closed);
    origin_free(origin);
}

static void a_large_answer_arrives_whole(void **state)
{
    struct rig *rig = *state;
    static char body[700 * 1024];
    memset(body, 'x', sizeof body);
    rig->narrow = true;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    answer(origin, 1, body, sizeof body, NULL);
    size_t heard_bytes = 0;
    static char bytes[65536];
    for (int i = 0; i < 20000 && !origin->asked[1].closed; i++) {
        ssize_t count;
        while ((count = recv(client, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
            for (ssize_t j = 0; j < count; j++)
                heard_bytes += bytes[j] == 'x';
        turn(origin);
    }
    for (int i = 0; i < 2000 && heard_bytes < sizeof body; i++) {
        ssize_t count = recv(client, bytes, sizeof bytes, MSG_DONTWAIT);
        for (ssize_t j = 0; j < count; j++)
            heard_bytes += bytes[j] == 'x';
        loop_turn(rig->worker.loop, 1);
    }
    assert_in_range(heard_bytes, sizeof body, sizeof body + 16); /* `x` of the fields' names */
    close(client);
    origin_free(origin);
}

static void an_upload_waits_for_the_window(void **state)
{
    struct rig *rig = *state;
    static char body[2 * 1024 * 1024 + 100];
    size_t at = (size_t)snprintf(
        body, sizeof body, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", 1024 * 1024);
    memset(body + at, 'x', 1024 * 1024);
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "");
    size_t sent = 0;
    while (sent < at + 1024 * 1024) {
        ssize_t count = send(client, body + sent, at + 1024 * 1024 - sent, MSG_DONTWAIT);
        if (count <= 0)
            break;
        sent += (size_t)count;
        rig_turns(rig);
    }
    struct origin *origin = origin_new(rig, 1, 100);
    origin->hoards = true;
    turn(origin);
    assert_int_equal(origin->asked[1].body, 65535); /* the window, and not a byte more */
    origin->hoards = false;
    nghttp2_session_consume(origin->session, 1, origin->asked[1].body);
    for (int i = 0; i < 2000 && !origin->asked[1].ended; i++) {
        ssize_t count = sent < at + 1024 * 1024
                            ? send(client, body + sent, at + 1024 * 1024 - sent, MSG_DONTWAIT)
                            : 0;
        sent += count > 0 ? (size_t)count : 0;
        turn(origin);
    }
    assert_int_equal(origin->asked[1].body, 1024 * 1024);
    answer(origin, 1, "ok", 2, NULL);
    heard(rig, client, "200", "ok");
    close(client);
    origin_free(origin);
}

/* ---- its end -------------------------------------------------------------------------------- */

static void a_client_that_leaves_resets_its_stream_alone(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 1);
    int one = rig_client(rig), other = rig_client(rig);
    rig_say(rig, one, GET);
    rig_say(rig, other, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    reset(one);
    close(one);
    rig_pass(rig, 2000); /* its end is watched by then */
    turn(origin);
    assert_true(origin->asked[1].closed);
    assert_int_equal(origin->asked[1].error, NGHTTP2_CANCEL);
    answer(origin, 3, "ok", 2, NULL);
    heard(rig, other, "200", "ok");
    close(other);
    origin_free(origin);
}

static void who_drains_ends_what_runs_and_gets_nothing_new(void **state)
{
    struct rig *rig = *state;
    rig_start_h2(rig, 1);
    int one = rig_client(rig), other = rig_client(rig);
    rig_say(rig, one, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    rig_down(rig, 1);
    rig_say(rig, other, GET);
    turn(origin);
    assert_int_equal(origin->count, 1);
    answer(origin, 1, "ok", 2, NULL);
    heard(rig, one, "200", "ok");
    turn(origin);
    assert_true(origin->over);
    rig_up(rig);
    struct origin *next = origin_new(rig, 1, 100);
    answer(next, 1, "ok", 2, NULL);
    heard(rig, other, "200", "ok");
    close(one);
    close(other);
    origin_free(origin);
    origin_free(next);
}

static void an_idle_connection_is_closed_in_time(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.idle_ms = 10000;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    answer(origin, 1, "ok", 2, NULL);
    heard(rig, client, "200", "ok");
    rig_pass(rig, 9000);
    turn(origin);
    assert_false(origin->over);
    rig_pass(rig, 1100);
    turn(origin);
    assert_true(origin->over);
    close(client);
    origin_free(origin);
}

static void silence_is_asked_about_once(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.response_ms = rig->service.gateway.idle_ms = 600000;
    rig->service.gateway.retry_tries = 0;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    for (int i = 0; i < 10; i++) {
        rig_pass(rig, 20000);
        turn(origin);
    }
    assert_int_equal(origin->pings, 1);
    answer(origin, 1, "ok", 2, NULL);
    heard(rig, client, "200", "ok");
    rig_say(rig, client, GET);
    turn(origin);
    origin->silent = true;
    rig_pass(rig, H2_LINK_QUIET_MS + 100);
    turn(origin);
    assert_int_equal(origin->pings, 2);
    rig_pass(rig, H2_LINK_PING_MS + 100);
    heard(rig, client, "504", "\r\n\r\n");
    close(client);
    origin_free(origin);
}

static void no_answer_in_time_504(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.response_ms = 5000;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    struct origin *origin = origin_new(rig, 1, 100);
    rig_pass(rig, 4900);
    rig_quiet(rig, client);
    rig_pass(rig, 200);
    heard(rig, client, "504", "\r\n\r\n");
    turn(origin);
    assert_int_equal(origin->asked[1].error, NGHTTP2_CANCEL);
    close(client);
    origin_free(origin);
}

/* ---- who misbehaves ------------------------------------------------------------------------- */

/* Bytes of an instance, after which the request has failed and the connection is closed. */
static void broken_by(struct rig *rig, const char *bytes, size_t length, unsigned times)
{
    rig->service.gateway.retry_tries = 0;
    rig_start_h2(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    int origin = rig_origin(rig, 1);
    for (unsigned i = 0; i < times; i++)
        rig_say_bytes(rig, origin, bytes, length);
    heard(rig, client, "502", "\r\n\r\n");
    static char heard_bytes[65536];
    ssize_t count = 1;
    for (int i = 0; i < 500 && count != 0 && !(count < 0 && errno != EAGAIN); i++) {
        loop_turn(rig->worker.loop, 1);
        count = recv(origin, heard_bytes, sizeof heard_bytes, MSG_DONTWAIT);
    }
    assert_true(count <= 0);
    close(client);
    close(origin);
}

#define SETTINGS_EMPTY "\0\0\0\4\0\0\0\0\0"

static void who_speaks_http_1_502(void **state)
{
    static const char bytes[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    broken_by(*state, bytes, sizeof bytes - 1, 1);
}

static void a_flood_of_settings_502(void **state)
{
    broken_by(*state, SETTINGS_EMPTY, sizeof SETTINGS_EMPTY - 1, 4000);
}

static void a_flood_of_pings_502(void **state)
{
    static const char bytes[] = SETTINGS_EMPTY "\0\0\x8\6\0\0\0\0\0pingping";
    broken_by(*state, bytes, sizeof bytes - 1, 4000);
}

static void a_frame_without_end_502(void **state)
{
    static const char bytes[] = SETTINGS_EMPTY "\xff\xff\xff\0\0\0\0\0\1";
    broken_by(*state, bytes, sizeof bytes - 1, 1);
}

static void fields_without_end_502(void **state)
{
    static char bytes[32 * 16400];
    memcpy(bytes, SETTINGS_EMPTY "\0\x40\0\1\0\0\0\0\1", 18);
    for (size_t i = 1; i < 32; i++) /* literal fields that are never ended */
        memcpy(bytes + 18 + i * (9 + 16384) - 9, "\0\x40\0\x9\0\0\0\0\1", 9);
    broken_by(*state, bytes, sizeof bytes, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        TEST(a_request_and_its_answer),
        TEST(a_request_has_a_body_and_trailers),
        TEST(an_answer_may_begin_before_the_request_has_ended),
        TEST(requests_share_a_connection),
        TEST(no_more_streams_than_the_endpoint_allows),
        TEST(the_bound_on_connections_is_kept),
        TEST(what_was_refused_goes_elsewhere_whatever_it_is),
        TEST(a_goaway_loses_nothing),
        TEST(a_connection_that_breaks_fails_all_that_is_on_it),
        TEST(what_crossed_the_end_of_a_kept_connection_is_sent_again),
        TEST(who_refuses_is_passed_over),
        TEST(a_slow_client_stops_nobody_else),
        TEST(a_large_answer_arrives_whole),
        TEST(an_upload_waits_for_the_window),
        TEST(a_client_that_leaves_resets_its_stream_alone),
        TEST(who_drains_ends_what_runs_and_gets_nothing_new),
        TEST(an_idle_connection_is_closed_in_time),
        TEST(silence_is_asked_about_once),
        TEST(no_answer_in_time_504),
        TEST(who_speaks_http_1_502),
        TEST(a_flood_of_settings_502),
        TEST(a_flood_of_pings_502),
        TEST(a_frame_without_end_502),
        TEST(fields_without_end_502),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
