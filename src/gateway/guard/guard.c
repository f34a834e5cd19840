#include "gateway/guard/guard.h"

#include <string.h>

#include "gateway/guard/jwks.h"
#include "gateway/guard/passwords.h"
#include "gateway/http/bump.h"
#include "gateway/http/http_worker.h"

static enum guard_answer (*const kinds[GUARD_KINDS])(struct exchange *, const struct guard *) = {
    [GUARD_ACCESS] = guard_access,     [GUARD_RATE] = guard_rate,
    [GUARD_REQUESTS] = guard_requests, [GUARD_BASIC] = guard_basic,
    [GUARD_REQUEST] = guard_request,   [GUARD_JWT] = guard_jwt,
    [GUARD_CORS] = guard_cors,
};

/* ---- answers -------------------------------------------------------------------------------- */

static void counted(struct exchange *exchange, const struct guard *guard)
{
    exchange->guarded->refused = guard;
    tally_add(&exchange->client->tally->refused, 1);
    tally_add(&exchange->client->tally->guarded[guard->kind], 1);
    if (!exchange->route_tally)
        return;
    tally_add(&exchange->route_tally->refused, 1);
    tally_add(&exchange->route_tally->guarded[guard->kind], 1);
}

enum guard_answer guard_refuse(struct exchange *exchange, const struct guard *guard,
                               uint16_t status, const char *why, const struct field *fields,
                               uint32_t count)
{
    counted(exchange, guard);
    exchange->guarded->abort = NULL;
    exchange->page_fields = fields;
    exchange->page_field_count = count;
    exchange_fail(exchange, status, BLAME_CLIENT, why ? why : guard->text);
    exchange->page_field_count = 0;
    exchange_release(exchange);
    return GUARD_ANSWERED;
}

enum guard_answer guard_respond(struct exchange *exchange, const struct guard *guard,
                                uint16_t status, const struct field *fields, uint32_t count)
{
    const struct response_head head = {
        .status = status, .fields = fields, .field_count = count, .body = BODY_LENGTH};
    counted(exchange, guard);
    exchange->guarded->abort = NULL;
    if (exchange_respond(exchange, &head, "", 0, true) >= 0) /* else abort follows */
        exchange_release(exchange);
    return GUARD_ANSWERED;
}

enum guard_answer guard_fail(struct exchange *exchange, const struct guard *guard, uint16_t status,
                             enum exchange_blame blame, const char *why)
{
    counted(exchange, guard);
    exchange->guarded->abort = NULL;
    exchange_fail(exchange, status, blame, why);
    exchange_release(exchange);
    return GUARD_ANSWERED;
}

/* ---- the walk ------------------------------------------------------------------------------- */

static void guards_ask(struct exchange *exchange)
{
    const struct route *route = exchange->route;
    struct guarded *guarded = exchange->guarded;
    for (; guarded->at < route->guard_count; guarded->at++) {
        const struct guard *guard = &route->guards[guarded->at];
        if (kinds[guard->kind](exchange, guard) != GUARD_PASSES)
            return;
    }
    exchange_proceed(exchange);
}

void guard_go_on(struct exchange *exchange)
{
    struct guarded *guarded = exchange->guarded;
    guarded->abort = NULL;
    guarded->own = NULL;
    guarded->at++;
    guards_ask(exchange);
}

void guards_done(struct exchange *exchange)
{
    guard_holds_give(exchange->guarded);
}

void guards_worker_done(struct worker *worker)
{
    passwords_worker_free(worker->http->passwords);
    worker->http->passwords = NULL;
    jwks_worker_free(worker->http->jwks);
    worker->http->jwks = NULL;
}

/* ---- the handler ---------------------------------------------------------------------------- */

static void guards_start(struct exchange *exchange)
{
    struct guarded *guarded = bump_alloc(exchange->arena, sizeof *guarded);
    if (!guarded) {
        exchange_fail(exchange, 503, BLAME_ENGINX, "no memory for the guards");
        exchange_release(exchange);
        return;
    }
    *guarded = (struct guarded){.user = SLICE("")};
    exchange->guarded = guarded;
    guards_ask(exchange);
}

/* It waits for the route's handler. A body that turns out to be empty is none: the end of it is
 * told once, and that was to us. */
static size_t guards_body(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    (void)bytes;
    if (last && !length)
        exchange->request.body = BODY_NONE;
    return 0;
}

/* After an error page that did not fit: the codec cut it. */
static void guards_room(struct exchange *exchange)
{
    (void)exchange;
}

static void guards_abort(struct exchange *exchange)
{
    struct guarded *guarded = exchange->guarded;
    void (*abort)(struct exchange *) = guarded ? guarded->abort : NULL;
    if (!abort)
        return;
    guarded->abort = NULL;
    abort(exchange);
}

const struct handler handler_guards = {
    .name = "guards",
    .start = guards_start,
    .request_body = guards_body,
    .response_room = guards_room,
    .abort = guards_abort,
};
