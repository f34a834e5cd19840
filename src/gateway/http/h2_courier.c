#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/h2_link.h"

enum { SPARE_COURIERS_MAX = 512 };

static const struct courier_kind h2_courier_kind;

/* ---- life ----------------------------------------------------------------------------------- */

static struct h2_courier *spare_take(struct h2_worker *h2)
{
    struct h2_courier *own = h2->spare_couriers;
    if (!own)
        return malloc(sizeof *own);
    h2->spare_couriers = own->next.le_next;
    h2->spare_courier_count--;
    return own;
}

static void spare_give(struct h2_worker *h2, struct h2_courier *own)
{
#ifndef __SANITIZE_ADDRESS__
    if (h2->spare_courier_count < SPARE_COURIERS_MAX) {
        own->next.le_next = h2->spare_couriers;
        h2->spare_couriers = own;
        h2->spare_courier_count++;
        return;
    }
#else
    (void)h2;
#endif
    free(own);
}

void h2_couriers_free(struct h2_worker *h2)
{
    while (h2->spare_couriers)
        free(spare_take(h2));
}

struct courier *h2_courier_begin(struct h2_link *link, const struct courier_calls *calls,
                                 void *owner, enum http_method method,
                                 const struct courier_times *times)
{
    struct h2_courier *own = spare_take(h2_of_wire(&link->wire));
    if (!own)
        return NULL;
    *own = (struct h2_courier){
        .courier = {.kind = &h2_courier_kind},
        .link = link,
        .calls = calls,
        .owner = owner,
        .times = *times,
        .deadline_ms = UINT64_MAX,
        .body_left = UINT64_MAX,
        .method = (uint8_t)method,
        .reused = link->reused,
        .wanted = true,
    };
    link->reused = true;
    link->idle_ms = times->idle;
    link->send_ms = times->send;
    link->streams++;
    LIST_INSERT_HEAD(&link->couriers, own, next);
    return &own->courier;
}

/* The last one of a link that takes no more lets it go. */
static void link_left(struct h2_link *link)
{
    link->quiet_ms = h2_link_now(link);
    if (link->leaving && link->connected)
        nghttp2_submit_goaway(link->wire.session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
    h2_resume(&link->wire);
}

void h2_courier_free(struct h2_courier *own)
{
    struct h2_link *link = own->link;
    struct h2_worker *h2 = h2_of_wire(&link->wire);
    LIST_REMOVE(own, next);
    if (own->is_going)
        TAILQ_REMOVE(&link->going, own, going_next);
    if (link->reading == own)
        link->reading = NULL;
    if (link->announced == own)
        link->announced = NULL;
    h2_block_drop(&own->block, &h2->output);
    link->held -= own->held.length;
    h2_held_done(&own->held);
    h2_fields_done(&own->behind);
    spare_give(h2, own);
    if (!--link->streams && !link->wire.dead)
        link_left(link);
    if (!link->wire.dead)
        h2_link_settle(link);
}

void h2_courier_going(struct h2_courier *own)
{
    if (!own->is_going) {
        own->is_going = true;
        TAILQ_INSERT_TAIL(&own->link->going, own, going_next);
    }
    h2_resume(&own->link->wire);
}

/* ---- deadlines ------------------------------------------------------------------------------ */

bool h2_courier_sends(const struct h2_courier *own)
{
    return own->block.to > own->block.from || !own->sent_head;
}

static uint64_t delay_of(const struct h2_courier *own)
{
    if (!own->owner)
        return own->times.read; /* to end by itself */
    if (!own->link->connected)
        return UINT64_MAX;
    if (h2_courier_sends(own))
        return own->times.send;
    if (own->state == COURIER_HEAD)
        return own->sent ? own->times.response : UINT64_MAX;
    return own->wanted && !own->remote_ended ? own->times.read : UINT64_MAX;
}

void h2_courier_attend(struct h2_courier *own)
{
    uint64_t delay_ms = delay_of(own);
    own->deadline_ms = delay_ms == UINT64_MAX ? UINT64_MAX : h2_link_now(own->link) + delay_ms;
    h2_link_attend(own->link, own->deadline_ms);
}

/* ---- failing -------------------------------------------------------------------------------- */

static enum courier_stage stage_of(const struct h2_courier *own)
{
    return !own->link->connected        ? STAGE_CONNECT
           : own->state != COURIER_HEAD ? STAGE_BODY
           : own->sent                  ? STAGE_RESPONSE
                                        : STAGE_SEND;
}

void h2_courier_fail(struct h2_courier *own, bool timeout, bool untouched, const char *why)
{
    const struct courier_failure failure = {.stage = stage_of(own),
                                            .timeout = timeout,
                                            .received = own->received,
                                            .spoke = own->link->tls_failed,
                                            .reused = own->reused,
                                            .untouched = untouched,
                                            .why = why};
    own->deadline_ms = UINT64_MAX;
    own->calls->failed(own->owner, &failure); /* it is closed after that, and may be freed */
}

void h2_courier_reset(struct h2_courier *own, uint32_t error)
{
    if (own->closed || own->reset || !own->id)
        return;
    own->reset = true;
    nghttp2_submit_rst_stream(own->link->wire.session, NGHTTP2_FLAG_NONE, own->id, error);
    h2_resume(&own->link->wire);
}

static const char *reset_why(const struct h2_courier *own, uint32_t error)
{
    static const char *const whys[] = {
        [NGHTTP2_NO_ERROR] = "the endpoint ended the stream before its answer: NO_ERROR",
        [NGHTTP2_PROTOCOL_ERROR] = "the endpoint reset the stream: PROTOCOL_ERROR",
        [NGHTTP2_INTERNAL_ERROR] = "the endpoint reset the stream: INTERNAL_ERROR",
        [NGHTTP2_FLOW_CONTROL_ERROR] = "the endpoint reset the stream: FLOW_CONTROL_ERROR",
        [NGHTTP2_STREAM_CLOSED] = "the endpoint reset the stream: STREAM_CLOSED",
        [NGHTTP2_REFUSED_STREAM] = "the endpoint refused the stream",
        [NGHTTP2_CANCEL] = "the endpoint reset the stream: CANCEL",
        [NGHTTP2_ENHANCE_YOUR_CALM] = "the endpoint reset the stream: ENHANCE_YOUR_CALM",
        [NGHTTP2_HTTP_1_1_REQUIRED] = "the endpoint reset the stream: HTTP_1_1_REQUIRED",
    };
    if (own->malformed)
        return own->malformed;
    if (!own->sent_head)
        return whys[NGHTTP2_REFUSED_STREAM];
    bool known = error < sizeof whys / sizeof *whys && whys[error];
    return known ? whys[error] : "the endpoint reset the stream";
}

void h2_courier_closed(struct h2_courier *own, uint32_t error)
{
    own->closed = true;
    if (!own->owner) {
        if (!own->busy)
            h2_courier_free(own);
        return;
    }
    if (!own->remote_ended && own->state != COURIER_OVER)
        h2_courier_fail(own, false, error == NGHTTP2_REFUSED_STREAM || !own->sent_head,
                        reset_why(own, error));
}

/* ---- the owner lets go ---------------------------------------------------------------------- */

static void detach(struct h2_courier *own)
{
    own->owner = NULL;
    own->trailer_count = 0;
    own->room_wanted = false;
    if (own->link->announced == own)
        own->link->announced = NULL;
    if (own->busy)
        return;
    if (!own->id || own->closed || own->link->wire.dead)
        h2_courier_free(own);
    else
        h2_courier_attend(own);
}

/* What comes to its end by itself is not reset. */
static void courier_done(struct courier *courier)
{
    struct h2_courier *own = h2_courier_of(courier);
    if (!own->sent)
        h2_courier_reset(own, NGHTTP2_CANCEL);
    detach(own);
}

static void courier_close(struct courier *courier)
{
    struct h2_courier *own = h2_courier_of(courier);
    h2_courier_reset(own, NGHTTP2_CANCEL);
    detach(own);
}

static void courier_more(struct courier *courier)
{
    struct h2_courier *own = h2_courier_of(courier);
    own->wanted = true;
    h2_courier_attend(own);
    h2_courier_going(own);
}

/* ---- the request ---------------------------------------------------------------------------- */

static bool trailers_submit(struct h2_courier *own)
{
    nghttp2_nv *fields = h2_of_wire(&own->link->wire)->fields;
    size_t count = 0;
    for (uint32_t i = 0; i < own->trailer_count && i < HEAD_FIELDS_MAX; i++)
        fields[count++] = h2_nv(own->trailers[i].name, own->trailers[i].value);
    return count && nghttp2_submit_trailer(own->link->wire.session, own->id, fields, count) == 0;
}

/* libnghttp2 asks how much of the body it may send now; data_sends (h2_link_frames.c) puts it
 * there. */
static ssize_t body_asked(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t length,
                          uint32_t *flags, nghttp2_data_source *source, void *owner)
{
    (void)session, (void)id, (void)bytes, (void)owner;
    struct h2_courier *own = source->ptr;
    size_t ready = own->block.to - own->block.from;
    if (!ready && !own->body_over) {
        own->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t taken = ready < length ? ready : length;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!own->body_over || taken < ready)
        return (ssize_t)taken;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (trailers_submit(own))
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return (ssize_t)taken;
}

static struct h2_output *output_of(const struct h2_courier *own)
{
    return &h2_of_wire(&own->link->wire)->output;
}

void h2_courier_took(struct h2_courier *own, size_t length)
{
    if (h2_block_took(&own->block, length)) {
        if (own->body_over)
            h2_block_drop(&own->block, output_of(own));
        else if (own->room_wanted)
            h2_courier_going(own);
    }
    h2_courier_attend(own);
}

/* As much of it as there is room for. */
static ssize_t body_put(struct h2_courier *own, const struct courier_piece *piece)
{
    ssize_t taken = 0;
    if (piece->length)
        taken =
            h2_block_put(&own->block, output_of(own), piece->bytes, piece->length, H2_BLOCK_BYTES);
    if (taken < 0)
        return taken;
    own->room_wanted = (size_t)taken < piece->length;
    own->body_over = piece->last && !own->room_wanted;
    if (own->body_over) {
        own->trailers = piece->trailers;
        own->trailer_count = piece->trailer_count;
    }
    return taken;
}

ssize_t h2_courier_request(struct courier *courier, const nghttp2_nv *fields, size_t count,
                           const struct courier_piece *piece)
{
    struct h2_courier *own = h2_courier_of(courier);
    struct h2_link *link = own->link;
    ssize_t taken = body_put(own, piece);
    if (taken < 0)
        return taken;
    bool none = piece->last && !piece->length && !piece->trailer_count;
    const nghttp2_data_provider provider = {.source.ptr = own, .read_callback = body_asked};
    int32_t id = nghttp2_submit_request(link->wire.session, NULL, fields, count,
                                        none ? NULL : &provider, own);
    if (id < 0)
        return -ENOMEM;
    own->id = id;
    h2_link_settle(link);
    h2_courier_attend(own);
    h2_resume(&link->wire);
    return taken;
}

static ssize_t courier_send(struct courier *courier, const struct courier_piece *piece)
{
    struct h2_courier *own = h2_courier_of(courier);
    if (own->closed || own->reset) {
        own->sent |= piece->last;
        return (ssize_t)piece->length;
    }
    ssize_t taken = body_put(own, piece);
    if (taken < 0) {
        h2_courier_reset(own, NGHTTP2_INTERNAL_ERROR);
        return (ssize_t)piece->length;
    }
    if (!taken && !own->body_over)
        return 0;
    if (own->deferred)
        nghttp2_session_resume_data(own->link->wire.session, own->id);
    own->deferred = false;
    h2_courier_attend(own);
    h2_resume(&own->link->wire);
    return taken;
}

void h2_courier_room(struct h2_courier *own)
{
    if (!own->room_wanted || h2_block_full(&own->block, output_of(own)) || !own->owner)
        return;
    own->room_wanted = false;
    own->calls->room(own->owner);
}

static const struct courier_kind h2_courier_kind = {
    .send = courier_send,
    .more = courier_more,
    .trailers = h2_response_trailers,
    .done = courier_done,
    .close = courier_close,
};
