/* The handler of `respond`: a text of the configuration. */
#include <string.h>

#include "gateway/http/bump.h"
#include "gateway/http/expand.h"

struct answer { /* in the exchange's arena; while not all of it is out */
    struct slice rest;
};

/* RFC 9110 §15.3.5, §15.4.5: no body at all, whatever the configuration says. */
static bool bodiless(uint16_t status)
{
    return status < 200 || status == 204 || status == 304;
}

/* Takes what went out off the rest, and lets go after the last of it. When the client is gone,
 * abort follows. */
static void answer_took(struct exchange *exchange, struct answer *answer, ssize_t taken)
{
    if (taken < 0)
        return;
    answer->rest.bytes += taken;
    answer->rest.length -= (uint32_t)taken;
    if (!answer->rest.length)
        exchange_release(exchange);
}

static void answer_send(struct exchange *exchange, struct answer *answer)
{
    const struct route *route = exchange->route;
    const char *type = route->type ? route->type : "text/plain; charset=utf-8";
    const struct field field = {.name = SLICE("Content-Type"),
                                .value = {type, (uint32_t)strlen(type)},
                                .id = FIELD_CONTENT_TYPE};
    bool none = bodiless(route->status);
    struct response_head head = {.status = route->status,
                                 .fields = &field,
                                 .field_count = answer->rest.length && !none,
                                 .body = none ? BODY_NONE : BODY_LENGTH,
                                 .body_length = none ? 0 : answer->rest.length};
    if (none || exchange->request.method == METHOD_HEAD)
        answer->rest.length = 0;
    struct slice body = answer->rest;
    exchange->handler_own = answer;
    answer_took(exchange, answer, exchange_respond(exchange, &head, body.bytes, body.length, true));
}

static void respond_start(struct exchange *exchange)
{
    const char *pattern = exchange->route->body ? exchange->route->body : "";
    struct answer *answer = bump_alloc(exchange->arena, sizeof *answer);
    struct slice body = answer ? expand_pattern(exchange, pattern) : (struct slice){0};
    if (!body.bytes) {
        exchange_fail(exchange, 503, BLAME_ENGINX, "no memory for the response");
        exchange_release(exchange);
        return;
    }
    answer->rest = body;
    answer_send(exchange, answer);
}

static void respond_room(struct exchange *exchange)
{
    struct answer *answer = exchange->handler_own;
    struct slice rest = answer->rest;
    answer_took(exchange, answer, exchange_write(exchange, rest.bytes, rest.length, true));
}

static size_t respond_body(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    (void)exchange, (void)bytes, (void)last;
    return length;
}

static void respond_abort(struct exchange *exchange)
{
    (void)exchange; /* all that it has is in the arena */
}

const struct handler handler_respond = {
    .name = "respond",
    .start = respond_start,
    .request_body = respond_body,
    .response_room = respond_room,
    .abort = respond_abort,
};
