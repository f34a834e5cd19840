#include <errno.h>

#include "gateway/http/bump.h"
#include "gateway/http/expand.h"
#include "gateway/http/h1_fields.h"
#include "gateway/http/h1_text.h"
#include "gateway/http/proxy.h"

/* ---- which fields --------------------------------------------------------------------------- */

bool proxy_field_passes(const struct exchange *exchange, const struct field *field)
{
    enum field_id id = field->id;
    return id == FIELD_OTHER
               ? !field->dropped
               : !field->dropped && !field_hop_by_hop(id) && id != FIELD_HOST &&
                     id != FIELD_CONTENT_LENGTH && id != FIELD_EXPECT && id != FIELD_TRAILER &&
                     id != FIELD_MAX_FORWARDS && !forwarded_replaces(exchange, id);
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
        if (proxy_field_passes(exchange, &request->fields[i]))
            all[count++] = request->fields[i];
    for (uint32_t i = 0; i < made_count; i++)
        all[count++] = made[i];
    return expand_fields(exchange, false, all, count, ret_count);
}

struct slice proxy_host(const struct proxy *proxy)
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
    return made_count
               ? fields_ruled(proxy->exchange, made, made_count, proxy_host(proxy), ret_count)
               : NULL;
}

bool proxy_target(struct exchange *exchange, struct slice *ret_target)
{
    struct slice target = exchange->request.target;
    if (exchange->route->rewrite_count) {
        target = expand_target(exchange);
        const char *end = target.bytes + target.length;
        if (!target.length || h1_skip(target.bytes, end, BYTE_TARGET) != end)
            return false;
    }
    *ret_target = target;
    return true;
}

bool proxy_forwards(const struct head *request, uint64_t *ret_left)
{
    const struct field *field = head_field(request, FIELD_MAX_FORWARDS);
    if (!field || !h1_length_read(field->value, ret_left) || !*ret_left)
        return false;
    --*ret_left;
    return true;
}

/* A rule may set Host; nothing may set how the message ends. */
bool proxy_ruled_passes(const struct field *field)
{
    return !field->dropped && !field_hop_by_hop(field->id) && field->id != FIELD_HOST &&
           field->id != FIELD_CONTENT_LENGTH && field_sane(field);
}

struct slice proxy_host_ruled(const struct field *fields, uint32_t count, struct slice host)
{
    for (uint32_t i = 0; i < count; i++)
        if (fields[i].id == FIELD_HOST && !fields[i].dropped && field_sane(&fields[i]))
            host = fields[i].value;
    return host;
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

bool proxy_body_collect(struct proxy *proxy, const char *bytes, size_t length, bool last)
{
    replay_add(proxy, bytes, length);
    proxy->body_over = last;
    proxy->exchange->request.body_length = proxy->replay_length;
    return !proxy->replay_lost;
}

/* A run of the body as the courier takes it; what trails is the exchange's. */
static struct courier_piece piece_of(const struct proxy *proxy, const char *bytes, size_t length,
                                     bool last)
{
    const struct exchange *exchange = proxy->exchange;
    return (struct courier_piece){.bytes = bytes,
                                  .length = length,
                                  .last = last,
                                  .trailers = exchange->request_trailers,
                                  .trailer_count = exchange->request_trailer_count};
}

size_t proxy_body_send(struct proxy *proxy, const char *bytes, size_t length, bool last)
{
    if (proxy->replay_sent < proxy->replay_length) /* first what another try took */
        return 0;
    const struct courier_piece piece = piece_of(proxy, bytes, length, last);
    ssize_t taken = proxy->courier->kind->send(proxy->courier, &piece);
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
        const struct courier_piece piece =
            piece_of(proxy, proxy->replay + proxy->replay_sent,
                     proxy->replay_length - proxy->replay_sent, proxy->body_over);
        ssize_t taken = proxy->courier->kind->send(proxy->courier, &piece);
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
static struct courier_piece first_piece(const struct proxy *proxy)
{
    bool none = proxy->exchange->request.body == BODY_NONE;
    const struct given *given = proxy->given;
    bool last = proxy->body_over || none;
    if (proxy->replay_length)
        return piece_of(proxy, proxy->replay, proxy->replay_length, last);
    if (given)
        return piece_of(proxy, given->bytes, given->length, last || given->last);
    return piece_of(proxy, NULL, 0, last);
}

int proxy_request_send(struct proxy *proxy)
{
    struct exchange *exchange = proxy->exchange;
    const struct courier_piece piece = first_piece(proxy);
    proxy->replay_sent = 0;
    proxy->sent_us = worker_now_us(exchange->worker);
    ssize_t taken = proxy->protocol->request(proxy, &piece);
    if (taken < 0)
        return (int)taken;
    if (proxy->replay_length) {
        proxy->replay_sent = (uint32_t)taken;
    } else if (proxy->given) {
        proxy->given->taken = (size_t)taken;
        replay_add(proxy, proxy->given->bytes, (size_t)taken);
        proxy->body_over |= piece.last && (size_t)taken == piece.length;
    }
    if (!proxy->given && !proxy->body_over && exchange->request.body != BODY_NONE)
        exchange_request_more(exchange); /* another try: it may have been paused */
    return 0;
}
