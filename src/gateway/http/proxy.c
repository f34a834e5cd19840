#include "gateway/http/proxy.h"

#include <errno.h>

#include "gateway/http/bump.h"
#include "gateway/http/cgi_script.h"
#include "gateway/http/grpc.h"
#include "gateway/http/h1_fields.h"

enum { DEADLINE_MS_MAX = 7 * 24 * 3600 * 1000 };

static void proxy_try(struct proxy *proxy);

/* ---- ends ----------------------------------------------------------------------------------- */

static void endpoint_leave(struct proxy *proxy, enum endpoint_outcome outcome)
{
    struct endpoint *endpoint = proxy->endpoint;
    if (!endpoint)
        return;
    proxy->endpoint = NULL;
    if (proxy->exchange->bytes_in)
        tally_add(&endpoint->tally->bytes_in, proxy->exchange->bytes_in);
    if (proxy->exchange->bytes_out)
        tally_add(&endpoint->tally->bytes_out, proxy->exchange->bytes_out);
    if (proxy->pass)
        proxy_breaker_leave(proxy, outcome);
    endpoint_end(endpoint, outcome, proxy->latency_us);
}

static void courier_close(struct proxy *proxy)
{
    struct courier *courier = proxy->courier;
    proxy->courier = NULL;
    if (courier)
        courier->kind->close(courier);
}

static void deadline_stop(struct proxy *proxy)
{
    timer_stop(proxy->exchange->worker->loop, &proxy->deadline);
}

static void proxy_release(struct proxy *proxy)
{
    deadline_stop(proxy);
    if (proxy->given)
        proxy->given->gone = true;
    exchange_release(proxy->exchange);
}

/* First, before it is counted as over, so that who waits for room finds it. */
static void courier_done(struct proxy *proxy)
{
    struct courier *courier = proxy->courier;
    proxy->courier = NULL;
    if (courier)
        courier->kind->done(courier);
}

void proxy_finish(struct proxy *proxy, enum endpoint_outcome outcome)
{
    if (outcome == OUTCOME_GOOD)
        courier_done(proxy);
    else
        courier_close(proxy);
    endpoint_leave(proxy, outcome);
    proxy_release(proxy);
}

void proxy_leave(struct proxy *proxy, bool whole)
{
    deadline_stop(proxy);
    if (whole)
        courier_done(proxy);
    else
        courier_close(proxy);
    endpoint_leave(proxy, OUTCOME_GOOD);
}

/* An answer of ours. */
static void proxy_answer(struct proxy *proxy, uint16_t status, enum exchange_blame blame,
                         const char *why)
{
    exchange_fail(proxy->exchange, status, blame, why);
    proxy_release(proxy);
}

static void proxy_abort(struct exchange *exchange)
{
    struct proxy *proxy = exchange->handler_own;
    if (!proxy)
        return;
    proxy->aborting = true;
    deadline_stop(proxy);
    waiter_stop(&proxy->waiter);
    courier_close(proxy);
    if (proxy->tunnel)
        tunnel_cut(proxy->tunnel);
    endpoint_leave(proxy, OUTCOME_UNUSED);
}

/* ---- trying again --------------------------------------------------------------------------- */

static bool method_retriable(enum retry_methods methods, enum http_method method)
{
    switch (methods) {
    case RETRY_SAFE:
        return method_safe(method);
    case RETRY_IDEMPOTENT:
        return method_idempotent(method);
    case RETRY_ALL:
        return true;
    }
    return false;
}

/* The endpoint ended a kept connection while the request was on its way to it. */
static bool crossed(const struct proxy *proxy, const struct courier_failure *failure)
{
    return failure->stage != STAGE_CONNECT && !failure->timeout && !failure->received &&
           failure->reused && !proxy->fresh_only;
}

static bool may_try_again(struct proxy *proxy, const struct courier_failure *failure, bool free)
{
    bool reached = failure->stage != STAGE_CONNECT && !failure->untouched;
    if (proxy->exchange->responded || proxy->replay_lost)
        return false;
    if (reached && (failure->timeout || !proxy->retriable))
        return false;
    if (free)
        return true;
    if (proxy->tries > proxy_service(proxy)->gateway.retry_tries)
        return false;
    if (!upstream_closed(proxy->upstream)) /* it has trouble enough */
        return false;
    if (!upstream_retry_allowed(proxy->upstream))
        return false;
    if (proxy->exchange->route_tally)
        tally_add(&proxy->exchange->route_tally->retries, 1);
    return true;
}

static void avoid(struct proxy *proxy, const struct endpoint *endpoint)
{
    struct pick *pick = &proxy->pick;
    if (pick->avoid_count < PICK_AVOID_MAX)
        pick->avoid[pick->avoid_count++] = endpoint;
}

/* What TLS says of a failure lies in its session, which ends before the log is written. */
static const char *why_keep(struct proxy *proxy, const char *why)
{
    const char *kept = bump_copy(proxy->exchange->arena, why, strlen(why));
    return kept ? kept : "TLS with the endpoint failed";
}

/* An attempt failed. `free`: neither a try nor the endpoint's fault. */
static void attempt_failed(struct proxy *proxy, const struct courier_failure *failure, bool free)
{
    enum courier_stage stage = failure->stage;
    struct endpoint *endpoint = proxy->endpoint;
    const char *why = failure->spoke ? why_keep(proxy, failure->why) : failure->why;
    courier_close(proxy);
    if (free)
        proxy->fresh_only = true;
    else
        avoid(proxy, endpoint);
    endpoint_leave(proxy, free                     ? OUTCOME_UNUSED
                          : stage == STAGE_CONNECT ? OUTCOME_CONNECT_FAILED
                                                   : OUTCOME_FAILED);
    if (may_try_again(proxy, failure, free)) {
        proxy_try(proxy);
        return;
    }
    /* 502 says that there was an answer, and that it was none; here nobody was there. */
    uint16_t status = stage == STAGE_CONNECT && !failure->spoke ? 503 : 502;
    proxy_answer(proxy, failure->timeout ? 504 : status, BLAME_UPSTREAM, why);
}

/* The call's own time is over: nobody's fault that is known. */
static void deadline_due(struct timer *timer)
{
    struct proxy *proxy = timer->owner;
    waiter_stop(&proxy->waiter);
    courier_close(proxy);
    endpoint_leave(proxy, OUTCOME_UNUSED);
    proxy_answer(proxy, 504, BLAME_UPSTREAM, "deadline: the call's grpc-timeout is over");
}

static void deadline_start(struct proxy *proxy)
{
    const struct exchange *exchange = proxy->exchange;
    uint64_t timeout_ms = grpc_is(&exchange->request) ? grpc_timeout_ms(&exchange->request) : 0;
    /* Without memory for it there is none: the client's own is still there. */
    if (timeout_ms && timeout_ms < DEADLINE_MS_MAX)
        timer_start(exchange->worker->loop, &proxy->deadline, timeout_ms, deadline_due, proxy);
}

/* No attempt was made at all. */
static void attempt_short(struct proxy *proxy, int error)
{
    endpoint_leave(proxy, OUTCOME_UNUSED);
    proxy_answer(proxy, 503, BLAME_ENGINX, strerror(-error));
}

void proxy_failed(void *owner, const struct courier_failure *failure)
{
    struct proxy *proxy = owner;
    bool free = (proxy->retriable || failure->untouched) && crossed(proxy, failure);
    attempt_failed(proxy, failure, free);
}

static void connect_failed(struct proxy *proxy, int error)
{
    bool spoke = error == -EPROTO; /* the handshake went on, and failed, within the write */
    const struct courier_failure failure = {.stage = STAGE_CONNECT,
                                            .spoke = spoke,
                                            .why = spoke ? "TLS with the endpoint failed"
                                                         : strerror(-error)};
    attempt_failed(proxy, &failure, false);
}

/* ---- a connection --------------------------------------------------------------------------- */

struct tls_client *proxy_tls(const struct proxy *proxy)
{
    struct tls_client **tls_to = proxy->exchange->use->generation->tls_to;
    return tls_to ? tls_to[proxy->service] : NULL;
}

struct courier_times proxy_times(const struct proxy *proxy)
{
    const struct service_gateway *gateway = &proxy_service(proxy)->gateway;
    uint32_t response_ms = proxy->exchange->route->response_ms;
    return (struct courier_times){.send = gateway->send_ms,
                                  .response = response_ms ? response_ms : gateway->response_ms,
                                  .read = gateway->read_ms,
                                  .idle = gateway->idle_ms};
}

static void upstream_name(struct proxy *proxy)
{
    char *name = proxy->exchange->upstream;
    size_t length = strnlen(proxy->endpoint->name, sizeof proxy->exchange->upstream - 1);
    memcpy(name, proxy->endpoint->name, length);
    name[length] = 0;
}

/* The endpoint is begun: a connection to it, and the request on that. */
static void attempt(struct proxy *proxy)
{
    proxy->tries++;
    proxy->exchange->tries = proxy->tries;
    upstream_name(proxy);
    int error = proxy->protocol->begin(proxy);
    if (error && stream_error_ours(error)) {
        attempt_short(proxy, error);
        return;
    }
    if (error) {
        connect_failed(proxy, error);
        return;
    }
    error = proxy_request_send(proxy);
    if (error == -ENOMEM || error == -E2BIG || error == -EINVAL) {
        courier_close(proxy);
        endpoint_leave(proxy, OUTCOME_UNUSED);
        proxy_answer(proxy, error == -EINVAL ? 400 : 503,
                     error == -EINVAL ? BLAME_CLIENT : BLAME_ENGINX,
                     error == -EINVAL ? "the rewritten path is none" : "the head found no room");
    } else if (error) {
        connect_failed(proxy, error);
    }
}

/* ---- choosing ------------------------------------------------------------------------------- */

static void waited(struct waiter *waiter, enum pick_result result)
{
    struct proxy *proxy = (struct proxy *)((char *)waiter - offsetof(struct proxy, waiter));
    if (result != PICK_DONE) {
        proxy_answer(proxy, 503, BLAME_UPSTREAM, "nobody came in time to serve it");
        return;
    }
    proxy_try(proxy);
}

static void proxy_wait(struct proxy *proxy)
{
    proxy->exchange->codec->watch(proxy->exchange);
    if (!upstream_wait(proxy->upstream, &proxy->waiter, waited))
        proxy_answer(proxy, 503, BLAME_UPSTREAM, "too many wait for the service already");
}

static void proxy_try(struct proxy *proxy)
{
    struct endpoint *endpoint;
    if (!upstream_passes(proxy->upstream, &proxy->pass)) {
        proxy_breaker_fail(proxy);
        proxy_release(proxy);
        return;
    }
    switch (upstream_pick(proxy->upstream, &proxy->pick, &endpoint)) {
    case PICK_DONE:
        endpoint_begin(endpoint);
        proxy->endpoint = endpoint;
        attempt(proxy);
        return;
    case PICK_WAIT:
        upstream_over(proxy->upstream, &proxy->pass);
        proxy_wait(proxy);
        return;
    case PICK_NONE:
        upstream_over(proxy->upstream, &proxy->pass);
        break;
    }
    proxy_answer(proxy, 503, BLAME_UPSTREAM, "no endpoint is up");
}

/* ---- the handler ---------------------------------------------------------------------------- */

/* RFC 9110 §7.6.2: it stops here. */
static bool forwards_over(const struct head *request)
{
    const struct field *field = head_field(request, FIELD_MAX_FORWARDS);
    uint64_t left;
    return field && (request->method == METHOD_OPTIONS || request->method == METHOD_TRACE) &&
           h1_length_read(field->value, &left) && !left;
}

static void options_answer(struct exchange *exchange)
{
    const struct response_head head = {.status = 204};
    exchange_respond(exchange, &head, "", 0, true);
    exchange_release(exchange);
}

static const struct proxy_protocol *const protocols[] = {
    [SPEAKS_HTTP] = &proxy_http1, [SPEAKS_FASTCGI] = &proxy_fastcgi, [SPEAKS_UWSGI] = &proxy_uwsgi,
    [SPEAKS_SCGI] = &proxy_scgi,  [SPEAKS_HTTP2] = &proxy_http2,
};

/* As the exchange's generation has it, of which its route is, too. */
static const struct proxy_protocol *protocol_of(const struct exchange *exchange, uint32_t service)
{
    return protocols[exchange->use->generation->topology->services[service].gateway.speaks];
}

static struct proxy *proxy_new(struct exchange *exchange)
{
    struct proxy *proxy = bump_alloc(exchange->arena, sizeof *proxy);
    const struct route_target *target = proxy_target_choose(exchange);
    struct upstream *upstream = proxy ? worker_upstream(exchange->use, target->service) : NULL;
    if (!upstream)
        return NULL;
    *proxy = (struct proxy){.exchange = exchange, .upstream = upstream, .service = target->service};
    proxy->pick.role = proxy->waiter.role = target->role;
    proxy->protocol = protocol_of(exchange, target->service);
    exchange->handler_own = proxy;
    exchange->service_tally = upstream_tally(upstream);
    tally_add(&exchange->service_tally->requests_now, 1);
    proxy->retriable =
        method_retriable(proxy_service(proxy)->gateway.retry_methods, exchange->request.method);
    proxy_key(proxy);
    deadline_start(proxy);
    return proxy;
}

/* Which script it is for. False: answered. */
static bool script_start(struct exchange *exchange, const struct cgi_script **ret_script)
{
    int error = cgi_script_find(exchange, ret_script);
    if (!error)
        return true;
    if (error == -ENOENT)
        exchange_fail(exchange, 404, BLAME_CLIENT, "the path names no script");
    else if (error == -EINVAL)
        exchange_fail(exchange, 400, BLAME_CLIENT, "the rewritten path is none");
    else
        exchange_fail(exchange, 503, BLAME_ENGINX, "no memory for a CGI request");
    exchange_release(exchange);
    return false;
}

static void proxy_start(struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    if (request->method == METHOD_TRACE) { /* it would show cookies that scripts may not see */
        exchange->allow = SLICE("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
        exchange_fail(exchange, 405, BLAME_CLIENT, "TRACE");
        exchange_release(exchange);
        return;
    }
    if (forwards_over(request)) {
        options_answer(exchange);
        return;
    }
    const struct cgi_script *script = NULL;
    if (speaks_cgi(exchange->route->speaks) && !script_start(exchange, &script))
        return;
    struct proxy *proxy = proxy_new(exchange);
    if (!proxy) {
        exchange_fail(exchange, 503, BLAME_ENGINX, "no memory for a proxied request");
        exchange_release(exchange);
        return;
    }
    proxy->script = script;
    if (request->connect && !proxy->protocol->upgrades) {
        proxy_answer(proxy, 501, BLAME_CLIENT, "a WebSocket to a service that has none");
        return;
    }
    if (request->body != BODY_NONE) /* head and first bytes in one: request_body comes at once */
        return;
    proxy->begun = true;
    proxy_try(proxy);
}

/* A program that is told CGI variables asks nobody to go on, and is told the body's length first,
 * which a chunked one says last: then the body is collected. False: it is not complete, or refused.
 */
static bool cgi_body(struct proxy *proxy, const char *bytes, size_t length, bool last,
                     size_t *ret_taken)
{
    struct exchange *exchange = proxy->exchange;
    if (exchange->request.expect_continue && !exchange->bytes_in && !length && !last) {
        const struct response_head go_on = {.status = 100, .reason = SLICE("Continue")};
        exchange_interim(exchange, &go_on);
        exchange->request.expect_continue = false;
    }
    *ret_taken = 0;
    if (exchange->request.body != BODY_CHUNKED)
        return true;
    if (!proxy_body_collect(proxy, bytes, length, last)) {
        proxy_answer(proxy, 411, BLAME_CLIENT, "a chunked body too large to be measured first");
        return false;
    }
    *ret_taken = length;
    return last;
}

static size_t proxy_request_body(struct exchange *exchange, const char *bytes, size_t length,
                                 bool last)
{
    struct proxy *proxy = exchange->handler_own;
    if (proxy->begun)
        return proxy->courier ? proxy_body_send(proxy, bytes, length, last) : 0;
    struct given given = {.bytes = bytes, .length = length, .last = last};
    size_t collected;
    if (proxy->script && !cgi_body(proxy, bytes, length, last, &collected))
        return collected;
    if (proxy->script && proxy->body_over) { /* collected: it goes as that of another try would */
        proxy->begun = true;
        proxy_try(proxy);
        return collected;
    }
    proxy->begun = true;
    proxy->given = &given;
    proxy_try(proxy);
    if (!given.gone)
        proxy->given = NULL;
    return given.taken;
}

static void proxy_response_room(struct exchange *exchange)
{
    struct proxy *proxy = exchange->handler_own;
    if (proxy->courier)
        proxy->courier->kind->more(proxy->courier);
}

const struct handler handler_proxy = {
    .name = "proxy",
    .start = proxy_start,
    .request_body = proxy_request_body,
    .response_room = proxy_response_room,
    .abort = proxy_abort,
};
