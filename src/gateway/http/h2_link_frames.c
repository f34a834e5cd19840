#include "gateway/http/h2_link.h"

/* ---- floods --------------------------------------------------------------------------------- */

static void control_count(struct h2_link *link)
{
    if (h2_floods_control(&link->floods, h2_link_now(link)))
        return;
    link->why = "a flood of HTTP/2 frames that bring nothing";
    h2_link_terminate(link, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- fields --------------------------------------------------------------------------------- */

static struct h2_courier *courier_of(nghttp2_session *session, int32_t id)
{
    return id ? nghttp2_session_get_stream_user_data(session, id) : NULL;
}

/* Whose head waits for the first bytes of its body waits no longer when something else comes. */
static void announce(struct h2_link *link)
{
    struct h2_courier *own = link->announced;
    link->announced = NULL;
    if (own)
        h2_response_announce(own);
}

static int fields_begin(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    struct h2_link *link = owner;
    announce(link);
    struct h2_courier *own = courier_of(session, frame->hd.stream_id);
    link->reading = own;
    if (own)
        h2_response_begin(own);
    return 0;
}

static int field_came(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                      size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                      void *owner)
{
    (void)session, (void)frame, (void)flags;
    struct h2_link *link = owner;
    if (link->reading && link->reading->owner)
        h2_response_field(link->reading, (struct slice){(const char *)name, (uint32_t)name_length},
                          (struct slice){(const char *)value, (uint32_t)value_length});
    return 0;
}

/* RFC 9113 §8.1.1: libnghttp2 would leave the field out and take the rest. */
static int field_invalid(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                         size_t name_length, const uint8_t *value, size_t value_length,
                         uint8_t flags, void *owner)
{
    (void)session, (void)frame, (void)name, (void)name_length, (void)value, (void)value_length;
    (void)flags;
    struct h2_link *link = owner;
    if (link->reading)
        link->reading->malformed = "a field of the response has bytes that may not stand there";
    return 0;
}

static void fields_came(struct h2_link *link, struct h2_courier *own, bool ended)
{
    link->reading = NULL;
    if (own && own->owner)
        h2_response_fields(own, ended);
}

/* ---- frames --------------------------------------------------------------------------------- */

static void data_ended(struct h2_link *link, struct h2_courier *own, const nghttp2_frame *frame)
{
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    if (frame->hd.length == 0 && !ended)
        control_count(link);
    if (!own || !ended)
        return;
    if (link->announced == own)
        announce(link);
    if (own->owner)
        h2_response_ended(own);
}

static int frame_came(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    struct h2_link *link = owner;
    struct h2_courier *own = courier_of(session, frame->hd.stream_id);
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    bool answer = frame->hd.type == NGHTTP2_PING && (frame->hd.flags & NGHTTP2_FLAG_ACK);
    link->ping = answer ? H2_PING_ANSWERED : H2_PING_NONE;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        fields_came(link, own, ended);
        return 0;
    case NGHTTP2_DATA:
        data_ended(link, own, frame);
        return 0;
    case NGHTTP2_GOAWAY:
        h2_link_leave(link);
        break;
    default:
        break;
    }
    control_count(link);
    return 0;
}

/* PRIORITY means nothing to who asks, and unknown frames are left out: of both this is all that is
 * told. */
static int frame_begins(nghttp2_session *session, const nghttp2_frame_hd *head, void *owner)
{
    (void)session;
    if (head->type == NGHTTP2_PRIORITY || head->type > NGHTTP2_CONTINUATION)
        control_count(owner);
    return 0;
}

static int frame_invalid(nghttp2_session *session, const nghttp2_frame *frame, int error,
                         void *owner)
{
    (void)session, (void)error;
    struct h2_link *link = owner;
    struct h2_courier *own = courier_of(session, frame->hd.stream_id);
    if (own && !own->malformed)
        own->malformed = "a malformed HTTP/2 message";
    control_count(link);
    return 0;
}

static int data_came(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                     size_t length, void *owner)
{
    (void)flags;
    struct h2_link *link = owner;
    struct h2_courier *own = courier_of(session, id);
    nghttp2_session_consume_connection(session, length);
    h2_floods_allow(&link->floods, 1);
    if (link->announced && link->announced != own)
        announce(link);
    if (own && own->owner)
        h2_response_bytes(own, (const char *)bytes, length);
    else
        nghttp2_session_consume_stream(session, id, length);
    return 0;
}

static void headers_sent(struct h2_courier *own)
{
    own->sent_head = true;
    if (own->body_over && !own->block.bytes && !own->trailer_count)
        own->sent = true;
    h2_courier_attend(own);
}

static int frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *owner)
{
    struct h2_link *link = owner;
    struct h2_courier *own = courier_of(session, frame->hd.stream_id);
    bool ended = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        h2_floods_allow(&link->floods, 8);
        if (own && !own->sent_head)
            headers_sent(own);
        break;
    case NGHTTP2_DATA:
        h2_floods_allow(&link->floods, 2);
        break;
    case NGHTTP2_GOAWAY:
        if (frame->goaway.error_code) { /* it was libnghttp2 that found something wrong */
            link->failed = true;
            if (!link->why)
                link->why = nghttp2_http2_strerror(frame->goaway.error_code);
        }
        break;
    default:
        break;
    }
    if (own && ended && !own->sent) {
        own->sent = true;
        h2_courier_attend(own);
    }
    return 0;
}

static int data_sends(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                      size_t length, nghttp2_data_source *source, void *owner)
{
    (void)session, (void)frame;
    struct h2_link *link = owner;
    struct h2_courier *own = source->ptr;
    int error = h2_wire_data(&link->wire, head, &own->block, length);
    if (!error)
        h2_courier_took(own, length);
    return error;
}

static int stream_closed(nghttp2_session *session, int32_t id, uint32_t error, void *owner)
{
    struct h2_link *link = owner;
    struct h2_courier *own = courier_of(session, id);
    if (!own)
        return 0;
    if (link->reading == own)
        link->reading = NULL;
    if (link->announced == own)
        announce(link);
    h2_courier_closed(own, error);
    h2_resume(&link->wire);
    return 0;
}

void h2_link_read(struct h2_link *link)
{
    announce(link);
}

int h2_link_callbacks_set(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, fields_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, field_came);
    nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, field_invalid);
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
