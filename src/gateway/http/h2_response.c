#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/h1_fields.h"
#include "gateway/http/h2_link.h"

enum { FIELDS_AT_FIRST = 2048 };

/* ---- fields as they come -------------------------------------------------------------------- */

void h2_fields_done(struct h2_fields *fields)
{
    free(fields->bytes);
    free(fields->lengths);
    *fields = (struct h2_fields){0};
}

static int fields_grow(struct h2_fields *fields, size_t length)
{
    size_t room = fields->room ? fields->room : FIELDS_AT_FIRST;
    while (room < length)
        room *= 2;
    char *bytes = room > fields->room ? realloc(fields->bytes, room) : fields->bytes;
    if (!bytes)
        return -ENOMEM;
    fields->bytes = bytes;
    fields->room = (uint32_t)room;
    if (!fields->lengths)
        fields->lengths = malloc(HEAD_FIELDS_MAX * sizeof *fields->lengths);
    return fields->lengths ? 0 : -ENOMEM;
}

static int fields_add(struct h2_fields *fields, struct slice name, struct slice value)
{
    size_t length = fields->length + (size_t)name.length + value.length;
    if (length > H2_LINK_HEAD_BYTES_MAX || fields->count == HEAD_FIELDS_MAX)
        return -E2BIG;
    if (fields_grow(fields, length) < 0)
        return -ENOMEM;
    memcpy(fields->bytes + fields->length, name.bytes, name.length);
    memcpy(fields->bytes + fields->length + name.length, value.bytes, value.length);
    fields->lengths[fields->count].name_length = (uint16_t)name.length;
    fields->lengths[fields->count++].value_length = (uint16_t)value.length;
    fields->length = (uint32_t)length;
    return 0;
}

/* The next one from `*at` on. */
static struct field fields_next(const struct h2_fields *fields, uint32_t number, uint32_t *at)
{
    struct slice name = {fields->bytes + *at, fields->lengths[number].name_length};
    struct slice value = {name.bytes + name.length, fields->lengths[number].value_length};
    *at += name.length + value.length;
    return (struct field){.name = name, .value = value, .id = (uint8_t)field_id_of(name)};
}

void h2_response_begin(struct h2_courier *own)
{
    own->link->fields.length = own->link->fields.count = 0;
    own->received = true;
}

void h2_response_field(struct h2_courier *own, struct slice name, struct slice value)
{
    if (own->malformed)
        return;
    int error = fields_add(&own->link->fields, name, value);
    if (error == -E2BIG)
        own->malformed = "the fields of the response are very large, or very many";
    else if (error)
        own->malformed = "no memory for the response's fields";
}

/* ---- calling the owner ---------------------------------------------------------------------- */

/* After a call: true if it wants no more of this. */
static bool left(struct h2_courier *own)
{
    own->busy = false;
    if (own->owner)
        return false;
    if (own->closed || own->link->wire.dead)
        h2_courier_free(own);
    return true;
}

static void consumed(struct h2_courier *own, size_t length)
{
    if (length && !own->closed)
        nghttp2_session_consume_stream(own->link->wire.session, own->id, length);
}

static void hold(struct h2_courier *own, const char *bytes, size_t length)
{
    if (h2_held_put(&own->held, bytes, length) < 0) {
        h2_courier_fail(own, false, false, "no memory for what the endpoint sent");
        return;
    }
    own->link->held += (uint32_t)length;
}

/* Gives a run of the body, with the head if there is one. What was taken of it; -1: it is gone. */
static ssize_t give(struct h2_courier *own, const struct head *head, const char *bytes,
                    size_t length)
{
    bool all = own->remote_ended && (!own->held.length || own->held.length == length);
    bool last = own->body_left == UINT64_MAX ? all : own->body_left == length;
    own->wanted = false; /* until it has taken all, or asks for more */
    own->state = last ? COURIER_OVER : COURIER_BODY;
    own->busy = true;
    size_t taken = head ? own->calls->response(own->owner, head, bytes, length, last)
                        : own->calls->body(own->owner, bytes, length, last);
    if (left(own))
        return -1;
    if (taken == length)
        own->wanted = true;
    else
        own->state = COURIER_BODY;
    if (own->body_left != UINT64_MAX)
        own->body_left -= taken;
    consumed(own, taken);
    return (ssize_t)taken;
}

static void give_new(struct h2_courier *own, const struct head *head, const char *bytes,
                     size_t length)
{
    ssize_t taken = give(own, head, bytes, length);
    if (taken < 0)
        return;
    if ((size_t)taken < length)
        hold(own, bytes + taken, length - (size_t)taken);
    else
        h2_courier_attend(own);
}

/* ---- the head ------------------------------------------------------------------------------- */

static bool status_read(struct slice value, uint16_t *ret_status)
{
    unsigned status = 0;
    for (uint32_t i = 0; i < value.length; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return false;
        status = status * 10 + (unsigned)(value.bytes[i] - '0');
    }
    *ret_status = (uint16_t)status;
    return value.length == 3 && status >= 100;
}

/* Into the worker's room for fields; valid until the next head. */
static bool head_read(struct h2_courier *own, bool ended, struct head *head)
{
    const struct h2_fields *fields = &own->link->fields;
    uint32_t at = 0;
    *head = (struct head){.fields = own->link->wire.worker->http->response_fields,
                          .fields_room = HEAD_FIELDS_MAX,
                          .reason = SLICE(""),
                          .version_minor = 1,
                          .body = ended ? BODY_NONE : BODY_CHUNKED};
    for (uint32_t i = 0; i < fields->count; i++) {
        struct field field = fields_next(fields, i, &at);
        if (field.name.length && *field.name.bytes == ':') {
            if (!status_read(field.value, &head->status))
                return false;
            continue;
        }
        if (field.id != FIELD_OTHER && !head->first[field.id])
            head->first[field.id] = (uint16_t)(head->field_count + 1);
        head->fields[head->field_count++] = field;
    }
    const struct field *length = head_field(head, FIELD_CONTENT_LENGTH);
    if (length && !h1_length_read(length->value, &head->body_length))
        return false;
    if (length && !ended)
        head->body = BODY_LENGTH;
    return head->status != 0;
}

static bool bodyless(const struct h2_courier *own, const struct head *head)
{
    return own->method == METHOD_HEAD || head->status == 204 || head->status == 304;
}

static void interim(struct h2_courier *own, const struct head *head)
{
    own->busy = true;
    own->calls->interim(own->owner, head);
    if (!left(own))
        h2_courier_attend(own);
}

static void malformed(struct h2_courier *own)
{
    h2_courier_reset(own, NGHTTP2_PROTOCOL_ERROR);
    h2_courier_fail(own, false, false, own->malformed);
}

static void head_came(struct h2_courier *own, bool ended)
{
    struct head head;
    if (!own->malformed && !head_read(own, ended, &head))
        own->malformed = "a response without a status, or with a broken Content-Length";
    if (own->malformed) {
        malformed(own);
        return;
    }
    if (head.status < 200) {
        if (!h2_floods_control(&own->link->floods, h2_link_now(own->link)))
            h2_link_terminate(own->link, NGHTTP2_ENHANCE_YOUR_CALM);
        interim(own, &head);
        return;
    }
    own->body_left =
        head.body == BODY_LENGTH && !bodyless(own, &head) ? head.body_length : UINT64_MAX;
    own->remote_ended = ended;
    h2_floods_allow(&own->link->floods, 4);
    own->state = COURIER_BODY;
    if (!ended && own->body_left) { /* with the first of the body, if that comes at once */
        own->link->announced = own;
        return;
    }
    give_new(own, &head, "", 0);
}

void h2_response_announce(struct h2_courier *own)
{
    struct head head;
    if (own->owner && head_read(own, false, &head))
        give_new(own, &head, "", 0);
}

/* ---- trailers ------------------------------------------------------------------------------- */

static void trailers_came(struct h2_courier *own)
{
    if (own->malformed) {
        malformed(own);
        return;
    }
    struct h2_fields kept = own->behind;
    own->behind = own->link->fields;
    own->link->fields = kept;
    h2_response_ended(own);
}

uint32_t h2_response_trailers(struct courier *courier, struct field *fields, uint32_t room)
{
    const struct h2_fields *behind = &h2_courier_of(courier)->behind;
    uint32_t count = 0, at = 0;
    for (uint32_t i = 0; i < behind->count && count < room; i++) {
        fields[count] = fields_next(behind, i, &at);
        count += field_trails(&fields[count]);
    }
    return count;
}

void h2_response_fields(struct h2_courier *own, bool ended)
{
    if (own->state == COURIER_HEAD)
        head_came(own, ended);
    else if (ended)
        trailers_came(own);
}

/* ---- the body ------------------------------------------------------------------------------- */

void h2_response_bytes(struct h2_courier *own, const char *bytes, size_t length)
{
    struct h2_link *link = own->link;
    bool first = link->announced == own;
    struct head head;
    if (own->state == COURIER_OVER) { /* more than its Content-Length: libnghttp2 resets it */
        consumed(own, length);
        return;
    }
    if (first) {
        link->announced = NULL;
        if (head_read(own, false, &head))
            give_new(own, &head, bytes, length);
        return;
    }
    if (own->held.length || !own->wanted)
        hold(own, bytes, length);
    else
        give_new(own, NULL, bytes, length);
}

void h2_response_ended(struct h2_courier *own)
{
    own->remote_ended = true;
    if (own->state == COURIER_BODY && !own->held.length && own->wanted)
        give_new(own, NULL, "", 0);
}

void h2_response_go_on(struct h2_courier *own)
{
    if (!own->owner || own->state != COURIER_BODY || !own->wanted)
        return;
    if (own->held.length) {
        struct h2_link *link = own->link;
        ssize_t taken = give(own, NULL, own->held.bytes, own->held.length);
        if (taken < 0)
            return;
        link->held -= (uint32_t)taken;
        h2_held_took(&own->held, (size_t)taken);
        h2_link_settle(link);
        h2_courier_attend(own);
    } else if (own->remote_ended) {
        give_new(own, NULL, "", 0);
    }
}
