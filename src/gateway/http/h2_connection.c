#include "gateway/http/h2_connection.h"

#include <errno.h>
#include <stdlib.h>

#include "gateway/http/h2_server.h"

static const char preface[] = NGHTTP2_CLIENT_MAGIC;
enum { PREFACE_BYTES = sizeof preface - 1, TICK_MS_MAX = 1000, TICK_MS_MIN = 20 };

enum h2_begins h2_preface_begins(const char *bytes, size_t length)
{
    size_t looked = length < PREFACE_BYTES ? length : PREFACE_BYTES;
    if (memcmp(bytes, preface, looked) != 0)
        return H2_NOT;
    return looked < PREFACE_BYTES ? H2_MAYBE : H2_BEGINS;
}

/* ---- deadlines ------------------------------------------------------------------------------ */

/* Streams and heads have deadlines of their own, so while there are any the timer looks at all of
 * them several times in the shortest of those; else it is due when the connection was idle long
 * enough. */
static uint64_t tick_ms(const struct h2_connection *connection)
{
    const struct site *site = h2_site(connection);
    uint32_t least_ms = site->header_ms < site->body_ms ? site->header_ms : site->body_ms;
    if (site->send_ms < least_ms)
        least_ms = site->send_ms;
    uint64_t tick = least_ms / 4;
    return tick > TICK_MS_MAX ? TICK_MS_MAX : tick < TICK_MS_MIN ? TICK_MS_MIN : tick;
}

static void connection_due(struct timer *timer);

static void timer_set(struct h2_connection *connection, uint64_t delay_ms)
{
    struct loop *loop = connection->base.worker->loop;
    if (timer_active(&connection->timer) && connection->timer.due_ms <= loop_now(loop) + delay_ms)
        return;
    if (timer_start(loop, &connection->timer, delay_ms, connection_due, connection) < 0)
        connection->wire.broken = true;
}

void h2_attend(struct h2_connection *connection)
{
    timer_set(connection, tick_ms(connection));
}

static bool slow(struct h2_stream *own, uint64_t now_ms)
{
    uint32_t rate = h2_site(own->connection)->rate_bytes_min;
    uint64_t lasted_ms = now_ms - own->rate_ms;
    enum { RATE_WINDOW_MS = 5000 };
    if (!rate || lasted_ms < RATE_WINDOW_MS)
        return false;
    bool is_slow = own->rate_bytes * 1000 < rate * lasted_ms;
    own->rate_ms = now_ms;
    own->rate_bytes = 0;
    return is_slow;
}

/* When the client last took something: of a stream or the socket's room, says the caller; but what
 * it has been sent may be on its way still. */
static uint64_t taken_ms(const struct h2_connection *connection, uint64_t room_ms)
{
    return room_ms > connection->taking.last_ms ? room_ms : connection->taking.last_ms;
}

static void stream_due(struct h2_stream *own, uint64_t now_ms)
{
    const struct site *site = h2_site(own->connection);
    bool sending = own->block.to > own->block.from;
    if (sending && now_ms - taken_ms(own->connection, own->taken_ms) >= site->send_ms) {
        h2_stream_reset(own, NGHTTP2_CANCEL);
        return;
    }
    bool waits = !own->tunnel && !own->remote_ended && own->body_wanted && !own->held.length &&
                 own->head_done && own->exchange.handler && !own->room_wanted;
    if (!waits)
        return;
    if (now_ms - own->body_ms >= site->body_ms)
        h2_stream_fail(own, 408, "body timeout");
    else if (slow(own, now_ms))
        h2_stream_fail(own, 408, "the body comes too slowly");
}

/* Why the connection as a whole is over; NULL: it is not. */
static const char *connection_late(const struct h2_connection *connection, uint64_t now_ms)
{
    const struct site *site = h2_site(connection);
    if (connection->wire.pending &&
        now_ms - taken_ms(connection, connection->wire.sent_ms) >= site->send_ms)
        return "send timeout: the client takes nothing";
    if (connection->head_ms && now_ms - connection->head_ms >= site->header_ms)
        return "header timeout";
    if (connection->lingering && now_ms - connection->quiet_ms >= H2_LINGER_MS)
        return "done";
    return NULL;
}

static void idle_due(struct h2_connection *connection, uint64_t now_ms)
{
    uint64_t idle_ms = h2_site(connection)->idle_ms, quiet_ms = now_ms - connection->quiet_ms;
    if (quiet_ms >= idle_ms)
        h2_goaway_last(connection);
    else
        timer_set(connection, idle_ms - quiet_ms);
}

static void connection_due(struct timer *timer)
{
    struct h2_connection *connection = timer->owner;
    uint64_t now_ms = loop_now(connection->base.worker->loop);
    h2_enter(&connection->wire);
    if (connection->stream_count || connection->wire.pending)
        taking_look(&connection->taking, connection->wire.stream.fd, now_ms);
    const char *late = connection_late(connection, now_ms);
    if (late) {
        h2_close(connection, !connection->lingering, late);
    } else {
        struct h2_stream *own;
        LIST_FOREACH (own, &connection->streams, next) {
            stream_due(own, now_ms);
        }
        h2_rests_due(connection, now_ms);
        if (connection->goaway_ms && now_ms - connection->goaway_ms >= H2_GOAWAY_MS)
            h2_goaway_last(connection);
        if (connection->stream_count || connection->head_ms || connection->wire.pending ||
            connection->goaway_ms || connection->lingering || !LIST_EMPTY(&connection->rests))
            h2_attend(connection);
        else
            idle_due(connection, now_ms);
        h2_resume(&connection->wire);
    }
    h2_leave(&connection->wire);
}

/* ---- reading -------------------------------------------------------------------------------- */

static void linger(struct h2_connection *connection)
{
    for (;;) {
        ssize_t count = stream_read(&connection->wire.stream, connection->base.worker->input,
                                    WORKER_INPUT_BYTES);
        if (count == -EAGAIN)
            return;
        connection->lingered += count > 0 ? (uint32_t)count : 0;
        if (count <= 0 || connection->lingered > H2_LINGER_BYTES_MAX) {
            h2_close(connection, false, "done");
            return;
        }
    }
}

static void session_failed(struct h2_connection *connection, ssize_t error)
{
    uint32_t code = error == NGHTTP2_ERR_FLOODED || error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS
                        ? NGHTTP2_ENHANCE_YOUR_CALM
                    : error == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR
                                                            : NGHTTP2_INTERNAL_ERROR;
    connection->failed = connection->leaving = true;
    if (nghttp2_session_terminate_session(connection->wire.session, code) != 0)
        connection->wire.broken = true;
}

static void take(struct h2_connection *connection, const char *bytes, size_t length)
{
    if (!connection->stream_count)
        connection->quiet_ms = loop_now(connection->base.worker->loop);
    ssize_t taken =
        nghttp2_session_mem_recv(connection->wire.session, (const uint8_t *)bytes, length);
    h2_resume(&connection->wire);
    if (taken < 0)
        session_failed(connection, taken);
}

static bool may_read(const struct h2_connection *connection)
{
    return !connection->wire.dead && !connection->wire.broken && !connection->failed &&
           !h2_crowded(&connection->wire);
}

static void intake(struct h2_connection *connection)
{
    if (connection->lingering) {
        linger(connection);
        return;
    }
    char *input = connection->base.worker->input;
    for (int i = 0; may_read(connection); i++) {
        if (i == H2_READS_A_TURN) {
            if (stream_again(&connection->wire.stream) < 0)
                connection->wire.broken = true;
            break;
        }
        ssize_t count = stream_read(&connection->wire.stream, input, WORKER_INPUT_BYTES);
        if (count == -EAGAIN)
            return;
        if (count > 0)
            take(connection, input, (size_t)count);
        else
            connection->wire.broken = true;
    }
    h2_resume(&connection->wire);
}

static void connection_ready(struct stream *stream, unsigned events)
{
    struct h2_connection *connection =
        (struct h2_connection *)((char *)stream - offsetof(struct h2_connection, wire.stream));
    (void)events;
    h2_enter(&connection->wire);
    if (connection->wire.pending && !stream->write_blocked)
        h2_resume(&connection->wire);
    intake(connection);
    h2_leave(&connection->wire);
}

/* ---- going on ------------------------------------------------------------------------------- */

/* All was said: what still comes is read for a while, since a reset could overtake the GOAWAY. */
static void linger_begin(struct h2_connection *connection)
{
    connection->lingering = true;
    connection->quiet_ms = loop_now(connection->base.worker->loop);
    stream_shutdown(&connection->wire.stream);
    timer_set(connection, H2_LINGER_MS);
    linger(connection);
}

static void connection_go_on(struct h2_wire *wire)
{
    struct h2_connection *connection = (struct h2_connection *)wire;
    if (connection->lingering)
        return;
    if (connection->wire.broken) {
        h2_wire_flush(&connection->wire); /* a GOAWAY, if libnghttp2 had one to send */
        h2_close(connection, true, "the client went away");
        return;
    }
    bool was_crowded = h2_crowded(&connection->wire);
    int error = h2_wire_flush(&connection->wire);
    if (error && error != -EAGAIN) {
        h2_close(connection, true, "the client went away");
        return;
    }
    if (error)
        return;
    bool over = !nghttp2_session_want_read(connection->wire.session) &&
                !nghttp2_session_want_write(connection->wire.session);
    bool quiet = !connection->stream_count && LIST_EMPTY(&connection->rests);
    if (over || (connection->leaving && quiet))
        linger_begin(connection);
    else if (was_crowded)
        intake(connection);
}

/* ---- going away ----------------------------------------------------------------------------- */

void h2_goaway(struct h2_connection *connection)
{
    if (connection->goaway_ms || connection->leaving || connection->lingering)
        return;
    connection->goaway_ms = loop_now(connection->base.worker->loop);
    nghttp2_submit_shutdown_notice(connection->wire.session);
    h2_attend(connection);
    h2_resume(&connection->wire);
}

void h2_goaway_last(struct h2_connection *connection)
{
    if (connection->leaving || connection->lingering)
        return;
    connection->leaving = true;
    nghttp2_submit_goaway(connection->wire.session, NGHTTP2_FLAG_NONE,
                          nghttp2_session_get_last_proc_stream_id(connection->wire.session),
                          NGHTTP2_NO_ERROR, NULL, 0);
    h2_resume(&connection->wire);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void connection_free(struct h2_wire *wire)
{
    h2_wire_done(wire);
    free(wire);
}

/* Those that a turn of frames has emptied bring what they have next. */
static void streams_go_on(struct h2_wire *wire)
{
    struct h2_connection *connection = (struct h2_connection *)wire;
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

static void connection_waits(struct h2_wire *wire)
{
    h2_attend((struct h2_connection *)wire);
}

static const struct h2_wire_kind h2_connection_kind = {
    .go_on = connection_go_on,
    .streams_go_on = streams_go_on,
    .wait = connection_waits,
    .free = connection_free,
};

void h2_close(struct h2_connection *connection, bool reset, const char *why)
{
    if (connection->wire.dead)
        return;
    connection->wire.dead = true;
    timer_stop(connection->base.worker->loop, &connection->timer);
    stream_close(&connection->wire.stream, reset);
    LIST_REMOVE(connection, next);
    while (!LIST_EMPTY(&connection->streams))
        h2_stream_free(LIST_FIRST(&connection->streams), why);
    h2_rests_done(connection);
    client_end(&connection->base);
    h2_free_if_dead(&connection->wire);
}

static int session_begin(struct h2_connection *connection)
{
    struct h2_worker *h2 = connection->base.worker->http->h2;
    const struct site *site = h2_site(connection);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, H2_STREAMS_MAX},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, site->header_bytes_max},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    if (nghttp2_session_server_new2(&connection->wire.session, h2->callbacks, connection,
                                    h2->option))
        return -ENOMEM;
    if (nghttp2_submit_settings(connection->wire.session, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof settings[0]) ||
        nghttp2_session_set_local_window_size(connection->wire.session, NGHTTP2_FLAG_NONE, 0,
                                              H2_CONNECTION_WINDOW_BYTES))
        return -ENOMEM;
    return 0;
}

void h2_take(const struct client_base *client, struct stream *from, const char *bytes,
             size_t length)
{
    struct worker *worker = client->worker;
    struct h2_connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        struct client_base ended = *client;
        stream_close(from, true);
        client_end(&ended);
        return;
    }
    connection->base = *client;
    connection->secure = from->tls != NULL;
    connection->wire.kind = &h2_connection_kind;
    connection->wire.worker = worker;
    connection->quiet_ms = loop_now(worker->loop);
    h2_floods_init(&connection->floods, connection->quiet_ms);
    LIST_INIT(&connection->streams);
    LIST_INIT(&connection->rests);
    TAILQ_INIT(&connection->going);
    stream_move(&connection->wire.stream, from, connection_ready);
    LIST_INSERT_HEAD(&worker->http->h2->connections, connection, next);
    h2_enter(&connection->wire);
    if (session_begin(connection) < 0) {
        h2_close(connection, true, "no memory for a session");
    } else {
        timer_set(connection, h2_site(connection)->idle_ms);
        if (worker->http->draining)
            h2_goaway(connection);
        take(connection, bytes, length);
        intake(connection);
    }
    h2_leave(&connection->wire);
}
