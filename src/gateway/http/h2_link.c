#include "gateway/http/h2_link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tls/client.h"
#include "tls/session.h"

static void pooled_close(struct pooled *pooled);

static struct h2_link *of_pooled(struct pooled *pooled)
{
    return (struct h2_link *)((char *)pooled - offsetof(struct h2_link, pooled));
}

/* ---- the pool ------------------------------------------------------------------------------- */

static bool takes_more(const struct h2_link *link)
{
    uint32_t max = nghttp2_session_get_remote_settings(link->wire.session,
                                                       NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return !link->wire.dead && !link->wire.broken && !link->leaving && !link->failed &&
           nghttp2_session_check_request_allowed(link->wire.session) &&
           link->streams < H2_LINK_STREAMS_MAX && link->streams < max &&
           link->held <= H2_LINK_HELD_BYTES_MAX;
}

static void fullness_tell(struct endpoint *endpoint)
{
    endpoint->full = endpoint->links >= H2_LINKS_MAX && endpoint->idle_count == 0;
}

void h2_link_settle(struct h2_link *link)
{
    bool takes = takes_more(link);
    if (takes == link->pooled_now)
        return;
    struct endpoint *endpoint = link->endpoint;
    link->pooled_now = takes;
    if (takes)
        endpoint_idle_put(endpoint, &link->pooled); /* which may close it */
    else
        endpoint_idle_remove(endpoint, &link->pooled);
    fullness_tell(endpoint);
}

static void pooled_close(struct pooled *pooled)
{
    struct h2_link *link = of_pooled(pooled);
    link->pooled_now = false;
    h2_link_leave(link);
}

/* Nothing of an end has come. On one that carries nothing whatever comes may be that. */
static bool alive(const struct h2_link *link)
{
    char byte;
    if (link->heard_turn == loop_turns(link->wire.worker->loop))
        return true;
    ssize_t count = recv(link->wire.stream.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return count < 0 ? errno == EAGAIN : count > 0 && link->streams;
}

/* A reload may have turned TLS on or off since it was opened, or HTTP/2 altogether. */
struct h2_link *h2_link_take(struct endpoint *endpoint, bool secure, bool strict)
{
    for (struct pooled *pooled; (pooled = LIST_FIRST(&endpoint->idle));) {
        if (pooled->close == pooled_close) {
            struct h2_link *link = of_pooled(pooled);
            bool fits = link->secure == secure && (!strict || !link->connected || alive(link));
            if (fits)
                return link;
        }
        endpoint_idle_remove(endpoint, pooled);
        pooled->close(pooled);
    }
    return NULL;
}

bool h2_link_secure(const struct h2_link *link)
{
    return link->secure;
}

bool h2_link_connects(const struct h2_link *link)
{
    return nghttp2_session_get_remote_settings(link->wire.session,
                                               NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

/* ---- deadlines ------------------------------------------------------------------------------ */

static void link_due(struct timer *timer);

/* The timer is moved only to the front, as those of clients (h1_connection.h). */
void h2_link_attend(struct h2_link *link, uint64_t deadline_ms)
{
    struct loop *loop = link->wire.worker->loop;
    if (link->wire.dead || deadline_ms == UINT64_MAX ||
        (timer_active(&link->timer) && link->timer.due_ms <= deadline_ms))
        return;
    uint64_t now_ms = loop_now(loop);
    uint64_t delay_ms = deadline_ms > now_ms ? deadline_ms - now_ms : 0;
    /* Without memory for it there is no deadline: the clients' own are still there. */
    timer_start(loop, &link->timer, delay_ms, link_due, link);
}

/* While something is pending: when to look next at what the endpoint has taken of what the kernel
 * has, which may be so much that a slow one makes no room in it for minutes. */
static uint64_t taking_look_ms(const struct h2_link *link)
{
    uint64_t last_ms = link->wire.sent_ms > link->looked_ms ? link->wire.sent_ms : link->looked_ms;
    return last_ms + taking_pause_ms(link->send_ms);
}

static bool taking_late(struct h2_link *link, uint64_t now_ms)
{
    if (!link->wire.pending || now_ms < taking_look_ms(link))
        return false;
    link->looked_ms = now_ms;
    bool stopped = taking_stopped(&link->taking, link->wire.stream.fd, now_ms, link->send_ms);
    return stopped && now_ms >= link->wire.sent_ms + link->send_ms;
}

/* When something of the link itself is due next. */
static uint64_t link_deadline(const struct h2_link *link)
{
    uint64_t deadline_ms = link->connected ? UINT64_MAX : link->connect_ms;
    uint64_t ping_ms = link->ping == H2_PING_ASKED  ? link->asked_ms + H2_LINK_PING_MS
                       : link->ping == H2_PING_NONE ? link->heard_ms + H2_LINK_QUIET_MS
                                                    : UINT64_MAX;
    if (link->connected && ping_ms < deadline_ms)
        deadline_ms = ping_ms;
    if (!link->streams && link->quiet_ms + link->idle_ms < deadline_ms)
        deadline_ms = link->quiet_ms + link->idle_ms;
    if (link->wire.pending && link->connected && taking_look_ms(link) < deadline_ms)
        deadline_ms = taking_look_ms(link);
    return deadline_ms;
}

/* Why it is given up; NULL: it is not. */
static const char *link_late(struct h2_link *link, uint64_t now_ms)
{
    if (!link->connected)
        return now_ms >= link->connect_ms ? "connect timeout" : NULL;
    if (link->ping == H2_PING_ASKED && now_ms >= link->asked_ms + H2_LINK_PING_MS)
        return "the endpoint does not answer a PING";
    if (taking_late(link, now_ms))
        return "send timeout: the endpoint takes nothing";
    return NULL;
}

static const char *timeout_why(const struct h2_courier *own)
{
    if (own->state == COURIER_BODY)
        return "read timeout: no more of the response came";
    return own->sent ? "response timeout: no answer came"
                     : "send timeout: the endpoint takes no more of the request";
}

/* The first that is late; more may be, but telling its owner may have changed anything. */
static struct h2_courier *courier_late(struct h2_link *link, uint64_t now_ms, uint64_t *ret_next_ms)
{
    struct h2_courier *own;
    LIST_FOREACH (own, &link->couriers, next) {
        if (own->deadline_ms <= now_ms)
            return own;
        if (own->deadline_ms < *ret_next_ms)
            *ret_next_ms = own->deadline_ms;
    }
    return NULL;
}

static void ask(struct h2_link *link, uint64_t now_ms)
{
    bool quiet = link->connected && link->ping == H2_PING_NONE &&
                 now_ms >= link->heard_ms + H2_LINK_QUIET_MS;
    if (!quiet)
        return;
    link->ping = H2_PING_ASKED;
    link->asked_ms = now_ms;
    nghttp2_submit_ping(link->wire.session, NGHTTP2_FLAG_NONE, NULL);
    h2_resume(&link->wire);
}

static void link_check(struct h2_link *link)
{
    uint64_t now_ms = h2_link_now(link), next_ms = UINT64_MAX;
    struct h2_courier *late;
    while (!link->wire.dead && (late = courier_late(link, now_ms, &next_ms))) {
        late->deadline_ms = UINT64_MAX;
        if (late->owner && link->wire.pending && h2_courier_sends(late)) {
            h2_courier_attend(late); /* the socket itself is full: taking_late is about that */
            continue;
        }
        if (late->owner)
            h2_courier_fail(late, true, false, timeout_why(late));
        else
            h2_courier_reset(late, NGHTTP2_CANCEL);
    }
    if (link->wire.dead)
        return;
    if (!link->streams && now_ms >= link->quiet_ms + link->idle_ms) {
        h2_link_leave(link);
        return;
    }
    ask(link, now_ms);
    uint64_t own_ms = link_deadline(link);
    h2_link_attend(link, own_ms < next_ms ? own_ms : next_ms);
}

static void link_due(struct timer *timer)
{
    struct h2_link *link = timer->owner;
    h2_enter(&link->wire);
    const char *late = link_late(link, h2_link_now(link));
    if (late)
        h2_link_fail(link, true, late);
    else
        link_check(link);
    h2_leave(&link->wire);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool may_read(const struct h2_link *link)
{
    return !link->wire.dead && !link->wire.broken && !link->failed && !h2_crowded(&link->wire);
}

static void take(struct h2_link *link, const char *bytes, size_t length)
{
    link->heard_ms = h2_link_now(link);
    link->heard_turn = loop_turns(link->wire.worker->loop);
    ssize_t taken = nghttp2_session_mem_recv(link->wire.session, (const uint8_t *)bytes, length);
    if (link->wire.dead)
        return;
    h2_link_read(link);
    h2_resume(&link->wire);
    if (taken < 0)
        h2_link_terminate(link, taken == NGHTTP2_ERR_FLOODED ||
                                        taken == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS
                                    ? NGHTTP2_ENHANCE_YOUR_CALM
                                    : NGHTTP2_INTERNAL_ERROR);
}

static void read_ended(struct h2_link *link, ssize_t count)
{
    link->wire.broken = true;
    if (link->why)
        return;
    link->tls_failed = !link->connected && count == -EPROTO && link->secure;
    if (link->tls_failed)
        link->why = tls_session_why(link->wire.stream.tls);
    else
        link->why = !link->connected ? "the connection was not accepted"
                    : count          ? "the endpoint broke the connection"
                                     : "the endpoint closed the connection";
}

static void intake(struct h2_link *link)
{
    char *input = link->wire.worker->input;
    for (int i = 0; may_read(link); i++) {
        if (i == H2_READS_A_TURN) {
            if (stream_again(&link->wire.stream) < 0)
                link->wire.broken = true;
            break;
        }
        ssize_t count = stream_read(&link->wire.stream, input, WORKER_INPUT_BYTES);
        if (count == -EAGAIN)
            return;
        if (count > 0)
            take(link, input, (size_t)count);
        else
            read_ended(link, count);
    }
    h2_resume(&link->wire);
}

static void link_ready(struct stream *stream, unsigned events)
{
    struct h2_link *link =
        (struct h2_link *)((char *)stream - offsetof(struct h2_link, wire.stream));
    (void)events;
    h2_enter(&link->wire);
    if (!link->connected || (link->wire.pending && !stream->write_blocked))
        h2_resume(&link->wire);
    if (link->connected || stream->tls)
        intake(link);
    h2_leave(&link->wire);
}

/* ---- going on ------------------------------------------------------------------------------- */

/* TLS was agreed on; HTTP/2 too (RFC 9113 §3.3)? */
static bool agreed(struct h2_link *link)
{
    size_t length;
    const char *name = tls_session_alpn(link->wire.stream.tls, &length);
    return length == 2 && !memcmp(name, "h2", 2);
}

static bool connected_now(struct h2_link *link, int error)
{
    return !error || (link->wire.pending && link->wire.pending_sent) ||
           (!link->secure && error == -EAGAIN && !stream_connected(&link->wire.stream));
}

/* What becomes of the connect. False: it is gone. */
static bool connect_go_on(struct h2_link *link, int error)
{
    if (error && error != -EAGAIN) {
        link->tls_failed = error == -EPROTO && link->secure;
        link->why = link->tls_failed ? tls_session_why(link->wire.stream.tls)
                                     : "the connection was not accepted";
        h2_link_fail(link, false, link->why);
        return false;
    }
    if (!connected_now(link, error))
        return true;
    if (link->secure && !agreed(link)) {
        link->tls_failed = true;
        h2_link_fail(link, false, "the endpoint does not agree on HTTP/2 (ALPN)");
        return false;
    }
    link->connected = true;
    link->heard_ms = h2_link_now(link);
    struct h2_courier *own;
    LIST_FOREACH (own, &link->couriers, next) {
        h2_courier_attend(own);
    }
    intake(link);
    return !link->wire.dead;
}

static bool session_over(const struct h2_link *link)
{
    return !nghttp2_session_want_read(link->wire.session) &&
           !nghttp2_session_want_write(link->wire.session);
}

/* A write that fails says nothing of what came before: an answer may lie there. */
static void write_failed(struct h2_link *link)
{
    intake(link);
    if (!link->wire.dead)
        h2_link_fail(link, false, link->why ? link->why : "the endpoint broke the connection");
}

static void link_go_on(struct h2_wire *wire)
{
    struct h2_link *link = h2_link_of(wire);
    bool was_crowded = h2_crowded(wire);
    int error = h2_wire_flush(wire);
    if (wire->dead)
        return;
    if (!link->connected && !wire->broken && !connect_go_on(link, error))
        return;
    if (wire->broken) {
        h2_link_fail(link, false, link->why);
        return;
    }
    if (error && error != -EAGAIN) {
        write_failed(link);
        return;
    }
    h2_link_settle(link);
    bool unused = link->leaving && !link->streams;
    if (error && (link->connected || !unused))
        return;
    if (unused || session_over(link))
        h2_link_fail(link, false, link->why ? link->why : "the endpoint ended the connection");
    else if (was_crowded)
        intake(link);
    else
        h2_link_attend(link, link_deadline(link));
}

/* ---- going away ----------------------------------------------------------------------------- */

void h2_link_leave(struct h2_link *link)
{
    if (link->leaving || link->wire.dead)
        return;
    link->leaving = true;
    h2_link_settle(link);
    if (!link->streams && link->connected)
        nghttp2_submit_goaway(link->wire.session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
    h2_resume(&link->wire);
}

void h2_link_terminate(struct h2_link *link, uint32_t error)
{
    if (link->failed)
        return;
    link->failed = true;
    if (!link->why)
        link->why = nghttp2_http2_strerror(error);
    if (nghttp2_session_terminate_session(link->wire.session, error) != 0)
        link->wire.broken = true;
    h2_resume(&link->wire);
}

/* Who fails may come back at once: not to this link, which is in no pool any more. */
void h2_link_fail(struct h2_link *link, bool timeout, const char *why)
{
    if (link->wire.dead)
        return;
    link->wire.dead = true;
    struct endpoint *endpoint = link->endpoint;
    h2_link_settle(link);
    timer_stop(link->wire.worker->loop, &link->timer);
    LIST_REMOVE(link, next);
    struct h2_courier *own;
    while ((own = LIST_FIRST(&link->couriers))) {
        own->closed = true;
        if (own->owner)
            h2_courier_fail(own, timeout, !own->sent_head, why);
        else
            h2_courier_free(own);
    }
    stream_close(&link->wire.stream, false);
    tally_add(&endpoint->tally->connections_now, (uint64_t)-1);
    endpoint->links--;
    fullness_tell(endpoint);
    endpoint_unref(endpoint);
    h2_free_if_dead(&link->wire);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void link_free(struct h2_wire *wire)
{
    h2_fields_done(&h2_link_of(wire)->fields);
    h2_wire_done(wire);
    free(wire);
}

static void streams_go_on(struct h2_wire *wire)
{
    struct h2_link *link = h2_link_of(wire);
    struct h2_courier *last = TAILQ_LAST(&link->going, going_couriers);
    struct h2_courier *own;
    for (bool over = false; last && !over && (own = TAILQ_FIRST(&link->going));) {
        over = own == last;
        TAILQ_REMOVE(&link->going, own, going_next);
        own->is_going = false;
        own->busy = true; /* the owner may close it */
        h2_courier_room(own);
        own->busy = false;
        if (!own->owner && (own->closed || !own->id))
            h2_courier_free(own);
        else
            h2_response_go_on(own);
        if (wire->dead)
            return;
    }
}

static void link_waits(struct h2_wire *wire)
{
    struct h2_link *link = h2_link_of(wire);
    h2_link_attend(link, link_deadline(link));
}

const struct h2_wire_kind h2_link_kind = {
    .go_on = link_go_on,
    .streams_go_on = streams_go_on,
    .wait = link_waits,
    .free = link_free,
};

static int session_begin(struct h2_link *link)
{
    struct h2_worker *h2 = h2_of_wire(&link->wire);
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_LINK_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_LINK_HEAD_BYTES_MAX},
    };
    if (nghttp2_session_client_new2(&link->wire.session, h2->link_callbacks, link, h2->option))
        return -ENOMEM;
    if (nghttp2_submit_settings(link->wire.session, NGHTTP2_FLAG_NONE, settings,
                                sizeof settings / sizeof settings[0]) ||
        nghttp2_session_set_local_window_size(link->wire.session, NGHTTP2_FLAG_NONE, 0,
                                              H2_LINK_CONNECTION_WINDOW_BYTES))
        return -ENOMEM;
    return 0;
}

static int stream_begin(struct h2_link *link, struct tls_client *tls)
{
    struct endpoint *endpoint = link->endpoint;
    struct stream *stream = &link->wire.stream;
    int error =
        stream_connect(stream, link->wire.worker->loop, (const struct sockaddr *)&endpoint->address,
                       endpoint->address_length, link_ready);
    if (error || !tls)
        return error;
    const char *name = tls_client_name(tls);
    error = stream_tls_connect(stream, tls, name ? name : endpoint->host);
    if (error)
        stream_close(stream, true);
    return error;
}

int h2_link_connect(struct worker *worker, struct endpoint *endpoint, struct tls_client *tls,
                    uint32_t connect_ms, uint32_t idle_ms, struct h2_link **ret_link)
{
    struct h2_link *link = calloc(1, sizeof *link);
    if (!link)
        return -ENOMEM;
    uint64_t now_ms = loop_now(worker->loop);
    link->wire = (struct h2_wire){.kind = &h2_link_kind, .worker = worker};
    link->pooled.close = pooled_close;
    link->endpoint = endpoint;
    link->secure = tls != NULL;
    link->idle_ms = idle_ms;
    link->connect_ms = now_ms + connect_ms;
    link->heard_ms = link->quiet_ms = now_ms;
    LIST_INIT(&link->couriers);
    TAILQ_INIT(&link->going);
    h2_floods_init(&link->floods, now_ms);
    int error = session_begin(link);
    if (!error)
        error = stream_begin(link, tls);
    if (error) {
        link_free(&link->wire);
        return error;
    }
    endpoint_ref(endpoint);
    endpoint->links++;
    LIST_INSERT_HEAD(&h2_of_wire(&link->wire)->links, link, next);
    tally_add(&endpoint->tally->connections, 1);
    tally_add(&endpoint->tally->connections_now, 1);
    h2_link_attend(link, link->connect_ms);
    *ret_link = link;
    return 0;
}

/* ---- the worker's part ---------------------------------------------------------------------- */

int h2_links_init(struct h2_worker *h2)
{
    LIST_INIT(&h2->links);
    if (nghttp2_session_callbacks_new(&h2->link_callbacks) != 0)
        return -ENOMEM;
    return h2_link_callbacks_set(h2->link_callbacks);
}

void h2_links_done(struct h2_worker *h2)
{
    struct h2_link *link;
    while ((link = LIST_FIRST(&h2->links)))
        h2_link_fail(link, false, "the gateway ends");
    nghttp2_session_callbacks_del(h2->link_callbacks);
}
