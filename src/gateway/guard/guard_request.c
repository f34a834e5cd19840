/* `auth request`: asks a service whether a request may pass. What it answers is looked at when the
 * answer is over, at the end of the turn, so that the exchange goes on from nobody's callback. */
#include <string.h>

#include "gateway/core/key_hash.h"
#include "gateway/guard/answers.h"
#include "gateway/guard/guard.h"
#include "gateway/http/bump.h"
#include "gateway/http/expand.h"
#include "gateway/http/subrequest.h"

enum { BODY_BYTES_MAX = 256 * 1024 }; /* of the answer, which is thrown away */

struct asking { /* in the exchange's arena */
    struct exchange *exchange;
    const struct guard *guard;
    struct subrequest *subrequest; /* NULL: it is over */
    struct deferred later;
    uint64_t key;
    size_t body_bytes;
    bool no_memory;
    struct answer answer; /* status 0: none came */
};

/* ---- what is made of an answer --------------------------------------------------------------- */

static bool passes(uint16_t status)
{
    return status >= 200 && status < 300;
}

static bool redirects(uint16_t status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

static void user_take(struct exchange *exchange, const struct guard_request *request,
                      const struct answer *answer)
{
    for (uint32_t i = 0; request->user && i < answer->field_count; i++)
        if (slice_is_nocase(answer->fields[i].name, request->user))
            exchange->guarded->user = answer->fields[i].value;
}

static enum guard_answer failed(struct exchange *exchange, const struct guard *guard,
                                uint16_t status)
{
    if (status == 503) /* nobody is there, or it says so itself */
        return guard_fail(exchange, guard, 503, BLAME_UPSTREAM,
                          "auth request: the service is not there");
    return guard_fail(exchange, guard, 502, BLAME_UPSTREAM,
                      status ? "auth request: an answer that is neither 2xx, 401 nor 403"
                             : "auth request: no answer");
}

static enum guard_answer judge(struct exchange *exchange, const struct guard *guard,
                               const struct answer *answer)
{
    const struct guard_request *request = guard->request;
    uint32_t count =
        answer->field_count < ERROR_PAGE_FIELDS_MAX ? answer->field_count : ERROR_PAGE_FIELDS_MAX;
    if (answer->status == 401 || answer->status == 403)
        return guard_refuse(exchange, guard, answer->status, NULL, answer->fields, count);
    if (redirects(answer->status) && request->redirects)
        return guard_respond(exchange, guard, answer->status, answer->fields, count);
    if (!passes(answer->status))
        return failed(exchange, guard, answer->status);
    user_take(exchange, request, answer);
    if (*request->copy &&
        !guard_fields_replace(exchange, request->copy, answer->fields, answer->field_count))
        return guard_fail(exchange, guard, 503, BLAME_ENGINX, "no memory for an answer's headers");
    return GUARD_PASSES;
}

static void later(struct deferred *deferred)
{
    struct asking *asking = deferred->owner;
    struct exchange *exchange = asking->exchange;
    exchange->guarded->abort = NULL;
    if (asking->no_memory)
        guard_fail(exchange, asking->guard, 503, BLAME_ENGINX, "no memory for an answer's headers");
    else if (judge(exchange, asking->guard, &asking->answer) == GUARD_PASSES)
        guard_go_on(exchange);
}

/* ---- the answer ----------------------------------------------------------------------------- */

static bool name_in(struct slice name, const char *const *names)
{
    for (; *names; names++)
        if (slice_is_nocase(name, *names))
            return true;
    return false;
}

static bool wanted(const struct guard_request *request, uint16_t status, const struct field *field)
{
    static const char *const of_refusals[] = {"WWW-Authenticate", "Set-Cookie", NULL};
    static const char *const of_redirects[] = {"Location", "Set-Cookie", NULL};
    if (field->dropped)
        return false;
    if (passes(status))
        return name_in(field->name, request->copy) ||
               (request->user && slice_is_nocase(field->name, request->user));
    return name_in(field->name, redirects(status) ? of_redirects : of_refusals);
}

static bool field_keep(struct asking *asking, const struct field *field)
{
    struct answer *answer = &asking->answer;
    struct bump *arena = asking->exchange->arena;
    struct field copy = *field;
    copy.name.bytes = bump_copy(arena, field->name.bytes, field->name.length);
    copy.value.bytes = bump_copy(arena, field->value.bytes, field->value.length);
    if (!copy.name.bytes || !copy.value.bytes || answer->field_count == ANSWER_FIELDS_MAX)
        return false;
    answer->fields[answer->field_count++] = copy;
    return true;
}

static bool head_came(void *owner, const struct response_head *head)
{
    struct asking *asking = owner;
    asking->answer.status = head->status;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (wanted(asking->guard->request, head->status, &head->fields[i]) &&
            !field_keep(asking, &head->fields[i]))
            asking->no_memory = true;
    return true;
}

static void remember(const struct asking *asking)
{
    const struct guard_request *request = asking->guard->request;
    const struct answer *answer = &asking->answer;
    if (!request->cache_ms || asking->no_memory ||
        (!passes(answer->status) && answer->status != 401 && answer->status != 403))
        return;
    for (uint32_t i = 0; i < answer->field_count; i++)
        if (answer->fields[i].id == FIELD_SET_COOKIE)
            return;
    uint64_t now_ms = loop_now(asking->exchange->worker->loop);
    answers_keep(asking->key, now_ms + request->cache_ms, answer);
}

static void settle(struct asking *asking)
{
    asking->subrequest = NULL;
    deferred_start(asking->exchange->worker->loop, &asking->later, later, asking);
}

static size_t body_came(void *owner, const char *bytes, size_t length)
{
    struct asking *asking = owner;
    (void)bytes;
    asking->body_bytes += length;
    if (asking->body_bytes > BODY_BYTES_MAX) { /* the head has said it all */
        subrequest_cancel(asking->subrequest);
        settle(asking);
    }
    return length;
}

static void over(void *owner, bool whole, const char *why)
{
    struct asking *asking = owner;
    (void)why;
    if (whole)
        remember(asking);
    settle(asking);
}

static const struct subrequest_calls calls = {head_came, body_came, over};

/* ---- the question --------------------------------------------------------------------------- */

/* What makes an answer depend on something else than the client, or that is no business of the
 * service; and what only the gateway may say. */
static bool field_passes(const struct field *field)
{
    static const char *const names[] = {
        "Range",          "If-Match",          "If-None-Match",
        "If-Range",       "If-Modified-Since", "If-Unmodified-Since",
        "X-Original-URI", "X-Original-Method", NULL};
    enum field_id id = field->id;
    if (field->dropped || field_hop_by_hop(id))
        return false;
    if (id != FIELD_OTHER)
        return id != FIELD_HOST && id != FIELD_CONTENT_LENGTH && id != FIELD_EXPECT &&
               id != FIELD_TRAILER && id != FIELD_MAX_FORWARDS && id != FIELD_CONTENT_TYPE;
    return !name_in(field->name, names) && !slice_is_nocase(field->name, "X_Original_URI") &&
           !slice_is_nocase(field->name, "X_Original_Method");
}

static struct field *fields_make(struct exchange *exchange, uint32_t *ret_count)
{
    const struct head *request = &exchange->request;
    struct field *fields = bump_alloc(exchange->arena, (request->field_count + 2) * sizeof *fields);
    uint32_t count = 0;
    for (uint32_t i = 0; fields && i < request->field_count; i++)
        if (field_passes(&request->fields[i]))
            fields[count++] = request->fields[i];
    *ret_count = count;
    if (!fields)
        return NULL;
    fields[count++] =
        (struct field){.name = SLICE("X-Original-Method"), .value = request->method_name};
    fields[count++] = (struct field){.name = SLICE("X-Original-URI"), .value = request->target};
    *ret_count = count;
    return fields;
}

static enum guard_answer ask(struct asking *asking)
{
    struct exchange *exchange = asking->exchange;
    const struct guard_request *request = asking->guard->request;
    uint32_t count;
    const struct field *fields = fields_make(exchange, &count);
    const struct subrequest_setup setup = {
        .client = exchange->client,
        .use = exchange->use,
        .route = request->route,
        .method = SLICE("GET"),
        .authority = exchange->request.authority,
        .target = {request->path, (uint32_t)strlen(request->path)},
        .fields = fields,
        .field_count = count,
        .secure = exchange->secure,
        .client_trusted = exchange->client_trusted,
        .calls = &calls,
        .owner = asking,
    };
    bool is_over = false;
    struct subrequest *subrequest = fields ? subrequest_start(&setup, &is_over) : NULL;
    if (!subrequest)
        return guard_fail(exchange, asking->guard, 503, BLAME_ENGINX,
                          "auth request: too many fields, or no memory");
    if (!is_over)
        asking->subrequest = subrequest;
    exchange->codec->watch(exchange);
    return GUARD_WAITS;
}

static void abort_asking(struct exchange *exchange)
{
    struct asking *asking = exchange->guarded->own;
    if (asking->subrequest)
        subrequest_cancel(asking->subrequest);
    deferred_stop(exchange->worker->loop, &asking->later);
}

/* False: no memory. */
static bool key_make(struct exchange *exchange, const struct guard_request *request,
                     uint64_t *ret_key)
{
    struct slice text = expand_pattern(exchange, request->key);
    if (!text.bytes)
        return false;
    const uint64_t parts[2] = {key_hash(key_secret(), text.bytes, text.length), request->identity};
    *ret_key = key_hash(key_secret(), parts, sizeof parts);
    return true;
}

enum guard_answer guard_request(struct exchange *exchange, const struct guard *guard)
{
    struct asking *asking = bump_alloc(exchange->arena, sizeof *asking);
    if (asking)
        *asking = (struct asking){.exchange = exchange, .guard = guard};
    if (!asking || (guard->request->cache_ms && !key_make(exchange, guard->request, &asking->key)))
        return guard_fail(exchange, guard, 503, BLAME_ENGINX, "no memory for a question");
    if (guard->request->cache_ms && answers_find(asking->key, loop_now(exchange->worker->loop),
                                                 exchange->arena, &asking->answer))
        return judge(exchange, guard, &asking->answer);
    asking->answer.status = 0;
    exchange->guarded->own = asking;
    exchange->guarded->abort = abort_asking;
    return ask(asking);
}
