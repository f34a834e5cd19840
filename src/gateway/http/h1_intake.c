#include <errno.h>
#include <stdlib.h>

#include "gateway/http/bump.h"
#include "gateway/http/h1_connection.h"
#include "gateway/http/h2_server.h"
#include "tls/session.h"

enum { HEAD_BYTES_MAX = WORKER_INPUT_BYTES / 2 };

/* ---- what is held --------------------------------------------------------------------------- */

static size_t held_load(struct h1_connection *connection)
{
    size_t length = connection->held_length;
    if (length)
        memcpy(connection->base.worker->input, connection->held, length);
    free(connection->held);
    connection->held = NULL;
    connection->held_length = 0;
    return length;
}

static void held_store(struct h1_connection *connection, const char *bytes, size_t length)
{
    if (!length)
        return;
    connection->held = malloc(length);
    if (!connection->held) {
        h1_close(connection, true, "no memory for what the client sent");
        return;
    }
    memcpy(connection->held, bytes, length);
    connection->held_length = (uint32_t)length;
}

/* ---- heads ---------------------------------------------------------------------------------- */

/* What a head that was refused does not have is "", not nothing. */
static void slices_fill(struct head *head)
{
    struct slice *const slices[] = {&head->method_name, &head->scheme, &head->authority,
                                    &head->host,        &head->target, &head->path,
                                    &head->query};
    for (size_t i = 0; i < sizeof slices / sizeof slices[0]; i++)
        if (!slices[i]->bytes)
            *slices[i] = SLICE("");
}

void h1_request_fail(struct h1_connection *connection, uint16_t status, const char *why)
{
    if (!connection->exchange && !h1_exchange_new(connection)) {
        h1_close(connection, true, why);
        return;
    }
    struct h1_exchange *own = connection->exchange;
    slices_fill(&own->exchange.request);
    own->closes = true;
    own->keeps = false;
    exchange_abort(&own->exchange, BLAME_CLIENT, why);
    if (!own->exchange.response_ended)
        exchange_fail(&own->exchange, status, BLAME_CLIENT, why);
    h1_exchange_end(own);
}

static bool fields_keep(struct exchange *exchange)
{
    struct head *head = &exchange->request;
    size_t size = head->field_count * sizeof *head->fields;
    struct field *fields = bump_alloc(exchange->arena, size);
    if (!fields)
        return false;
    memcpy(fields, head->fields, size);
    head->fields = fields;
    head->fields_room = head->field_count;
    return true;
}

/* Parses it where it stays, in the arena. False: it was refused. */
static bool request_parse(struct h1_exchange *own, const char *bytes, size_t length)
{
    struct exchange *exchange = &own->exchange;
    const struct site *site = h1_site(own->connection);
    struct head *head = &exchange->request;
    head->fields = exchange->worker->http->request_fields;
    head->fields_room =
        site->header_count_max < HEAD_FIELDS_MAX ? site->header_count_max : HEAD_FIELDS_MAX;
    const char *text = bump_copy(exchange->arena, bytes, length);
    if (!text) {
        h1_request_fail(own->connection, 503, "the request's memory is used up");
        return false;
    }
    struct h1_refusal refusal;
    bool taken = h1_request_parse(text, length, head, &refusal) == H1_DONE;
    slices_fill(head);
    head->scheme = own->connection->secure ? SLICE("https") : SLICE("http");
    if (!fields_keep(exchange))
        h1_request_fail(own->connection, 503, "the request's memory is used up");
    else if (!taken)
        h1_request_fail(own->connection, refusal.status, refusal.why);
    else
        return true;
    return false;
}

static void body_begin(struct h1_exchange *own)
{
    const struct head *head = &own->exchange.request;
    h1_chunks_init(&own->chunks);
    /* Those that nobody announced are read over (RFC 9110 §6.5.1). */
    if (head->body == BODY_CHUNKED && head->first[FIELD_TRAILER])
        own->chunks.trailer = bump_alloc(own->exchange.arena, CHUNK_TRAILER_BYTES_MAX);
    own->body_left = head->body == BODY_LENGTH ? head->body_length : 0;
    own->exchange.request_ended = head->body == BODY_NONE;
    own->rate_ms = loop_now(own->exchange.worker->loop);
}

static void request_begin(struct h1_connection *connection, const char *bytes, size_t length)
{
    /* Its listener: what was sent to it is still served, and that is all. */
    bool gone = !client_renew(&connection->base);
    connection->scanned = 0;
    struct h1_exchange *own = h1_exchange_new(connection);
    if (!own) {
        h1_close(connection, true, "no memory for a request");
        return;
    }
    own->closes = gone;
    if (!request_parse(own, bytes, length))
        return;
    body_begin(own);
    exchange_dispatch(&own->exchange);
}

static void idle_begin(struct h1_connection *connection)
{
    connection->starved = true;
    connection->scanned = 0;
    if (connection->state == H1_IDLE)
        return;
    connection->state = H1_IDLE;
    h1_deadline(connection, h1_site(connection)->idle_ms);
}

static uint32_t head_max(const struct h1_connection *connection)
{
    uint32_t max = h1_site(connection)->header_bytes_max;
    return max < HEAD_BYTES_MAX ? max : HEAD_BYTES_MAX;
}

/* Is it the request line that is so long? */
static void head_too_large(struct h1_connection *connection, const char *bytes, size_t length)
{
    uint32_t max = head_max(connection);
    bool line = memchr(bytes, '\n', length < max ? length : max) != NULL;
    h1_request_fail(connection, line ? 431 : 414, "the head is larger than its bound");
}

static void head_more(struct h1_connection *connection, const char *bytes, size_t length)
{
    if (length >= head_max(connection)) {
        head_too_large(connection, bytes, length);
        return;
    }
    connection->starved = true;
    if (connection->state == H1_HEAD)
        return;
    connection->state = H1_HEAD;
    h1_deadline(connection, h1_site(connection)->header_ms);
}

/* False: it needs more bytes, or is closed. */
static bool head_intake(struct h1_connection *connection, const char *bytes, size_t length,
                        size_t *used)
{
    if (!connection->scanned) {
        size_t blank = h1_blank(bytes, length);
        *used += blank;
        bytes += blank;
        length -= blank;
    }
    if (!length) {
        idle_begin(connection);
        return false;
    }
    size_t scanned = connection->scanned, head_length = 0;
    enum h1_result result = h1_head_end(bytes, length, &scanned, &head_length);
    connection->scanned = (uint32_t)scanned;
    if (result == H1_MORE) {
        head_more(connection, bytes, length);
        return false;
    }
    if (result == H1_BAD) {
        h1_request_fail(connection, 400, "a line that does not end in CRLF, or a NUL");
        return false;
    }
    if (head_length > head_max(connection)) {
        head_too_large(connection, bytes, head_length);
        return false;
    }
    *used += head_length;
    request_begin(connection, bytes, head_length);
    return true;
}

/* ---- bodies --------------------------------------------------------------------------------- */

/* Gives it to the handler. What was taken; `length` also when the exchange is over by it. */
static size_t body_give(struct h1_connection *connection, const char *bytes, size_t length,
                        bool last)
{
    struct h1_exchange *own = connection->exchange;
    own->body_told = true;
    own->body_wanted = false; /* until it has taken all, or asks for more */
    own->exchange.request_ended = last;
    size_t taken = exchange_request_body(&own->exchange, bytes, length, last);
    if (connection->exchange != own)
        return length;
    own->exchange.bytes_in += taken;
    own->rate_bytes += taken;
    if (taken == length)
        own->body_wanted = true;
    else
        own->exchange.request_ended = false;
    uint64_t bytes_max = exchange_body_max(&own->exchange);
    if (bytes_max && own->exchange.bytes_in > bytes_max)
        h1_request_fail(connection, 413, "the body is larger than the route takes");
    return taken;
}

static size_t length_intake(struct h1_connection *connection, const char *bytes, size_t length)
{
    struct h1_exchange *own = connection->exchange;
    size_t run = length < own->body_left ? length : (size_t)own->body_left;
    own->body_left -= run;
    size_t taken = body_give(connection, bytes, run, own->body_left == 0);
    if (connection->exchange == own)
        own->body_left += run - taken;
    return taken;
}

static void trailers_keep(struct h1_exchange *own)
{
    struct exchange *exchange = &own->exchange;
    struct field *fields = bump_alloc(exchange->arena, TRAILERS_MAX * sizeof *fields);
    if (!fields)
        return;
    exchange->request_trailer_count = h1_trailers_parse(&own->chunks, fields, TRAILERS_MAX);
    exchange->request_trailers = fields;
}

/* Decodes all there is; what is not taken is put in front of what was not looked at. */
static size_t chunks_intake(struct h1_connection *connection, char *bytes, size_t length)
{
    struct h1_exchange *own = connection->exchange;
    char *data = bytes;
    size_t used = connection->scanned, run = connection->scanned;
    if (!run) {
        enum h1_result result = h1_chunks_decode(&own->chunks, bytes, length, &used, &data, &run);
        if (result == H1_BAD) {
            h1_request_fail(connection, 400, "a broken chunk");
            return used;
        }
        own->chunks_over = result == H1_DONE;
        if (own->chunks_over && own->chunks.trailer)
            trailers_keep(own);
    }
    connection->scanned = 0;
    if (!run && !own->chunks_over && own->body_told)
        return used;
    size_t taken = body_give(connection, data, run, own->chunks_over);
    if (taken == run || connection->exchange != own)
        return used;
    size_t left = run - taken;
    memmove(bytes + used - left, data + taken, left);
    connection->scanned = (uint32_t)left;
    return used - left;
}

/* Until more of it must have come, or its rate is to be looked at. */
static uint64_t body_delay_ms(const struct h1_connection *connection)
{
    const struct site *site = h1_site(connection);
    uint64_t now_ms = loop_now(connection->base.worker->loop);
    uint64_t window_ms = connection->exchange->rate_ms + RATE_WINDOW_MS;
    if (!site->rate_bytes_min || now_ms + site->body_ms < window_ms)
        return site->body_ms;
    return window_ms > now_ms ? window_ms - now_ms : 1;
}

/* False: it waits, for bytes or for the handler. */
static bool body_intake(struct h1_connection *connection, char *bytes, size_t length, size_t *used)
{
    struct h1_exchange *own = connection->exchange;
    if (!own->body_wanted)
        return false;
    if (!length && own->body_told && !own->chunks_over) {
        connection->starved = true;
        h1_deadline(connection, body_delay_ms(connection));
        return false;
    }
    *used += own->exchange.request.body == BODY_CHUNKED ? chunks_intake(connection, bytes, length)
                                                        : length_intake(connection, bytes, length);
    return true;
}

/* ---- reading -------------------------------------------------------------------------------- */

static void linger_intake(struct h1_connection *connection)
{
    for (;;) {
        ssize_t count =
            stream_read(&connection->stream, connection->base.worker->input, WORKER_INPUT_BYTES);
        if (count == -EAGAIN)
            return;
        connection->skip += count > 0 ? (uint32_t)count : 0;
        if (count <= 0 || connection->skip > LINGER_BYTES_MAX) {
            h1_close(connection, false, "done");
            return;
        }
    }
}

static void process(struct h1_connection *connection, char *bytes, size_t length, size_t *used)
{
    for (;;) {
        if (connection->dead || connection->state == H1_LINGER || connection->state == H1_TUNNEL)
            return;
        char *at = bytes + *used;
        size_t left = length - *used;
        if (connection->exchange) {
            if (connection->exchange->exchange.request_ended ||
                !body_intake(connection, at, left, used))
                return;
            continue;
        }
        if (connection->skip) {
            size_t run = left < connection->skip ? left : connection->skip;
            connection->skip -= (uint32_t)run;
            *used += run;
            at += run;
            left -= run;
        }
        if (connection->skip || !head_intake(connection, at, left, used)) {
            connection->starved |= connection->skip != 0;
            return;
        }
    }
}

static void read_failed(struct h1_connection *connection, ssize_t error)
{
    if (error == -EAGAIN)
        return;
    if (error < 0)
        h1_close(connection, true, "the client broke the connection");
    else if (connection->state == H1_EXCHANGE)
        h1_request_fail(connection, 400, "the client ended in the middle of the body");
    else
        h1_close(connection, false, "the client ended");
}

static enum h2_begins h2_begins(const struct h1_connection *connection, const char *bytes,
                                size_t length)
{
    if (!connection->secure)
        return h1_site(connection)->http2 ? h2_preface_begins(bytes, length) : H2_NOT;
    size_t name_length;
    const char *name = tls_session_alpn(connection->stream.tls, &name_length);
    return name_length == 2 && !memcmp(name, "h2", 2) ? H2_BEGINS : H2_NOT;
}

/* The first bytes tell which HTTP it is (with TLS: what was agreed on before them). False: it is
 * not this one, or more of them are needed. */
static bool is_h1(struct h1_connection *connection, const char *bytes, size_t length)
{
    switch (h2_begins(connection, bytes, length)) {
    case H2_NOT:
        connection->fresh = false;
        return true;
    case H2_MAYBE:
        held_store(connection, bytes, length);
        if (!connection->dead)
            head_more(connection, bytes, length);
        return false;
    case H2_BEGINS:
        break;
    }
    h1_hand_over(connection, bytes, length);
    return false;
}

/* A handler took the place of another, and has to be told that there is a body, if nothing of it.
 */
static bool body_untold(const struct h1_connection *connection)
{
    const struct h1_exchange *own = connection->exchange;
    return own && own->body_wanted && !own->body_told && !own->exchange.request_ended;
}

void h1_intake(struct h1_connection *connection)
{
    char *input = connection->base.worker->input;
    while (!connection->dead && connection->state != H1_TUNNEL) {
        if (connection->state == H1_LINGER) {
            if (!connection->stream.shut)
                h1_last(connection, connection->held_length > 0);
            if (!connection->dead)
                linger_intake(connection);
            return;
        }
        if (!connection->starved && !connection->held_length && connection->exchange &&
            (connection->exchange->exchange.request_ended || !connection->exchange->body_wanted))
            return; /* the usual case while a handler is at work */
        size_t length = held_load(connection);
        if ((connection->starved || !length) && !body_untold(connection)) {
            ssize_t count =
                stream_read(&connection->stream, input + length, WORKER_INPUT_BYTES - length);
            if (count <= 0) {
                held_store(connection, input, length);
                read_failed(connection, count);
                return;
            }
            length += (size_t)count;
            connection->starved = false;
        }
        if (connection->fresh && !is_h1(connection, input, length))
            continue;
        size_t used = 0;
        process(connection, input, length, &used);
        if (!connection->dead && connection->state == H1_LINGER)
            h1_last(connection, used < length);
        if (connection->dead || connection->state == H1_LINGER)
            continue;
        held_store(connection, input + used, length - used);
        if (!connection->starved)
            return;
    }
}
