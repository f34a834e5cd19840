#include <stdlib.h>

#include "gateway/http/bump.h"
#include "gateway/http/cache.h"
#include "gateway/http/subrequest.h"

struct refresh {
    struct cache_fill fill; /* with references to the store */
    struct cache_object *object;
    struct subrequest *subrequest; /* NULL: not yet */
    struct worker *worker;
    bool validated;
    bool fills;
    char key[]; /* its text */
};

/* ---- conditions ------------------------------------------------------------------------------ */

uint8_t cache_validators(const struct cache_object *object, struct field ret_fields[2])
{
    uint8_t count = 0;
    if (object->etag.bytes)
        ret_fields[count++] = (struct field){.name = SLICE("If-None-Match"), .value = object->etag};
    if (object->modified.bytes)
        ret_fields[count++] =
            (struct field){.name = SLICE("If-Modified-Since"), .value = object->modified};
    return count;
}

bool cache_condition_field(const struct field *field)
{
    static const char *const names[] = {"If-None-Match", "If-Modified-Since", "If-Range", "Range"};
    char first = field->name.length ? (char)(field->name.bytes[0] | 0x20) : 0;
    if (field->id != FIELD_OTHER || (first != 'i' && first != 'r'))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (slice_is_nocase(field->name, names[i]))
            return true;
    return false;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void refresh_free(struct refresh *refresh)
{
    struct cache_store *store = refresh->fill.store;
    cache_fill_drop(&refresh->fill, FLIGHT_FAILED);
    cache_object_unref(refresh->object);
    free(refresh);
    cache_store_unref(store);
}

static bool answer_failed(uint16_t status)
{
    return status >= 500;
}

static bool refresh_head(void *owner, const struct response_head *head)
{
    struct refresh *refresh = owner;
    if (!refresh->subrequest || answer_failed(head->status)) /* what is there stays */
        return true;
    const struct head *request = subrequest_head(refresh->subrequest);
    if (head->status == 304) {
        refresh->validated = true;
        cache_object_unref(cache_fill_freshen(&refresh->fill, request, head, refresh->object));
    } else {
        refresh->fills = cache_fill_head(&refresh->fill, request, head);
        if (!refresh->fills && head->status < 400) /* the answer has become one for nobody else */
            cache_store_remove(refresh->fill.store, refresh->object);
    }
    return true;
}

static size_t refresh_body(void *owner, const char *bytes, size_t length)
{
    struct refresh *refresh = owner;
    if (refresh->fills)
        cache_fill_bytes(&refresh->fill, bytes, length);
    return length;
}

static void refresh_over(void *owner, bool whole, const char *why)
{
    struct refresh *refresh = owner;
    (void)why;
    if (refresh->fills)
        cache_fill_end(&refresh->fill, whole);
    refresh_free(refresh);
}

static const struct subrequest_calls calls = {refresh_head, refresh_body, refresh_over};

/* ---- the request ----------------------------------------------------------------------------- */

/* The client's fields, but for its own conditions. NULL: no memory. */
static struct field *fields_make(struct cache_own *own, uint32_t *ret_count)
{
    const struct head *request = &own->exchange->request;
    struct field *fields =
        bump_alloc(own->exchange->arena, (request->field_count + 2) * sizeof *fields);
    uint32_t count = 0;
    if (!fields)
        return NULL;
    for (uint32_t i = 0; i < request->field_count; i++)
        if (request->fields[i].id != FIELD_HOST && !cache_condition_field(&request->fields[i]))
            fields[count++] = request->fields[i];
    *ret_count = count + cache_validators(own->object, fields + count);
    return fields;
}

static struct refresh *refresh_new(struct cache_own *own, struct cache_flight *flight)
{
    struct refresh *refresh = malloc(sizeof *refresh + own->key.length);
    if (!refresh)
        return NULL;
    *refresh = (struct refresh){
        .fill = {.store = own->store, .rules = own->rules, .counts = own->counts, .key = own->key},
        .object = own->object,
        .worker = own->exchange->worker};
    memcpy(refresh->key, own->key.bytes, own->key.length);
    refresh->fill.key.bytes = refresh->key;
    refresh->fill.request.authorized = own->request.authorized;
    cache_store_ref(own->store);
    cache_object_ref(own->object);
    cache_fill_begin(&refresh->fill, flight);
    return refresh;
}

void cache_refresh(struct cache_own *own)
{
    struct exchange *exchange = own->exchange;
    struct cache_flight *flight;
    uint32_t count;
    if (cache_flight_join(own->store, &own->key, NULL, false, &flight) != JOIN_LEADS)
        return;
    struct field *fields = fields_make(own, &count);
    struct refresh *refresh = fields ? refresh_new(own, flight) : NULL;
    if (!refresh) {
        cache_flight_end(flight, FLIGHT_FAILED);
        return;
    }
    const struct subrequest_setup setup = {
        .client = exchange->client,
        .use = exchange->use,
        .route = exchange->route,
        .method = SLICE("GET"),
        .authority = exchange->request.authority,
        .target = exchange->request.target,
        .fields = fields,
        .field_count = count,
        .captures = exchange->captures,
        .secure = exchange->secure,
        .client_trusted = exchange->client_trusted,
        .calls = &calls,
        .owner = refresh,
    };
    bool over;
    struct subrequest *subrequest = subrequest_start(&setup, &over);
    if (over)
        return;
    if (subrequest)
        refresh->subrequest = subrequest;
    else
        refresh_free(refresh);
}
