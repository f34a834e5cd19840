#include <stdlib.h>

#include "gateway/http/h2_connection.h"

static struct h2_rest *find(const struct h2_connection *connection, int32_t id)
{
    struct h2_rest *rest;
    LIST_FOREACH (rest, &connection->rests, next) {
        if (rest->id == id)
            return rest;
    }
    return NULL;
}

/* What is already known to be more than is read is not begun with. */
static bool small(const struct h2_stream *own)
{
    return own->exchange.request.body != BODY_LENGTH || own->body_left <= H2_REST_BYTES_MAX;
}

bool h2_rest_begin(const struct h2_stream *own)
{
    struct h2_connection *connection = own->connection;
    if (own->tunnel || !small(own))
        return false;
    struct h2_rest *rest = malloc(sizeof *rest);
    if (!rest)
        return false;
    *rest = (struct h2_rest){
        .id = own->id,
        .left = H2_REST_BYTES_MAX,
        .until_ms = loop_now(connection->wire.worker->loop) + H2_REST_MS,
    };
    LIST_INSERT_HEAD(&connection->rests, rest, next);
    /* Nobody takes what is held, but the client may need its window to come to an end. */
    if (own->held.length)
        nghttp2_session_consume_stream(connection->wire.session, own->id, own->held.length);
    h2_attend(connection);
    return true;
}

static void drop(struct h2_rest *rest)
{
    LIST_REMOVE(rest, next);
    free(rest);
}

/* RFC 9113 §8.1: the answer is whole, whatever becomes of the request. */
static void reset(struct h2_connection *connection, struct h2_rest *rest)
{
    nghttp2_submit_rst_stream(connection->wire.session, NGHTTP2_FLAG_NONE, rest->id,
                              NGHTTP2_NO_ERROR);
    drop(rest);
    h2_resume(&connection->wire);
}

void h2_rest_bytes(struct h2_connection *connection, int32_t id, size_t length)
{
    struct h2_rest *rest = find(connection, id);
    nghttp2_session_consume(connection->wire.session, id, length);
    if (!rest)
        return;
    if (length > rest->left)
        reset(connection, rest);
    else
        rest->left -= (uint32_t)length;
}

/* Who has heard the answer's end before it sent its own may sleep until the next byte comes (curl
 * 7.88 does), so one frame follows, which is none of the stream: that is closed. */
void h2_rest_over(struct h2_connection *connection, int32_t id)
{
    enum { WAKE_BYTES = 1 };
    struct h2_rest *rest = find(connection, id);
    if (!rest)
        return;
    drop(rest);
    nghttp2_submit_window_update(connection->wire.session, NGHTTP2_FLAG_NONE, 0, WAKE_BYTES);
    h2_resume(&connection->wire);
}

void h2_rests_due(struct h2_connection *connection, uint64_t now_ms)
{
    struct h2_rest *rest = LIST_FIRST(&connection->rests), *next;
    for (; rest; rest = next) {
        next = LIST_NEXT(rest, next);
        if (now_ms >= rest->until_ms)
            reset(connection, rest);
    }
}

void h2_rests_done(struct h2_connection *connection)
{
    while (!LIST_EMPTY(&connection->rests))
        drop(LIST_FIRST(&connection->rests));
}
