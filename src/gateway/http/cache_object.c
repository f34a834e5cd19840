#include "gateway/http/cache_object.h"

#include <stdlib.h>

#include "gateway/http/cache_store.h"
#include "gateway/http/file_condition.h"

/* ---- bodies --------------------------------------------------------------------------------- */

static size_t pages_round(size_t room)
{
    return (room + CACHE_PAGE_BYTES - 1) / CACHE_PAGE_BYTES * CACHE_PAGE_BYTES;
}

/* Whole pages of what lies in pages, so that what is charged is what it takes. */
static size_t room_round(size_t room)
{
    return room >= CACHE_BODY_PAGED_BYTES ? pages_round(room) : room;
}

static void bytes_free(struct cache_body *body)
{
    if (body->place.size)
        cache_pages_give(cache_store_pages(body->store), &body->place);
    else
        free(body->bytes);
}

/* To a place of its own in the store's pages, large enough for what is to come, if that is not
 * beyond measure. False: there is none; nothing changed. */
static bool place_move(struct cache_body *body, size_t room)
{
    struct cache_pages *pages = cache_store_pages(body->store);
    struct cache_place place;
    size_t wanted = body->expected > room ? (size_t)body->expected : room;
    if (wanted / CACHE_BODY_AHEAD > room)
        wanted = room * CACHE_BODY_AHEAD;
    if (!pages || !cache_pages_take(pages, wanted, &place))
        return false;
    if (!cache_pages_write(pages, &place, 0, body->bytes, body->length)) {
        cache_pages_give(pages, &place);
        return false;
    }
    bytes_free(body);
    body->place = place;
    body->bytes = place.bytes;
    return true;
}

/* False: no memory; what was there stays. */
static bool room_make(struct cache_body *body, size_t room)
{
    if (room <= body->place.size || (room >= CACHE_BODY_PAGED_BYTES && place_move(body, room)))
        return true;
    char *bytes = body->place.size ? NULL : realloc(body->bytes, room ? room : 1);
    if (bytes)
        body->bytes = bytes;
    return bytes != NULL;
}

struct cache_body *cache_body_new(struct cache_store *store, uint64_t expected)
{
    if (expected > cache_store_object_max(store) ||
        !cache_store_charge(store, sizeof(struct cache_body)))
        return NULL;
    struct cache_body *body = malloc(sizeof *body);
    if (!body) {
        cache_store_discharge(store, sizeof *body);
        return NULL;
    }
    *body = (struct cache_body){.store = store, .expected = expected};
    atomic_init(&body->refs, 1);
    cache_store_ref(store);
    return body;
}

/* Grows by doubling, so that whoever announces much and sends little takes little. */
static bool body_grow(struct cache_body *body, size_t needed)
{
    size_t most = cache_store_object_max(body->store);
    if (needed > most || (body->expected && needed > body->expected))
        return false;
    size_t room = body->room ? body->room * 2 : CACHE_BODY_FIRST_BYTES;
    if (room < needed)
        room = needed;
    if (body->expected && room > body->expected)
        room = (size_t)body->expected;
    room = room_round(room);
    if (!cache_store_charge(body->store, room - body->room))
        return false;
    if (!room_make(body, room)) {
        cache_store_discharge(body->store, room - body->room);
        return false;
    }
    body->room = room;
    return true;
}

bool cache_body_add(struct cache_body *body, const char *bytes, size_t length)
{
    if (length > body->room - body->length && !body_grow(body, body->length + length))
        return false;
    if (body->place.size) {
        if (!cache_pages_write(cache_store_pages(body->store), &body->place, body->length, bytes,
                               length))
            return false;
    } else if (length) {
        memcpy(body->bytes + body->length, bytes, length);
    }
    body->length += length;
    return true;
}

/* In pages nothing was taken by what was not written. */
void cache_body_trim(struct cache_body *body)
{
    size_t room = body->place.size ? pages_round(body->length) : body->length;
    if (room >= body->room || !(body->place.size || room_make(body, room)))
        return;
    cache_store_discharge(body->store, body->room - room);
    body->room = room;
}

void cache_body_ref(struct cache_body *body)
{
    atomic_fetch_add_explicit(&body->refs, 1, memory_order_relaxed);
}

void cache_body_unref(struct cache_body *body)
{
    if (!body || atomic_fetch_sub_explicit(&body->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct cache_store *store = body->store;
    bytes_free(body);
    cache_store_discharge(store, sizeof *body + body->room);
    free(body);
    cache_store_unref(store);
}

/* ---- objects -------------------------------------------------------------------------------- */

/* Where texts go, in the block behind the fields. */
struct texts {
    char *at;
};

static struct slice text_keep(struct texts *texts, struct slice text)
{
    struct slice kept = {texts->at, text.length};
    if (text.length)
        memcpy(texts->at, text.bytes, text.length);
    texts->at += text.length;
    return kept;
}

static bool is_tags(const struct field *field)
{
    return field->id == FIELD_OTHER &&
           (slice_is_nocase(field->name, "Cache-Tag") ||
            slice_is_nocase(field->name, "Surrogate-Key") || slice_is_nocase(field->name, "xkey"));
}

/* Bytes of texts; *ret_fields: how many fields stay. */
static size_t texts_size(const struct cache_object_setup *setup, uint32_t *ret_fields)
{
    size_t size = setup->key->length + setup->vary_names.length + setup->vary_values.length +
                  setup->reason.length;
    *ret_fields = 0;
    for (uint32_t i = 0; i < setup->field_count; i++) {
        const struct field *field = &setup->fields[i];
        if (field->dropped)
            continue;
        size += field->name.length + field->value.length;
        if (is_tags(field))
            size += field->value.length + 1;
        (*ret_fields)++;
    }
    return size;
}

static void fields_keep(const struct cache_object_setup *setup, struct texts *texts,
                        struct field *fields)
{
    for (uint32_t i = 0; i < setup->field_count; i++) {
        if (setup->fields[i].dropped)
            continue;
        *fields = setup->fields[i];
        fields->name = text_keep(texts, fields->name);
        fields->value = text_keep(texts, fields->value);
        fields++;
    }
}

static void tags_keep(struct cache_object *object, struct texts *texts)
{
    object->tags.bytes = texts->at;
    for (uint32_t i = 0; i < object->field_count; i++) {
        if (!is_tags(&object->fields[i]))
            continue;
        text_keep(texts, object->fields[i].value);
        *texts->at++ = ' ';
    }
    object->tags.length = (uint32_t)(texts->at - object->tags.bytes);
}

static void validators_find(struct cache_object *object)
{
    object->modified_s = -1;
    for (uint32_t i = 0; i < object->field_count; i++) {
        const struct field *field = &object->fields[i];
        if (slice_is_nocase(field->name, "ETag"))
            object->etag = field->value;
        else if (slice_is_nocase(field->name, "Last-Modified"))
            object->modified = field->value;
    }
    if (object->modified.bytes)
        object->modified_s = http_date_parse(object->modified);
}

struct cache_object *cache_object_new(const struct cache_object_setup *setup)
{
    uint32_t count;
    size_t texts_bytes = texts_size(setup, &count);
    size_t bytes = sizeof(struct cache_object) + count * sizeof(struct field) + texts_bytes;
    if (!cache_store_charge(setup->store, bytes))
        return NULL;
    struct cache_object *object = malloc(bytes);
    if (!object) {
        cache_store_discharge(setup->store, bytes);
        return NULL;
    }
    struct field *fields = (struct field *)(object + 1);
    struct texts texts = {.at = (char *)(fields + count)};
    *object = (struct cache_object){.store = setup->store,
                                    .bytes = bytes,
                                    .key = *setup->key,
                                    .status = setup->status,
                                    .fields = fields,
                                    .field_count = count,
                                    .life = setup->life,
                                    .body = setup->body};
    atomic_init(&object->refs, 1);
    object->key.bytes =
        text_keep(&texts, (struct slice){setup->key->bytes, setup->key->length}).bytes;
    object->vary_names = text_keep(&texts, setup->vary_names);
    object->vary_values = text_keep(&texts, setup->vary_values);
    object->reason = text_keep(&texts, setup->reason);
    fields_keep(setup, &texts, fields);
    tags_keep(object, &texts);
    validators_find(object);
    if (object->body)
        cache_body_ref(object->body);
    cache_store_ref(setup->store);
    return object;
}

void cache_object_ref(struct cache_object *object)
{
    atomic_fetch_add_explicit(&object->refs, 1, memory_order_relaxed);
}

void cache_object_unref(struct cache_object *object)
{
    if (!object || atomic_fetch_sub_explicit(&object->refs, 1, memory_order_acq_rel) != 1)
        return;
    struct cache_store *store = object->store;
    cache_body_unref(object->body);
    cache_store_discharge(store, object->bytes);
    free(object);
    cache_store_unref(store);
}

bool cache_object_tagged(const struct cache_object *object, struct slice tag)
{
    const char *at = object->tags.bytes, *end = at + object->tags.length;
    while (at < end) {
        const char *start = at;
        while (at < end && *at != ' ' && *at != ',' && *at != '\t')
            at++;
        if ((size_t)(at - start) == tag.length && !memcmp(start, tag.bytes, tag.length))
            return true;
        at++;
    }
    return false;
}
