#include "gateway/http/h2_connection.h"

static bool all_there(const struct h2_stream *own)
{
    return own->exchange.request.body == BODY_LENGTH ? own->body_left == 0 : own->remote_ended;
}

/* What the handler took of a run; all of it when it wants no more. `last`: the run ends the body.
 */
static size_t give(struct h2_stream *own, const char *bytes, size_t length, bool last)
{
    struct exchange *exchange = &own->exchange;
    own->body_told = true;
    own->body_wanted = false; /* until it has taken all, or asks for more */
    exchange->request_ended = last;
    size_t taken = exchange_request_body(exchange, bytes, length, last);
    exchange->bytes_in += taken;
    if (taken == length)
        own->body_wanted = true;
    else
        exchange->request_ended = false;
    own->body_ms = loop_now(exchange->worker->loop);
    uint64_t bytes_max = exchange_body_max(exchange);
    if (bytes_max && exchange->bytes_in > bytes_max && !own->tunnel)
        h2_stream_fail(own, 413, "the body is larger than the route takes");
    return taken;
}

/* ---- windows -------------------------------------------------------------------------------- */

static void stream_open(struct h2_stream *own, size_t taken)
{
    if (taken)
        nghttp2_session_consume_stream(own->connection->wire.session, own->id, taken);
}

static void connection_open(struct h2_connection *connection, size_t bytes)
{
    if (bytes)
        nghttp2_session_consume_connection(connection->wire.session, bytes);
}

/* ---- held ----------------------------------------------------------------------------------- */

static void hold(struct h2_stream *own, const char *bytes, size_t length)
{
    struct h2_connection *connection = own->connection;
    if (h2_held_put(&own->held, bytes, length) < 0) {
        h2_stream_fail(own, 503, "no memory for what the client sent");
        stream_open(own, length);
        connection_open(connection, length);
        return;
    }
    connection->held += (uint32_t)length;
    if (connection->held <= H2_HELD_BYTES_MAX)
        connection_open(connection, length);
    else
        own->debt += (uint32_t)length;
}

static void held_took(struct h2_stream *own, size_t taken)
{
    struct h2_connection *connection = own->connection;
    size_t paid = taken < own->debt ? taken : own->debt;
    own->debt -= (uint32_t)paid;
    connection_open(connection, paid);
    stream_open(own, taken);
    connection->held -= (uint32_t)taken;
    h2_held_took(&own->held, taken);
}

/* ---- as it comes ---------------------------------------------------------------------------- */

void h2_body_bytes(struct h2_stream *own, const char *bytes, size_t length)
{
    own->rate_bytes += length;
    own->body_ms = loop_now(own->exchange.worker->loop);
    if (own->exchange.request.body == BODY_LENGTH)
        own->body_left -= length < own->body_left ? length : own->body_left;
    size_t taken = 0;
    if (!own->held.length && own->body_wanted)
        taken = give(own, bytes, length, all_there(own));
    stream_open(own, taken);
    connection_open(own->connection, taken);
    if (taken < length)
        hold(own, bytes + taken, length - taken);
}

void h2_body_ended(struct h2_stream *own)
{
    own->remote_ended = true;
    if (!own->exchange.request_ended && !own->held.length && own->body_wanted)
        give(own, "", 0, true);
}

void h2_body_go_on(struct h2_stream *own)
{
    if (own->exchange.request_ended || !own->body_wanted)
        return;
    if (own->held.length) {
        size_t length = own->held.length;
        held_took(own, give(own, own->held.bytes, length, all_there(own)));
        if (own->held.length && own->body_wanted)
            h2_stream_going(own);
    } else if (!own->body_told || own->remote_ended) {
        give(own, "", 0, all_there(own));
    }
}

void h2_body_done(struct h2_stream *own)
{
    struct h2_connection *connection = own->connection;
    connection->held -= own->held.length;
    if (own->debt && !connection->wire.dead)
        connection_open(connection, own->debt);
    h2_held_done(&own->held);
}
