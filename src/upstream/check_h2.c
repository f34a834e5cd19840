#include "upstream/check_h2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GRPC_PREFIX_BYTES = 5, /* whether it is compressed, and how long it is */
    GRPC_SERVICE_BYTES_MAX = 127,
    SERVING = 1, /* of HealthCheckResponse.ServingStatus */
    STATUS_NONE = -1,
};

struct check_h2 {
    const struct service *service;
    nghttp2_session *session;
    char message[GRPC_PREFIX_BYTES + 2 + GRPC_SERVICE_BYTES_MAX]; /* a HealthCheckRequest */
    size_t message_length, message_sent;
    int status;      /* of HTTP */
    int grpc_status; /* STATUS_NONE: not said */
    struct buffer body;
    bool over;
    uint32_t error; /* that it was reset by */
};

bool check_h2_speaks(const struct service *service)
{
    return service->check == CHECK_GRPC ||
           (service->check == CHECK_HTTP && service->gateway.speaks == SPEAKS_HTTP2);
}

/* ---- the question --------------------------------------------------------------------------- */

/* message HealthCheckRequest { string service = 1; } */
static void message_make(struct check_h2 *check)
{
    const char *name = check->service->gateway.check_path;
    size_t length = name ? strlen(name) : 0;
    if (length > GRPC_SERVICE_BYTES_MAX)
        length = GRPC_SERVICE_BYTES_MAX;
    check->message_length = GRPC_PREFIX_BYTES;
    if (!length)
        return;
    check->message[GRPC_PREFIX_BYTES - 1] = (char)(2 + length);
    check->message[GRPC_PREFIX_BYTES] = 0x0a;
    check->message[GRPC_PREFIX_BYTES + 1] = (char)length;
    memcpy(check->message + GRPC_PREFIX_BYTES + 2, name, length);
    check->message_length += 2 + length;
}

static ssize_t message_read(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *owner)
{
    (void)session, (void)id, (void)source;
    struct check_h2 *check = owner;
    size_t left = check->message_length - check->message_sent;
    size_t part = length < left ? length : left;
    memcpy(bytes, check->message + check->message_sent, part);
    check->message_sent += part;
    if (part == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)part;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

static int ask(struct check_h2 *check, const char *authority, bool secure)
{
    const struct service_gateway *gateway = &check->service->gateway;
    bool grpc = check->service->check == CHECK_GRPC;
    const char *path = gateway->check_path ? gateway->check_path : "/";
    const nghttp2_nv fields[] = {
        nv(":method", grpc ? "POST" : "GET"),
        nv(":scheme", secure ? "https" : "http"),
        nv(":authority", gateway->check_host ? gateway->check_host : authority),
        nv(":path", grpc ? "/grpc.health.v1.Health/Check" : path),
        nv("user-agent", "enginx-check"),
        nv("content-type", "application/grpc"), /* of a call, as what follows */
        nv("te", "trailers"),
    };
    const nghttp2_data_provider provider = {.read_callback = message_read};
    int32_t id = nghttp2_submit_request(check->session, NULL, fields, grpc ? 7 : 5,
                                        grpc ? &provider : NULL, NULL);
    return id < 0 ? -1 : 0;
}

/* ---- what comes ----------------------------------------------------------------------------- */

static int field_came(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                      size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                      void *owner)
{
    (void)session, (void)frame, (void)flags, (void)value_length;
    struct check_h2 *check = owner;
    if (name_length == 7 && !memcmp(name, ":status", 7))
        check->status = atoi((const char *)value); /* libnghttp2 has seen that it is three digits */
    if (name_length == 11 && !memcmp(name, "grpc-status", 11))
        check->grpc_status = (int)strtol((const char *)value, NULL, 10);
    return 0;
}

static int data_came(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                     size_t length, void *owner)
{
    (void)session, (void)flags, (void)id;
    struct check_h2 *check = owner;
    buffer_append(&check->body, bytes, length);
    return 0;
}

static int stream_closed(nghttp2_session *session, int32_t id, uint32_t error, void *owner)
{
    (void)session, (void)id;
    struct check_h2 *check = owner;
    check->over = true;
    check->error = error;
    return 0;
}

static int session_begin(struct check_h2 *check)
{
    nghttp2_session_callbacks *callbacks;
    if (nghttp2_session_callbacks_new(&callbacks) != 0)
        return -1;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, field_came);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_came);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
    int error = nghttp2_session_client_new(&check->session, callbacks, check);
    nghttp2_session_callbacks_del(callbacks);
    const nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
    return error || nghttp2_submit_settings(check->session, NGHTTP2_FLAG_NONE, &settings, 1) ? -1
                                                                                             : 0;
}

/* ---- judging -------------------------------------------------------------------------------- */

/* message HealthCheckResponse { ServingStatus status = 1; } The first field, if it is that. */
static int serving_status(const struct buffer *body)
{
    const char *bytes = body->data;
    if (body->length < GRPC_PREFIX_BYTES || bytes[0])
        return STATUS_NONE;
    if (body->length == GRPC_PREFIX_BYTES)
        return 0; /* UNKNOWN is the default, and left out */
    return body->length == GRPC_PREFIX_BYTES + 2 && bytes[GRPC_PREFIX_BYTES] == 0x08
               ? bytes[GRPC_PREFIX_BYTES + 1]
               : STATUS_NONE;
}

static enum check_verdict grpc_judge(const struct check_h2 *check, char *why)
{
    static const char *const names[] = {"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"};
    int status = serving_status(&check->body);
    if (check->status != 200)
        snprintf(why, CHECK_WHY_BYTES, "HTTP status %d", check->status);
    else if (check->grpc_status == 12)
        snprintf(why, CHECK_WHY_BYTES, "it has no health service (grpc-status 12)");
    else if (check->grpc_status == 5)
        snprintf(why, CHECK_WHY_BYTES, "its health service does not know the name");
    else if (check->grpc_status == STATUS_NONE)
        snprintf(why, CHECK_WHY_BYTES, "no grpc-status");
    else if (check->grpc_status)
        snprintf(why, CHECK_WHY_BYTES, "grpc-status %d", check->grpc_status);
    else if (status < 0 || status > 3)
        snprintf(why, CHECK_WHY_BYTES, "its answer is no HealthCheckResponse");
    else if (status != SERVING)
        snprintf(why, CHECK_WHY_BYTES, "it says %s", names[status]);
    else
        return CHECK_WELL;
    return CHECK_ILL;
}

static enum check_verdict http_judge(const struct check_h2 *check, char *why)
{
    const struct service_gateway *gateway = &check->service->gateway;
    const char *match = gateway->check_match;
    if (check->status < gateway->check_status_low || check->status > gateway->check_status_high)
        snprintf(why, CHECK_WHY_BYTES, "HTTP status %d", check->status);
    else if (match && (!check->body.length ||
                       !memmem(check->body.data, check->body.length, match, strlen(match))))
        snprintf(why, CHECK_WHY_BYTES, "the body lacks \"%.100s\"", match);
    else
        return CHECK_WELL;
    return CHECK_ILL;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void put_out(struct check_h2 *check, struct buffer *out)
{
    const uint8_t *bytes;
    ssize_t length;
    while ((length = nghttp2_session_mem_send(check->session, &bytes)) > 0)
        buffer_append(out, bytes, (size_t)length);
}

void check_h2_free(struct check_h2 *check)
{
    if (!check)
        return;
    nghttp2_session_del(check->session);
    buffer_done(&check->body);
    free(check);
}

struct check_h2 *check_h2_new(const struct service *service, const char *authority, bool secure,
                              struct buffer *out)
{
    struct check_h2 *check = calloc(1, sizeof *check);
    if (!check)
        return NULL;
    check->service = service;
    check->grpc_status = STATUS_NONE;
    buffer_init(&check->body, CHECK_ANSWER_BYTES_MAX);
    message_make(check);
    if (session_begin(check) < 0 || ask(check, authority, secure) < 0) {
        check_h2_free(check);
        return NULL;
    }
    put_out(check, out);
    return check;
}

static enum check_verdict judge(const struct check_h2 *check, char *why)
{
    if (check->error || !check->status) {
        snprintf(why, CHECK_WHY_BYTES, "the stream was reset: %s",
                 nghttp2_http2_strerror(check->error));
        return CHECK_ILL;
    }
    return check->service->check == CHECK_GRPC ? grpc_judge(check, why) : http_judge(check, why);
}

enum check_verdict check_h2_read(struct check_h2 *check, const char *bytes, size_t length, bool end,
                                 struct buffer *out, char why[CHECK_WHY_BYTES])
{
    ssize_t taken = nghttp2_session_mem_recv(check->session, (const uint8_t *)bytes, length);
    if (check->over)
        return judge(check, why);
    put_out(check, out); /* a GOAWAY, too, after which it wants no more */
    bool more = taken >= 0 && nghttp2_session_want_read(check->session);
    if (more && !end && !out->overflowed && !check->body.overflowed)
        return CHECK_MORE;
    snprintf(why, CHECK_WHY_BYTES,
             end ? "it closed without an answer in HTTP/2" : "its answer is no HTTP/2");
    return CHECK_ILL;
}
