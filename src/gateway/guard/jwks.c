#include "gateway/guard/jwks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "gateway/http/http_worker.h"
#include "gateway/http/subrequest.h"

enum { NAME_BYTES = 1024, BODY_FIRST_BYTES = 4096 };

LIST_HEAD(jwks_waits, jwks_wait);

struct source {
    LIST_ENTRY(source) next;
    struct worker *worker;
    char name[NAME_BYTES];         /* "SERVICE PATH" */
    struct key_set *keys;          /* NULL: never had */
    uint64_t fetched_ms;           /* the last good fetch */
    uint64_t tried_ms;             /* the last one at all, its end; 0: none */
    struct subrequest *subrequest; /* NULL: none is under way */
    struct deferred later;
    struct jwks_waits waits;
    char *body;
    size_t length, room;
    uint16_t status;
    bool failing; /* it has been said */
};

struct jwks_worker {
    LIST_HEAD(, source) sources;
    unsigned count;
};

/* ---- a fetch -------------------------------------------------------------------------------- */

static void waits_tell(struct deferred *deferred)
{
    struct source *source = deferred->owner;
    struct jwks_waits waits;
    LIST_INIT(&waits);
    for (struct jwks_wait *wait; (wait = LIST_FIRST(&source->waits));) {
        LIST_REMOVE(wait, next);
        LIST_INSERT_HEAD(&waits, wait, next);
    }
    /* Who is told may cancel another, or ask again. */
    for (struct jwks_wait *wait; (wait = LIST_FIRST(&waits));) {
        LIST_REMOVE(wait, next);
        wait->waits = false;
        wait->fetched(wait);
    }
}

static void fetch_failed(struct source *source, const char *why)
{
    if (!source->failing)
        log_warn("jwks-not-fetched", "from=\"%s\" worker=%u error=\"%s\" instead=\"%s\"",
                 source->name, source->worker->number, why,
                 source->keys ? "the last one goes on" : "503");
    source->failing = true;
}

static void set_take(struct source *source)
{
    char why[KEY_WHY_BYTES];
    struct key_set *keys =
        source->body ? key_set_of_json(source->body, source->length, false, why) : NULL;
    if (!keys) {
        fetch_failed(source, source->body ? why : "an empty answer");
        return;
    }
    if (source->failing || !source->keys)
        log_info("jwks-fetched", "from=\"%s\" worker=%u keys=%zu", source->name,
                 source->worker->number, keys->count);
    source->failing = false;
    key_set_free(source->keys);
    source->keys = keys;
    source->fetched_ms = loop_now(source->worker->loop);
}

static void fetch_end(struct source *source)
{
    source->subrequest = NULL;
    source->tried_ms = loop_now(source->worker->loop);
    free(source->body);
    source->body = NULL;
    source->length = source->room = 0;
    deferred_start(source->worker->loop, &source->later, waits_tell, source);
}

static bool head_came(void *owner, const struct response_head *head)
{
    struct source *source = owner;
    source->status = head->status;
    return true;
}

static bool body_room(struct source *source, size_t length)
{
    size_t room = source->room ? source->room : BODY_FIRST_BYTES;
    while (room < source->length + length)
        room *= 2;
    char *body = room == source->room ? source->body : realloc(source->body, room);
    if (!body)
        return false;
    source->body = body;
    source->room = room;
    return true;
}

static size_t body_came(void *owner, const char *bytes, size_t length)
{
    struct source *source = owner;
    if (source->status != 200)
        return length;
    if (source->length + length > KEY_SET_BYTES_MAX || !body_room(source, length)) {
        subrequest_cancel(source->subrequest);
        fetch_failed(source, "it is too large");
        fetch_end(source);
        return length;
    }
    memcpy(source->body + source->length, bytes, length);
    source->length += length;
    return length;
}

static void over(void *owner, bool whole, const char *why)
{
    struct source *source = owner;
    if (!whole)
        fetch_failed(source, why);
    else if (source->status != 200)
        fetch_failed(source, "the status is not 200");
    else
        set_take(source);
    fetch_end(source);
}

static const struct subrequest_calls calls = {head_came, body_came, over};

/* On behalf of an exchange, whose connection it may outlive. False: it could not begin. */
static bool fetch_start(struct source *source, struct exchange *exchange,
                        const struct guard_jwt *jwt)
{
    static const struct field accept = {.name = SLICE("Accept"),
                                        .value = SLICE("application/json")};
    const char *service =
        exchange->use->generation->topology->services[jwt->route->targets->service].name;
    bool is_over = false;
    const struct subrequest_setup setup = {
        .client = exchange->client,
        .use = exchange->use,
        .route = jwt->route,
        .method = SLICE("GET"),
        .authority = {service, (uint32_t)strlen(service)},
        .target = {jwt->path, (uint32_t)strlen(jwt->path)},
        .fields = &accept,
        .field_count = 1,
        .calls = &calls,
        .owner = source,
    };
    source->status = 0;
    struct subrequest *subrequest = subrequest_start(&setup, &is_over);
    if (subrequest && !is_over)
        source->subrequest = subrequest;
    return subrequest && !is_over;
}

/* ---- sources -------------------------------------------------------------------------------- */

static struct source *source_find(struct jwks_worker *own, const char *name)
{
    struct source *source;
    LIST_FOREACH (source, &own->sources, next) {
        if (strcmp(source->name, name) == 0)
            return source;
    }
    return NULL;
}

static void source_free(struct source *source)
{
    if (source->subrequest)
        subrequest_cancel(source->subrequest);
    deferred_stop(source->worker->loop, &source->later);
    LIST_REMOVE(source, next);
    key_set_free(source->keys);
    free(source->body);
    free(source);
}

/* Configurations come and go: one that nobody waits for makes room. */
static void source_drop(struct jwks_worker *own)
{
    struct source *source, *oldest = NULL;
    LIST_FOREACH (source, &own->sources, next) {
        if (!source->subrequest && LIST_EMPTY(&source->waits) && !source->later.active &&
            (!oldest || source->tried_ms < oldest->tried_ms))
            oldest = source;
    }
    if (!oldest)
        return;
    source_free(oldest);
    own->count--;
}

static struct source *source_of(struct exchange *exchange, const struct guard_jwt *jwt)
{
    struct http_worker *http = exchange->worker->http;
    const char *service =
        exchange->use->generation->topology->services[jwt->route->targets->service].name;
    char name[NAME_BYTES];
    int length = snprintf(name, sizeof name, "%s %s", service, jwt->path);
    if (!http->jwks)
        http->jwks = calloc(1, sizeof *http->jwks);
    if (!http->jwks || length < 0 || (size_t)length >= sizeof name)
        return NULL;
    struct source *source = source_find(http->jwks, name);
    if (source)
        return source;
    if (http->jwks->count == JWKS_SOURCES_MAX)
        source_drop(http->jwks);
    source = http->jwks->count < JWKS_SOURCES_MAX ? calloc(1, sizeof *source) : NULL;
    if (!source)
        return NULL;
    source->worker = exchange->worker;
    memcpy(source->name, name, sizeof name);
    LIST_INIT(&source->waits);
    LIST_INSERT_HEAD(&http->jwks->sources, source, next);
    http->jwks->count++;
    return source;
}

void jwks_worker_free(struct jwks_worker *own)
{
    if (!own)
        return;
    while (!LIST_EMPTY(&own->sources))
        source_free(LIST_FIRST(&own->sources));
    free(own);
}

/* ---- questions ------------------------------------------------------------------------------ */

static bool passed(uint64_t since_ms, uint64_t now_ms, uint64_t time_ms)
{
    return !since_ms || now_ms - since_ms >= time_ms;
}

/* Is it time to ask the service? */
static bool fetch_due(const struct source *source, bool newer, uint64_t now_ms)
{
    if (source->subrequest || !passed(source->tried_ms, now_ms, JWKS_RETRY_MS))
        return false;
    if (!source->keys || passed(source->fetched_ms, now_ms, JWKS_FRESH_MS))
        return true;
    return newer && passed(source->tried_ms, now_ms, JWKS_AGAIN_MS);
}

enum jwks_answer jwks_find(struct exchange *exchange, const struct guard_jwt *jwt, bool newer,
                           struct jwks_wait *wait, const struct key_set **ret_keys)
{
    struct source *source = source_of(exchange, jwt);
    if (!source)
        return JWKS_NONE;
    if (fetch_due(source, newer, loop_now(exchange->worker->loop)))
        fetch_start(source, exchange, jwt);
    *ret_keys = source->keys;
    if (source->keys && !(newer && source->subrequest))
        return JWKS_THERE;
    if (!source->subrequest && !source->later.active)
        return JWKS_NONE;
    wait->waits = true;
    LIST_INSERT_HEAD(&source->waits, wait, next);
    return JWKS_WAITS;
}

void jwks_cancel(struct jwks_wait *wait)
{
    if (wait->waits)
        LIST_REMOVE(wait, next);
    wait->waits = false;
}
