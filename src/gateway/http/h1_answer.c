#include <errno.h>
#include <fcntl.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include "gateway/http/codec.h"
#include "gateway/http/h1_connection.h"
#include "gateway/http/h1_text.h"

/* ---- the head ------------------------------------------------------------------------------- */

static void put_status(struct text *text, const struct response_head *head)
{
    struct slice reason = head->reason.length ? head->reason : status_reason(head->status);
    PUT(text, "HTTP/1.1 ");
    put_number(text, head->status);
    PUT(text, " ");
    put_slice(text, reason);
    PUT(text, "\r\n");
}

/* Those that are the message's own. True: there was a Date among them. */
static bool put_fields(struct text *text, const struct response_head *head, bool parsed)
{
    bool dated = false;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (field->dropped || field->id == FIELD_CONTENT_LENGTH)
            continue;
        if (field_hop_by_hop(field->id) && !(field->id == FIELD_UPGRADE && head->status == 101))
            continue;
        if (!parsed && !field_sane(field))
            continue;
        dated |= field->id == FIELD_DATE;
        put_field(text, field);
    }
    return dated;
}

static void put_length(struct text *text, uint64_t length)
{
    PUT(text, "Content-Length: ");
    put_number(text, length);
    PUT(text, "\r\n");
}

/* ---- how the response ends ------------------------------------------------------------------ */

enum framing { FRAMED_NOTHING, FRAMED_LENGTH, FRAMED_CHUNKED, FRAMED_CLOSE };

static bool status_bodyless(uint16_t status)
{
    return status < 200 || status == 204 || status == 304;
}

static enum framing framing_of(const struct h1_exchange *own, const struct response_head *head,
                               bool last)
{
    if (head->status < 200 || head->status == 204)
        return FRAMED_NOTHING;
    bool modern = own->exchange.request.version_minor != 0;
    if (own->bodyless) { /* what a GET would have had, if it is known */
        if (head->body == BODY_LENGTH)
            return FRAMED_LENGTH;
        return head->body == BODY_CHUNKED && modern ? FRAMED_CHUNKED : FRAMED_NOTHING;
    }
    if (last || head->body == BODY_LENGTH || head->body == BODY_NONE)
        return FRAMED_LENGTH;
    return modern ? FRAMED_CHUNKED : FRAMED_CLOSE;
}

/* What is left of a request's body may be read over when it is known how much, it is little, and
 * the client is surely sending it. */
static bool body_skippable(const struct h1_exchange *own)
{
    const struct head *request = &own->exchange.request;
    return request->body == BODY_LENGTH && own->body_left <= SKIP_BYTES_MAX &&
           !request->expect_continue;
}

static bool keeps(const struct h1_exchange *own, const struct response_head *head,
                  enum framing framing, bool last)
{
    const struct exchange *exchange = &own->exchange;
    if (own->closes || framing == FRAMED_CLOSE || !exchange->request.keep_alive ||
        exchange->worker->http->draining)
        return false;
    /* An answer before the body was read: the body may never be. */
    bool early = !exchange->request_ended && (last || head->status >= 300);
    return !early || body_skippable(own);
}

static void put_end(struct text *text, struct h1_exchange *own, const struct response_head *head,
                    enum framing framing, size_t length, bool last)
{
    if (framing == FRAMED_LENGTH)
        put_length(text, head->body == BODY_LENGTH ? head->body_length : last ? length : 0);
    else if (framing == FRAMED_CHUNKED)
        PUT(text, "Transfer-Encoding: chunked\r\n");
    if (head->status == 101)
        PUT(text, "Connection: upgrade\r\n");
    else if (!own->keeps)
        PUT(text, "Connection: close\r\n");
    else if (!own->exchange.request.version_minor)
        PUT(text, "Connection: keep-alive\r\n");
    PUT(text, "\r\n");
}

/* ---- the codec ------------------------------------------------------------------------------ */

static ssize_t client_gone(struct h1_connection *connection, ssize_t error)
{
    connection->broken = true;
    h1_resume(connection);
    return error;
}

/* What became of a write. */
static ssize_t sent(struct h1_exchange *own, ssize_t taken, size_t length)
{
    struct h1_connection *connection = own->connection;
    if (taken < 0)
        return client_gone(connection, taken);
    own->room_wanted = (size_t)taken < length;
    if (own->room_wanted || own->output.pending)
        h1_deadline_send(own);
    return taken;
}

/* Will the connection be closed at once after the response, with nothing left to read? */
static bool closing(const struct h1_exchange *own)
{
    const struct h1_connection *connection = own->connection;
    return !own->keeps && own->exchange.request_ended && !connection->held_length &&
           connection->stream.read_blocked && !connection->secure;
}

static ssize_t piece_send(struct h1_exchange *own, struct h1_piece *piece)
{
    struct h1_connection *connection = own->connection;
    if (connection->dead || connection->broken)
        return -EPIPE;
    piece->more |= piece->last && closing(own);
    return sent(own, h1_output_write(&own->output, &connection->stream, piece), piece->body_length);
}

enum { INTERIM_BYTES_MAX = 16 * 1024 }; /* that wait for a client that takes nothing */

static void codec_interim(struct exchange *exchange, const struct response_head *head)
{
    struct h1_exchange *own = h1_of(exchange);
    if (!exchange->request.version_minor || exchange->responded ||
        own->output.pending_length > INTERIM_BYTES_MAX) /* they may be left out */
        return;
    struct text text = {.bytes = exchange->worker->output};
    put_status(&text, head);
    put_fields(&text, head, true);
    PUT(&text, "\r\n");
    if (text.full)
        return;
    struct h1_piece piece = {.head = text.bytes, .head_length = text.length};
    piece_send(own, &piece);
}

static ssize_t codec_respond(struct exchange *exchange, const struct response_head *head,
                             const char *bytes, size_t length, bool last)
{
    struct h1_exchange *own = h1_of(exchange);
    own->bodyless = exchange->request.method == METHOD_HEAD || status_bodyless(head->status);
    enum framing framing = framing_of(own, head, last);
    own->keeps = keeps(own, head, framing, last);
    own->unframed = framing == FRAMED_CLOSE;
    own->output.chunked = framing == FRAMED_CHUNKED && !own->bodyless;
    struct text text = {.bytes = exchange->worker->output};
    put_status(&text, head);
    bool parsed = exchange->handler == &handler_proxy; /* it has seen to that */
    if (!put_fields(&text, head, parsed) && head->status >= 200) {
        struct slice date = http_date(exchange->worker);
        PUT(&text, "Date: ");
        put_slice(&text, date);
        PUT(&text, "\r\n");
    }
    put_end(&text, own, head, framing, length, last);
    if (text.full)
        return client_gone(own->connection, -EMSGSIZE);
    struct h1_piece piece = {.head = text.bytes,
                             .head_length = text.length,
                             .head_room = WORKER_OUTPUT_BYTES,
                             .body = bytes,
                             .body_length = own->bodyless ? 0 : length,
                             .last = last,
                             .more = head->follows};
    if (head->follows) /* TCP_NODELAY now, since asking for it later would send the head alone */
        stream_writes(&own->connection->stream);
    ssize_t taken = piece_send(own, &piece);
    return taken < 0 || !own->bodyless ? taken : (ssize_t)length;
}

static ssize_t codec_write(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    struct h1_exchange *own = h1_of(exchange);
    if (own->bodyless)
        return (ssize_t)length;
    struct h1_piece piece = {.body = bytes, .body_length = length, .last = last};
    return piece_send(own, &piece);
}

static void codec_end(struct exchange *exchange, const struct field *trailers, uint32_t count)
{
    struct h1_exchange *own = h1_of(exchange);
    if (!own->output.chunked)
        return;
    struct text text = {.bytes = exchange->worker->output};
    PUT(&text, "0\r\n");
    for (uint32_t i = 0; i < count && exchange->request.te_trailers; i++)
        put_field(&text, &trailers[i]);
    PUT(&text, "\r\n");
    own->output.chunked = false; /* it was framed by hand */
    struct h1_piece piece = {.head = text.bytes, .head_length = text.length};
    piece_send(own, &piece);
}

static void codec_cut(struct exchange *exchange)
{
    h1_of(exchange)->cut = true;
}

static void codec_request_more(struct exchange *exchange)
{
    struct h1_exchange *own = h1_of(exchange);
    own->body_wanted = true;
    own->body_told &= !exchange->body_anew;
    exchange->body_anew = false;
    own->rate_ms = loop_now(exchange->worker->loop);
    own->rate_bytes = 0;
    h1_resume(own->connection);
}

static bool codec_splices(struct exchange *exchange)
{
    struct h1_exchange *own = h1_of(exchange);
    struct h1_connection *connection = own->connection;
    return stream_plain(&connection->stream) && !own->output.chunked && !own->output.pending &&
           !own->bodyless && !connection->broken && !connection->dead;
}

/* What became of bytes that the kernel moved past the stream; `moved` -1: errno says why not. */
static ssize_t moved_past(struct h1_exchange *own, ssize_t moved, size_t length)
{
    struct h1_connection *connection = own->connection;
    if (moved >= 0)
        return sent(own, moved, (size_t)moved);
    if (errno != EAGAIN)
        return client_gone(connection, -errno);
    if (stream_write_blocks(&connection->stream) < 0)
        return client_gone(connection, -ENOMEM);
    sent(own, 0, length);
    return -EAGAIN;
}

static ssize_t codec_splice(struct exchange *exchange, int pipe_fd, size_t length)
{
    struct h1_exchange *own = h1_of(exchange);
    struct h1_connection *connection = own->connection;
    if (connection->broken || connection->dead)
        return -EPIPE;
    stream_writes(&connection->stream);
    ssize_t moved = splice(pipe_fd, NULL, connection->stream.fd, NULL, length,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    return moved_past(own, moved, length);
}

static ssize_t codec_send_file(struct exchange *exchange, int fd, uint64_t offset, size_t length)
{
    struct h1_exchange *own = h1_of(exchange);
    struct h1_connection *connection = own->connection;
    if (connection->broken || connection->dead)
        return -EPIPE;
    off_t from = (off_t)offset;
    stream_writes(&connection->stream);
    return moved_past(own, sendfile(connection->stream.fd, fd, &from, length), length);
}

static struct stream *codec_upgrade(struct exchange *exchange, struct slice *ret_ahead)
{
    struct h1_exchange *own = h1_of(exchange);
    struct h1_connection *connection = own->connection;
    if (connection->dead || connection->broken || own->output.pending)
        return NULL;
    connection->state = H1_TUNNEL;
    connection->deadline_ms = UINT64_MAX;
    own->closes = true;
    own->keeps = false;
    *ret_ahead = (struct slice){connection->held, connection->held_length};
    return &connection->stream;
}

static void codec_watch(struct exchange *exchange)
{
    struct h1_connection *connection = h1_of(exchange)->connection;
    if (!connection->dead)
        stream_watch(&connection->stream);
}

static void codec_released(struct exchange *exchange)
{
    h1_exchange_end(h1_of(exchange));
}

const struct codec h1_codec = {
    .name = "HTTP/1.1",
    .interim = codec_interim,
    .respond = codec_respond,
    .write = codec_write,
    .end = codec_end,
    .cut = codec_cut,
    .request_more = codec_request_more,
    .splices = codec_splices,
    .splice = codec_splice,
    .send_file = codec_send_file,
    .upgrade = codec_upgrade,
    .watch = codec_watch,
    .released = codec_released,
};

/* ---- going on ------------------------------------------------------------------------------- */

void h1_answer_room(struct h1_exchange *own)
{
    struct h1_connection *connection = own->connection;
    int flushed = h1_output_flush(&own->output, &connection->stream);
    if (flushed == -EAGAIN) {
        h1_deadline_send(own);
        return;
    }
    if (flushed < 0) {
        h1_close(connection, true, "the client went away");
        return;
    }
    connection->deadline_ms = UINT64_MAX;
    if (own->room_wanted) {
        own->room_wanted = false;
        exchange_writable(&own->exchange);
    }
    if (connection->exchange == own)
        h1_exchange_end(own);
}

static void connection_next(struct h1_connection *connection)
{
    connection->state = H1_IDLE;
    connection->scanned = 0;
    h1_deadline(connection, h1_site(connection)->idle_ms);
    if (connection->busy || connection->dead)
        return;
    connection->starved = !connection->held_length;
    if (connection->held_length || !connection->stream.read_blocked)
        h1_resume(connection);
    else if (stream_watch(&connection->stream) < 0)
        h1_close(connection, false, "no memory to watch it");
}

/* Nobody reads a next request any more. */
static void connection_last(struct h1_connection *connection, bool whole)
{
    connection->state = H1_LINGER;
    connection->whole = whole;
    if (!connection->busy) /* else its intake sees to it */
        h1_resume(connection);
}

void h1_exchange_end(struct h1_exchange *own)
{
    struct h1_connection *connection = own->connection;
    struct exchange *exchange = &own->exchange;
    bool over = !exchange->handler && exchange->response_ended && !own->output.pending;
    if (!over && !own->cut && !connection->dead)
        return;
    bool kept = own->keeps && !own->cut;
    bool cut = own->cut, unframed = own->unframed, whole = exchange->request_ended;
    uint32_t skip = whole ? 0 : (uint32_t)own->body_left;
    codec_exchange_end(exchange, true,
                       "cut"); /* a handler is still there if the codec itself cut it */
    connection->exchange = NULL;
    h1_exchange_free(own);
    if (connection->dead)
        return;
    if (cut || connection->state == H1_TUNNEL)
        h1_close(connection, cut && unframed, "cut");
    else if (kept) {
        connection->skip = skip;
        connection_next(connection);
    } else {
        connection_last(connection, whole);
    }
}
