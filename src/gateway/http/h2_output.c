#include <errno.h>
#include <stdlib.h>

#include "gateway/http/h2_connection.h"

static struct h2_worker *h2_of_connection(const struct h2_connection *connection)
{
    return connection->base.worker->http->h2;
}

/* ---- filling --------------------------------------------------------------------------------- */

/* A block is used from its start again when it was emptied. */
static void block_took(struct h2_stream *own, size_t length)
{
    own->block_from += (uint32_t)length;
    own->connection->queued_bytes -= (uint32_t)length;
    own->taken_ms = loop_now(own->exchange.worker->loop);
    if (own->block_from < own->block_to)
        return;
    own->block_from = own->block_to = 0;
    if (own->body_over) {
        h2_block_give(h2_of_connection(own->connection), own->block);
        own->block = NULL;
    } else if (own->room_wanted) {
        h2_stream_going(own);
    }
}

int h2_output_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                   size_t length, nghttp2_data_source *source, void *owner)
{
    (void)session, (void)frame;
    struct h2_connection *connection = owner;
    struct h2_worker *h2 = h2_of_connection(connection);
    struct h2_stream *own = source->ptr;
    if (h2->output_length + 9 + length > H2_OUTPUT_BYTES) {
        connection->full = true;
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    char *at = h2->output + h2->output_length;
    memcpy(at, head, 9);
    if (length)
        memcpy(at + 9, own->block + own->block_from, length);
    h2->output_length += 9 + length;
    block_took(own, length);
    return 0;
}

/* All frames that there are, and that find room. -errno: the session is broken. */
static int fill(struct h2_connection *connection)
{
    struct h2_worker *h2 = h2_of_connection(connection);
    connection->full = false;
    while (!connection->full && H2_OUTPUT_BYTES - h2->output_length >= H2_OUTPUT_MARGIN) {
        const uint8_t *bytes;
        ssize_t length = nghttp2_session_mem_send(connection->session, &bytes);
        if (length < 0)
            return -EPROTO;
        if (length == 0)
            return 0;
        memcpy(h2->output + h2->output_length, bytes, (size_t)length);
        h2->output_length += (size_t)length;
    }
    connection->full = true;
    return 0;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* 0: all of it; -EAGAIN, *ret_sent tells how much; -errno. */
static int write_all(struct h2_connection *connection, const char *bytes, size_t length,
                     size_t *ret_sent)
{
    size_t sent = 0;
    ssize_t count = 0;
    while (sent < length && count >= 0) {
        count = stream_write(&connection->stream, bytes + sent, length - sent, false);
        sent += count > 0 ? (size_t)count : 0;
    }
    if (sent)
        connection->sent_ms = loop_now(connection->base.worker->loop);
    *ret_sent = sent;
    return count < 0 ? (int)count : 0;
}

static int pending_flush(struct h2_connection *connection)
{
    if (!connection->pending)
        return 0;
    size_t sent;
    int error = write_all(connection, connection->pending + connection->pending_sent,
                          connection->pending_length - connection->pending_sent, &sent);
    connection->pending_sent += (uint32_t)sent;
    if (error)
        return error;
    free(connection->pending);
    connection->pending = NULL;
    return 0;
}

static int pending_keep(struct h2_connection *connection, const char *bytes, size_t length)
{
    connection->pending = malloc(length);
    if (!connection->pending)
        return -ENOMEM;
    memcpy(connection->pending, bytes, length);
    connection->pending_length = (uint32_t)length;
    connection->pending_sent = 0;
    connection->sent_ms = loop_now(connection->base.worker->loop);
    h2_attend(connection);
    return -EAGAIN;
}

/* Those that a turn of frames has emptied bring what they have next. */
static void streams_go_on(struct h2_connection *connection)
{
    struct h2_stream *last = TAILQ_LAST(&connection->going, going_streams);
    struct h2_stream *own;
    while (last && (own = TAILQ_FIRST(&connection->going))) {
        TAILQ_REMOVE(&connection->going, own, going_next);
        own->is_going = false;
        bool over = own == last;
        h2_body_go_on(own);
        h2_stream_room(own);
        if (over)
            return;
    }
}

int h2_output_flush(struct h2_connection *connection)
{
    struct h2_worker *h2 = h2_of_connection(connection);
    int error = pending_flush(connection);
    streams_go_on(connection);
    size_t total = 0;
    while (!error) {
        h2->output_length = 0;
        error = fill(connection);
        if (error || !h2->output_length)
            return error;
        size_t length = h2->output_length, sent;
        error = write_all(connection, h2->output, length, &sent);
        if (error == -EAGAIN)
            return pending_keep(connection, h2->output + sent, length - sent);
        total += length;
        if (!error && total >= H2_TURN_BYTES) {
            h2_resume(connection);
            return -EAGAIN;
        }
        if (!error)
            streams_go_on(connection);
    }
    return error;
}
