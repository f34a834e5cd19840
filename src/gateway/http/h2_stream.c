#include <errno.h>

#include "gateway/http/bump.h"
#include "gateway/http/codec.h"
#include "gateway/http/h1_text.h"
#include "gateway/http/h2_connection.h"

/* ---- life ------------------------------------------------------------------------------------ */

/* What a head that was refused does not have is "", not nothing. */
static const struct head head_empty = {
    .method_name = SLICE(""),
    .scheme = SLICE(""),
    .authority = SLICE(""),
    .host = SLICE(""),
    .target = SLICE(""),
    .path = SLICE(""),
    .query = SLICE(""),
};

struct h2_stream *h2_stream_new(struct h2_connection *connection, int32_t id)
{
    struct worker *worker = connection->base.worker;
    struct bump *arena = bump_new(worker->http->arenas, EXCHANGE_ARENA_BYTES_MAX);
    struct h2_stream *own = arena ? h2_spare_take(worker->http->h2) : NULL;
    if (!own) {
        bump_free(arena);
        return NULL;
    }
    /* The newest generation serves it. Where the listener is gone from that, what was sent to it is
     * still served by the old one, and that is all. */
    if (!client_renew(&connection->base))
        h2_goaway(connection);
    codec_trust(&connection->base);
    *own = (struct h2_stream){
        .client = connection->base,
        .connection = connection,
        .id = id,
        .pseudo_path = SLICE(""),
        .pseudo_authority = SLICE(""),
        .pseudo_scheme = SLICE(""),
        .pseudo_protocol = SLICE(""),
        .body_wanted = true,
    };
    use_ref(own->client.use);
    codec_exchange_begin(&own->exchange, &h2_codec, &own->client, &connection->wire.stream, arena);
    own->exchange.request = head_empty;
    LIST_INSERT_HEAD(&connection->streams, own, next);
    connection->stream_count++;
    h2_attend(connection);
    return own;
}

static void block_drop(struct h2_stream *own)
{
    own->connection->queued_bytes -= own->block.to - own->block.from;
    h2_block_drop(&own->block, h2_stream_output(own));
}

void h2_stream_free(struct h2_stream *own, const char *why)
{
    struct h2_connection *connection = own->connection;
    struct exchange *exchange = &own->exchange;
    struct h2_worker *h2 = exchange->worker->http->h2;
    if (!connection->wire.dead)
        nghttp2_session_set_stream_user_data(connection->wire.session, own->id, NULL);
    bool whole = exchange->response_ended && own->body_over && own->block.from == own->block.to;
    codec_exchange_end(exchange, whole, why);
    h2_body_done(own);
    block_drop(own);
    LIST_REMOVE(own, next);
    if (own->is_going)
        TAILQ_REMOVE(&connection->going, own, going_next);
    if (!--connection->stream_count)
        connection->quiet_ms = loop_now(exchange->worker->loop);
    use_unref(own->client.use);
    h2_spare_give(h2, own);
}

void h2_stream_reset(struct h2_stream *own, uint32_t error)
{
    if (own->reset)
        return;
    own->reset = true;
    nghttp2_submit_rst_stream(own->connection->wire.session, NGHTTP2_FLAG_NONE, own->id, error);
    h2_resume(&own->connection->wire);
}

void h2_stream_fail(struct h2_stream *own, uint16_t status, const char *why)
{
    struct exchange *exchange = &own->exchange;
    exchange_abort(exchange, BLAME_CLIENT, why);
    if (!exchange->response_ended)
        exchange_fail(exchange, status, BLAME_CLIENT, why);
    own->body_wanted = true; /* by nobody: what comes is read over */
    h2_stream_going(own);
}

void h2_stream_going(struct h2_stream *own)
{
    if (!own->is_going) {
        own->is_going = true;
        TAILQ_INSERT_TAIL(&own->connection->going, own, going_next);
    }
    h2_resume(&own->connection->wire);
}

/* ---- the head -------------------------------------------------------------------------------- */

struct fields { /* being made, in the worker's room */
    nghttp2_nv *at;
    size_t count;
};

static void field_add(struct fields *fields, struct slice name, struct slice value)
{
    fields->at[fields->count++] = h2_nv(name, value);
}

/* Those that are the message's own: all but those of a connection (RFC 9113 §8.2.2). True: there
 * was a Date among them. */
static bool fields_add(struct fields *fields, const struct field *own, uint32_t count, bool parsed)
{
    bool dated = false;
    for (uint32_t i = 0; i < count && fields->count < HEAD_FIELDS_MAX; i++) {
        const struct field *field = &own[i];
        if (field->dropped || field->id == FIELD_CONTENT_LENGTH || field_hop_by_hop(field->id))
            continue;
        if (!parsed && !field_sane(field))
            continue;
        dated |= field->id == FIELD_DATE;
        field_add(fields, field->name, field->value);
    }
    return dated;
}

static struct slice number_print(char digits[24], uint64_t number)
{
    struct text text = {.bytes = digits};
    put_number(&text, number);
    return (struct slice){digits, (uint32_t)text.length};
}

static bool status_bodyless(uint16_t status)
{
    return status < 200 || status == 204 || status == 304;
}

/* False: nothing is said of how long it is. */
static bool length_of(const struct h2_stream *own, const struct response_head *head, size_t length,
                      bool last, uint64_t *ret_length)
{
    *ret_length = head->body_length;
    if (head->status < 200 || head->status == 204)
        return false;
    if (head->body == BODY_LENGTH)
        return true;
    *ret_length = last ? length : 0;
    return !own->bodyless && (last || head->body == BODY_NONE);
}

/* ---- the body -------------------------------------------------------------------------------- */

/* What may be put there at most, if there is room. */
static size_t block_most(const struct h2_stream *own)
{
    uint32_t queued = own->block.to - own->block.from;
    if (own->connection->queued_bytes < H2_QUEUED_BYTES_MAX)
        return H2_BLOCK_BYTES;
    return queued < H2_SMALL_BYTES ? H2_SMALL_BYTES - queued : 0;
}

static size_t block_put(struct h2_stream *own, const char *bytes, size_t length)
{
    if (!length)
        return 0;
    ssize_t taken =
        h2_block_put(&own->block, h2_stream_output(own), bytes, length, block_most(own));
    if (taken < 0) {
        h2_stream_reset(own, NGHTTP2_INTERNAL_ERROR);
        return 0;
    }
    own->connection->queued_bytes += (uint32_t)taken;
    return (size_t)taken;
}

/* libnghttp2 asks how much of the body it may send now; data_sends (h2_frames.c) puts it there. */
static ssize_t body_asked(nghttp2_session *session, int32_t id, uint8_t *bytes, size_t length,
                          uint32_t *flags, nghttp2_data_source *source, void *owner)
{
    (void)bytes, (void)owner;
    struct h2_stream *own = source->ptr;
    size_t ready = own->block.to - own->block.from;
    if (!ready && own->cut)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* it resets the stream: INTERNAL_ERROR */
    if (!ready && !own->body_over) {
        own->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    size_t taken = ready < length ? ready : length;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (!own->body_over || taken < ready)
        return (ssize_t)taken;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (!own->trailer_count)
        return (ssize_t)taken;
    struct fields fields = {.at = own->exchange.worker->http->h2->fields};
    fields_add(&fields, own->trailers, own->trailer_count, false);
    if (fields.count) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        nghttp2_submit_trailer(session, id, fields.at, fields.count);
    }
    return (ssize_t)taken;
}

static bool gone(const struct h2_stream *own)
{
    return own->connection->wire.dead || own->connection->wire.broken || own->reset;
}

static void body_resume(struct h2_stream *own)
{
    if (own->deferred && !own->connection->wire.dead)
        nghttp2_session_resume_data(own->connection->wire.session, own->id);
    own->deferred = false;
    h2_resume(&own->connection->wire);
}

/* A run of the body, as much of it as there is room for. */
static ssize_t body_put(struct h2_stream *own, const char *bytes, size_t length, bool last)
{
    size_t taken = block_put(own, bytes, length);
    own->room_wanted = taken < length;
    own->body_over = last && taken == length;
    if (taken || own->body_over)
        body_resume(own);
    return (ssize_t)taken;
}

void h2_stream_room(struct h2_stream *own)
{
    if (!own->room_wanted || h2_block_full(&own->block, h2_stream_output(own)) || gone(own))
        return;
    own->room_wanted = false;
    exchange_writable(&own->exchange);
}

/* ---- the codec ------------------------------------------------------------------------------- */

static void codec_interim(struct exchange *exchange, const struct response_head *head)
{
    struct h2_stream *own = h2_of(exchange);
    if (exchange->responded || gone(own))
        return;
    char digits[24];
    struct fields fields = {.at = exchange->worker->http->h2->fields};
    field_add(&fields, SLICE(":status"), number_print(digits, head->status));
    fields_add(&fields, head->fields, head->field_count, true);
    nghttp2_submit_headers(own->connection->wire.session, NGHTTP2_FLAG_NONE, own->id, NULL,
                           fields.at, fields.count, NULL);
    h2_resume(&own->connection->wire);
}

static int head_submit(struct h2_stream *own, const struct response_head *head, size_t length,
                       bool last)
{
    struct exchange *exchange = &own->exchange;
    char status[24], digits[24];
    uint64_t body_length;
    struct fields fields = {.at = exchange->worker->http->h2->fields};
    field_add(&fields, SLICE(":status"), number_print(status, head->status));
    bool parsed = exchange->handler == &handler_proxy; /* it has seen to that */
    if (!fields_add(&fields, head->fields, head->field_count, parsed))
        field_add(&fields, SLICE("date"), http_date(exchange->worker));
    if (length_of(own, head, length, last, &body_length))
        field_add(&fields, SLICE("content-length"), number_print(digits, body_length));
    const nghttp2_data_provider provider = {.source.ptr = own, .read_callback = body_asked};
    bool none = own->bodyless || (last && !length);
    own->taken_ms = loop_now(exchange->worker->loop);
    return nghttp2_submit_response(own->connection->wire.session, own->id, fields.at, fields.count,
                                   none ? NULL : &provider);
}

static ssize_t codec_respond(struct exchange *exchange, const struct response_head *head,
                             const char *bytes, size_t length, bool last)
{
    struct h2_stream *own = h2_of(exchange);
    if (gone(own))
        return -EPIPE;
    own->bodyless = exchange->request.method == METHOD_HEAD || status_bodyless(head->status);
    if (head_submit(own, head, length, last) != 0) {
        h2_stream_reset(own, NGHTTP2_INTERNAL_ERROR);
        return -ENOMEM;
    }
    own->submitted = true;
    if (!exchange->request.keep_alive) /* whoever answered wants it to be the last */
        h2_goaway_last(own->connection);
    if (own->bodyless)
        own->body_over = true;
    if (own->bodyless || !length) {
        own->body_over |= last;
        h2_resume(&own->connection->wire);
        return (ssize_t)length;
    }
    return body_put(own, bytes, length, last);
}

static ssize_t codec_write(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    struct h2_stream *own = h2_of(exchange);
    if (gone(own))
        return -EPIPE;
    if (own->bodyless)
        return (ssize_t)length;
    return body_put(own, bytes, length, last);
}

/* Of a stream that is gone, or that has no memory, all is over soon. */
static ssize_t codec_place(struct exchange *exchange, char **ret_bytes)
{
    struct h2_stream *own = h2_of(exchange);
    if (own->bodyless)
        return -1;
    if (gone(own))
        return 0;
    size_t room = h2_block_room(&own->block, h2_stream_output(own), block_most(own), ret_bytes);
    if (!own->block.bytes)
        h2_stream_reset(own, NGHTTP2_INTERNAL_ERROR);
    if (room < H2_PLACE_BYTES_MIN && own->block.to > own->block.from)
        room = 0; /* more, when what is there was sent */
    own->room_wanted = room == 0;
    return (ssize_t)room;
}

static void codec_placed(struct exchange *exchange, size_t length)
{
    struct h2_stream *own = h2_of(exchange);
    own->block.to += (uint32_t)length;
    own->connection->queued_bytes += (uint32_t)length;
    body_resume(own);
}

/* They are sent when libnghttp2 has taken the last of the body. */
static void codec_end(struct exchange *exchange, const struct field *trailers, uint32_t count)
{
    struct h2_stream *own = h2_of(exchange);
    if (own->bodyless || gone(own))
        return;
    struct field *copies = bump_alloc(exchange->arena, (count + 1) * sizeof *copies);
    for (uint32_t i = 0; copies && i < count; i++) {
        char *name = bump_copy(exchange->arena, trailers[i].name.bytes, trailers[i].name.length);
        char *value = bump_copy(exchange->arena, trailers[i].value.bytes, trailers[i].value.length);
        if (!name || !value)
            break;
        copies[own->trailer_count] = trailers[i];
        copies[own->trailer_count].name.bytes = name;
        copies[own->trailer_count++].value.bytes = value;
    }
    own->trailers = copies;
    body_put(own, "", 0, true);
}

/* What was taken of the response still goes out, so that the client sees where it was cut. */
static void codec_cut(struct exchange *exchange)
{
    struct h2_stream *own = h2_of(exchange);
    if (!own->submitted || own->bodyless || own->body_over) {
        h2_stream_reset(own, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    own->cut = true;
    body_resume(own);
}

static void codec_request_more(struct exchange *exchange)
{
    struct h2_stream *own = h2_of(exchange);
    uint64_t now_ms = loop_now(exchange->worker->loop);
    own->body_wanted = true;
    if (exchange->body_anew)
        own->body_told = exchange->body_anew = false;
    own->body_ms = own->rate_ms = now_ms;
    own->rate_bytes = 0;
    h2_stream_going(own);
}

static void codec_tunnel(struct exchange *exchange)
{
    struct h2_stream *own = h2_of(exchange);
    own->tunnel = true;
    exchange->request_ended = false;
    codec_request_more(exchange);
}

/* The connection is always registered for reading, but when too much waits to be sent. */
static void codec_watch(struct exchange *exchange)
{
    (void)exchange;
}

/* The stream ends when libnghttp2 says so: its last frame is out, or it was reset. */
static void codec_released(struct exchange *exchange)
{
    struct h2_stream *own = h2_of(exchange);
    own->body_wanted = true;
    if (!exchange->response_ended && !own->cut)
        codec_cut(exchange);
    h2_stream_going(own);
}

const struct codec h2_codec = {
    .name = "HTTP/2",
    .trails = true,
    .interim = codec_interim,
    .respond = codec_respond,
    .write = codec_write,
    .place = codec_place,
    .placed = codec_placed,
    .end = codec_end,
    .cut = codec_cut,
    .request_more = codec_request_more,
    .tunnel = codec_tunnel,
    .watch = codec_watch,
    .released = codec_released,
};
