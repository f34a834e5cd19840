/* `cors`: the Fetch standard, "CORS protocol". */
#include <string.h>

#include "gateway/guard/guard.h"
#include "gateway/http/bump.h"
#include "gateway/http/h1_text.h"

enum { RESPONSE_FIELDS_MAX = 4, PREFLIGHT_FIELDS_MAX = 4 };

static struct slice text_of(const char *text)
{
    return (struct slice){text, (uint32_t)strlen(text)};
}

/* A host of `*.a.example` is b.a.example, and not a.example. */
static bool origin_is(const char *pattern, struct slice origin)
{
    const char *star = strstr(pattern, "://*.");
    if (!star)
        return slice_is_nocase(origin, pattern);
    size_t scheme = (size_t)(star - pattern) + 3; /* with `://` */
    const char *tail = star + 4;                  /* ".a.example" */
    size_t length = strlen(tail);
    if (origin.length <= scheme + length)
        return false;
    struct slice first = {origin.bytes, (uint32_t)scheme};
    struct slice last = {origin.bytes + origin.length - length, (uint32_t)length};
    struct slice wanted = {pattern, (uint32_t)scheme};
    return slice_same_nocase(first, wanted) && slice_is_nocase(last, tail) &&
           !memchr(origin.bytes + scheme, '/', origin.length - scheme);
}

static bool origin_allowed(const struct guard_cors *cors, struct slice origin)
{
    for (size_t i = 0; cors->origins[i]; i++)
        if (origin_is(cors->origins[i], origin))
            return true;
    return cors->any;
}

static void field_put(struct field *fields, uint32_t *count, struct slice name, struct slice value)
{
    fields[(*count)++] =
        (struct field){.name = name, .value = value, .id = (uint8_t)field_id_of(name)};
}

/* What every response of the route has from now on. False: no memory. */
static bool response_prepare(struct exchange *exchange, const struct guard_cors *cors,
                             struct slice origin, bool allowed)
{
    struct field *fields = bump_alloc(exchange->arena, RESPONSE_FIELDS_MAX * sizeof *fields);
    uint32_t count = 0;
    if (!fields)
        return false;
    if (allowed)
        field_put(fields, &count, SLICE("Access-Control-Allow-Origin"),
                  cors->any ? SLICE("*") : origin);
    if (allowed && cors->credentials)
        field_put(fields, &count, SLICE("Access-Control-Allow-Credentials"), SLICE("true"));
    if (allowed && cors->expose)
        field_put(fields, &count, SLICE("Access-Control-Expose-Headers"), text_of(cors->expose));
    if (!cors->any)
        field_put(fields, &count, SLICE("Vary"), SLICE("Origin"));
    exchange->guarded->response_fields = fields;
    exchange->guarded->response_count = count;
    return true;
}

/* Names of fields with commas: nothing else is given back. */
static bool names_good(struct slice names)
{
    for (uint32_t i = 0; i < names.length; i++) {
        const char *at = names.bytes + i;
        if (*at != ',' && *at != ' ' && h1_skip(at, at + 1, BYTE_TOKEN) == at)
            return false;
    }
    return true;
}

static enum guard_answer preflight(struct exchange *exchange, const struct guard *guard)
{
    const struct guard_cors *cors = guard->cors;
    const struct field *asked = head_find(&exchange->request, "access-control-request-headers");
    struct field fields[PREFLIGHT_FIELDS_MAX];
    uint32_t count = 0;
    field_put(fields, &count, SLICE("Access-Control-Allow-Methods"), text_of(cors->methods));
    if (cors->headers)
        field_put(fields, &count, SLICE("Access-Control-Allow-Headers"), text_of(cors->headers));
    else if (asked && names_good(asked->value))
        field_put(fields, &count, SLICE("Access-Control-Allow-Headers"), asked->value);
    field_put(fields, &count, SLICE("Access-Control-Max-Age"), text_of(cors->max_age));
    const struct response_head head = {
        .status = 204, .fields = fields, .field_count = count, .body = BODY_NONE};
    if (exchange_respond(exchange, &head, "", 0, true) >= 0) /* else abort follows */
        exchange_release(exchange);
    return GUARD_ANSWERED;
}

enum guard_answer guard_cors(struct exchange *exchange, const struct guard *guard)
{
    const struct head *request = &exchange->request;
    const struct field *origin = head_find(request, "origin");
    bool allowed = origin && origin_allowed(guard->cors, origin->value);
    if (!response_prepare(exchange, guard->cors, origin ? origin->value : SLICE(""), allowed))
        return guard_fail(exchange, guard, 503, BLAME_ENGINX, "no memory for CORS");
    bool asks = origin && request->method == METHOD_OPTIONS &&
                head_find(request, "access-control-request-method");
    if (!asks)
        return GUARD_PASSES;
    if (!allowed)
        return guard_refuse(exchange, guard, 403, "cors: an origin that is not allowed", NULL, 0);
    return preflight(exchange, guard);
}
