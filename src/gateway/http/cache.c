#include "gateway/http/cache.h"

#include <stdlib.h>

#include "base/clock.h"
#include "gateway/http/bump.h"
#include "gateway/http/cache_disk.h"
#include "gateway/http/expand.h"
#include "gateway/http/http_worker.h"
#include "gateway/http/requester.h"

/* ---- the worker's part ---------------------------------------------------------------------- */

/* NULL: no memory or descriptor; then nobody waits. */
static struct cache_mailbox *mailbox_of(struct worker *worker)
{
    struct http_worker *http = worker->http;
    if (http->cache_mailbox)
        return http->cache_mailbox;
    struct cache_mailbox *mailbox = malloc(sizeof *mailbox);
    if (mailbox && cache_mailbox_init(mailbox, worker->loop)) {
        free(mailbox);
        mailbox = NULL;
    }
    http->cache_mailbox = mailbox;
    return mailbox;
}

void cache_worker_free(struct worker *worker, struct cache_mailbox *mailbox)
{
    if (!mailbox)
        return;
    cache_mailbox_done(mailbox, worker->loop);
    free(mailbox);
}

/* ---- ends ----------------------------------------------------------------------------------- */

static void wait_end(struct cache_own *own)
{
    own->waits = false;
    timer_stop(own->exchange->worker->loop, &own->lock);
}

void cache_let_go(struct cache_own *own)
{
    if (own->waits) {
        cache_waiter_leave(&own->waiter);
        wait_end(own);
    }
    deferred_stop(own->exchange->worker->loop, &own->again);
    cache_object_unref(own->object);
    own->object = NULL;
    own->sends = false;
    if (own->fill.store) /* an answer that leads elsewhere does so for everybody */
        cache_fill_drop(&own->fill, own->exchange->follow ? FLIGHT_ALONE : FLIGHT_FAILED);
}

static void cache_abort(struct exchange *exchange)
{
    struct cache_own *own = exchange->handler_own;
    if (own)
        cache_let_go(own);
}

/* ---- the key -------------------------------------------------------------------------------- */

bool cache_own_key(struct exchange *exchange, const struct route_cache *rules,
                   struct cache_key *ret_key)
{
    const struct route *route = exchange->route;
    const struct head *request = &exchange->request;
    const char *listener = exchange->client->plan->listener->text;
    struct cache_key_parts parts = {
        .listener = {listener, (uint32_t)strlen(listener)},
        .route = SLICE(""),
        .scheme = requester_scheme(exchange),
        .host = request->host,
        .port = request->port,
        .target = request->target,
    };
    if (route->header_count)
        parts.route = (struct slice){route->name, (uint32_t)strlen(route->name)};
    if (rules->key)
        parts.custom = expand_pattern(exchange, rules->key);
    if (rules->key && !parts.custom.bytes)
        return false;
    char room[CACHE_KEY_BYTES_MAX];
    if (!cache_key_make(&parts, room, ret_key))
        return false;
    ret_key->bytes = bump_copy(exchange->arena, room, ret_key->length);
    return ret_key->bytes != NULL;
}

/* ---- asking the service --------------------------------------------------------------------- */

/* The request's own conditions away, those of the stored answer instead. False: no memory. */
static bool conditions_set(struct cache_own *own)
{
    struct head *request = &own->exchange->request;
    struct field validators[2];
    own->validators = own->object ? cache_validators(own->object, validators) : 0;
    own->conditional = own->validators > 0;
    for (uint32_t i = 0; i < request->field_count; i++)
        request->fields[i].dropped |= cache_condition_field(&request->fields[i]);
    if (!own->validators)
        return true;
    uint32_t count = request->field_count + own->validators;
    struct field *fields = bump_alloc(own->exchange->arena, count * sizeof *fields);
    if (!fields)
        return false;
    memcpy(fields, request->fields, request->field_count * sizeof *fields);
    memcpy(fields + request->field_count, validators, own->validators * sizeof *fields);
    request->fields = fields;
    request->field_count = count;
    request->fields_room = count;
    return true;
}

void cache_fetch(struct cache_own *own, struct cache_flight *flight)
{
    struct exchange *exchange = own->exchange;
    own->fill = (struct cache_fill){.store = own->store,
                                    .rules = own->rules,
                                    .counts = own->counts,
                                    .key = own->key,
                                    .request = own->request};
    cache_fill_begin(&own->fill, flight);
    if (!conditions_set(own)) {
        cache_let_go(own);
        exchange_fail(exchange, 503, BLAME_ENGINX, "the request's memory is used up");
        exchange_release(exchange);
        return;
    }
    cache_filter_put(own, CACHE_FETCHES);
    exchange_proceed(exchange);
}

/* Past the store: the service answers, and nothing is kept. */
static void pass(struct cache_own *own, const char *how)
{
    cache_object_unref(own->object);
    own->object = NULL;
    own->exchange->cache = how;
    cache_count(&own->counts->passed);
    exchange_proceed(own->exchange);
}

/* ---- waiting for somebody who fetches the same ----------------------------------------------- */

static void look(struct cache_own *own);

static struct cache_own *own_of_waiter(struct cache_waiter *waiter)
{
    return (struct cache_own *)(void *)((char *)waiter - offsetof(struct cache_own, waiter));
}

static void woken(struct cache_waiter *waiter)
{
    struct cache_own *own = own_of_waiter(waiter);
    wait_end(own);
    own->disk_asked = true;
    if (waiter->end == FLIGHT_ALONE)
        own->lock_until_ms = 1; /* long ago */
    look(own);
}

static void lock_due(struct timer *timer)
{
    struct cache_own *own = timer->owner;
    cache_waiter_leave(&own->waiter);
    wait_end(own);
    own->disk_asked = true;
    look(own);
}

/* What is left of the time that it may wait; 0: none. */
static uint64_t lock_left(struct cache_own *own)
{
    uint64_t now_ms = loop_now(own->exchange->worker->loop);
    if (!own->lock_until_ms)
        own->lock_until_ms = now_ms + own->rules->lock_ms + 1;
    return own->lock_until_ms > now_ms + 1 ? own->lock_until_ms - now_ms : 0;
}

static void wait_begin(struct cache_own *own, uint64_t left_ms)
{
    struct exchange *exchange = own->exchange;
    own->waits = own->waited = true;
    exchange->handler_own = own;
    if (timer_start(exchange->worker->loop, &own->lock, left_ms, lock_due, own)) {
        cache_waiter_leave(&own->waiter);
        own->waits = false;
        cache_fetch(own, NULL);
        return;
    }
    exchange->codec->watch(exchange);
}

/* ---- looking up ----------------------------------------------------------------------------- */

/* Takes the stored answer, if there is one. False: answers to this key are not stored. */
static bool object_find(struct cache_own *own, uint64_t now_ms)
{
    cache_object_unref(own->object);
    own->object = cache_store_find(own->store, &own->key, &own->exchange->request);
    if (!own->object || own->object->status)
        return true;
    bool marked = cache_age_ms(&own->object->life, now_ms) < own->object->life.lifetime_ms;
    cache_object_unref(own->object);
    own->object = NULL;
    return !marked;
}

/* True: it was answered from the store. */
static bool answer_stored(struct cache_own *own, uint64_t now_ms)
{
    if (!own->object)
        return false;
    const struct cache_control *asks = own->rules->obey ? &own->request.control : NULL;
    switch (cache_may_use(&own->object->life, asks, now_ms)) {
    case USE_FRESH:
        cache_count(&own->counts->hits);
        break;
    case USE_WHILE_REFRESHED:
        cache_count(&own->counts->stale);
        cache_refresh(own);
        cache_answer(own, "stale");
        return true;
    case USE_VALIDATED:
        return false;
    }
    if (own->waited)
        cache_count(&own->counts->coalesced);
    cache_answer(own, "hit");
    return true;
}

/* Only one asks; the others wait for it. */
static void fetch_or_wait(struct cache_own *own, uint64_t now_ms)
{
    struct cache_flight *flight = NULL;
    uint64_t left_ms = lock_left(own);
    own->waiter = (struct cache_waiter){
        .store = own->store, .mailbox = mailbox_of(own->exchange->worker), .woken = woken};
    switch (cache_flight_join(own->store, &own->key, &own->waiter, left_ms && own->waiter.mailbox,
                              &flight)) {
    case JOIN_WAITS:
        wait_begin(own, left_ms);
        return;
    case JOIN_ALONE:
        cache_fetch(own, NULL);
        return;
    case JOIN_LEADS:
        break;
    }
    /* Between the look and the flight another may have ended. */
    object_find(own, now_ms);
    const struct cache_control *asks = own->rules->obey ? &own->request.control : NULL;
    if (own->object && cache_may_use(&own->object->life, asks, now_ms) == USE_FRESH) {
        cache_flight_end(flight, FLIGHT_STORED);
        answer_stored(own, now_ms);
        return;
    }
    cache_fetch(own, flight);
}

/* It may be on the store's disk: then it is waited for, as for another's fetch. True: it is. */
static bool disk_asked(struct cache_own *own)
{
    struct cache_disk *disk = cache_store_its_disk(own->store);
    struct cache_flight *flight = NULL;
    if (!disk || own->disk_asked || own->object || !cache_disk_has(disk, &own->key))
        return false;
    own->waiter = (struct cache_waiter){
        .store = own->store, .mailbox = mailbox_of(own->exchange->worker), .woken = woken};
    if (!own->waiter.mailbox)
        return false;
    switch (cache_flight_join(own->store, &own->key, &own->waiter, true, &flight)) {
    case JOIN_ALONE:
        return false;
    case JOIN_WAITS:
        break;
    case JOIN_LEADS:
        own->disk_asked = true;
        cache_flight_await(flight, &own->waiter);
        if (cache_disk_load(disk, &own->key, flight))
            break;
        cache_waiter_leave(&own->waiter);
        cache_flight_end(flight, FLIGHT_FAILED);
        return false;
    }
    bool waited = own->waited;
    wait_begin(own, CACHE_DISK_WAIT_MS);
    own->waited = waited || !flight; /* for another, not for the disk */
    return true;
}

static void look(struct cache_own *own)
{
    uint64_t now_ms = clock_wall_ms();
    bool stored = object_find(own, now_ms);
    if (answer_stored(own, now_ms) || disk_asked(own))
        return;
    struct exchange *exchange = own->exchange;
    if (own->request.control.flags & CONTROL_ONLY_IF_CACHED) { /* RFC 9111 §5.2.1.7 */
        cache_let_go(own);
        exchange->cache = "miss";
        exchange_fail(exchange, 504, BLAME_CLIENT, "only-if-cached, and it is not");
        exchange_release(exchange);
        return;
    }
    if (own->request.range.bytes || exchange->request.method == METHOD_HEAD) {
        pass(own, "pass");
        return;
    }
    cache_count(&own->counts->misses);
    bool always = own->object && !own->object->life.lifetime_ms; /* each asks for himself */
    if (!stored || always || !own->rules->lock_ms)
        cache_fetch(own, NULL);
    else
        fetch_or_wait(own, now_ms);
}

/* ---- which requests ------------------------------------------------------------------------- */

/* `bypass=`: neither empty nor "0". */
static bool bypassed(struct exchange *exchange, const struct route_cache *rules)
{
    for (const char *const *pattern = rules->bypass; *pattern; pattern++) {
        struct slice text = expand_pattern(exchange, *pattern);
        if (!text.bytes || (text.length && !slice_is(text, "0")))
            return true;
    }
    return false;
}

static bool looked_up(struct cache_own *own)
{
    struct exchange *exchange = own->exchange;
    const struct head *request = &exchange->request;
    if ((request->method != METHOD_GET && request->method != METHOD_HEAD) ||
        request->body != BODY_NONE || request->upgrade || bypassed(exchange, own->rules))
        return false;
    cache_request_read(request, &own->request);
    return !own->request.preconditions && !(own->request.control.flags & CONTROL_NO_STORE);
}

static struct cache_own *own_new(struct exchange *exchange)
{
    struct cache_own *own = bump_alloc(exchange->arena, sizeof *own);
    const struct route_cache *rules = exchange->route->cache;
    if (!own)
        return NULL;
    struct cache_store *store = exchange->use->generation->stores[rules->store];
    *own = (struct cache_own){.exchange = exchange,
                              .store = store,
                              .rules = rules,
                              .counts = cache_store_counts(store, exchange->worker->number)};
    exchange->handler_own = own;
    return own;
}

static void cache_start(struct exchange *exchange)
{
    struct cache_own *own = own_new(exchange);
    if (!own) {
        exchange_proceed(exchange);
        return;
    }
    if (exchange->request.method == METHOD_OTHER && cache_purge_request(own))
        return;
    bool known = cache_own_key(exchange, own->rules, &own->key);
    if (known && looked_up(own)) {
        look(own);
        return;
    }
    if (known && !method_safe(exchange->request.method)) /* RFC 9111 §4.4 */
        cache_filter_put(own, CACHE_INVALIDATES);
    pass(own, "pass");
}

/* ---- the handler ---------------------------------------------------------------------------- */

/* What is looked up has no body; what has one went on at once. */
static size_t cache_request_body(struct exchange *exchange, const char *bytes, size_t length,
                                 bool last)
{
    (void)exchange, (void)bytes, (void)last;
    return length;
}

static void cache_response_room(struct exchange *exchange)
{
    struct cache_own *own = exchange->handler_own;
    if (own && own->sends)
        cache_answer_room(own);
}

const struct handler handler_cache = {
    .name = "cache",
    .start = cache_start,
    .request_body = cache_request_body,
    .response_room = cache_response_room,
    .abort = cache_abort,
};
