#include "gateway/http/expand.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "gateway/http/bump.h"
#include "gateway/http/guarded.h"
#include "gateway/http/match.h"
#include "gateway/http/path.h"
#include "gateway/http/regex.h"
#include "gateway/http/requester.h"
#include "topology/pattern.h"

/* ---- text in the arena ---------------------------------------------------------------------- */

enum { TEXT_FIRST_BYTES = 256 };

struct text { /* grows by moving; what it leaves behind is freed with the exchange */
    struct bump *arena;
    char *bytes;
    size_t length;
    size_t room;
    bool failed; /* no memory */
};

/* Room for `more` bytes at the end; NULL: no memory. */
static char *text_room(struct text *text, size_t more)
{
    if (text->failed || (text->room && text->length + more <= text->room))
        return text->failed ? NULL : text->bytes + text->length;
    size_t room = text->room ? text->room * 2 : TEXT_FIRST_BYTES;
    while (room < text->length + more)
        room *= 2;
    char *bytes = bump_alloc(text->arena, room);
    text->failed = !bytes;
    if (!bytes)
        return NULL;
    if (text->length)
        memcpy(bytes, text->bytes, text->length);
    text->bytes = bytes;
    text->room = room;
    return bytes + text->length;
}

static void text_add(struct text *text, struct slice added)
{
    char *to = text_room(text, added.length);
    if (!to || !added.length)
        return;
    memcpy(to, added.bytes, added.length);
    text->length += added.length;
}

/* Outside text: nothing of it ends a line, or a string. */
static void text_add_outside(struct text *text, struct slice added)
{
    char *to = text_room(text, added.length);
    for (uint32_t i = 0; to && i < added.length; i++) {
        unsigned char byte = (unsigned char)added.bytes[i];
        if ((byte >= ' ' && byte != 0x7f) || byte == '\t')
            to[0] = (char)byte, to++, text->length++;
    }
}

static void text_add_encoded(struct text *text, struct slice added, enum path_part part)
{
    char *to = text_room(text, (size_t)added.length * PATH_GROWTH_MAX);
    if (to)
        text->length += path_encode(added, part, to);
}

static struct slice text_end(const struct text *text)
{
    if (text->failed)
        return (struct slice){0};
    return (struct slice){text->bytes ? text->bytes : "", (uint32_t)text->length};
}

/* ---- values --------------------------------------------------------------------------------- */

static bool host_byte(char byte, bool address)
{
    bool digit = byte >= '0' && byte <= '9', letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
    if (address)
        return digit || (letter && (byte | 0x20) <= 'f') || byte == ':' || byte == '.';
    return digit || letter || byte == '-' || byte == '.' || byte == '_';
}

/* Only what is plainly a name or an address: it is put into links. */
static struct slice host_value(struct exchange *exchange)
{
    struct slice host = exchange->request.host, nothing = SLICE("");
    bool address = host.length > 2 && host.bytes[0] == '[' && host.bytes[host.length - 1] == ']';
    uint32_t skip = address ? 1 : 0;
    char *lower = bump_alloc(exchange->arena, host.length ? host.length : 1);
    if (!lower)
        return nothing;
    for (uint32_t i = 0; i < host.length; i++) {
        char byte = host.bytes[i];
        bool inside = i >= skip && i < host.length - skip;
        if (inside && !host_byte(byte, address))
            return nothing;
        lower[i] = byte >= 'A' && byte <= 'Z' ? (char)(byte + 32) : byte;
    }
    return (struct slice){lower, host.length};
}

static struct slice client_value(struct exchange *exchange)
{
    char text[REQUESTER_BYTES];
    size_t length = requester_address(exchange, text);
    const char *copy = bump_copy(exchange->arena, text, length);
    return copy ? (struct slice){copy, (uint32_t)length} : SLICE("");
}

static struct slice port_value(struct exchange *exchange)
{
    char text[8];
    int length = snprintf(text, sizeof text, "%u", exchange->client->plan->listener->port);
    const char *copy = bump_copy(exchange->arena, text, (size_t)length);
    return copy ? (struct slice){copy, (uint32_t)length} : SLICE("");
}

static struct slice header_value(const struct head *request, const char *name, size_t length)
{
    for (uint32_t i = 0; i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        if (field->name.length == length && !strncasecmp(field->name.bytes, name, length))
            return field->value;
    }
    return SLICE("");
}

/* The value of `name=value` in a list with that separator, spaces around elements left out. */
static bool pair_value(struct slice list, char separator, const char *name, size_t length,
                       struct slice *ret_value)
{
    const char *at = list.bytes, *end = list.bytes + list.length;
    while (at < end) {
        const char *stop = memchr(at, separator, (size_t)(end - at));
        stop = stop ? stop : end;
        while (at < stop && *at == ' ')
            at++;
        if ((size_t)(stop - at) > length && at[length] == '=' && !memcmp(at, name, length)) {
            at += length + 1;
            *ret_value = (struct slice){at, (uint32_t)(stop - at)};
            return true;
        }
        at = stop + 1;
    }
    return false;
}

static struct slice cookie_value(const struct head *request, const char *name, size_t length)
{
    struct slice value = SLICE("");
    for (uint32_t i = 0; i < request->field_count; i++)
        if (request->fields[i].id == FIELD_COOKIE &&
            pair_value(request->fields[i].value, ';', name, length, &value))
            break;
    return value;
}

static struct slice argument_value(const struct head *request, const char *name, size_t length)
{
    struct slice value = SLICE("");
    pair_value(request->query, '&', name, length, &value);
    return value;
}

static struct slice claim_value(const struct exchange *exchange, const char *name, size_t length)
{
    const struct guarded *guarded = exchange->guarded;
    for (uint32_t i = 0; guarded && i < guarded->claim_count; i++) {
        const struct guard_claim *claim = &guarded->claims[i];
        if (claim->name.length == length && !memcmp(claim->name.bytes, name, length))
            return claim->value;
    }
    return SLICE("");
}

/* `*` (of OPTIONS) and nothing (of CONNECT) are the root in links. */
static struct slice rooted(struct slice path)
{
    return path.length && *path.bytes == '/' ? path : SLICE("/");
}

/* `captures`: those that $1 … $9 mean. */
static struct slice part_value(struct exchange *exchange, const struct pattern_part *part,
                               const struct slice *captures)
{
    const struct head *request = &exchange->request;
    switch (part->kind) {
    case PATTERN_LITERAL:
        return (struct slice){part->text, (uint32_t)part->length};
    case PATTERN_HOST:
        return host_value(exchange);
    case PATTERN_PATH:
        return rooted(request->path);
    case PATTERN_QUERY:
        return request->query;
    case PATTERN_URI:
        return rooted(request->target);
    case PATTERN_SCHEME:
        return requester_scheme(exchange);
    case PATTERN_METHOD:
        return request->method_name;
    case PATTERN_CLIENT:
        return client_value(exchange);
    case PATTERN_PORT:
        return port_value(exchange);
    case PATTERN_REQUEST_ID: {
        const char *id = exchange_request_id(exchange);
        return (struct slice){id, (uint32_t)strlen(id)};
    }
    case PATTERN_USER:
        return exchange->guarded ? exchange->guarded->user : SLICE("");
    case PATTERN_CAPTURE:
        return captures[part->capture];
    case PATTERN_HEADER:
        return header_value(request, part->text, part->length);
    case PATTERN_COOKIE:
        return cookie_value(request, part->text, part->length);
    case PATTERN_CLAIM:
        return claim_value(exchange, part->text, part->length);
    case PATTERN_ARGUMENT:
        return argument_value(request, part->text, part->length);
    }
    return SLICE("");
}

struct slice expand_pattern(struct exchange *exchange, const char *pattern)
{
    if (!strchr(pattern, '$'))
        return (struct slice){pattern, (uint32_t)strlen(pattern)};
    struct text text = {.arena = exchange->arena};
    struct pattern_part part;
    while (pattern_next(&pattern, &part)) {
        struct slice value = part_value(exchange, &part, exchange->captures);
        if (part.kind == PATTERN_LITERAL)
            text_add(&text, value);
        else
            text_add_outside(&text, value);
    }
    return text_end(&text);
}

/* ---- rewrites ------------------------------------------------------------------------------- */

struct target { /* what it is so far */
    struct slice path;
    struct slice query;
    bool has_query;
};

/* 0, or -1: see expand_target. */
static int path_settle(struct exchange *exchange, struct slice path, struct slice *ret_path)
{
    size_t room = (size_t)path.length * PATH_GROWTH_MAX + PATH_GROWTH_MAX;
    char *out = bump_alloc(exchange->arena, room);
    ssize_t length = out ? path_normalise(path, out, room) : -1;
    if (length < 0)
        return -1;
    *ret_path = (struct slice){out, (uint32_t)length};
    return 0;
}

/* `/api` of /api/x: `/x`; of /apis: nothing. */
static void strip_apply(struct target *target, const char *strip)
{
    char normal[MATCH_KEY_BYTES_MAX];
    struct slice text = {strip, (uint32_t)strlen(strip)}, path = target->path;
    ssize_t length = path_normalise(text, normal, sizeof normal);
    if (length < 0 || (size_t)length > path.length || memcmp(path.bytes, normal, (size_t)length))
        return;
    if (normal[length - 1] == '/')
        length--; /* the slash stays in front of the rest */
    else if ((size_t)length < path.length && path.bytes[length] != '/')
        return;
    target->path = (size_t)length < path.length
                       ? (struct slice){path.bytes + length, path.length - (uint32_t)length}
                       : SLICE("/");
}

static int prefix_apply(struct exchange *exchange, struct target *target, const char *prefix)
{
    struct text text = {.arena = exchange->arena};
    size_t length = strlen(prefix);
    if (length && prefix[length - 1] == '/')
        length--;
    text_add_encoded(&text, (struct slice){prefix, (uint32_t)length}, PATH_PART_PATH);
    text_add(&text, target->path);
    target->path = text_end(&text);
    return text.failed ? -1 : 0;
}

/* Literal text up to `?` is of the path, the rest of the query; values stay within their part. */
static void replacement_add(struct text *path, struct text *query, bool *in_query,
                            const struct pattern_part *part, struct slice value)
{
    const char *mark = NULL;
    if (part->kind == PATTERN_LITERAL && !*in_query)
        mark = memchr(value.bytes, '?', value.length);
    if (mark) {
        struct slice before = {value.bytes, (uint32_t)(mark - value.bytes)};
        text_add_encoded(path, before, PATH_PART_PATH);
        *in_query = true;
        value = (struct slice){mark + 1, value.length - before.length - 1};
    }
    text_add_encoded(*in_query ? query : path, value, *in_query ? PATH_PART_QUERY : PATH_PART_PATH);
}

static int regex_apply(struct exchange *exchange, struct target *target, const struct regex *regex,
                       const char *replacement)
{
    struct slice captures[REGEX_CAPTURES];
    enum regex_result result = regex_match(regex, target->path, captures);
    if (result != REGEX_YES)
        return result == REGEX_NO ? 0 : -1;
    struct text path = {.arena = exchange->arena}, query = {.arena = exchange->arena};
    struct pattern_part part;
    bool in_query = false;
    if (*replacement != '/')
        text_add(&path, SLICE("/"));
    while (pattern_next(&replacement, &part))
        replacement_add(&path, &query, &in_query, &part, part_value(exchange, &part, captures));
    if (path.failed || query.failed)
        return -1;
    if (in_query) {
        target->query = text_end(&query);
        target->has_query = target->query.length > 0;
    }
    /* It may have got dot segments from outside. */
    return path_settle(exchange, text_end(&path), &target->path);
}

static int rewrite_apply(struct exchange *exchange, struct target *target, size_t number)
{
    const struct rewrite *rewrite = &exchange->route->rewrites[number];
    if (rewrite->strip)
        strip_apply(target, rewrite->strip);
    if (rewrite->prefix)
        return prefix_apply(exchange, target, rewrite->prefix);
    if (!rewrite->regex)
        return 0;
    const struct match *match = exchange->client->plan->match;
    return regex_apply(exchange, target, match_rewrite(match, exchange->route_number, number),
                       rewrite->replacement);
}

struct slice expand_target(struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    const struct route *route = exchange->route;
    if (!route || !route->rewrite_count || !request->path.length || *request->path.bytes != '/')
        return request->target;
    struct target target = {.query = request->query, .has_query = request->has_query};
    int error = path_settle(exchange, request->path, &target.path);
    for (size_t i = 0; i < route->rewrite_count && !error; i++)
        error = rewrite_apply(exchange, &target, i);
    if (error)
        return (struct slice){0};
    struct text text = {.arena = exchange->arena};
    text_add(&text, target.path);
    if (target.has_query) {
        text_add(&text, SLICE("?"));
        text_add(&text, target.query);
    }
    return text_end(&text);
}

/* ---- header rules --------------------------------------------------------------------------- */

static size_t rules_count(const struct route *route, bool response)
{
    size_t count = 0;
    for (size_t i = 0; route && i < route->headers_change_count; i++)
        count += route->headers_change[i].response == response;
    return count;
}

static uint32_t fields_remove(struct field *fields, uint32_t count, const char *name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < count; i++)
        if (!slice_is_nocase(fields[i].name, name))
            fields[kept++] = fields[i];
    return kept;
}

/* The new number of fields; UINT32_MAX: no memory. */
static uint32_t rule_apply(struct exchange *exchange, const struct header_rule *rule,
                           struct field *fields, uint32_t count)
{
    if (rule->action != HEADER_ADD)
        count = fields_remove(fields, count, rule->name);
    if (rule->action == HEADER_REMOVE)
        return count;
    struct slice name = {rule->name, (uint32_t)strlen(rule->name)};
    struct slice value = expand_pattern(exchange, rule->value);
    if (!value.bytes)
        return UINT32_MAX;
    if (value.length)
        fields[count++] =
            (struct field){.name = name, .value = value, .id = (uint8_t)field_id_of(name)};
    return count;
}

const struct field *expand_fields(struct exchange *exchange, bool response,
                                  const struct field *fields, uint32_t count, uint32_t *ret_count)
{
    const struct route *route = exchange->route;
    size_t rules = rules_count(route, response);
    *ret_count = count;
    if (!rules)
        return fields;
    struct field *changed = bump_alloc(exchange->arena, (count + rules) * sizeof *changed);
    if (!changed)
        return NULL;
    if (count)
        memcpy(changed, fields, count * sizeof *changed);
    for (size_t i = 0; i < route->headers_change_count && count != UINT32_MAX; i++)
        if (route->headers_change[i].response == response)
            count = rule_apply(exchange, &route->headers_change[i], changed, count);
    *ret_count = count;
    return count == UINT32_MAX ? NULL : changed;
}
