#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/http/h1_client_private.h"
#include "gateway/http/h1_text.h"
#include "tls/client.h"
#include "tls/session.h"

static struct h1_client *of_pooled(struct pooled *pooled)
{
    return (struct h1_client *)((char *)pooled - offsetof(struct h1_client, pooled));
}

/* ---- deadlines ------------------------------------------------------------------------------ */

static void client_due(struct timer *timer);

/* The timer is moved only to the front, as those of clients (h1_connection.h). */
void client_deadline(struct h1_client *client, uint64_t delay_ms)
{
    struct loop *loop = client->worker->loop;
    client->deadline_ms = loop_now(loop) + delay_ms;
    if (timer_active(&client->timer) && client->timer.due_ms <= client->deadline_ms)
        return;
    /* Without memory for it there is no deadline: the client's own are still there. */
    timer_start(loop, &client->timer, delay_ms, client_due, client);
}

static void client_leave(struct h1_client *client)
{
    client->busy = false;
    if (client->dead)
        free(client);
}

static const char *timeout_why(const struct h1_client *client)
{
    if (!client->connected)
        return "connect timeout";
    if (client->tunnel)
        return "idle: no byte went either way";
    if (client->state == CLIENT_BODY && !client->takes)
        return "read timeout: no more of the response came";
    return client->sent && !client->takes
               ? "response timeout: no answer came"
               : "send timeout: the endpoint takes no more of the request";
}

/* The kernel has so much room that a slow endpoint makes none for minutes; so what counts is what
 * it has taken. */
static void taking_watch(struct h1_client *client, bool more)
{
    if (!client->takes || more)
        taking_note(&client->taking, client->stream.fd, loop_now(client->worker->loop));
    client->takes = true;
    client_deadline(client, taking_pause_ms(client->times.send));
}

/* What follows when the endpoint has all that was given for it: its answer, if that was all. */
static void taking_over(struct h1_client *client)
{
    client->takes = false;
    client->deadline_ms = UINT64_MAX;
    if (client->state == CLIENT_BODY && client->wanted)
        client_deadline(client, client->times.read);
    else if (client->state == CLIENT_HEAD && client->sent)
        client_deadline(client, client->times.response);
}

/* Is it still about to take what it was sent? Then what was due is not yet. */
static bool still_takes(struct h1_client *client, uint64_t now_ms)
{
    int fd = client->stream.fd;
    bool gives = client->state == CLIENT_HEAD || (client->state == CLIENT_BODY && client->takes);
    if (!client->connected || client->tunnel || client->send_broken || !gives)
        return false;
    bool given = !client->output.pending && !client->room_wanted;
    if (given && acknowledged_all(fd)) {
        if (!client->takes)
            return false;
        taking_over(client);
        return true;
    }
    uint32_t pause_ms = taking_pause_ms(client->times.send);
    if (!client->takes) { /* all of it went into the kernel's buffer at once: one look more */
        taking_watch(client, true);
        client->taking.last_ms -= client->times.send - pause_ms;
    } else if (taking_stopped(&client->taking, fd, now_ms, client->times.send)) {
        return false;
    }
    client_deadline(client, pause_ms);
    return true;
}

static void client_due(struct timer *timer)
{
    struct h1_client *client = timer->owner;
    uint64_t now_ms = loop_now(client->worker->loop);
    if (client->deadline_ms == UINT64_MAX)
        return;
    if (now_ms < client->deadline_ms) {
        client_deadline(client, client->deadline_ms - now_ms);
        return;
    }
    if (still_takes(client, now_ms))
        return;
    client->busy = true;
    if (client->state == CLIENT_IDLE)
        h1_client_close(client);
    else
        client_fail(client, true, timeout_why(client));
    client_leave(client);
}

void client_fail(struct h1_client *client, bool timeout, const char *why)
{
    enum courier_stage stage = !client->connected             ? STAGE_CONNECT
                               : client->state == CLIENT_BODY ? STAGE_BODY
                               : client->sent                 ? STAGE_RESPONSE
                                                              : STAGE_SEND;
    const struct courier_failure failure = {.stage = stage,
                                            .timeout = timeout,
                                            .received = client->received,
                                            .spoke = client->tls_failed,
                                            .reused = client->reused,
                                            .why = why};
    client->deadline_ms = UINT64_MAX;
    client->calls->failed(client->owner, &failure);
}

void client_not_connected(struct h1_client *client, int error)
{
    client->tls_failed = error == -EPROTO && client->stream.tls;
    client_fail(client, false,
                client->tls_failed ? tls_session_why(client->stream.tls)
                                   : "the connection was not accepted");
}

/* ---- events --------------------------------------------------------------------------------- */

/* All that was given is out. */
static void client_sent(struct h1_client *client)
{
    if (client->takes)
        return; /* the kernel has it, and not yet the endpoint */
    client->deadline_ms = UINT64_MAX;
    if (client->tunnel && client->sent)
        stream_shutdown(&client->stream);
    if (client->tunnel)
        client_deadline(client, client->times.read);
    else if (client->sent)
        client_deadline(client, client->times.response);
}

/* The first bytes went out, or there is room for more. False: it failed, or is gone. */
static bool client_writable(struct h1_client *client)
{
    int flushed = h1_output_flush(&client->output, &client->stream);
    if (flushed < 0 && flushed != -EAGAIN) {
        if (!client->connected) {
            client_not_connected(client, flushed);
            return false;
        }
        client->send_broken = true;
        client->takes = false;
        h1_output_done(&client->output);
    }
    if (flushed == -EAGAIN)
        return true;
    client->connected = true;
    client_sent(client);
    if (!client->room_wanted)
        return true;
    uint64_t serial = client->serial;
    client->room_wanted = false;
    client->calls->room(client->owner);
    return !client->dead && client->serial == serial;
}

static void idle_ready(struct h1_client *client, unsigned events)
{
    /* Whatever comes unasked: its end, an error, bytes that answer nothing. */
    if (events & ~(unsigned)WATCH_WRITE)
        h1_client_close(client);
}

static void client_ready(struct stream *stream, unsigned events)
{
    struct h1_client *client =
        (struct h1_client *)((char *)stream - offsetof(struct h1_client, stream));
    client->busy = true;
    if (client->state == CLIENT_IDLE)
        idle_ready(client, events);
    else if ((!client->output.pending && !client->room_wanted) || stream->write_blocked ||
             client_writable(client))
        client_read(client);
    client_leave(client);
}

/* ---- life ----------------------------------------------------------------------------------- */

void client_held_drop(struct h1_client *client)
{
    free(client->held);
    client->held = NULL;
    client->held_from = client->held_length = 0;
}

static void client_drop(struct h1_client *client)
{
    client->dead = true;
    if (client->pooled_now)
        endpoint_idle_remove(client->endpoint, &client->pooled);
    timer_stop(client->worker->loop, &client->timer);
    stream_close(&client->stream, false);
    pipe_give(&client->worker->pipes, &client->pipe);
    h1_output_done(&client->output);
    endpoint_unref(client->endpoint);
    free(client->held);
    if (!client->busy)
        free(client);
}

static void pooled_close(struct pooled *pooled)
{
    struct h1_client *client = of_pooled(pooled);
    client->pooled_now = false;
    h1_client_close(client);
}

static int pooled_give(struct pooled *pooled, uint64_t *ret_expires_ms)
{
    struct h1_client *client = of_pooled(pooled);
    if (!stream_plain(&client->stream) || client->fastcgi) /* what it speaks would be lost */
        return -1;
    *ret_expires_ms = client->deadline_ms;
    int fd = stream_release(&client->stream);
    client_drop(client);
    return fd;
}

struct h1_client *h1_client_take(struct endpoint *endpoint)
{
    struct pooled *pooled;
    while ((pooled = endpoint_idle_take(endpoint)) && pooled->close != pooled_close)
        pooled->close(pooled); /* a reload made another protocol of the service's */
    if (!pooled)
        return NULL;
    struct h1_client *client = of_pooled(pooled);
    client->pooled_now = false;
    client->reused = true;
    return client;
}

static int client_secure(struct h1_client *client, struct tls_client *tls)
{
    const char *name = tls_client_name(tls);
    return stream_tls_connect(&client->stream, tls, name ? name : client->endpoint->host);
}

static struct h1_client *client_new(struct worker *worker, struct endpoint *endpoint)
{
    struct h1_client *client = calloc(1, sizeof *client);
    if (!client)
        return NULL;
    client->worker = worker;
    client->endpoint = endpoint;
    client->pipe = (struct pipe_pair){-1, -1, 0};
    client->pooled.close = pooled_close;
    client->pooled.give = pooled_give;
    client->deadline_ms = UINT64_MAX;
    return client;
}

struct h1_client *h1_client_adopt(struct worker *worker, struct endpoint *endpoint)
{
    int fd = endpoint_stash_take(endpoint);
    if (fd < 0)
        return NULL;
    struct h1_client *client = client_new(worker, endpoint);
    if (!client) {
        close(fd);
        tally_add(&endpoint->tally->connections_now, (uint64_t)-1);
        return NULL;
    }
    stream_init(&client->stream, worker->loop, fd, client_ready);
    client->connected = client->reused = true;
    endpoint_ref(endpoint);
    return client;
}

int h1_client_connect(struct worker *worker, struct endpoint *endpoint, struct tls_client *tls,
                      uint32_t connect_ms, struct h1_client **ret_client)
{
    struct h1_client *client = client_new(worker, endpoint);
    if (!client)
        return -ENOMEM;
    int error =
        stream_connect(&client->stream, worker->loop, (const struct sockaddr *)&endpoint->address,
                       endpoint->address_length, client_ready);
    if (!error && tls) {
        error = client_secure(client, tls);
        if (error)
            stream_close(&client->stream, true);
    }
    if (error) {
        free(client);
        return error;
    }
    endpoint_ref(endpoint);
    tally_add(&endpoint->tally->connections, 1);
    tally_add(&endpoint->tally->connections_now, 1);
    client_deadline(client, connect_ms);
    *ret_client = client;
    return 0;
}

bool h1_client_alive(struct h1_client *client)
{
    char byte;
    return recv(client->stream.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

bool h1_client_secure(const struct h1_client *client)
{
    return client->stream.tls != NULL;
}

bool h1_client_fastcgi_was(const struct h1_client *client)
{
    return client->fastcgi;
}

void h1_client_private(struct h1_client *client)
{
    client->private = true;
}

void h1_client_begin(struct h1_client *client, const struct courier_calls *calls, void *owner,
                     enum http_method method, bool chunked, const struct courier_times *times)
{
    client->courier.kind = &h1_courier;
    client->serial++;
    client->calls = calls;
    client->owner = owner;
    client->method = (uint8_t)method;
    client->times = *times;
    client->state = CLIENT_HEAD;
    client->scanned = 0;
    client->keep_ms = UINT32_MAX;
    client->sent = client->send_broken = client->room_wanted = client->received = false;
    client->takes = false;
    client->chunks_over = client->cgi = client->fastcgi = client->records_over = false;
    client->output.chunked = chunked;
    client->output.records = false;
    client->trailer_room = NULL;
    client->starved = client->wanted = true;
    if (client->connected)
        client->deadline_ms = UINT64_MAX;
}

void h1_client_fastcgi(struct h1_client *client, bool keeps)
{
    client->cgi = client->fastcgi = client->output.records = true;
    client->records_keep = keeps;
    client->reader = (struct fcgi_reader){0};
}

void h1_client_cgi(struct h1_client *client)
{
    client->cgi = client->private = true;
}

struct courier *h1_client_courier(struct h1_client *client)
{
    return &client->courier;
}

/* Into the pool if it can carry another request, else closed. */
static void client_done(struct courier *courier)
{
    struct h1_client *client = h1_client_of(courier);
    uint32_t idle_ms = client->keep_ms < client->times.idle ? client->keep_ms : client->times.idle;
    bool keeps = client->state == CLIENT_OVER && client->keep_alive && client->sent &&
                 !client->send_broken && !client->output.pending && !client->held_length &&
                 !client->stream.ended && !client->private && idle_ms > 0 &&
                 endpoint_serves(client->endpoint) && stream_watch(&client->stream) == 0;
    if (!keeps) {
        h1_client_close(client);
        return;
    }
    client->state = CLIENT_IDLE;
    client->serial++;
    client->owner = NULL;
    client_deadline(client, idle_ms);
    client->pooled_now = true;
    endpoint_idle_put(client->endpoint, &client->pooled);
}

void h1_client_close(struct h1_client *client)
{
    if (client->dead)
        return;
    tally_add(&client->endpoint->tally->connections_now, (uint64_t)-1);
    client_drop(client);
}

static void client_close(struct courier *courier)
{
    h1_client_close(h1_client_of(courier));
}

static struct stream *client_upgrade(struct courier *courier, struct slice *ret_ahead)
{
    struct h1_client *client = h1_client_of(courier);
    client->deadline_ms = UINT64_MAX;
    client->upgraded = true;
    *ret_ahead = (struct slice){client->held + client->held_from, client->held_length};
    return &client->stream;
}

/* ---- sending -------------------------------------------------------------------------------- */

/* An endpoint that closed may have answered first: what it sent is still to be read. */
static ssize_t send_failed(struct h1_client *client, const struct h1_piece *piece)
{
    client->send_broken = true;
    client->takes = false;
    client->sent |= piece->last;
    h1_output_done(&client->output);
    client_deadline(client, client->times.response);
    return stream_watch(&client->stream) < 0 ? -ENOMEM : (ssize_t)piece->body_length;
}

ssize_t h1_client_send(struct h1_client *client, const struct h1_piece *piece)
{
    if (client->send_broken) {
        client->sent |= piece->last;
        return (ssize_t)piece->body_length;
    }
    ssize_t taken = h1_output_write(&client->output, &client->stream, piece);
    if (taken < 0)
        return client->connected ? send_failed(client, piece) : taken;
    client->room_wanted = (size_t)taken < piece->body_length;
    client->sent |= piece->last && !client->room_wanted;
    if (client->output.pending || client->room_wanted) {
        if (client->connected && client->tunnel)
            client_deadline(client, client->times.send);
        else if (client->connected)
            taking_watch(client, taken > 0);
        return taken;
    }
    client->connected = true;
    client_sent(client);
    return stream_watch(&client->stream) < 0 ? -ENOMEM : taken;
}

/* Behind the last chunk (RFC 9112 §7.1.2). */
static ssize_t trailers_send(struct h1_client *client, const struct courier_piece *piece)
{
    struct text text = {.bytes = client->worker->output};
    PUT(&text, "0\r\n");
    for (uint32_t i = 0; i < piece->trailer_count; i++)
        put_field(&text, &piece->trailers[i]);
    PUT(&text, "\r\n");
    client->output.chunked = false; /* it was framed by hand */
    const struct h1_piece end = {.head = text.bytes, .head_length = text.length, .last = true};
    return h1_client_send(client, &end);
}

static ssize_t client_send(struct courier *courier, const struct courier_piece *piece)
{
    struct h1_client *client = h1_client_of(courier);
    bool trails =
        piece->last && piece->trailer_count && client->output.chunked && !client->output.records;
    const struct h1_piece part = {
        .body = piece->bytes, .body_length = piece->length, .last = piece->last && !trails};
    ssize_t taken = part.body_length || part.last ? h1_client_send(client, &part) : 0;
    if (!trails || taken < (ssize_t)piece->length)
        return taken;
    ssize_t error = trailers_send(client, piece);
    return error < 0 ? error : taken;
}

/* What came behind the head is given as the first of what follows. */
static void client_tunnel(struct courier *courier, uint32_t idle_ms)
{
    struct h1_client *client = h1_client_of(courier);
    client_held_drop(client);
    client->state = CLIENT_BODY;
    client->body = BODY_CLOSE;
    client->tunnel = true;
    client->sent = client->keep_alive = client->output.chunked = client->takes = false;
    client->times.read = client->times.send = idle_ms ? idle_ms : UINT32_MAX;
    client_deadline(client, client->times.read);
}

const struct courier_kind h1_courier = {
    .send = client_send,
    .more = client_more,
    .trailers = client_trailers,
    .upgrade = client_upgrade,
    .tunnel = client_tunnel,
    .done = client_done,
    .close = client_close,
};
