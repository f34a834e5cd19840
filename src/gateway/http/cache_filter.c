#include "gateway/http/bump.h"
#include "gateway/http/cache.h"

#include "base/clock.h"

/* ---- what the service's answer is good for --------------------------------------------------- */

/* RFC 5861 §4. */
static bool failure(uint16_t status)
{
    return status == 500 || status == 502 || status == 503 || status == 504;
}

static void swallow(struct cache_own *own, enum cache_next next, const char *how)
{
    own->mode = CACHE_SWALLOWS;
    own->next = next;
    own->how = how;
}

/* 304: the stored answer is good again, or another was meant. */
static void validated(struct cache_own *own, const struct response_head *head)
{
    struct cache_object *fresh =
        cache_fill_freshen(&own->fill, &own->exchange->request, head, own->object);
    cache_object_unref(own->object);
    own->object = fresh;
    if (!fresh) {
        swallow(own, NEXT_FETCH, NULL);
        return;
    }
    cache_count(&own->counts->revalidated);
    swallow(own, NEXT_ANSWER, "revalidated");
}

/* True: the client is not to see it. */
static bool diverted(struct cache_own *own, const struct response_head *head)
{
    if (head->status == 304 && own->conditional) {
        validated(own, head);
        return true;
    }
    if (!own->object || !failure(head->status) ||
        !cache_may_use_stale(&own->object->life, clock_wall_ms()))
        return false;
    cache_count(&own->counts->stale);
    cache_fill_drop(&own->fill, FLIGHT_ALONE);
    swallow(own, NEXT_ANSWER, "stale");
    return true;
}

/* ---- passing it on -------------------------------------------------------------------------- */

/* RFC 9211. Without memory: as it is. */
static struct response_head told(const struct cache_own *own, const struct response_head *head,
                                 bool stored)
{
    struct response_head with = *head;
    struct field *fields =
        bump_alloc(own->exchange->arena, (head->field_count + 1) * sizeof *fields);
    if (!fields)
        return with;
    if (head->field_count)
        memcpy(fields, head->fields, head->field_count * sizeof *fields);
    struct slice status = own->conditional ? SLICE("enginx; fwd=stale") : SLICE("enginx; fwd=miss");
    if (stored)
        status = own->conditional ? SLICE("enginx; fwd=stale; stored")
                                  : SLICE("enginx; fwd=miss; stored");
    fields[with.field_count++] = (struct field){.name = SLICE("Cache-Status"), .value = status};
    with.fields = fields;
    return with;
}

/* Into the store, and that before the client has them: whoever hears that it is there finds it.
 * What the client did not take comes again, and is not stored twice. */
static void keep(struct cache_own *own, const char *bytes, size_t length, bool last)
{
    if (length > own->ahead)
        cache_fill_bytes(&own->fill, bytes + own->ahead, length - own->ahead);
    own->ahead = length;
    if (last)
        cache_fill_end(&own->fill, true);
}

/* The client has what is being stored: it gets a 304, the store the rest. */
static ssize_t not_modified(struct cache_own *own, const struct response_head *head,
                            const char *bytes, size_t length, bool last)
{
    struct response_head short_head = *head;
    short_head.status = 304;
    short_head.reason = SLICE("");
    short_head.body = BODY_NONE;
    short_head.body_length = 0;
    own->mode = CACHE_STORES_ONLY;
    keep(own, bytes, length, last);
    own->ahead = 0;
    ssize_t taken = filter_respond(&own->filter, own->exchange, &short_head, "", 0, true);
    return taken < 0 ? taken : (ssize_t)length;
}

static ssize_t passed(struct cache_own *own, ssize_t taken)
{
    if (taken > 0)
        own->ahead -= (size_t)taken;
    return taken;
}

static ssize_t fetched(struct cache_own *own, const struct response_head *head, const char *bytes,
                       size_t length, bool last)
{
    struct exchange *exchange = own->exchange;
    if (diverted(own, head))
        return (ssize_t)length;
    bool stored = cache_fill_head(&own->fill, &exchange->request, head);
    exchange->cache = own->conditional ? "expired" : "miss";
    struct response_head with = told(own, head, stored);
    cache_object_unref(own->object);
    own->object = NULL;
    if (stored && cache_client_has(own, own->fill.object))
        return not_modified(own, &with, bytes, length, last);
    keep(own, bytes, length, last);
    return passed(own, filter_respond(&own->filter, exchange, &with, bytes, length, last));
}

/* ---- the filter ----------------------------------------------------------------------------- */

static ssize_t cache_respond(struct filter *filter, struct exchange *exchange,
                             const struct response_head *head, const char *bytes, size_t length,
                             bool last)
{
    struct cache_own *own = cache_own_of(filter);
    switch (own->mode) {
    case CACHE_FETCHES:
        return fetched(own, head, bytes, length, last);
    case CACHE_SWALLOWS:
    case CACHE_STORES_ONLY:
        return (ssize_t)length;
    case CACHE_INVALIDATES:
        if (head->status >= 200 && head->status < 400)
            cache_store_invalidate(own->store, &own->key);
        break;
    case CACHE_PASSES:
        break;
    }
    return filter_respond(filter, exchange, head, bytes, length, last);
}

static ssize_t cache_write(struct filter *filter, struct exchange *exchange, const char *bytes,
                           size_t length, bool last)
{
    struct cache_own *own = cache_own_of(filter);
    if (own->mode == CACHE_SWALLOWS)
        return (ssize_t)length;
    if (own->mode == CACHE_STORES_ONLY || own->mode == CACHE_FETCHES)
        keep(own, bytes, length, last);
    if (own->mode == CACHE_STORES_ONLY)
        return passed(own, (ssize_t)length);
    ssize_t taken = filter_write(filter, exchange, bytes, length, last);
    return own->mode == CACHE_FETCHES ? passed(own, taken) : taken;
}

static void cache_end(struct filter *filter, struct exchange *exchange,
                      const struct field *trailers, uint32_t count)
{
    struct cache_own *own = cache_own_of(filter);
    if (own->mode == CACHE_FETCHES || own->mode == CACHE_STORES_ONLY)
        cache_fill_end(&own->fill, true);
    if (own->mode != CACHE_SWALLOWS && own->mode != CACHE_STORES_ONLY)
        filter_end(filter, exchange, trailers, count);
}

static bool cache_cut(struct filter *filter, struct exchange *exchange)
{
    struct cache_own *own = cache_own_of(filter);
    (void)exchange;
    if (own->mode == CACHE_FETCHES || own->mode == CACHE_STORES_ONLY)
        cache_fill_drop(&own->fill, FLIGHT_FAILED);
    return own->mode == CACHE_SWALLOWS || own->mode == CACHE_STORES_ONLY;
}

/* The service is asked a second time, as if it were the first. */
static void again(struct cache_own *own)
{
    struct exchange *exchange = own->exchange;
    struct head *request = &exchange->request;
    request->field_count -= own->validators;
    if (exchange->service_tally) /* it will be counted again */
        tally_add(&exchange->service_tally->requests_now, (uint64_t)-1);
    exchange->service_tally = NULL;
    cache_fetch(own, NULL);
}

static bool cache_released(struct filter *filter, struct exchange *exchange)
{
    struct cache_own *own = cache_own_of(filter);
    enum cache_next next = own->next;
    if (own->mode != CACHE_SWALLOWS)
        return false;
    own->next = NEXT_NOTHING;
    exchange->handler = &handler_cache;
    exchange->handler_own = own;
    exchange->responded = false;
    own->mode = CACHE_PASSES;
    if (next == NEXT_ANSWER)
        cache_answer(own, own->how);
    else
        again(own);
    return true;
}

static void cache_done(struct filter *filter, struct exchange *exchange)
{
    (void)exchange;
    cache_let_go(cache_own_of(filter));
}

const struct filter_kind cache_filter = {
    .name = "cache",
    .respond = cache_respond,
    .write = cache_write,
    .end = cache_end,
    .cut = cache_cut,
    .released = cache_released,
    .done = cache_done,
};

void cache_filter_put(struct cache_own *own, enum cache_mode mode)
{
    own->mode = mode;
    if (own->filters)
        return;
    own->filters = true;
    own->filter.kind = &cache_filter;
    filter_append(own->exchange, &own->filter);
}
