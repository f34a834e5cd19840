#include "gateway/http/exchange.h"

#include <stdio.h>

#include "gateway/core/flood.h"
#include "gateway/core/networks.h"
#include "gateway/http/access_log.h"
#include "gateway/http/bump.h"
#include "gateway/http/cache.h"
#include "gateway/http/error_page.h"
#include "gateway/http/expand.h"
#include "gateway/http/follow.h"
#include "gateway/http/guarded.h"
#include "gateway/http/h1_text.h"
#include "gateway/http/http_worker.h"
#include "gateway/http/requester.h"

/* ---- dispatch ------------------------------------------------------------------------------- */

static const struct handler *const handlers[] = {
    [ROUTE_PROXY] = &handler_proxy,
    [ROUTE_REDIRECT] = &handler_redirect,
    [ROUTE_RESPOND] = &handler_respond,
    [ROUTE_FILES] = &handler_files,
};

/* An answer of ours when no handler was started. */
static void refuse(struct exchange *exchange, uint16_t status, const char *why)
{
    exchange_fail(exchange, status, exchange->follow ? BLAME_UPSTREAM : BLAME_CLIENT, why);
    exchange_release(exchange);
}

/* May the request have this route? False: refused. */
static bool route_reached(struct exchange *exchange, const struct route *route)
{
    if (route->internal && !exchange->follow) {
        refuse(exchange, 404, "an internal route");
        return false;
    }
    if (exchange->follow && !exchange->request_ended && route->kind == ROUTE_PROXY) {
        refuse(exchange, 502, "a service led elsewhere before it took the request's body");
        return false;
    }
    return true;
}

static void refuse_method(struct exchange *exchange, struct slice allow)
{
    exchange->allow = allow;
    refuse(exchange, 405, "no route has this method");
}

/* Those of a regular expression lie in the scratch. False: no memory. */
static bool captures_keep(struct exchange *exchange, const struct matched *matched)
{
    for (size_t i = 0; i < sizeof matched->captures / sizeof matched->captures[0]; i++) {
        struct slice capture = matched->captures[i];
        exchange->captures[i] = SLICE("");
        if (!capture.length)
            continue;
        char *copy = bump_copy(exchange->arena, capture.bytes, capture.length);
        if (!copy)
            return false;
        exchange->captures[i] = (struct slice){copy, capture.length};
    }
    return true;
}

/* Who looks at the request first, or has it last. A service that leads elsewhere has asked the
 * guards of its own route; what the gateway asks for itself is nobody's request. */
static const struct handler *stage_next(const struct exchange *exchange)
{
    const struct route *route = exchange->route;
    if (exchange->follow)
        return handlers[route->kind];
    if (route->guard_count && !exchange->guarded && !exchange->internal)
        return &handler_guards;
    if (route->cache && exchange->handler != &handler_cache && !exchange->internal)
        return &handler_cache;
    return handlers[route->kind];
}

void exchange_proceed(struct exchange *exchange)
{
    if (exchange->handler && exchange->request.body != BODY_NONE) {
        exchange->body_anew = true; /* who came before may have taken nothing */
        exchange_request_more(exchange);
    }
    exchange->handler = stage_next(exchange);
    exchange->handler_own = NULL;
    exchange->handler->start(exchange);
}

static void route_start(struct exchange *exchange, const struct matched *matched)
{
    const struct plan_listener *plan = exchange->client->plan;
    const struct route *route = matched->route;
    exchange->route = route;
    exchange->route_number = matched->number;
    exchange->route_tally =
        tally_traffic(exchange->worker->place.tally, exchange->worker->place.thread, TALLY_ROUTE,
                      plan->route_rows[matched->number]);
    tally_add(&exchange->route_tally->requests_now, 1);
    uint64_t bytes_max = exchange_body_max(exchange);
    if ((route->internal || exchange->follow) && !route_reached(exchange, route))
        return;
    if (bytes_max && exchange->request.body == BODY_LENGTH &&
        exchange->request.body_length > bytes_max) {
        refuse(exchange, 413, "the body is larger than the route takes");
        return;
    }
    if (exchange->request.connect && route->kind != ROUTE_PROXY) {
        refuse(exchange, 501, "a WebSocket to what is no service");
        return;
    }
    if (route->path_kind == PATH_REGEX && !captures_keep(exchange, matched)) {
        refuse(exchange, 503, "the request's memory is used up");
        return;
    }
    exchange_proceed(exchange);
}

/* In front of everything else, and once for each request. */
static bool flooded(struct exchange *exchange)
{
    union client_address client;
    uint64_t left_ms;
    if (exchange->follow)
        return false;
    requester_client(exchange, &client);
    if (!flood_refuses_request(exchange->client, &client.any, &left_ms))
        return false;
    char text[24];
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)(left_ms + 999) / 1000);
    const struct field field = {
        .name = SLICE("Retry-After"), .value = {text, (uint32_t)length}, .id = FIELD_RETRY_AFTER};
    tally_add(&exchange->client->tally->refused, 1);
    /* A proxy's connection is not its alone. */
    exchange->request.keep_alive &= exchange->client_trusted;
    exchange->page_fields = &field;
    exchange->page_field_count = 1;
    refuse(exchange, 429, "flood");
    exchange->page_field_count = 0;
    return true;
}

void exchange_dispatch(struct exchange *exchange)
{
    if (exchange->client->plan->listener->flood && flooded(exchange))
        return;
    struct matched matched;
    switch (match_find(exchange->client->plan->match, &exchange->request,
                       exchange->worker->http->match_scratch, &matched)) {
    case MATCH_FOUND:
        route_start(exchange, &matched);
        return;
    case MATCH_NONE:
        refuse(exchange, 404, "no route");
        return;
    case MATCH_METHOD:
        refuse_method(exchange, matched.allow);
        return;
    case MATCH_BAD_PATH:
        break;
    }
    refuse(exchange, exchange->follow ? 502 : 400,
           "a path that climbs above the root, is too long or encodes a NUL");
}

/* ---- the request's body --------------------------------------------------------------------- */

uint64_t exchange_body_max(const struct exchange *exchange)
{
    if (exchange->route && exchange->route->body_bytes_max)
        return exchange->route->body_bytes_max;
    return exchange->client->plan->listener->site->body_bytes_max;
}

size_t exchange_request_body(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    if (!exchange->handler) /* it wants no more of it */
        return length;
    return exchange->handler->request_body(exchange, bytes, length, last);
}

void exchange_request_more(struct exchange *exchange)
{
    exchange->codec->request_more(exchange);
}

/* ---- ends ----------------------------------------------------------------------------------- */

void exchange_abort(struct exchange *exchange, enum exchange_blame blame, const char *why)
{
    exchange_blame(exchange, blame, why);
    const struct handler *handler = exchange->handler;
    exchange->handler = NULL;
    if (handler)
        handler->abort(exchange);
}

static void traffic_done(struct tally_traffic *traffic, const struct exchange *exchange,
                         uint64_t latency_us)
{
    tally_add(&traffic->requests, 1);
    tally_add(&traffic->requests_now, (uint64_t)-1);
    unsigned class = exchange->status / 100u;
    tally_add(&traffic->status[class <= 5 ? class : 0], 1);
    if (exchange->bytes_in)
        tally_add(&traffic->bytes_in, exchange->bytes_in);
    if (exchange->bytes_out)
        tally_add(&traffic->bytes_out, exchange->bytes_out);
    tally_latency(traffic, latency_us);
}

void exchange_leave(struct exchange *exchange, uint16_t status)
{
    uint64_t latency_us = worker_now_us(exchange->worker) - exchange->begun_us;
    exchange->status = status;
    if (exchange->route_tally)
        traffic_done(exchange->route_tally, exchange, latency_us);
    if (exchange->service_tally)
        traffic_done(exchange->service_tally, exchange, latency_us);
    exchange->status = 0;
    exchange->route = NULL;
    exchange->route_tally = exchange->service_tally = NULL;
    memset(exchange->captures, 0, sizeof exchange->captures);
}

void exchange_done(struct exchange *exchange)
{
    if (exchange->filters)
        exchange_filters_done(exchange);
    if (exchange->guarded)
        guards_done(exchange);
    uint64_t latency_us = worker_now_us(exchange->worker) - exchange->begun_us;
    if (!exchange->internal)
        traffic_done(exchange->client->tally, exchange, latency_us);
    if (exchange->route_tally)
        traffic_done(exchange->route_tally, exchange, latency_us);
    if (exchange->service_tally)
        traffic_done(exchange->service_tally, exchange, latency_us);
    if (!exchange->internal && exchange->client->plan->listener->site->access_log != ACCESS_OFF)
        access_log_exchange(exchange);
}

/* ---- the request id ------------------------------------------------------------------------- */

enum { ID_MADE_BYTES = 32 };

static void id_make(struct exchange *exchange)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < ID_MADE_BYTES; i += 16) {
        uint64_t number = random_next(&exchange->worker->random);
        for (int j = 0; j < 16; j++, number >>= 4)
            exchange->request_id[i + j] = digits[number & 15];
    }
    exchange->request_id[ID_MADE_BYTES] = 0;
}

/* It is shown in logs, pages and JSON. */
static bool id_usable(const struct field *field)
{
    const char *end = field->value.bytes + field->value.length;
    return !field->dropped && field->value.length && field->value.length < REQUEST_ID_BYTES &&
           h1_skip(field->value.bytes, end, BYTE_TOKEN) == end;
}

const char *exchange_request_id(struct exchange *exchange)
{
    if (exchange->request_id[0])
        return exchange->request_id;
    const struct field *given = head_field(&exchange->request, FIELD_X_REQUEST_ID);
    if (exchange->client_trusted && given && id_usable(given)) {
        memcpy(exchange->request_id, given->value.bytes, given->value.length);
        exchange->request_id[given->value.length] = 0;
    } else {
        id_make(exchange);
    }
    return exchange->request_id;
}
