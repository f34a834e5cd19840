/* What a check by HTTP/2 asks, and how it judges the answers; the server is libnghttp2's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <nghttp2/nghttp2.h>

#include "upstream/check_h2.h"

struct server {
    nghttp2_session *session;
    char asked[1024];
    char body[256];
    size_t body_length;
    const char *status, *grpc_status, *message;
    size_t message_length, message_sent;
    bool resets;
};

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static int came_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                       void *owner)
{
    (void)session, (void)frame, (void)flags;
    struct server *server = owner;
    size_t at = strlen(server->asked);
    snprintf(server->asked + at, sizeof server->asked - at, "%.*s: %.*s\n", (int)name_length, name,
             (int)value_length, value);
    return 0;
}

static int came_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                     size_t length, void *owner)
{
    (void)session, (void)flags, (void)id;
    struct server *server = owner;
    memcpy(server->body + server->body_length, bytes, length);
    server->body_length += length;
    return 0;
}

static ssize_t message_read(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *owner)
{
    (void)source, (void)length;
    struct server *server = owner;
    memcpy(bytes, server->message, server->message_length);
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (server->grpc_status) {
        const nghttp2_nv field = nv("grpc-status", server->grpc_status);
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, &field, 1);
    }
    return (ssize_t)server->message_length;
}

static int came_frame(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    struct server *server = owner;
    if (!frame->hd.stream_id || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    const nghttp2_nv field = nv(":status", server->resets ? "" : server->status);
    const nghttp2_data_provider provider = {.read_callback = message_read};
    if (server->resets)
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, 1, NGHTTP2_REFUSED_STREAM);
    else
        nghttp2_submit_response(session, 1, &field, 1, &provider);
    return 0;
}

static void server_begin(struct server *server)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, came_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, came_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, came_frame);
    assert_int_equal(nghttp2_session_server_new(&server->session, callbacks, server), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(server->session, NGHTTP2_FLAG_NONE, NULL, 0);
}

static char why[CHECK_WHY_BYTES];

/* The whole of it, in small pieces. */
static enum check_verdict verdict(const struct service *service, struct server *server)
{
    struct buffer out;
    buffer_init(&out, 65536);
    server_begin(server);
    struct check_h2 *check = check_h2_new(service, "a.example", false, &out);
    assert_non_null(check);
    enum check_verdict found = CHECK_MORE;
    snprintf(why, sizeof why, "%s", "");
    for (int i = 0; found == CHECK_MORE && i < 10; i++) {
        const uint8_t *bytes;
        ssize_t length;
        assert_true(nghttp2_session_mem_recv(server->session, (uint8_t *)out.data, out.length) >=
                    0);
        buffer_clear(&out);
        while (found == CHECK_MORE &&
               (length = nghttp2_session_mem_send(server->session, &bytes)) > 0)
            for (ssize_t at = 0; found == CHECK_MORE && at < length; at += 3)
                found =
                    check_h2_read(check, (const char *)bytes + at,
                                  length - at < 3 ? (size_t)(length - at) : 3, false, &out, why);
    }
    check_h2_free(check);
    nghttp2_session_del(server->session);
    buffer_done(&out);
    return found;
}

static const struct service grpc = {.check = CHECK_GRPC};

static void a_server_that_serves(void **state)
{
    (void)state;
    struct server server = {
        .status = "200", .grpc_status = "0", .message = "\0\0\0\0\2\x08\1", .message_length = 7};
    assert_int_equal(verdict(&grpc, &server), CHECK_WELL);
    assert_string_equal(server.asked,
                        ":method: POST\n:scheme: http\n:authority: a.example\n"
                        ":path: /grpc.health.v1.Health/Check\nuser-agent: enginx-check\n"
                        "content-type: application/grpc\nte: trailers\n");
    assert_int_equal(server.body_length, 5);
    assert_memory_equal(server.body, "\0\0\0\0\0", 5);
}

static void a_service_that_is_named(void **state)
{
    (void)state;
    struct service named = grpc;
    named.gateway.check_path = "shop.Cart";
    struct server server = {
        .status = "200", .grpc_status = "0", .message = "\0\0\0\0\2\x08\1", .message_length = 7};
    assert_int_equal(verdict(&named, &server), CHECK_WELL);
    assert_int_equal(server.body_length, 16);
    assert_memory_equal(server.body, "\0\0\0\0\xb\x0a\x9shop.Cart", 16);
}

static void whoever_does_not_serve(void **state)
{
    (void)state;
    static const struct {
        struct server server;
        const char *why;
    } cases[] = {
        {{.status = "200", .grpc_status = "0", .message = "\0\0\0\0\2\x08\2", .message_length = 7},
         "it says NOT_SERVING"},
        {{.status = "200", .grpc_status = "0", .message = "\0\0\0\0\0", .message_length = 5},
         "it says UNKNOWN"},
        {{.status = "200", .grpc_status = "0", .message = "what", .message_length = 4},
         "its answer is no HealthCheckResponse"},
        {{.status = "200", .grpc_status = "12", .message = "", .message_length = 0},
         "it has no health service (grpc-status 12)"},
        {{.status = "200", .grpc_status = "5", .message = "", .message_length = 0},
         "its health service does not know the name"},
        {{.status = "200", .message = "\0\0\0\0\2\x08\1", .message_length = 7}, "no grpc-status"},
        {{.status = "503", .message = "", .message_length = 0}, "HTTP status 503"},
        {{.resets = true}, "the stream was reset: REFUSED_STREAM"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct server server = cases[i].server;
        assert_int_equal(verdict(&grpc, &server), CHECK_ILL);
        assert_string_equal(why, cases[i].why);
    }
}

static void http_is_asked_by_http_2_too(void **state)
{
    (void)state;
    struct service service = {.check = CHECK_HTTP};
    service.gateway.speaks = SPEAKS_HTTP2;
    service.gateway.check_path = "/healthz";
    service.gateway.check_status_low = 200;
    service.gateway.check_status_high = 299;
    assert_true(check_h2_speaks(&service));
    struct server server = {.status = "204", .message = ""};
    assert_int_equal(verdict(&service, &server), CHECK_WELL);
    assert_non_null(strstr(server.asked, ":method: GET\n"));
    assert_non_null(strstr(server.asked, ":path: /healthz\n"));
    struct server ill = {.status = "500", .message = ""};
    assert_int_equal(verdict(&service, &ill), CHECK_ILL);
    assert_string_equal(why, "HTTP status 500");
    service.gateway.check_match = "fine";
    struct server lacks = {.status = "200", .message = "bad", .message_length = 3};
    assert_int_equal(verdict(&service, &lacks), CHECK_ILL);
    struct server has = {.status = "200", .message = "all is fine", .message_length = 11};
    assert_int_equal(verdict(&service, &has), CHECK_WELL);
}

static void what_is_no_http_2(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 65536);
    static const char answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
    struct check_h2 *check = check_h2_new(&grpc, "a", false, &out);
    assert_int_equal(check_h2_read(check, answer, sizeof answer - 1, false, &out, why), CHECK_ILL);
    assert_string_equal(why, "its answer is no HTTP/2");
    check_h2_free(check);
    check = check_h2_new(&grpc, "a", false, &out);
    assert_int_equal(check_h2_read(check, "", 0, true, &out, why), CHECK_ILL);
    assert_string_equal(why, "it closed without an answer in HTTP/2");
    check_h2_free(check);
    buffer_done(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_that_serves),   cmocka_unit_test(a_service_that_is_named),
        cmocka_unit_test(whoever_does_not_serve), cmocka_unit_test(http_is_asked_by_http_2_too),
        cmocka_unit_test(what_is_no_http_2),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
