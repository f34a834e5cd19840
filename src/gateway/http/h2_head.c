#include "gateway/http/bump.h"
#include "gateway/http/h1_fields.h"
#include "gateway/http/h1_scan.h"
#include "gateway/http/h2_connection.h"
#include "gateway/http/websocket.h"

enum { FIELDS_AT_FIRST = 24, FIELD_OVERHEAD = 32 /* RFC 9113 §6.5.2 */ };

/* ---- as they come --------------------------------------------------------------------------- */

static void refuse(struct h2_stream *own, uint16_t status, const char *why)
{
    if (own->refused_why)
        return;
    own->refused = status;
    own->refused_why = why;
}

static struct slice kept(struct h2_stream *own, struct slice text)
{
    const char *copy = bump_copy(own->exchange.arena, text.bytes, text.length);
    if (!copy) {
        refuse(own, 503, "the request's memory is used up");
        return SLICE("");
    }
    return (struct slice){copy, text.length};
}

static void pseudo_take(struct h2_stream *own, struct slice name, struct slice value)
{
    struct head *head = &own->exchange.request;
    if (slice_is(name, ":method"))
        head->method_name = kept(own, value);
    else if (slice_is(name, ":path"))
        own->pseudo_path = kept(own, value);
    else if (slice_is(name, ":authority"))
        own->pseudo_authority = kept(own, value);
    else if (slice_is(name, ":scheme"))
        own->pseudo_scheme = kept(own, value);
    else if (slice_is(name, ":protocol"))
        own->pseudo_protocol = kept(own, value);
}

/* False: no memory. */
static bool fields_grow(struct h2_stream *own)
{
    struct head *head = &own->exchange.request;
    uint32_t room = head->fields_room ? 2 * head->fields_room : FIELDS_AT_FIRST;
    struct field *fields = bump_alloc(own->exchange.arena, room * sizeof *fields);
    if (!fields)
        return false;
    if (head->field_count)
        memcpy(fields, head->fields, head->field_count * sizeof *fields);
    head->fields = fields;
    head->fields_room = room;
    return true;
}

static void field_put(struct h2_stream *own, struct field field)
{
    struct head *head = &own->exchange.request;
    if (head->field_count == head->fields_room && !fields_grow(own)) {
        refuse(own, 503, "the request's memory is used up");
        return;
    }
    enum field_id id = field.id;
    if (id != FIELD_OTHER && !head->first[id])
        head->first[id] = (uint16_t)(head->field_count + 1);
    else if (id == FIELD_HOST || id == FIELD_CONTENT_LENGTH)
        refuse(own, 400, "a second Host or Content-Length");
    head->fields[head->field_count++] = field;
}

void h2_head_field(struct h2_stream *own, struct slice name, struct slice value)
{
    const struct site *site = h2_site(own->connection);
    uint32_t count_max =
        site->header_count_max < HEAD_FIELDS_MAX ? site->header_count_max : HEAD_FIELDS_MAX;
    own->header_bytes += name.length + value.length + FIELD_OVERHEAD;
    if (own->header_bytes > site->header_bytes_max)
        refuse(own, 431, "the head is larger than its bound");
    if (own->exchange.request.field_count >= count_max)
        refuse(own, 431, "too many fields");
    if (own->refused_why) /* what follows is only read over */
        return;
    if (name.length && *name.bytes == ':') {
        pseudo_take(own, name, value);
        return;
    }
    bool disguised;
    enum field_id id = field_id_find(name, &disguised);
    field_put(own, (struct field){.name = kept(own, name),
                                  .value = kept(own, value),
                                  .id = (uint8_t)id,
                                  .dropped = disguised});
}

void h2_head_trailer(struct h2_stream *own, struct slice name, struct slice value)
{
    struct exchange *exchange = &own->exchange;
    struct field *fields = (struct field *)(uintptr_t)exchange->request_trailers;
    own->header_bytes += name.length + value.length + FIELD_OVERHEAD;
    if (!fields)
        fields = bump_alloc(exchange->arena, TRAILERS_MAX * sizeof *fields);
    exchange->request_trailers = fields;
    if (!fields || exchange->request_trailer_count == TRAILERS_MAX ||
        own->header_bytes > h2_site(own->connection)->header_bytes_max)
        return;
    bool disguised;
    struct field field = {.id = (uint8_t)field_id_find(name, &disguised)};
    field.dropped = disguised;
    if (!field_trails(&field))
        return;
    field.name.bytes = bump_copy(exchange->arena, name.bytes, name.length);
    field.value.bytes = bump_copy(exchange->arena, value.bytes, value.length);
    field.name.length = name.length;
    field.value.length = value.length;
    if (field.name.bytes && field.value.bytes)
        fields[exchange->request_trailer_count++] = field;
}

/* ---- all are there -------------------------------------------------------------------------- */

/* RFC 9113 §8.2.3: crumbs are one Cookie to who speaks HTTP/1.1. */
static void cookies_join(struct h2_stream *own)
{
    struct head *head = &own->exchange.request;
    uint32_t first = head->first[FIELD_COOKIE], length = 0, count = 0;
    for (uint32_t i = first; first && i <= head->field_count; i++)
        if (head->fields[i - 1].id == FIELD_COOKIE) {
            length += head->fields[i - 1].value.length + 2;
            count++;
        }
    if (count < 2)
        return;
    char *joined = bump_alloc(own->exchange.arena, length);
    if (!joined) {
        refuse(own, 503, "the request's memory is used up");
        return;
    }
    char *at = joined;
    uint32_t left = first;
    for (uint32_t i = first; i <= head->field_count; i++) {
        const struct field field = head->fields[i - 1];
        if (field.id != FIELD_COOKIE) {
            if (field.id != FIELD_OTHER && head->first[field.id] == i)
                head->first[field.id] = (uint16_t)(left + 1);
            head->fields[left++] = field;
            continue;
        }
        memcpy(at, field.value.bytes, field.value.length);
        memcpy(at + field.value.length, "; ", 2);
        at += field.value.length + 2;
    }
    head->field_count = left;
    head->fields[first - 1].value = (struct slice){joined, length - 2};
}

/* The authority is what HTTP/1.1 says in Host, and one of the two is enough; both must say the same
 * (RFC 9113 §8.3.1). */
static void authority_finish(struct h2_stream *own)
{
    struct head *head = &own->exchange.request;
    const struct field *host = head_field(head, FIELD_HOST);
    struct slice authority = own->pseudo_authority;
    if (!authority.length && host)
        authority = host->value;
    if (!h1_authority_read(authority, head))
        refuse(own, 400, "a bad authority");
    else if (host && !slice_same_nocase(host->value, authority))
        refuse(own, 400, "Host and :authority differ");
    else if (!host)
        field_put(own, (struct field){SLICE("host"), authority, FIELD_HOST, false});
}

static void target_finish(struct h2_stream *own)
{
    struct head *head = &own->exchange.request;
    struct slice path = own->pseudo_path;
    const char *end = path.bytes + path.length;
    bool star = slice_is(path, "*") && head->method == METHOD_OPTIONS;
    if (!path.length || (*path.bytes != '/' && !star) ||
        h1_skip(path.bytes, end, BYTE_TARGET) != end)
        refuse(own, 400, "a broken :path");
    else
        h1_target_split(head, path);
}

static void framing_finish(struct h2_stream *own, bool ended)
{
    struct head *head = &own->exchange.request;
    const struct field *length = head_field(head, FIELD_CONTENT_LENGTH);
    head->body = ended || head->connect ? BODY_NONE : BODY_CHUNKED;
    if (!length || head->connect)
        return;
    if (!h1_length_read(length->value, &head->body_length))
        refuse(own, 400, "a bad Content-Length");
    else if (!ended)
        head->body = head->body_length ? BODY_LENGTH : BODY_NONE;
}

static void rest_finish(struct h2_stream *own)
{
    struct head *head = &own->exchange.request;
    const struct field *expect = head_field(head, FIELD_EXPECT);
    if (expect && !slice_is_nocase(expect->value, "100-continue"))
        refuse(own, 417, "an expectation that nobody knows");
    head->expect_continue = expect && head->body != BODY_NONE;
    head->te_trailers = head->first[FIELD_TE] != 0; /* nothing else may stand there */
    head->version_minor = 1;
    head->keep_alive = true;
}

/* RFC 8441: what in HTTP/1.1 is an upgrade, and is one from here on, whose key is ours. */
static void connect_finish(struct h2_stream *own)
{
    struct head *head = &own->exchange.request;
    static const struct slice key_name = SLICE("sec-websocket-key");
    if (!slice_is_nocase(own->pseudo_protocol, "websocket")) {
        refuse(own, 501, "CONNECT");
        return;
    }
    char *key = bump_alloc(own->exchange.arena, WEBSOCKET_KEY_BYTES);
    if (!key) {
        refuse(own, 503, "the request's memory is used up");
        return;
    }
    for (uint32_t i = 0; i < head->field_count; i++)
        if (slice_same_nocase(head->fields[i].name, key_name))
            refuse(own, 400, "a key of WebSocket in a CONNECT");
    websocket_key_make(&own->exchange.worker->random, key);
    field_put(own, (struct field){SLICE("upgrade"), SLICE("websocket"), FIELD_UPGRADE, false});
    field_put(own, (struct field){.name = key_name, .value = {key, WEBSOCKET_KEY_BYTES}});
    head->method = METHOD_GET;
    head->method_name = SLICE("GET");
    head->upgrade = head->connect = true;
}

bool h2_head_finish(struct h2_stream *own, bool ended)
{
    struct head *head = &own->exchange.request;
    if (!own->refused_why) {
        head->method = method_of(head->method_name);
        if (head->method == METHOD_CONNECT)
            connect_finish(own);
        if (head->method != METHOD_CONNECT) {
            target_finish(own);
            authority_finish(own);
            cookies_join(own);
        }
        if (head->method != METHOD_CONNECT && !slice_is(own->pseudo_scheme, "https") &&
            !slice_is(own->pseudo_scheme, "http"))
            refuse(own, 400, "a scheme that is none of HTTP's");
    }
    framing_finish(own, ended);
    rest_finish(own);
    head->scheme = own->connection->secure ? SLICE("https") : SLICE("http");
    return !own->refused_why;
}
