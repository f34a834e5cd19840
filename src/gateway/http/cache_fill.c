#include "gateway/http/cache_fill.h"

#include "base/clock.h"
#include "gateway/http/file_condition.h"

void cache_fill_begin(struct cache_fill *fill, struct cache_flight *flight)
{
    fill->flight = flight;
    fill->asked_ms = clock_wall_ms();
    fill->purges = cache_store_purges(fill->store);
    fill->object = NULL;
    fill->body = NULL;
}

static void flight_end(struct cache_fill *fill, enum flight_end end)
{
    struct cache_flight *flight = fill->flight;
    fill->flight = NULL;
    if (flight)
        cache_flight_end(flight, end);
}

void cache_fill_drop(struct cache_fill *fill, enum flight_end end)
{
    cache_object_unref(fill->object);
    cache_body_unref(fill->body);
    fill->object = NULL;
    fill->body = NULL;
    flight_end(fill, end);
}

/* For a while nobody waits for this key: its answers are not stored. */
static void mark_put(struct cache_fill *fill)
{
    const struct cache_object_setup setup = {
        .store = fill->store,
        .key = &fill->key,
        .life = {.stored_ms = clock_wall_ms(), .lifetime_ms = CACHE_MARK_MS},
    };
    struct cache_object *mark = cache_object_new(&setup);
    if (mark)
        cache_store_put(fill->store, mark);
    cache_object_unref(mark);
}

/* It is not for others. What failed may be, the next time. */
static void alone(struct cache_fill *fill, uint16_t status)
{
    if (status < 500 && fill->flight && cache_flight_awaited(fill->flight))
        mark_put(fill);
    cache_fill_drop(fill, FLIGHT_ALONE);
}

/* ---- the head ------------------------------------------------------------------------------- */

struct varied { /* scratch for Vary */
    char names[VARY_BYTES_MAX];
    char values[VARY_BYTES_MAX];
};

/* The request's part of the key. False: it cannot be made. */
static bool variant_make(const struct head *head, const struct field *fields, uint32_t count,
                         struct varied *varied, struct cache_object_setup *setup)
{
    int names = vary_names(fields, count, varied->names);
    if (names < 0)
        return false;
    setup->vary_names = (struct slice){varied->names, (uint32_t)names};
    int values = vary_values(setup->vary_names, head, varied->values);
    if (values < 0)
        return false;
    setup->vary_values = (struct slice){varied->values, (uint32_t)values};
    return true;
}

static struct cache_object *object_make(const struct cache_fill *fill, const struct head *head,
                                        const struct response_head *response,
                                        const struct cache_control *control,
                                        const struct cache_life *life)
{
    struct field fields[HEAD_FIELDS_MAX + 1];
    char date[HTTP_DATE_BYTES];
    struct varied varied;
    uint32_t count = 0;
    bool dated = false;
    for (uint32_t i = 0; i < response->field_count && count < HEAD_FIELDS_MAX; i++) {
        if (!cache_field_kept(control, &response->fields[i]))
            continue;
        dated |= response->fields[i].id == FIELD_DATE;
        fields[count++] = response->fields[i];
    }
    if (!dated) { /* RFC 9110 §6.6.1 */
        http_date_print((time_t)(life->stored_ms / 1000), date);
        fields[count++] = (struct field){
            .name = SLICE("Date"), .value = {date, HTTP_DATE_BYTES - 1}, .id = FIELD_DATE};
    }
    struct cache_object_setup setup = {.store = fill->store,
                                       .key = &fill->key,
                                       .status = response->status,
                                       .reason = response->reason,
                                       .fields = fields,
                                       .field_count = count,
                                       .life = *life,
                                       .body = fill->body};
    if (!variant_make(head, fields, count, &varied, &setup))
        return NULL;
    return cache_object_new(&setup);
}

/* Is a response of that body as long as the store takes? */
static bool fits(const struct cache_fill *fill, const struct response_head *response)
{
    return response->body != BODY_LENGTH ||
           response->body_length <= cache_store_object_max(fill->store);
}

bool cache_fill_head(struct cache_fill *fill, const struct head *head,
                     const struct response_head *response)
{
    struct cache_response facts;
    struct cache_life life;
    cache_response_read(response->fields, response->field_count, &facts);
    if (cache_may_store(&fill->request, &facts, response->status, fill->rules, fill->asked_ms,
                        clock_wall_ms(), &life)) {
        cache_count(&fill->counts->unstorable);
        alone(fill, response->status);
        return false;
    }
    uint64_t expected = response->body == BODY_LENGTH ? response->body_length : 0;
    if (fits(fill, response))
        fill->body = cache_body_new(fill->store, expected);
    if (fill->body)
        fill->object = object_make(fill, head, response, &facts.control, &life);
    if (!fill->object) {
        cache_count(&fill->counts->refused);
        alone(fill, response->status);
        return false;
    }
    if (life.lifetime_ms <= life.age_ms) /* whoever waits would have to ask, too */
        flight_end(fill, FLIGHT_ALONE);
    return true;
}

/* ---- 304 ------------------------------------------------------------------------------------ */

static struct slice strong_part(struct slice etag)
{
    if (etag.length > 2 && memcmp(etag.bytes, "W/", 2) == 0)
        return (struct slice){etag.bytes + 2, etag.length - 2};
    return etag;
}

/* RFC 9111 §4.3.4: is it about this one? */
static bool same_answer(const struct cache_object *stored, const struct cache_response *facts)
{
    if (!facts->etag.bytes)
        return true;
    struct slice one = strong_part(stored->etag), other = strong_part(facts->etag);
    return stored->etag.bytes && one.length == other.length &&
           memcmp(one.bytes, other.bytes, one.length) == 0;
}

/* What the body stored is framed or coded by stays (§3.2). */
static bool field_of_body(const struct field *field)
{
    return field->id == FIELD_CONTENT_LENGTH || field->id == FIELD_CONTENT_TYPE ||
           slice_is_nocase(field->name, "Content-Encoding") ||
           slice_is_nocase(field->name, "Content-Range");
}

static bool replaced(const struct field *field, const struct response_head *response)
{
    if (field_of_body(field))
        return false;
    for (uint32_t i = 0; i < response->field_count; i++)
        if (slice_same_nocase(response->fields[i].name, field->name))
            return true;
    return false;
}

/* The stored answer's head with what the 304 says instead. Fields in `room` (2 * HEAD_FIELDS_MAX).
 */
static struct response_head merged(const struct cache_object *stored,
                                   const struct response_head *response, struct field *room)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < stored->field_count && count < HEAD_FIELDS_MAX; i++)
        if (!replaced(&stored->fields[i], response))
            room[count++] = stored->fields[i];
    for (uint32_t i = 0; i < response->field_count && count < 2 * HEAD_FIELDS_MAX; i++)
        if (!field_of_body(&response->fields[i]))
            room[count++] = response->fields[i];
    return (struct response_head){
        .status = stored->status, .reason = stored->reason, .fields = room, .field_count = count};
}

struct cache_object *cache_fill_freshen(struct cache_fill *fill, const struct head *head,
                                        const struct response_head *response,
                                        struct cache_object *stored)
{
    struct field room[2 * HEAD_FIELDS_MAX];
    struct cache_response facts;
    struct cache_life life;
    cache_response_read(response->fields, response->field_count, &facts);
    if (!same_answer(stored, &facts)) {
        cache_store_remove(fill->store, stored);
        return NULL;
    }
    struct response_head whole = merged(stored, response, room);
    cache_response_read(whole.fields, whole.field_count, &facts);
    bool kept = !cache_may_store(&fill->request, &facts, whole.status, fill->rules, fill->asked_ms,
                                 clock_wall_ms(), &life);
    if (!kept) /* it may be sent this once (§4.3.3), and not again */
        life = (struct cache_life){.stored_ms = clock_wall_ms(), .strict = true};
    fill->body = stored->body;
    cache_body_ref(fill->body);
    struct cache_object *fresh = object_make(fill, head, &whole, &facts.control, &life);
    bool doomed = fill->flight ? cache_flight_doomed(fill->flight)
                               : fill->purges != cache_store_purges(fill->store);
    if (fresh && kept && !doomed)
        cache_store_put(fill->store, fresh);
    else
        cache_store_remove(fill->store, stored);
    cache_fill_drop(fill, life.lifetime_ms > life.age_ms ? FLIGHT_STORED : FLIGHT_ALONE);
    return fresh;
}

/* ---- the body ------------------------------------------------------------------------------- */

void cache_fill_bytes(struct cache_fill *fill, const char *bytes, size_t length)
{
    if (!fill->object || cache_body_add(fill->body, bytes, length))
        return;
    cache_count(&fill->counts->refused);
    alone(fill, fill->object->status);
}

static bool body_complete(const struct cache_fill *fill)
{
    return !fill->body->expected || fill->body->expected == fill->body->length;
}

void cache_fill_end(struct cache_fill *fill, bool whole)
{
    if (!fill->object) {
        flight_end(fill, FLIGHT_FAILED);
        return;
    }
    bool doomed = fill->flight ? cache_flight_doomed(fill->flight)
                               : fill->purges != cache_store_purges(fill->store);
    if (!whole || doomed || !body_complete(fill)) {
        cache_fill_drop(fill, FLIGHT_FAILED);
        return;
    }
    cache_body_trim(fill->body);
    cache_store_put(fill->store, fill->object);
    cache_count(&fill->counts->stored);
    cache_fill_drop(fill, FLIGHT_STORED);
}
