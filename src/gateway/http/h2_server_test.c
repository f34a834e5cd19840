/* HTTP/2 from a client's socket to an instance's and back; the client is libnghttp2's. */
#include <netinet/in.h>
#include <netinet/tcp.h>
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
#include <openssl/evp.h>

#include "gateway/http/h1_rig.h"
#include "gateway/http/h1_server.h"
#include "gateway/http/h2_connection.h"
#include "gateway/http/proxy.h"

enum { STREAMS_MAX = 512 };

struct answer {
    char status[8];
    char *body;
    size_t length;
    char trailer[64];
    uint32_t error;
    bool ended, closed;
};

struct peer { /* the client */
    struct rig *rig;
    nghttp2_session *session;
    int fd;
    struct answer answers[STREAMS_MAX]; /* by stream id */
    const char *upload;
    size_t upload_left;
    bool upload_ends;
    uint32_t goaway_error;
    int goaways, resets;
    bool over;
};

static int came_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                       void *owner)
{
    (void)session, (void)flags;
    struct peer *peer = owner;
    struct answer *answer = &peer->answers[frame->hd.stream_id];
    if (name_length == 7 && !memcmp(name, ":status", 7))
        snprintf(answer->status, sizeof answer->status, "%.*s", (int)value_length, value);
    else if (frame->headers.cat == NGHTTP2_HCAT_HEADERS)
        snprintf(answer->trailer, sizeof answer->trailer, "%.*s=%.*s", (int)name_length, name,
                 (int)value_length, value);
    return 0;
}

static int came_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                     size_t length, void *owner)
{
    (void)session, (void)flags;
    struct peer *peer = owner;
    struct answer *answer = &peer->answers[id];
    answer->body = realloc(answer->body, answer->length + length + 1);
    memcpy(answer->body + answer->length, bytes, length);
    answer->length += length;
    answer->body[answer->length] = 0;
    return 0;
}

static int came_frame(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    (void)session;
    struct peer *peer = owner;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        peer->goaways++;
        peer->goaway_error = frame->goaway.error_code;
    }
    peer->resets += frame->hd.type == NGHTTP2_RST_STREAM;
    if (frame->hd.stream_id && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        peer->answers[frame->hd.stream_id].ended = true;
    return 0;
}

static int closed(nghttp2_session *session, int32_t id, uint32_t error, void *owner)
{
    (void)session;
    struct peer *peer = owner;
    peer->answers[id].closed = true;
    peer->answers[id].error = error;
    return 0;
}

static struct peer *peer_new(struct rig *rig)
{
    struct peer *peer = calloc(1, sizeof *peer);
    nghttp2_session_callbacks *callbacks;
    peer->rig = rig;
    peer->fd = rig_client(rig);
    setsockopt(peer->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, came_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, came_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, came_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, closed);
    assert_int_equal(nghttp2_session_client_new(&peer->session, callbacks, peer), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(peer->session, NGHTTP2_FLAG_NONE, NULL, 0);
    return peer;
}

static void peer_free(struct peer *peer)
{
    nghttp2_session_del(peer->session);
    for (int i = 0; i < STREAMS_MAX; i++)
        free(peer->answers[i].body);
    if (peer->fd >= 0)
        close(peer->fd);
    struct rig *rig = peer->rig;
    free(peer);
    rig_turns(rig);
}

/* Sends what there is and reads what has come, until both are quiet. */
static void peer_turn(struct peer *peer)
{
    static uint8_t bytes[65536];
    for (int quiet = 0; quiet < 4;) {
        const uint8_t *out;
        ssize_t length;
        quiet++;
        while ((length = nghttp2_session_mem_send(peer->session, &out)) > 0) {
            rig_say_bytes(peer->rig, peer->fd, (const char *)out, (size_t)length);
            quiet = 0;
        }
        rig_turns(peer->rig);
        loop_turn(peer->rig->worker.loop, quiet > 1 ? 5 : 0);
        ssize_t count;
        while ((count = recv(peer->fd, bytes, sizeof bytes, 0)) > 0) {
            assert_true(nghttp2_session_mem_recv(peer->session, bytes, (size_t)count) >= 0);
            quiet = 0;
        }
        peer->over |= count == 0;
    }
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static ssize_t upload_read(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t length,
                           uint32_t *flags, nghttp2_data_source *source, void *owner)
{
    (void)session, (void)id, (void)source;
    struct peer *peer = owner;
    size_t part = length < peer->upload_left ? length : peer->upload_left;
    memcpy(bytes, peer->upload, part);
    peer->upload += part;
    peer->upload_left -= part;
    if (!peer->upload_left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)part;
}

static int32_t peer_get(struct peer *peer)
{
    const nghttp2_nv fields[] = {nv(":method", "GET"), nv(":scheme", "http"), nv(":path", "/a?b"),
                                 nv(":authority", "shop.example"), nv("te", "trailers")};
    return nghttp2_submit_request(peer->session, NULL, fields, 5, NULL, NULL);
}

static int32_t peer_post(struct peer *peer, const char *body, size_t length)
{
    const nghttp2_nv fields[] = {nv(":method", "POST"), nv(":scheme", "http"), nv(":path", "/up"),
                                 nv(":authority", "shop.example")};
    const nghttp2_data_provider provider = {.read_callback = upload_read};
    peer->upload = body;
    peer->upload_left = length;
    return nghttp2_submit_request(peer->session, NULL, fields, 4, &provider, NULL);
}

static const struct answer *answered(struct peer *peer, int32_t id, const char *status)
{
    peer_turn(peer);
    const struct answer *answer = &peer->answers[id];
    assert_string_equal(answer->status, status);
    assert_true(answer->ended);
    return answer;
}

/* ---- requests ------------------------------------------------------------------------------- */

static void a_request_goes_through_and_both_connections_are_kept(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    int origin = -1;
    for (int i = 0; i < 3; i++) {
        int32_t id = peer_get(peer);
        peer_turn(peer);
        if (origin < 0)
            origin = rig_origin(rig, 1);
        rig_hear(rig, origin, "\r\n\r\n");
        assert_non_null(strstr(rig->text, "GET /a?b HTTP/1.1\r\nHost: shop.example\r\n"));
        rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        assert_string_equal(answered(peer, id, "200")->body, "ok");
        assert_true(peer->answers[id].closed);
    }
    close(origin);
    peer_free(peer);
}

static void streams_are_served_side_by_side(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    int32_t first = peer_get(peer), second = peer_get(peer);
    peer_turn(peer);
    int one = rig_origin(rig, 1), other = rig_origin(rig, 1);
    rig_hear(rig, one, "\r\n\r\n");
    rig_hear(rig, other, "\r\n\r\n");
    rig_say(rig, other, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno");
    assert_string_equal(answered(peer, second, "200")->body, "no");
    assert_false(peer->answers[first].ended);
    rig_say(rig, one, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_string_equal(answered(peer, first, "200")->body, "ok");
    close(one);
    close(other);
    peer_free(peer);
}

static void trailers_follow_the_body(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    int32_t id = peer_get(peer);
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            "2\r\nok\r\n0\r\nGrpc-Status: 0\r\n\r\n");
    const struct answer *answer = answered(peer, id, "200");
    assert_string_equal(answer->body, "ok");
    assert_string_equal(answer->trailer, "grpc-status=0");
    close(origin);
    peer_free(peer);
}

/* ---- tunnels -------------------------------------------------------------------------------- */

static ssize_t chat_read(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *owner)
{
    (void)session, (void)id, (void)source, (void)length;
    struct peer *peer = owner;
    if (!peer->upload_left && !peer->upload_ends)
        return NGHTTP2_ERR_DEFERRED;
    size_t part = peer->upload_left;
    memcpy(bytes, peer->upload, part);
    peer->upload_left = 0;
    if (peer->upload_ends)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)part;
}

static int32_t peer_connect(struct peer *peer)
{
    const nghttp2_nv fields[] = {nv(":method", "CONNECT"),
                                 nv(":protocol", "websocket"),
                                 nv(":scheme", "http"),
                                 nv(":path", "/chat"),
                                 nv(":authority", "shop.example"),
                                 nv("sec-websocket-version", "13")};
    const nghttp2_data_provider provider = {.read_callback = chat_read};
    return nghttp2_submit_request(peer->session, NULL, fields, 6, &provider, NULL);
}

static void peer_chat(struct peer *peer, int32_t id, const char *text, bool ends)
{
    peer->upload = text;
    peer->upload_left = strlen(text);
    peer->upload_ends = ends;
    nghttp2_session_resume_data(peer->session, id);
    peer_turn(peer);
}

/* The instance's end, after a handshake that is answered with the right proof, or not. */
static int chat_origin(struct rig *rig, struct peer *peer, bool right, const char *behind)
{
    static const char identifier[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char key[64], answer[512];
    unsigned char digest[20], accept[32];
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_non_null(strstr(rig->text, "GET /chat HTTP/1.1\r\nHost: shop.example\r\n"));
    assert_non_null(strstr(rig->text, "Connection: upgrade\r\nUpgrade: websocket\r\n"));
    assert_null(strstr(rig->text, "Transfer-Encoding"));
    const char *given = strstr(rig->text, "sec-websocket-key: ");
    assert_non_null(given);
    snprintf(key, sizeof key, "%.24s%s", given + 19, identifier);
    assert_int_equal(EVP_Digest(key, strlen(key), digest, NULL, EVP_sha1(), NULL), 1);
    EVP_EncodeBlock(accept, digest, 20);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: %s%s\r\n\r\n%s",
             right ? "" : "x", (char *)accept + (right ? 0 : 1), behind);
    rig_say(rig, origin, answer);
    peer_turn(peer);
    return origin;
}

static void a_websocket_is_opened_by_connect(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_turn(peer);
    assert_int_equal(nghttp2_session_get_remote_settings(peer->session,
                                                         NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL),
                     1);
    int32_t id = peer_connect(peer);
    int origin = chat_origin(rig, peer, true, "first");
    const struct answer *answer = &peer->answers[id];
    assert_string_equal(answer->status, "200");
    assert_false(answer->ended);
    assert_string_equal(answer->body, "first");
    peer_chat(peer, id, "hello", false);
    rig_hear(rig, origin, "hello");
    rig_say(rig, origin, "and you");
    peer_turn(peer);
    assert_string_equal(answer->body, "firstand you");
    for (int i = 0; i < 4; i++) { /* bytes keep it, longer than any body may be silent */
        rig_pass(rig, 40000);
        peer_chat(peer, id, "x", false);
    }
    peer_chat(peer, id, "bye", true); /* its side has ended: so does the instance's */
    rig_hear(rig, origin, "bye");
    rig_say(rig, origin, "bye too");
    char byte;
    assert_int_equal(recv(origin, &byte, 1, 0), 0);
    close(origin);
    peer_turn(peer);
    assert_true(answer->ended);
    assert_int_equal(answer->error, 0);
    assert_string_equal(answer->body, "firstand youbye too");
    peer_free(peer);
}

static void what_comes_before_the_answer_waits(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_turn(peer);
    int32_t id = peer_connect(peer);
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    peer_chat(peer, id, "early", false);
    rig_quiet(rig, origin);
    close(origin);
    peer_free(peer);
}

static void a_websocket_without_proof_502(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_turn(peer);
    int32_t id = peer_connect(peer);
    int origin = chat_origin(rig, peer, false, "");
    assert_string_equal(peer->answers[id].status, "502");
    assert_true(peer->answers[id].ended);
    close(origin);
    peer_free(peer);
}

static void who_does_not_upgrade_502(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_turn(peer);
    int32_t id = peer_connect(peer);
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    answered(peer, id, "502");
    close(origin);
    id = peer_connect(peer);
    peer_turn(peer);
    origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno");
    assert_string_equal(answered(peer, id, "403")->body, "no");
    close(origin);
    peer_free(peer);
}

static void a_silent_tunnel_ends(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.tunnel_ms = 60000;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_turn(peer);
    int32_t id = peer_connect(peer);
    int origin = chat_origin(rig, peer, true, "");
    for (int i = 0; i < 3; i++) { /* what is sent counts, too */
        rig_pass(rig, 50000);
        peer_chat(peer, id, "x", false);
        assert_false(peer->answers[id].closed);
    }
    rig_pass(rig, 61000);
    peer_turn(peer);
    assert_true(peer->answers[id].closed);
    rig_hear_end(rig, origin);
    close(origin);
    peer_free(peer);
}

static void a_tunnel_to_who_is_demoted_is_reset(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_turn(peer);
    int32_t id = peer_connect(peer);
    int origin = chat_origin(rig, peer, true, "");
    http_worker_revoke(&rig->worker);
    peer_turn(peer);
    assert_false(peer->answers[id].closed);
    struct proxy *proxy =
        LIST_FIRST(&LIST_FIRST(&rig->worker.http->h2->connections)->streams)->exchange.handler_own;
    proxy->endpoint->revoked = true;
    http_worker_revoke(&rig->worker);
    peer_turn(peer);
    assert_true(peer->answers[id].closed);
    assert_int_equal(peer->answers[id].error, NGHTTP2_CANCEL);
    rig_hear_end(rig, origin);
    close(origin);
    peer_free(peer);
}

static void a_tunnel_waits_for_who_takes_it(void **state)
{
    struct rig *rig = *state;
    static char much[4 * 1024 * 1024];
    memset(much, 'x', sizeof much);
    rig->narrow = true;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_turn(peer);
    int32_t id = peer_connect(peer);
    int origin = chat_origin(rig, peer, true, "");
    size_t sent = 0;
    for (int i = 0; i < 200; i++) { /* the client's window is not opened: it is not read */
        ssize_t count = send(origin, much, sizeof much, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += count > 0 ? (size_t)count : 0;
        loop_turn(rig->worker.loop, 1);
    }
    assert_in_range(sent, 65536, 1024 * 1024);
    for (int i = 0; i < 3000 && peer->answers[id].length < sent; i++)
        peer_turn(peer);
    assert_int_equal(peer->answers[id].length, sent);
    close(origin);
    peer_free(peer);
}

/* ---- bodies --------------------------------------------------------------------------------- */

static size_t letters(const char *bytes, size_t length)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++)
        count += bytes[i] >= 'a' && bytes[i] <= 'w';
    return count;
}

static void an_upload_waits_for_who_takes_it(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    static char body[24 * 1024 * 1024];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i % 23);
    int32_t id = peer_post(peer, body, sizeof body);
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    peer_turn(peer);
    /* Nobody reads: no more was sent than a window, and what the sockets hold. */
    assert_in_range(sizeof body - peer->upload_left, 1, sizeof body - 1);
    size_t heard = 0;
    for (int i = 0; i < 20000 && heard < sizeof body; i++) {
        static char bytes[262144];
        ssize_t count;
        while ((count = recv(origin, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
            heard += letters(bytes, (size_t)count);
        peer_turn(peer);
    }
    assert_int_equal(peer->upload_left, 0);
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_string_equal(answered(peer, id, "200")->body, "ok");
    close(origin);
    peer_free(peer);
}

static void a_download_waits_for_the_window(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    int32_t id = peer_get(peer);
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    enum { BODY = 1024 * 1024 };
    char *body = malloc(BODY);
    for (size_t i = 0; i < BODY; i++)
        body[i] = (char)('a' + i % 23);
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 1048576\r\n\r\n");
    for (size_t at = 0; at < BODY; at += 16384) {
        assert_int_equal(send(origin, body + at, 16384, MSG_NOSIGNAL), 16384);
        peer_turn(peer);
    }
    const struct answer *answer = answered(peer, id, "200");
    assert_int_equal(answer->length, BODY);
    assert_memory_equal(answer->body, body, BODY);
    free(body);
    close(origin);
    peer_free(peer);
}

/* A window of it is held for an instance that has no time, and nobody takes that. */
static void the_rest_of_an_upload_is_read_when_it_is_small(void **state)
{
    struct rig *rig = *state;
    static char body[H2_WINDOW_BYTES + 64 * 1024];
    rig->service.gateway.hold_ms = 1000;
    rig->service.gateway.connections_max = 1;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_get(peer);
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    int32_t id = peer_post(peer, body, sizeof body);
    peer_turn(peer);
    const struct h2_connection *connection = LIST_FIRST(&rig->worker.http->h2->connections);
    assert_int_equal(LIST_FIRST(&connection->streams)->held.length, H2_WINDOW_BYTES);
    assert_int_equal(peer->upload_left, sizeof body - H2_WINDOW_BYTES);
    for (int i = 0; i < 5; i++)
        rig_pass(rig, 400);
    answered(peer, id, "503");
    assert_int_equal(peer->upload_left, 0);
    assert_true(peer->answers[id].closed);
    assert_int_equal(peer->answers[id].error, NGHTTP2_NO_ERROR);
    assert_int_equal(peer->resets, 0);
    assert_true(LIST_EMPTY(&connection->rests) && !connection->held);
    close(origin);
    peer_free(peer);
}

/* The head of a request whose body may follow. */
static int32_t post_begin(struct peer *peer)
{
    const nghttp2_nv fields[] = {nv(":method", "POST"), nv(":scheme", "http"), nv(":path", "/"),
                                 nv(":authority", "a")};
    int32_t id =
        nghttp2_submit_headers(peer->session, NGHTTP2_FLAG_NONE, -1, NULL, fields, 4, NULL);
    peer_turn(peer);
    return id;
}

static void a_rest_that_does_not_come_is_not_waited_for(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    int32_t id = post_begin(peer);
    int origin = rig_origin(rig, 1);
    peer_turn(peer);
    rig_say(rig, origin, "HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    close(origin);
    answered(peer, id, "403");
    assert_false(peer->answers[id].closed);
    for (int i = 0; i < 2; i++)
        rig_pass(rig, H2_REST_MS);
    peer_turn(peer);
    assert_true(peer->answers[id].closed);
    assert_int_equal(peer->resets, 1);
    assert_int_equal(peer->answers[id].error, NGHTTP2_NO_ERROR);
    assert_false(peer->over);
    peer_free(peer);
}

/* Its head's time is over with it, not the connection's. */
static void a_rest_may_end_by_trailers(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    const nghttp2_nv trailers[] = {nv("x-sum", "5")};
    int32_t id = post_begin(peer);
    int origin = rig_origin(rig, 1);
    rig_say(rig, origin, "HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    close(origin);
    answered(peer, id, "403");
    assert_false(peer->answers[id].closed);
    nghttp2_submit_headers(peer->session, NGHTTP2_FLAG_END_STREAM, id, NULL, trailers, 1, NULL);
    peer_turn(peer);
    assert_true(peer->answers[id].closed);
    assert_int_equal(peer->resets, 0);
    for (int i = 0; i < 6; i++)
        rig_pass(rig, rig->site.header_ms / 2);
    peer_turn(peer);
    assert_false(peer->over);
    peer_free(peer);
}

/* ---- ends ----------------------------------------------------------------------------------- */

static void a_client_that_resets_lets_the_instance_know(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    int32_t id = peer_get(peer);
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    nghttp2_submit_rst_stream(peer->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    peer_turn(peer);
    rig_hear_end(rig, origin);
    assert_int_equal(tally_requests_now(rig->tally, 100), 0);
    close(origin);
    peer_free(peer);
}

static void a_client_that_goes_away_leaves_nothing(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_get(peer);
    peer_get(peer);
    peer_turn(peer);
    int one = rig_origin(rig, 1), other = rig_origin(rig, 1);
    close(peer->fd);
    peer->fd = -1;
    rig_turns(rig);
    rig_hear_end(rig, one);
    rig_hear_end(rig, other);
    close(one);
    close(other);
    peer_free(peer);
}

static void a_draining_worker_ends_streams_first(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    int32_t id = peer_get(peer);
    peer_turn(peer);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    http_worker_drain(&rig->worker);
    peer_turn(peer);
    assert_int_equal(peer->goaways, 2); /* announced, and after a round trip for good */
    assert_int_equal(peer->goaway_error, NGHTTP2_NO_ERROR);
    assert_false(peer->over);
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_string_equal(answered(peer, id, "200")->body, "ok");
    assert_true(peer->over);
    close(origin);
    peer_free(peer);
}

static void a_body_that_stops_is_answered_408(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    int32_t id = post_begin(peer);
    int origin = rig_origin(rig, 1);
    for (int i = 0; i < 40; i++)
        rig_pass(rig, 1000);
    answered(peer, id, "408");
    close(origin);
    peer_free(peer);
}

static void an_idle_connection_is_told_to_go(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    struct peer *peer = peer_new(rig);
    peer_turn(peer);
    rig_pass(rig, 74000);
    peer_turn(peer);
    assert_int_equal(peer->goaways, 0);
    rig_pass(rig, 2000);
    peer_turn(peer);
    assert_int_equal(peer->goaways, 1);
    assert_true(peer->over);
    peer_free(peer);
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(a_request_goes_through_and_both_connections_are_kept),
        RIGGED(streams_are_served_side_by_side),
        RIGGED(trailers_follow_the_body),
        RIGGED(a_websocket_is_opened_by_connect),
        RIGGED(what_comes_before_the_answer_waits),
        RIGGED(a_websocket_without_proof_502),
        RIGGED(who_does_not_upgrade_502),
        RIGGED(a_silent_tunnel_ends),
        RIGGED(a_tunnel_waits_for_who_takes_it),
        RIGGED(a_tunnel_to_who_is_demoted_is_reset),
        RIGGED(an_upload_waits_for_who_takes_it),
        RIGGED(a_download_waits_for_the_window),
        RIGGED(the_rest_of_an_upload_is_read_when_it_is_small),
        RIGGED(a_rest_that_does_not_come_is_not_waited_for),
        RIGGED(a_rest_may_end_by_trailers),
        RIGGED(a_client_that_resets_lets_the_instance_know),
        RIGGED(a_client_that_goes_away_leaves_nothing),
        RIGGED(a_draining_worker_ends_streams_first),
        RIGGED(a_body_that_stops_is_answered_408),
        RIGGED(an_idle_connection_is_told_to_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
