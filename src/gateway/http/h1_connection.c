#include "gateway/http/h1_connection.h"

#include <stdlib.h>
#include <unistd.h>

#include "gateway/http/h1_server.h"
#include "gateway/http/h2_server.h"

/* ---- deadlines ------------------------------------------------------------------------------ */

static void connection_due(struct timer *timer);

void h1_deadline(struct h1_connection *connection, uint64_t delay_ms)
{
    struct loop *loop = connection->base.worker->loop;
    connection->deadline_ms = loop_now(loop) + delay_ms;
    if (timer_active(&connection->timer) && connection->timer.due_ms <= connection->deadline_ms)
        return;
    if (timer_start(loop, &connection->timer, delay_ms, connection_due, connection) < 0)
        h1_close(connection, true, "no memory for a timer");
}

/* Is the body too slow? Looks once a window. */
static bool body_slow(struct h1_connection *connection, uint64_t now_ms)
{
    struct h1_exchange *own = connection->exchange;
    uint32_t rate = h1_site(connection)->rate_bytes_min;
    uint64_t lasted_ms = now_ms - own->rate_ms;
    if (!rate || lasted_ms < RATE_WINDOW_MS)
        return false;
    bool slow = own->rate_bytes * 1000 < rate * lasted_ms;
    own->rate_ms = now_ms;
    own->rate_bytes = 0;
    return slow;
}

static void rate_due(struct h1_connection *connection, uint64_t now_ms)
{
    if (body_slow(connection, now_ms))
        h1_request_fail(connection, 408, "the body comes too slowly");
    else if (h1_site(connection)->body_ms < RATE_WINDOW_MS) /* silence was what was waited for */
        h1_request_fail(connection, 408, "body timeout");
    else
        h1_deadline(connection, RATE_WINDOW_MS);
}

void h1_deadline_send(struct h1_exchange *own)
{
    /* The kernel took something. */
    own->taking.last_ms = loop_now(own->connection->base.worker->loop);
    h1_deadline(own->connection, taking_pause_ms(h1_site(own->connection)->send_ms));
}

/* The kernel has so much room that a slow client makes none for minutes; so it is asked what the
 * client has taken. */
static void send_due(struct h1_connection *connection)
{
    struct h1_exchange *own = connection->exchange;
    uint32_t send_ms = h1_site(connection)->send_ms;
    uint64_t now_ms = loop_now(connection->base.worker->loop);
    if (taking_stopped(&own->taking, connection->stream.fd, now_ms, send_ms))
        h1_close(connection, true, "send timeout: the client takes nothing");
    else
        h1_deadline(connection, taking_pause_ms(send_ms));
}

static void exchange_due(struct h1_connection *connection)
{
    struct h1_exchange *own = connection->exchange;
    if (own->room_wanted || own->output.pending)
        send_due(connection);
    else if (!own->exchange.request_ended && own->body_wanted)
        h1_request_fail(connection, 408, "body timeout");
    else if (stream_watch(&connection->stream) < 0) /* WATCH_CLIENT_MS are over */
        h1_close(connection, true, "no memory to watch it");
}

static void state_due(struct h1_connection *connection)
{
    switch ((enum h1_state)connection->state) {
    case H1_IDLE:
    case H1_LINGER:
        h1_close(connection, false, "idle timeout");
        return;
    case H1_HEAD:
        h1_request_fail(connection, 408, "header timeout");
        return;
    case H1_EXCHANGE:
        exchange_due(connection);
        return;
    case H1_TUNNEL:
        return;
    }
}

static void connection_due(struct timer *timer)
{
    struct h1_connection *connection = timer->owner;
    uint64_t now_ms = loop_now(connection->base.worker->loop);
    if (connection->deadline_ms == UINT64_MAX) /* whoever sets one next starts the timer anew */
        return;
    if (now_ms < connection->deadline_ms) {
        h1_deadline(connection, connection->deadline_ms - now_ms);
        return;
    }
    h1_enter(connection);
    struct h1_exchange *own = connection->exchange;
    if (connection->state == H1_EXCHANGE && own->body_wanted && !own->exchange.request_ended &&
        !own->room_wanted && h1_site(connection)->rate_bytes_min)
        rate_due(connection, now_ms);
    else
        state_due(connection);
    if (!connection->dead && connection->state == H1_LINGER)
        h1_intake(connection);
    h1_leave(connection);
}

/* ---- life ----------------------------------------------------------------------------------- */

/* A client that only ended its side (FIN) may still want the answer. */
static void connection_ready(struct stream *stream, unsigned events)
{
    struct h1_connection *connection = h1_of_stream(stream);
    h1_enter(connection);
    if (connection->exchange && (events & (WATCH_ERROR | WATCH_HANGUP)))
        h1_close(connection, true, "the client went away");
    else if (connection->exchange && !stream->write_blocked &&
             (connection->exchange->output.pending || connection->exchange->room_wanted))
        h1_answer_room(connection->exchange);
    if (!connection->dead)
        h1_intake(connection);
    h1_leave(connection);
}

void h1_accept(struct worker *worker, const struct plan_listener *plan, int fd,
               const struct sockaddr *peer, const struct sockaddr *local)
{
    struct h1_connection *connection = calloc(1, sizeof *connection);
    if (!connection || !client_begin(&connection->base, worker, plan, peer)) {
        free(connection);
        close(fd);
        return;
    }
    if (local)
        memcpy(&connection->base.local, local,
               local->sa_family == AF_INET6 ? sizeof connection->base.local.v6
                                            : sizeof connection->base.local.v4);
    stream_init(&connection->stream, worker->loop, fd, connection_ready);
    connection->deadline_ms = UINT64_MAX;
    connection->secure = plan->tls != NULL;
    connection->starved = connection->fresh = true;
    LIST_INSERT_HEAD(&worker->http->connections, connection, next);
    h1_enter(connection);
    if (plan->tls && stream_tls_accept(&connection->stream, plan->tls) < 0)
        h1_close(connection, true, "no memory for TLS");
    else {
        h1_deadline(connection, h1_site(connection)->header_ms); /* also for a first byte */
        h1_intake(connection);
    }
    h1_leave(connection);
}

void h1_enter(struct h1_connection *connection)
{
    connection->busy = true;
}

void h1_leave(struct h1_connection *connection)
{
    connection->busy = false;
    h1_free_if_dead(connection);
}

void h1_free_if_dead(struct h1_connection *connection)
{
    if (!connection->dead || connection->busy || connection->queued || connection->exchange)
        return;
    free(connection->held);
    free(connection);
}

void h1_close(struct h1_connection *connection, bool reset, const char *why)
{
    if (connection->dead)
        return;
    connection->dead = true;
    timer_stop(connection->base.worker->loop, &connection->timer);
    stream_close(&connection->stream, reset);
    LIST_REMOVE(connection, next);
    struct h1_exchange *own = connection->exchange;
    if (own) {
        exchange_abort(&own->exchange, BLAME_CLIENT, why);
        h1_exchange_end(own);
    }
    client_end(&connection->base);
    h1_free_if_dead(connection);
}

void h1_hand_over(struct h1_connection *connection, const char *bytes, size_t length)
{
    connection->dead = true;
    timer_stop(connection->base.worker->loop, &connection->timer);
    LIST_REMOVE(connection, next);
    h2_take(&connection->base, &connection->stream, bytes, length);
}

/* Closing with bytes of the client unread would send a reset that may overtake the answer
 * (RFC 9112 §9.6): then what it sends is read for a while. */
void h1_last(struct h1_connection *connection, bool unread)
{
    bool drained = connection->stream.read_blocked || connection->secure;
    if (connection->whole && !unread && drained) {
        h1_close(connection, false, "done");
        return;
    }
    connection->skip = 0;
    connection->held_length = 0;
    connection->starved = true;
    stream_shutdown(&connection->stream);
    h1_deadline(connection, LINGER_MS);
}
