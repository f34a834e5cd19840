#include <stdio.h>

#include "base/clock.h"
#include "gateway/http/cache.h"
#include "gateway/http/file_condition.h"
#include "gateway/http/file_range.h"

enum { OWN_FIELDS = 3 }; /* Age, Cache-Status, Content-Range */

/* ---- conditions and ranges ------------------------------------------------------------------ */

static bool weak(struct slice etag)
{
    return etag.length > 2 && memcmp(etag.bytes, "W/", 2) == 0;
}

bool cache_client_has(const struct cache_own *own, const struct cache_object *object)
{
    struct wishes wishes = {.if_none_match = own->request.if_none_match};
    struct slice etag = object->etag.bytes ? object->etag : SLICE("");
    if (weak(etag)) /* compared weakly */
        etag = (struct slice){etag.bytes + 2, etag.length - 2};
    if (object->modified_s >= 0)
        wishes.if_modified_since = own->request.if_modified_since;
    return object->status == 200 &&
           wishes_judge(&wishes, etag, (time_t)object->modified_s) == VERDICT_NOT_MODIFIED;
}

/* If-Range (RFC 9110 §13.1.5): a weak tag is none. */
static bool range_holds(const struct cache_own *own)
{
    const struct cache_object *object = own->object;
    const struct wishes wishes = {.if_range = own->request.if_range};
    if (!own->request.if_range.bytes)
        return true;
    if (weak(own->request.if_range))
        return false;
    return wishes_range_holds(&wishes, object->etag.bytes ? object->etag : SLICE(""),
                              (time_t)object->modified_s);
}

/* What of the body is sent; one range at most: several are answered with the whole. */
static uint16_t part_choose(struct cache_own *own)
{
    const struct cache_object *object = own->object;
    struct range ranges[RANGES_MAX];
    uint32_t count = 0;
    uint64_t size = object->body->length;
    own->at = 0;
    own->end = size;
    if (own->exchange->request.method != METHOD_GET || object->status != 200 ||
        !own->request.range.bytes || !range_holds(own))
        return object->status;
    enum ranges given = ranges_parse(own->request.range, size, ranges, &count);
    if (given == RANGES_OUTSIDE)
        return 416;
    if (given == RANGES_IGNORED || count != 1)
        return object->status;
    own->at = ranges[0].first;
    own->end = ranges[0].first + ranges[0].length;
    return 206;
}

/* ---- the head ------------------------------------------------------------------------------- */

struct own_texts { /* values of the fields that are ours */
    char age[24];
    char status[64];
    char range[80];
};

static void field_put(struct response_head *head, struct field *fields, struct slice name,
                      const char *text, int length)
{
    fields[head->field_count++] = (struct field){.name = name, .value = {text, (uint32_t)length}};
}

/* RFC 9211: from the store, and how long it is fresh (below zero: was). */
static int status_print(const struct cache_own *own, int64_t ttl_s, char out[64])
{
    if (own->how[0] == 'r')
        return snprintf(out, 64, "enginx; fwd=stale; fwd-status=304; ttl=%lld", (long long)ttl_s);
    return snprintf(out, 64, "enginx; hit; ttl=%lld%s", (long long)ttl_s,
                    own->waited ? "; collapsed" : "");
}

static void ours_put(const struct cache_own *own, struct response_head *head, struct field *fields,
                     struct own_texts *texts)
{
    const struct cache_life *life = &own->object->life;
    uint64_t age_ms = cache_age_ms(life, clock_wall_ms());
    int64_t ttl_s = ((int64_t)life->lifetime_ms - (int64_t)age_ms) / 1000;
    int length =
        snprintf(texts->age, sizeof texts->age, "%llu", (unsigned long long)(age_ms / 1000));
    field_put(head, fields, SLICE("Age"), texts->age, length);
    length = status_print(own, ttl_s, texts->status);
    field_put(head, fields, SLICE("Cache-Status"), texts->status, length);
}

static void range_put(const struct cache_own *own, struct response_head *head, struct field *fields,
                      struct own_texts *texts)
{
    unsigned long long size = own->object->body->length;
    int length =
        head->status == 416
            ? snprintf(texts->range, sizeof texts->range, "bytes */%llu", size)
            : snprintf(texts->range, sizeof texts->range, "bytes %llu-%llu/%llu",
                       (unsigned long long)own->at, (unsigned long long)own->end - 1, size);
    field_put(head, fields, SLICE("Content-Range"), texts->range, length);
}

/* What a 304 has no use for (RFC 9110 §15.4.5), and what a 416 must not say of its page. */
static bool of_content(const struct field *field)
{
    return field->id == FIELD_CONTENT_TYPE || slice_is_nocase(field->name, "Content-Encoding") ||
           slice_is_nocase(field->name, "Content-Language");
}

static void stored_put(const struct cache_object *object, struct response_head *head,
                       struct field *fields)
{
    bool whole = head->status != 304 && head->status != 416;
    if (whole) {
        memcpy(fields, object->fields, object->field_count * sizeof *fields);
        head->field_count = object->field_count;
        return;
    }
    for (uint32_t i = 0; i < object->field_count; i++)
        if (!of_content(&object->fields[i]))
            fields[head->field_count++] = object->fields[i];
}

/* ---- sending -------------------------------------------------------------------------------- */

static void finish(struct cache_own *own)
{
    struct exchange *exchange = own->exchange;
    cache_let_go(own);
    exchange_release(exchange);
}

/* What became of a write. */
static void wrote(struct cache_own *own, ssize_t taken)
{
    if (taken < 0) /* the client is gone: abort follows */
        return;
    own->at += (uint64_t)taken;
    own->sends = own->at < own->end;
    if (!own->sends)
        finish(own);
}

/* Is what is left worth it, to a client that the kernel can give it to by reference? What was
 * begun so ends so: its last bytes would take two calls else. */
static bool moves(const struct cache_own *own)
{
    return own->object->body->place.size &&
           (own->moving || own->end - own->at >= EXCHANGE_MOVED_BYTES_MIN) &&
           exchange_sends_files(own->exchange);
}

static void again_due(struct deferred *deferred)
{
    cache_answer_room(deferred->owner);
}

static void body_move(struct cache_own *own)
{
    const struct cache_body *body = own->object->body;
    uint64_t left = own->end - own->at;
    size_t length = left < EXCHANGE_TURN_BYTES_MAX ? (size_t)left : EXCHANGE_TURN_BYTES_MAX;
    size_t moved = 0;
    while (moved < length) {
        ssize_t some =
            exchange_send_file(own->exchange, cache_pages_fd(cache_store_pages(own->object->store)),
                               body->place.offset + own->at, length - moved);
        if (some <= 0) /* `response_room` follows, or abort */
            return;
        own->moving = true;
        own->at += (uint64_t)some;
        moved += (size_t)some;
    }
    if (length == left)
        wrote(own, exchange_write(own->exchange, "", 0, true));
    else
        deferred_start(own->exchange->worker->loop, &own->again, again_due, own);
}

void cache_answer_room(struct cache_own *own)
{
    if (moves(own)) {
        body_move(own);
        return;
    }
    const struct cache_body *body = own->object->body;
    wrote(own,
          exchange_write(own->exchange, body->bytes + own->at, (size_t)(own->end - own->at), true));
}

static void head_send(struct cache_own *own, struct response_head *head)
{
    const struct cache_object *object = own->object;
    bool bodyless = head->status == 304 || own->exchange->request.method == METHOD_HEAD;
    head->body = head->status == 304 ? BODY_NONE : BODY_LENGTH;
    head->body_length = own->end - own->at;
    if (bodyless)
        own->at = own->end;
    own->sends = true;
    head->follows = moves(own);
    if (!head->follows)
        wrote(own, exchange_respond(own->exchange, head, object->body->bytes + own->at,
                                    (size_t)(own->end - own->at), true));
    else if (exchange_respond(own->exchange, head, "", 0, false) >= 0)
        cache_answer_room(own);
}

void cache_answer(struct cache_own *own, const char *how)
{
    struct field fields[HEAD_FIELDS_MAX + 1 + OWN_FIELDS];
    struct own_texts texts;
    own->how = how;
    own->exchange->cache = how;
    own->exchange->handler_own = own;
    struct response_head head = {.status = part_choose(own), .fields = fields};
    if (cache_client_has(own, own->object))
        head.status = 304;
    if (head.status == own->object->status)
        head.reason = own->object->reason;
    stored_put(own->object, &head, fields);
    ours_put(own, &head, fields, &texts);
    if (head.status == 206 || head.status == 416)
        range_put(own, &head, fields, &texts);
    if (head.status == 416 || head.status == 304)
        own->at = own->end = 0;
    head_send(own, &head);
}
