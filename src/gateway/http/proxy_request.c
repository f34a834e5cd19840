#include <errno.h>

#include "gateway/http/bump.h"
#include "gateway/http/expand.h"
#include "gateway/http/fastcgi.h"
#include "gateway/http/h1_fields.h"
#include "gateway/http/h1_text.h"
#include "gateway/http/proxy.h"

/* ---- which fields --------------------------------------------------------------------------- */

/* Those of the client that are the endpoint's as they are. */
static bool field_passes(const struct exchange *exchange, const struct field *field)
{
    enum field_id id = field->id;
    return id == FIELD_OTHER
               ? !field->dropped
               : !field->dropped && !field_hop_by_hop(id) && id != FIELD_HOST &&
                     id != FIELD_CONTENT_LENGTH && id != FIELD_EXPECT && id != FIELD_TRAILER &&
                     id != FIELD_MAX_FORWARDS && !forwarded_replaces(exchange, id);
}

/* A rule may set Host; nothing may set how the message ends. */
static void put_ruled(struct text *text, const struct field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct field *field = &fields[i];
        if (!field->dropped && !field_hop_by_hop(field->id) && field->id != FIELD_HOST &&
            field->id != FIELD_CONTENT_LENGTH && field_sane(field))
            put_field(text, field);
    }
}

/* All fields in one array, as the rules see them. NULL: no memory. */
static const struct field *fields_ruled(struct exchange *exchange, const struct field *made,
                                        uint32_t made_count, struct slice host, uint32_t *ret_count)
{
    const struct head *request = &exchange->request;
    struct field *all =
        bump_alloc(exchange->arena, (request->field_count + made_count + 1) * sizeof *all);
    if (!all)
        return NULL;
    uint32_t count = 0;
    all[count++] = (struct field){SLICE("Host"), host, FIELD_HOST, false};
    for (uint32_t i = 0; i < request->field_count; i++)
        if (field_passes(exchange, &request->fields[i]))
            all[count++] = request->fields[i];
    for (uint32_t i = 0; i < made_count; i++)
        all[count++] = made[i];
    return expand_fields(exchange, false, all, count, ret_count);
}

/* ---- the parts of a head -------------------------------------------------------------------- */

static struct slice host_of(const struct proxy *proxy)
{
    struct slice host = proxy->exchange->request.authority;
    if (host.length)
        return host;
    const char *name = proxy_service(proxy)->name; /* HTTP/1.0 may leave it out */
    return (struct slice){name, (uint32_t)strlen(name)};
}

const struct field *proxy_request_fields(struct proxy *proxy, uint32_t *ret_count)
{
    struct field made[FORWARDED_FIELDS_MAX];
    uint32_t made_count = forwarded_fields(proxy->exchange, made);
    return made_count ? fields_ruled(proxy->exchange, made, made_count, host_of(proxy), ret_count)
                      : NULL;
}

/* False: rewriting made something that is no target. */
static bool put_line(struct text *text, struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    struct slice target = request->target;
    if (exchange->route->rewrite_count) {
        target = expand_target(exchange);
        const char *end = target.bytes + target.length;
        if (!target.length || h1_skip(target.bytes, end, BYTE_TARGET) != end)
            return false;
    }
    put_slice(text, request->method_name);
    PUT(text, " ");
    if (*target.bytes == '?')
        PUT(text, "/");
    put_slice(text, target);
    PUT(text, " HTTP/1.1\r\nHost: ");
    return true;
}

/* Switching to HTTP/2 or TLS behind our back would be a tunnel for requests that nobody checks. */
static bool upgrade_passes(const struct head *request)
{
    if (!request->upgrade)
        return false;
    struct slice name = head_field(request, FIELD_UPGRADE)->value;
    const char *end = name.bytes + name.length;
    const char *token_end = h1_skip(name.bytes, end, BYTE_TOKEN);
    if (token_end == name.bytes || (token_end != end && *token_end != '/'))
        return false;
    struct slice token = {name.bytes, (uint32_t)(token_end - name.bytes)};
    return !slice_is_nocase(token, "h2c") && !slice_is_nocase(token, "h2") &&
           !slice_is_nocase(token, "http") && !slice_is_nocase(token, "tls");
}

static void put_end(struct text *text, struct exchange *exchange)
{
    struct head *request = &exchange->request;
    if (request->body == BODY_CHUNKED)
        PUT(text, "Transfer-Encoding: chunked\r\n");
    else if (request->body == BODY_LENGTH || request->first[FIELD_CONTENT_LENGTH]) {
        PUT(text, "Content-Length: ");
        put_number(text, request->body_length);
        PUT(text, "\r\n");
    }
    if (request->expect_continue)
        PUT(text, "Expect: 100-continue\r\n");
    request->upgrade = upgrade_passes(request);
    if (request->upgrade) {
        PUT(text, "Connection: upgrade\r\nUpgrade: ");
        put_slice(text, head_field(request, FIELD_UPGRADE)->value);
        PUT(text, "\r\n");
    } else if (request->te_trailers) {
        PUT(text, "TE: trailers\r\nConnection: TE\r\n");
    }
    uint64_t forwards;
    const struct field *field = head_field(request, FIELD_MAX_FORWARDS);
    if (field && h1_length_read(field->value, &forwards) && forwards) {
        PUT(text, "Max-Forwards: ");
        put_number(text, forwards - 1);
        PUT(text, "\r\n");
    }
    PUT(text, "\r\n");
}

/* 0, -ENOMEM, -E2BIG, -EINVAL. */
static int head_put(struct proxy *proxy, struct text *text)
{
    struct exchange *exchange = proxy->exchange;
    const struct head *request = &exchange->request;
    struct field made[FORWARDED_FIELDS_MAX];
    uint32_t made_count = forwarded_fields(exchange, made);
    struct slice host = host_of(proxy);
    const struct field *ruled = NULL;
    uint32_t ruled_count = 0;
    if (!put_line(text, exchange))
        return -EINVAL;
    if (exchange->route->headers_change_count)
        ruled = fields_ruled(exchange, made, made_count, host, &ruled_count);
    if (!made_count || (!ruled && exchange->route->headers_change_count))
        return -ENOMEM;
    for (uint32_t i = 0; i < ruled_count; i++)
        if (ruled[i].id == FIELD_HOST && !ruled[i].dropped && field_sane(&ruled[i]))
            host = ruled[i].value;
    put_slice(text, host);
    PUT(text, "\r\n");
    if (ruled) {
        put_ruled(text, ruled, ruled_count);
    } else {
        for (uint32_t i = 0; i < request->field_count; i++)
            if (field_passes(exchange, &request->fields[i]))
                put_field(text, &request->fields[i]);
        for (uint32_t i = 0; i < made_count; i++)
            put_field(text, &made[i]);
    }
    put_end(text, exchange);
    return text->full ? -E2BIG : 0;
}

/* ---- the body ------------------------------------------------------------------------------- */

static uint32_t replay_room(const struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    if (request->body == BODY_LENGTH && request->body_length < EXCHANGE_REPLAY_BYTES)
        return (uint32_t)request->body_length;
    return request->body == BODY_LENGTH ? 0 : EXCHANGE_REPLAY_BYTES;
}

/* Keeps what was taken, for another try. */
static void replay_add(struct proxy *proxy, const char *bytes, size_t length)
{
    if (!length || proxy->replay_lost)
        return;
    if (!proxy->replay) {
        proxy->replay_room = replay_room(proxy->exchange);
        if (proxy->replay_room)
            proxy->replay = bump_alloc(proxy->exchange->arena, proxy->replay_room);
    }
    if (!proxy->replay || length > proxy->replay_room - proxy->replay_length) {
        proxy->replay_lost = true;
        return;
    }
    memcpy(proxy->replay + proxy->replay_length, bytes, length);
    proxy->replay_length += (uint32_t)length;
    proxy->replay_sent = proxy->replay_length;
}

static bool chunked(const struct proxy *proxy)
{
    return proxy->exchange->request.body == BODY_CHUNKED || proxy->script;
}

bool proxy_body_collect(struct proxy *proxy, const char *bytes, size_t length, bool last)
{
    replay_add(proxy, bytes, length);
    proxy->body_over = last;
    proxy->exchange->request.body_length = proxy->replay_length;
    return !proxy->replay_lost;
}

size_t proxy_body_send(struct proxy *proxy, const char *bytes, size_t length, bool last)
{
    if (proxy->replay_sent < proxy->replay_length) /* first what another try took */
        return 0;
    const struct h1_piece piece = {.body = bytes, .body_length = length, .last = last};
    ssize_t taken = h1_client_send(proxy->client, &piece, chunked(proxy));
    if (taken < 0) /* its failure is told */
        return 0;
    replay_add(proxy, bytes, (size_t)taken);
    proxy->body_over = last && (size_t)taken == length;
    return (size_t)taken;
}

void proxy_room(void *owner)
{
    struct proxy *proxy = owner;
    if (proxy->replay_sent < proxy->replay_length) {
        const struct h1_piece piece = {.body = proxy->replay + proxy->replay_sent,
                                       .body_length = proxy->replay_length - proxy->replay_sent,
                                       .last = proxy->body_over};
        ssize_t taken = h1_client_send(proxy->client, &piece, chunked(proxy));
        if (taken < 0)
            return;
        proxy->replay_sent += (uint32_t)taken;
        if (proxy->replay_sent < proxy->replay_length)
            return;
    }
    if (!proxy->body_over && proxy->exchange->request.body != BODY_NONE)
        exchange_request_more(proxy->exchange);
}

/* What goes with the head: what another try took of the body, or what comes just now. */
static struct h1_piece first_piece(const struct proxy *proxy, const struct text *text)
{
    struct h1_piece piece = {.head = text->bytes,
                             .head_length = text->length,
                             .head_room = WORKER_OUTPUT_BYTES,
                             .last = proxy->body_over};
    if (proxy->replay_length) {
        piece.body = proxy->replay;
        piece.body_length = proxy->replay_length;
    } else if (proxy->given) {
        piece.body = proxy->given->bytes;
        piece.body_length = proxy->given->length;
        piece.last |= proxy->given->last;
    }
    piece.last |= proxy->exchange->request.body == BODY_NONE;
    return piece;
}

int proxy_request_send(struct proxy *proxy)
{
    struct exchange *exchange = proxy->exchange;
    struct text text = {.bytes = exchange->worker->output};
    int error = proxy->script ? fastcgi_head_put(proxy, &text) : head_put(proxy, &text);
    if (error)
        return error;
    const struct h1_piece piece = first_piece(proxy, &text);
    proxy->replay_sent = 0;
    proxy->sent_us = worker_now_us(exchange->worker);
    ssize_t taken = h1_client_send(proxy->client, &piece, chunked(proxy));
    if (taken < 0)
        return (int)taken;
    if (proxy->replay_length) {
        proxy->replay_sent = (uint32_t)taken;
    } else if (proxy->given) {
        proxy->given->taken = (size_t)taken;
        replay_add(proxy, proxy->given->bytes, (size_t)taken);
        proxy->body_over |= piece.last && (size_t)taken == piece.body_length;
    }
    if (!proxy->given && !proxy->body_over && exchange->request.body != BODY_NONE)
        exchange_request_more(exchange); /* another try: it may have been paused */
    return 0;
}
