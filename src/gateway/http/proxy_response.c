#include "base/log.h"
#include "gateway/http/bump.h"
#include "gateway/http/follow.h"
#include "gateway/http/h1_server.h"
#include "gateway/http/h2_server.h"
#include "gateway/http/proxy.h"
#include "gateway/http/websocket.h"

/* ---- the head ------------------------------------------------------------------------------- */

/* A Trailer field makes no sense to a client that gets none. */
static void trailer_drop(struct proxy *proxy, const struct head *head)
{
    if (head->first[FIELD_TRAILER] && !proxy->exchange->request.te_trailers)
        head->fields[head->first[FIELD_TRAILER] - 1].dropped = true;
}

/* Those of the endpoint, and the cookie. False: no memory. */
static bool fields_make(struct proxy *proxy, const struct head *head, struct response_head *answer)
{
    struct slice cookie;
    answer->fields = head->fields;
    answer->field_count = head->field_count;
    if (!proxy_cookie(proxy, &cookie))
        return true;
    struct field *fields =
        bump_alloc(proxy->exchange->arena, (head->field_count + 1) * sizeof *fields);
    if (!fields)
        return false;
    memcpy(fields, head->fields, head->field_count * sizeof *fields);
    fields[answer->field_count++] =
        (struct field){SLICE("Set-Cookie"), cookie, FIELD_SET_COOKIE, false};
    answer->fields = fields;
    return true;
}

static bool answer_make(struct proxy *proxy, const struct head *head, struct response_head *answer)
{
    *answer = (struct response_head){.status = head->status,
                                     .reason = head->reason,
                                     .body = head->body,
                                     .body_length = head->body_length};
    /* What HEAD and 304 say of a body that does not follow. */
    if (head->body == BODY_NONE && head->first[FIELD_CONTENT_LENGTH])
        answer->body = BODY_LENGTH;
    trailer_drop(proxy, head);
    return fields_make(proxy, head, answer);
}

static void head_count(struct proxy *proxy, uint16_t status)
{
    struct exchange *exchange = proxy->exchange;
    proxy->latency_us = worker_now_us(exchange->worker) - proxy->sent_us;
    exchange->upstream_us = proxy->latency_us;
    tally_add(&proxy->endpoint->tally->status[status / 100 % 6], 1);
    if (proxy->pass)
        proxy_breaker_told(proxy, status);
}

/* ---- passing it on -------------------------------------------------------------------------- */

/* Trailers, if there are any, come after the last bytes. */
static uint32_t trailers_of(struct proxy *proxy, bool last, struct field fields[TRAILERS_MAX])
{
    if (!last || !proxy->exchange->request.te_trailers)
        return 0;
    return proxy->courier->kind->trailers(proxy->courier, fields, TRAILERS_MAX);
}

/* After the codec took so much of a run. What the endpoint's side hears. */
static size_t passed(struct proxy *proxy, ssize_t taken, size_t length, bool last,
                     const struct field *trailers, uint32_t trailer_count)
{
    if (taken < 0) /* the client is gone: abort follows */
        return length;
    if (!last || (size_t)taken < length)
        return (size_t)taken;
    if (trailer_count)
        exchange_end(proxy->exchange, trailers, trailer_count);
    proxy_finish(proxy, OUTCOME_GOOD);
    return (size_t)taken;
}

static void upgrade(struct proxy *proxy, const struct head *head);

/* The route follows responses that lead elsewhere, and this may be one. True: that was done, the
 * proxy is gone. */
static bool followed(struct proxy *proxy, const struct response_head *answer, bool last)
{
    struct exchange *exchange = proxy->exchange;
    struct slice place;
    enum follow_kind kind =
        follow_find(exchange->route->follow, answer->fields, answer->field_count, &place);
    if (kind == FOLLOW_NOT)
        return false;
    if (!follow_keep(exchange, answer->fields, answer->field_count, &place)) {
        exchange_fail(exchange, 503, BLAME_ENGINX, "the request's memory is used up");
        proxy_finish(proxy, last ? OUTCOME_GOOD : OUTCOME_UNUSED);
        return true;
    }
    proxy_leave(proxy, last);
    follow_go(exchange, kind, place, answer->status);
    return true;
}

static size_t proxy_response(void *owner, const struct head *head, const char *bytes, size_t length,
                             bool last)
{
    struct proxy *proxy = owner;
    head_count(proxy, head->status);
    if (head->status == 101) {
        upgrade(proxy, head);
        return length;
    }
    if (proxy->exchange->request.connect && head->status < 300) {
        exchange_fail(proxy->exchange, 502, BLAME_UPSTREAM, "the service does not upgrade");
        proxy_finish(proxy, OUTCOME_UNUSED);
        return length;
    }
    struct response_head answer;
    if (!answer_make(proxy, head, &answer)) {
        exchange_fail(proxy->exchange, 503, BLAME_ENGINX, "the request's memory is used up");
        proxy_finish(proxy, OUTCOME_GOOD);
        return length;
    }
    if (proxy->exchange->route->follow && followed(proxy, &answer, last))
        return length;
    struct field trailers[TRAILERS_MAX];
    uint32_t count = trailers_of(proxy, last, trailers);
    ssize_t taken = exchange_respond(proxy->exchange, &answer, bytes, length, last && !count);
    return passed(proxy, taken, length, last, trailers, count);
}

static size_t proxy_body(void *owner, const char *bytes, size_t length, bool last)
{
    struct proxy *proxy = owner;
    struct field trailers[TRAILERS_MAX];
    uint32_t count = trailers_of(proxy, last, trailers);
    ssize_t taken = exchange_write(proxy->exchange, bytes, length, last && !count);
    return passed(proxy, taken, length, last, trailers, count);
}

static void proxy_interim(void *owner, const struct head *head)
{
    struct proxy *proxy = owner;
    /* A client that did not ask, or does not wait any more, needs no leave. */
    const struct exchange *exchange = proxy->exchange;
    if (head->status == 100 && (!exchange->request.expect_continue || exchange->bytes_in))
        return;
    const struct response_head answer = {.status = head->status,
                                         .reason = head->reason,
                                         .fields = head->fields,
                                         .field_count = head->field_count};
    exchange_interim(proxy->exchange, &answer);
}

static ssize_t proxy_place(void *owner, char **ret_bytes)
{
    struct proxy *proxy = owner;
    return exchange_place(proxy->exchange, ret_bytes);
}

static void proxy_placed(void *owner, size_t length)
{
    struct proxy *proxy = owner;
    exchange_placed(proxy->exchange, length);
}

static bool proxy_splices(void *owner)
{
    struct proxy *proxy = owner;
    return exchange_splices(proxy->exchange);
}

static ssize_t proxy_splice(void *owner, int pipe_fd, size_t length)
{
    struct proxy *proxy = owner;
    return exchange_splice(proxy->exchange, pipe_fd, length);
}

/* ---- upgrades ------------------------------------------------------------------------------- */

static void tunnel_ended(void *owner, const struct tunnel_end *end)
{
    struct proxy *proxy = owner;
    struct exchange *exchange = proxy->exchange;
    proxy->tunnel = NULL;
    tally_add(&proxy->endpoint->tally->connections_now, (uint64_t)-1);
    exchange->bytes_in += end->bytes_in;
    exchange->bytes_out += end->bytes_out;
    exchange->response_ended = true;
    if (end->upstream_failed)
        exchange->why = end->how;
    if (!proxy->aborting)
        proxy_finish(proxy, OUTCOME_GOOD);
}

static bool proxy_revoked(const void *owner)
{
    const struct proxy *proxy = owner;
    return proxy->endpoint && proxy->endpoint->revoked;
}

void http_worker_revoke(struct worker *worker)
{
    size_t count = tunnels_reset(worker, tunnel_ended, proxy_revoked) +
                   h2_tunnels_reset(worker, &handler_proxy, proxy_revoked);
    if (count)
        log_info("upgraded-closed", "worker=%u count=%zu why=\"their endpoint's role changed\"",
                 worker->number, count);
}

static uint32_t idle_ms(const struct proxy *proxy)
{
    uint32_t site_ms = proxy->exchange->client->plan->listener->site->tunnel_ms;
    uint32_t service_ms = proxy_service(proxy)->gateway.tunnel_ms;
    return site_ms && (!service_ms || site_ms < service_ms) ? site_ms : service_ms;
}

static bool tunnel_begin(struct proxy *proxy, struct stream *client, struct slice client_ahead)
{
    const struct exchange *exchange = proxy->exchange;
    struct slice upstream_ahead;
    struct stream *upstream = proxy->courier->kind->upgrade(proxy->courier, &upstream_ahead);
    const struct tunnel_setup setup = {
        .worker = exchange->worker,
        .client = client,
        .upstream = upstream,
        .client_ahead = client_ahead.bytes,
        .client_ahead_length = client_ahead.length,
        .upstream_ahead = upstream_ahead.bytes,
        .upstream_ahead_length = upstream_ahead.length,
        .idle_ms = idle_ms(proxy),
        .over = tunnel_ended,
        .owner = proxy,
    };
    proxy->tunnel = tunnel_new(&setup);
    if (proxy->tunnel) /* it is the tunnel's connection now, and no courier counts it */
        tally_add(&proxy->endpoint->tally->connections_now, 1);
    return proxy->tunnel != NULL;
}

/* The key was ours, so the proof is for us (RFC 6455 §4.1). */
static bool proven(const struct proxy *proxy, const struct head *head)
{
    const struct field *key = head_find(&proxy->exchange->request, "sec-websocket-key");
    const struct field *accept = head_find(head, "sec-websocket-accept");
    return key && accept && websocket_accepted(key->value, accept->value);
}

/* In answer to an extended CONNECT (RFC 8441 §5): 200, and bytes in DATA frames. */
static void connect_tunnel(struct proxy *proxy, const struct head *head)
{
    struct exchange *exchange = proxy->exchange;
    struct response_head answer;
    if (!proven(proxy, head) || !answer_make(proxy, head, &answer)) {
        exchange_fail(exchange, 502, BLAME_UPSTREAM, "an upgrade that proves nothing");
        proxy_finish(proxy, OUTCOME_FAILED);
        return;
    }
    for (uint32_t i = 0; i < answer.field_count; i++)
        if (slice_is_nocase(head->fields[i].name, "sec-websocket-accept"))
            head->fields[i].dropped = true;
    answer.status = 200;
    answer.reason = SLICE("");
    answer.body = BODY_CLOSE;
    if (exchange_respond(exchange, &answer, "", 0, false) < 0)
        return; /* abort follows */
    proxy->body_over = false;
    proxy->replay_lost = true; /* nothing is sent again */
    exchange->request.body = BODY_CLOSE;
    proxy->courier->kind->tunnel(proxy->courier, idle_ms(proxy));
    exchange->codec->tunnel(exchange);
}

static void upgrade(struct proxy *proxy, const struct head *head)
{
    struct exchange *exchange = proxy->exchange;
    struct response_head answer;
    if (exchange->request.connect && exchange->codec->tunnel) {
        connect_tunnel(proxy, head);
        return;
    }
    if (!exchange->request.upgrade || !exchange->codec->upgrade ||
        !answer_make(proxy, head, &answer)) {
        exchange_fail(exchange, 502, BLAME_UPSTREAM, "an upgrade that nobody asked for");
        proxy_finish(proxy, OUTCOME_FAILED);
        return;
    }
    answer.body = BODY_NONE;
    if (exchange_respond(exchange, &answer, "", 0, false) < 0)
        return; /* abort follows */
    struct slice ahead;
    struct stream *client = exchange->codec->upgrade(exchange, &ahead);
    if (client && tunnel_begin(proxy, client, ahead)) {
        proxy->courier->kind->close(proxy->courier); /* its stream has moved */
        proxy->courier = NULL;
        return;
    }
    exchange_cut(exchange, BLAME_ENGINX, "the upgrade found no memory");
    proxy_finish(proxy, OUTCOME_UNUSED);
}

const struct courier_calls proxy_calls = {
    .room = proxy_room,
    .interim = proxy_interim,
    .response = proxy_response,
    .body = proxy_body,
    .place = proxy_place,
    .placed = proxy_placed,
    .splices = proxy_splices,
    .splice = proxy_splice,
    .failed = proxy_failed,
};
