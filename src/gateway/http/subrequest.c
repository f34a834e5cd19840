#include "gateway/http/subrequest.h"

#include <errno.h>
#include <stdlib.h>

#include "gateway/http/bump.h"
#include "gateway/http/http_worker.h"

enum { SUBREQUEST_FIELDS_MAX = HEAD_FIELDS_MAX - 1 };

struct subrequest {
    struct exchange exchange;  /* first */
    struct client_base client; /* of whom it is about */
    const struct subrequest_calls *calls;
    void *owner;
    struct deferred later; /* the owner takes bytes again, or wants no more */
    bool busy;             /* somebody is in it: not freed */
    bool calling;          /* the owner is being called, with the handler on the stack */
    bool told;             /* the owner wants to hear no more, or has heard the end */
    bool failed;           /* the response was cut */
    bool over;             /* to be freed when nobody is in it */
};

static struct subrequest *own_of(struct exchange *exchange)
{
    return (struct subrequest *)exchange;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void subrequest_free(struct subrequest *own)
{
    struct exchange *exchange = &own->exchange;
    deferred_stop(exchange->worker->loop, &own->later);
    exchange_done(exchange);
    bump_free(exchange->arena);
    use_unref(own->client.use);
    free(own);
}

/* The owner hears of the end, once. */
static void owner_tell(struct subrequest *own)
{
    if (own->told)
        return;
    own->told = true;
    const struct exchange *exchange = &own->exchange;
    bool whole = exchange->response_ended && !own->failed;
    own->calls->over(own->owner, whole, exchange->why ? exchange->why : "");
}

static void leave(struct subrequest *own)
{
    own->busy = false;
    if (own->over)
        subrequest_free(own);
}

static void finish(struct subrequest *own)
{
    own->over = true;
    owner_tell(own);
    if (!own->busy)
        subrequest_free(own);
}

static void later(struct deferred *deferred);

const struct head *subrequest_head(const struct subrequest *own)
{
    return &own->exchange.request;
}

void subrequest_cancel(struct subrequest *own)
{
    own->told = true;
    if (own->over)
        return;
    if (own->calling) {
        deferred_start(own->exchange.worker->loop, &own->later, later, own);
        return;
    }
    own->over = true;
    exchange_abort(&own->exchange, BLAME_NOBODY, "cancelled");
    if (!own->busy)
        subrequest_free(own);
}

/* ---- what waits for the end of the turn ------------------------------------------------------ */

static void later(struct deferred *deferred)
{
    struct subrequest *own = deferred->owner;
    if (own->told) {
        subrequest_cancel(own);
        return;
    }
    own->busy = true;
    exchange_writable(&own->exchange);
    leave(own);
}

void subrequest_more(struct subrequest *own)
{
    if (!own->told && !own->over)
        deferred_start(own->exchange.worker->loop, &own->later, later, own);
}

/* ---- the codec ------------------------------------------------------------------------------ */

static void codec_interim(struct exchange *exchange, const struct response_head *head)
{
    (void)exchange, (void)head;
}

static ssize_t body_give(struct subrequest *own, const char *bytes, size_t length)
{
    if (own->told || own->over)
        return -EPIPE;
    if (!length || !own->calls->body)
        return (ssize_t)length;
    own->calling = true;
    size_t taken = own->calls->body(own->owner, bytes, length);
    own->calling = false;
    return own->told ? -EPIPE : (ssize_t)taken;
}

static ssize_t codec_respond(struct exchange *exchange, const struct response_head *head,
                             const char *bytes, size_t length, bool last)
{
    struct subrequest *own = own_of(exchange);
    (void)last;
    if (own->told || own->over)
        return -EPIPE;
    own->calling = true;
    if (!own->calls->head(own->owner, head))
        subrequest_cancel(own);
    own->calling = false;
    return body_give(own, bytes, length);
}

static ssize_t codec_write(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    (void)last;
    return body_give(own_of(exchange), bytes, length);
}

static void codec_end(struct exchange *exchange, const struct field *trailers, uint32_t count)
{
    (void)exchange, (void)trailers, (void)count;
}

static void codec_cut(struct exchange *exchange)
{
    own_of(exchange)->failed = true;
}

static void codec_request_more(struct exchange *exchange)
{
    (void)exchange;
}

static void codec_watch(struct exchange *exchange)
{
    (void)exchange;
}

static void codec_released(struct exchange *exchange)
{
    struct subrequest *own = own_of(exchange);
    if (!own->over)
        finish(own);
}

static const struct codec codec_subrequest = {
    .name = "subrequest",
    .interim = codec_interim,
    .respond = codec_respond,
    .write = codec_write,
    .end = codec_end,
    .cut = codec_cut,
    .request_more = codec_request_more,
    .watch = codec_watch,
    .released = codec_released,
};

/* ---- the request ---------------------------------------------------------------------------- */

/* All texts of the head, copied: the request outlives whoever asked for it. */
static bool slice_keep(struct bump *arena, struct slice *slice)
{
    char *copy = bump_copy(arena, slice->bytes, slice->length);
    if (copy)
        slice->bytes = copy;
    return copy != NULL;
}

static bool field_keep(struct bump *arena, struct head *head, struct field field)
{
    if (field.dropped)
        return true;
    if (!slice_keep(arena, &field.name) || !slice_keep(arena, &field.value))
        return false;
    head->fields[head->field_count++] = field;
    if (!head->first[field.id])
        head->first[field.id] = (uint16_t)head->field_count;
    return true;
}

static bool fields_keep(struct bump *arena, const struct subrequest_setup *setup, struct head *head)
{
    head->fields_room = setup->field_count + 1;
    head->fields = bump_alloc(arena, head->fields_room * sizeof *head->fields);
    if (!head->fields)
        return false;
    const struct field host = {.name = SLICE("Host"), .value = setup->authority, .id = FIELD_HOST};
    bool kept = field_keep(arena, head, host);
    for (uint32_t i = 0; kept && i < setup->field_count; i++)
        kept = field_keep(arena, head, setup->fields[i]);
    return kept;
}

static void target_split(struct head *head)
{
    const char *mark = memchr(head->target.bytes, '?', head->target.length);
    head->has_query = mark != NULL;
    head->path = head->target;
    head->query = SLICE("");
    if (!mark)
        return;
    head->path.length = (uint32_t)(mark - head->target.bytes);
    head->query = (struct slice){mark + 1, head->target.length - head->path.length - 1};
}

/* The authority without its port. */
static void host_split(struct head *head)
{
    head->host = head->authority;
    const char *colon = memrchr(head->authority.bytes, ':', head->authority.length);
    const char *bracket = memrchr(head->authority.bytes, ']', head->authority.length);
    if (colon && (!bracket || colon > bracket))
        head->host.length = (uint32_t)(colon - head->authority.bytes);
}

static bool head_make(struct bump *arena, const struct subrequest_setup *setup, struct head *head)
{
    *head = (struct head){
        .method = method_of(setup->method),
        .method_name = setup->method,
        .scheme = setup->secure ? SLICE("https") : SLICE("http"),
        .authority = setup->authority,
        .target = setup->target,
        .version_minor = 1,
        .keep_alive = true,
        .body = BODY_NONE,
    };
    if (setup->field_count > SUBREQUEST_FIELDS_MAX || !slice_keep(arena, &head->method_name) ||
        !slice_keep(arena, &head->authority) || !slice_keep(arena, &head->target) ||
        !fields_keep(arena, setup, head))
        return false;
    target_split(head);
    host_split(head);
    return true;
}

/* False: no memory. */
static bool captures_keep(struct bump *arena, const struct slice *captures,
                          struct exchange *exchange)
{
    bool kept = true;
    for (size_t i = 0; i < sizeof exchange->captures / sizeof exchange->captures[0]; i++) {
        exchange->captures[i] = captures ? captures[i] : SLICE("");
        kept &= !captures || slice_keep(arena, &exchange->captures[i]);
    }
    return kept;
}

static struct subrequest *subrequest_new(const struct subrequest_setup *setup)
{
    struct worker *worker = setup->client->worker;
    struct bump *arena = bump_new(worker->http->arenas, EXCHANGE_ARENA_BYTES_MAX);
    struct subrequest *own = arena ? malloc(sizeof *own) : NULL;
    if (!own || (*own = (struct subrequest){0}, !head_make(arena, setup, &own->exchange.request)) ||
        !captures_keep(arena, setup->captures, &own->exchange)) {
        free(own);
        bump_free(arena);
        return NULL;
    }
    own->client = *setup->client;
    own->client.use = setup->use;
    use_ref(setup->use);
    own->calls = setup->calls;
    own->owner = setup->owner;
    struct exchange *exchange = &own->exchange;
    exchange->codec = &codec_subrequest;
    exchange->client = &own->client;
    exchange->worker = worker;
    exchange->use = setup->use;
    exchange->route = setup->route;
    exchange->arena = arena;
    exchange->client_trusted = setup->client_trusted;
    exchange->secure = setup->secure;
    exchange->fd = -1;
    exchange->begun_us = worker_now_us(worker);
    exchange->request_ended = true;
    exchange->internal = true;
    return own;
}

struct subrequest *subrequest_start(const struct subrequest_setup *setup, bool *ret_over)
{
    *ret_over = false;
    struct subrequest *own = subrequest_new(setup);
    if (!own)
        return NULL;
    own->busy = true;
    exchange_proceed(&own->exchange);
    *ret_over = own->told;
    leave(own);
    return own;
}
