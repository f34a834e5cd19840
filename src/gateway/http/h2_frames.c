#include "gateway/http/h2_connection.h"

/* ---- floods ---------------------------------------------------------------------------------- */

static void calm_enhance(struct h2_connection *connection)
{
    if (!connection->leaving)
        nghttp2_session_terminate_session(connection->wire.session, NGHTTP2_ENHANCE_YOUR_CALM);
    connection->leaving = true;
}

static void reset_count(struct h2_connection *connection)
{
    if (!h2_floods_reset(&connection->floods, loop_now(connection->wire.worker->loop)))
        calm_enhance(connection);
}

static void control_count(struct h2_connection *connection)
{
    if (!h2_floods_control(&connection->floods, loop_now(connection->wire.worker->loop)))
        calm_enhance(connection);
}

static void control_allow(struct h2_connection *connection, int32_t frames)
{
    h2_floods_allow(&connection->floods, frames);
}

/* ---- requests -------------------------------------------------------------------------------- */

static int headers_begin(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    struct h2_connection *connection = owner;
    uint64_t now_ms = loop_now(connection->base.worker->loop);
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) { /* trailers */
        connection->head_ms = now_ms;
        return 0;
    }
    struct h2_stream *own =
        connection->leaving ? NULL : h2_stream_new(connection, frame->hd.stream_id);
    if (!own) {
        nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_REFUSED_STREAM);
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, own);
    connection->reading = own;
    connection->head_ms = now_ms;
    return 0;
}

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id)
{
    return id ? nghttp2_session_get_stream_user_data(session, id) : NULL;
}

static int header_came(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                       void *owner)
{
    (void)flags, (void)owner;
    struct h2_stream *own = stream_of(session, frame->hd.stream_id);
    struct slice of_name = {(const char *)name, (uint32_t)name_length};
    struct slice of_value = {(const char *)value, (uint32_t)value_length};
    if (own && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_head_field(own, of_name, of_value);
    else if (own)
        h2_head_trailer(own, of_name, of_value);
    return 0;
}

/* RFC 9113 §8.1.1: libnghttp2 would leave the field out and take the rest. */
static int header_invalid(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                          size_t name_length, const uint8_t *value, size_t value_length,
                          uint8_t flags, void *owner)
{
    (void)name, (void)name_length, (void)value, (void)value_length, (void)flags, (void)owner;
    struct h2_stream *own = stream_of(session, frame->hd.stream_id);
    if (!own)
        return 0;
    own->refused_why = "a field with bytes that may not stand there";
    own->refused = 0;
    return 0;
}

static void body_begin(struct h2_stream *own, bool ended)
{
    const struct head *head = &own->exchange.request;
    own->body_left = head->body == BODY_LENGTH ? head->body_length : 0;
    own->remote_ended = ended;
    own->exchange.request_ended = head->body == BODY_NONE;
    own->body_ms = own->rate_ms = loop_now(own->exchange.worker->loop);
    own->body_wanted = !head->connect; /* what comes before the answer waits for it */
    if (head->body != BODY_NONE)       /* the handler may wait to be told that there is a body */
        h2_stream_going(own);
}

/* RFC 9113 §8.1.1 */
static void malformed(struct h2_stream *own)
{
    exchange_abort(&own->exchange, BLAME_CLIENT, own->refused_why);
    h2_stream_reset(own, NGHTTP2_PROTOCOL_ERROR);
}

static void request_came(struct h2_stream *own, bool ended)
{
    struct h2_connection *connection = own->connection;
    bool good = h2_head_finish(own, ended);
    connection->reading = NULL;
    connection->head_ms = 0;
    own->head_done = true;
    control_allow(connection, 8);
    body_begin(own, ended);
    if (good)
        exchange_dispatch(&own->exchange);
    else if (own->refused)
        h2_stream_fail(own, own->refused, own->refused_why);
    else
        malformed(own);
}

static void trailers_came(struct h2_stream *own, bool ended)
{
    own->connection->head_ms = 0;
    if (own->refused_why && !own->refused)
        malformed(own);
    else if (ended)
        h2_body_ended(own);
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void data_ended(struct h2_connection *connection, struct h2_stream *own,
                       const nghttp2_frame *frame, bool ended)
{
    if (frame->hd.length == 0 && !ended)
        control_count(connection);
    if (own && ended)
        h2_body_ended(own);
}

static int frame_came(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    struct h2_connection *connection = owner;
    struct h2_stream *own = stream_of(session, frame->hd.stream_id);
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (own && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
            request_came(own, ended);
        else if (own)
            trailers_came(own, ended);
        else
            connection->head_ms = 0; /* they ended what was answered before (h2_rest.c) */
        return 0;
    case NGHTTP2_DATA:
        data_ended(connection, own, frame, ended);
        return 0;
    case NGHTTP2_RST_STREAM:
        reset_count(connection);
        return 0;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && connection->goaway_ms)
            h2_goaway_last(connection);
        break;
    default:
        break;
    }
    control_count(connection);
    return 0;
}

/* PRIORITY means nothing (we say so in our SETTINGS), and unknown frames are left out, so of both
 * this is all that is told. */
static int frame_begins(nghttp2_session *session, const nghttp2_frame_hd *head, void *owner)
{
    if (head->type == NGHTTP2_PRIORITY && !head->stream_id)
        nghttp2_session_terminate_session(session, NGHTTP2_PROTOCOL_ERROR);
    if (head->type == NGHTTP2_PRIORITY || head->type > NGHTTP2_CONTINUATION)
        control_count(owner);
    return 0;
}

/* Of a stream too: what libnghttp2 answers by RST_STREAM is counted when that is sent. */
static int frame_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error,
                         void *owner)
{
    (void)session, (void)frame, (void)error;
    control_count(owner);
    return 0;
}

static int data_came(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                     size_t length, void *owner)
{
    (void)flags;
    struct h2_connection *connection = owner;
    struct h2_stream *own = stream_of(session, id);
    if (own)
        h2_body_bytes(own, (const char *)bytes, length);
    else
        h2_rest_bytes(connection, id, length);
    control_allow(connection, 1);
    return 0;
}

/* The others are of our own doing. */
static bool blames_client(uint32_t error)
{
    return error != NGHTTP2_NO_ERROR && error != NGHTTP2_INTERNAL_ERROR;
}

/* The answer is out. A request that goes on is not wanted, but its rest is read if it is small. */
static void answered(struct h2_stream *own)
{
    if (h2_rest_begin(own)) {
        h2_stream_free(own, "answered before the request's end");
        return;
    }
    own->reset = true;
    nghttp2_submit_rst_stream(own->connection->wire.session, NGHTTP2_FLAG_NONE, own->id,
                              NGHTTP2_NO_ERROR);
}

static int frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    struct h2_connection *connection = owner;
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.type == NGHTTP2_RST_STREAM) {
        if (blames_client(frame->rst_stream.error_code))
            reset_count(connection);
        return 0;
    }
    /* What is answered to a PING behind it was said by somebody who knows. */
    if (frame->hd.type == NGHTTP2_GOAWAY && connection->goaway_ms && !connection->leaving)
        nghttp2_submit_ping(session, NGHTTP2_FLAG_NONE, NULL);
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    control_allow(connection, 2);
    struct h2_stream *own = ended ? stream_of(session, frame->hd.stream_id) : NULL;
    if (own && !own->remote_ended && !own->reset)
        answered(own);
    return 0;
}

static int stream_closed(nghttp2_session *session, int32_t id, uint32_t error, void *owner)
{
    struct h2_connection *connection = owner;
    struct h2_stream *own = stream_of(session, id);
    if (!own) {
        h2_rest_over(connection, id);
        return 0;
    }
    if (connection->reading == own) {
        connection->reading = NULL;
        connection->head_ms = 0;
    }
    h2_stream_free(own, error ? nghttp2_http2_strerror(error) : "the stream ended early");
    h2_resume(&connection->wire);
    return 0;
}

static void block_took(struct h2_stream *own, size_t length)
{
    own->connection->queued_bytes -= (uint32_t)length;
    own->taken_ms = loop_now(own->exchange.worker->loop);
    if (!h2_block_took(&own->block, length))
        return;
    if (own->body_over)
        h2_block_drop(&own->block, h2_stream_output(own));
    else if (own->room_wanted)
        h2_stream_going(own);
}

/* A frame of a response's body, which does not come from libnghttp2's memory. */
static int data_sends(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                      size_t length, nghttp2_data_source *source, void *owner)
{
    (void)session, (void)frame;
    struct h2_connection *connection = owner;
    struct h2_stream *own = source->ptr;
    int error = h2_wire_data(&connection->wire, head, &own->block, length);
    if (!error)
        block_took(own, length);
    return error;
}

int h2_callbacks_set(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, headers_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, header_came);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, header_invalid);
    nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, frame_begins);
    nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, h2_extension_ignore);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_came);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, frame_invalid);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_came);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, data_sends);
    return 0;
}
