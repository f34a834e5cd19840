#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/builder.h"
#include "topology/pattern.h"

enum { LIMIT_BURST, LIMIT_BY, LIMIT_REQUESTS, LIMIT_STATUS };

#define HOUR_NS 3600000000000ull

struct guards { /* of a block, being made */
    struct builder *builder;
    const struct guard_place *place;
    struct guard *list;
    size_t count;
    size_t room;
    uint32_t limits; /* so far, in this block */
    bool access;     /* it is there */
};

/* NULL: there are too many; reported. */
static struct guard *guard_add(struct guards *guards, const struct statement *at,
                               enum guard_kind kind)
{
    if (guards->count == GUARDS_MAX) {
        statement_refuse(guards->builder, at, NULL, "too many guards: at most %d", GUARDS_MAX);
        return NULL;
    }
    struct guard *guard = &guards->list[guards->count++];
    *guard = (struct guard){.kind = kind};
    return guard;
}

/* ---- allow, deny ---------------------------------------------------------------------------- */

/* All of a block are one list, which stands where its first rule does. */
static void access_add(struct guards *guards, const struct statement *block,
                       const struct statement *at)
{
    if (guards->access)
        return;
    guards->access = true;
    const struct access_list *access = access_make(guards->builder, block);
    struct guard *guard = access ? guard_add(guards, at, GUARD_ACCESS) : NULL;
    if (!guard)
        return;
    guard->text = "deny";
    guard->access = access;
}

/* ---- limit ---------------------------------------------------------------------------------- */

/* What `by=` says, as a pattern; *ret_good is false: reported. NULL: the client's address. */
static const char *key_take(struct guards *guards, const struct value *by, bool *ret_good)
{
    static const struct {
        const char *word, *pattern;
    } words[] = {{"path", "${path}"}, {"host", "${host}"}, {"all", ""}};
    struct builder *builder = guards->builder;
    *ret_good = true;
    if (strcmp(by->text, "client") == 0)
        return NULL;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcmp(by->text, words[i].word) == 0)
            return words[i].pattern;
    const char *colon = strchr(by->text, ':');
    size_t length = colon ? (size_t)(colon - by->text) : 0;
    bool header = length == 6 && memcmp(by->text, "header", length) == 0;
    bool cookie = length == 6 && memcmp(by->text, "cookie", length) == 0;
    if ((header || cookie) && colon[1] && !strpbrk(colon + 1, "${} "))
        return arena_printf(builder->arena, "${%s.%s}", header ? "header" : "cookie", colon + 1);
    if (strchr(by->text, '$')) {
        captures_check(builder, by, guards->place->captures);
        return builder_text(builder, by->text);
    }
    value_refuse(builder, by,
                 "client, header:NAME, cookie:NAME, path, host, all, or text with variables of the "
                 "request, like $arg.key",
                 "`by=%.64s` is nothing that requests differ in", by->text);
    *ret_good = false;
    return NULL;
}

/* The block and the place in it: what counts go on under after a reload. */
static uint64_t limit_identity(struct guards *guards, const char *key)
{
    const struct value *address = &guards->place->publication->statement->arguments[LISTEN_ADDRESS];
    uint32_t number = guards->limits++;
    uint64_t hash = hash_seed();
    const char *const texts[] = {address->word ? address->word->text : "", guards->place->where,
                                 key ? key : "client"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        hash = hash_bytes(texts[i], strlen(texts[i]) + 1, hash);
    return hash_bytes(&number, sizeof number, hash);
}

uint32_t rate_burst(const struct value *rate)
{
    unsigned long count = rate->word ? strtoul(rate->word->text + rate->skip, NULL, 10) : 1;
    return count < 1 ? 1 : count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
}

static void rate_add(struct guards *guards, const struct statement *at,
                     const struct guard_limit *common)
{
    const struct value *rate = &at->arguments[0], *burst = &at->options[LIMIT_BURST];
    struct guard *guard = guard_add(guards, at, GUARD_RATE);
    if (!guard)
        return;
    struct guard_limit *limit = arena_alloc(guards->builder->arena, sizeof *limit);
    *limit = *common;
    limit->interval_ns = HOUR_NS / rate->number;
    limit->burst = burst->given ? (uint32_t)burst->number : rate_burst(rate);
    guard->limit = limit;
    guard->text = arena_printf(guards->builder->arena, "limit %s", rate->word->text);
}

static void requests_add(struct guards *guards, const struct statement *at,
                         const struct guard_limit *common)
{
    struct guard *guard = guard_add(guards, at, GUARD_REQUESTS);
    if (!guard)
        return;
    struct guard_limit *limit = arena_alloc(guards->builder->arena, sizeof *limit);
    *limit = *common;
    limit->requests = (uint32_t)at->options[LIMIT_REQUESTS].number;
    guard->limit = limit;
    guard->text = arena_printf(guards->builder->arena, "limit requests=%u", limit->requests);
}

static void limit_add(struct guards *guards, const struct statement *at)
{
    const struct value *requests = &at->options[LIMIT_REQUESTS];
    const struct value *burst = &at->options[LIMIT_BURST];
    bool rate = at->argument_count > 0, good;
    struct guard_limit common = {.status = (uint16_t)at->options[LIMIT_STATUS].number};
    if (!rate && !requests->given) {
        statement_refuse(guards->builder, at, at->directive->example,
                         "`limit` needs a rate, or requests=N");
        return;
    }
    if (!rate && burst->given)
        value_refuse(guards->builder, burst, at->directive->example, "`burst=` belongs to a rate");
    common.key = key_take(guards, &at->options[LIMIT_BY], &good);
    if (!good)
        return;
    common.identity = limit_identity(guards, common.key);
    if (rate)
        rate_add(guards, at, &common);
    if (requests->given)
        requests_add(guards, at, &common);
}

/* ---- auth ----------------------------------------------------------------------------------- */

static void auth_add(struct guards *guards, const struct statement *at)
{
    struct guard made;
    struct guard *guard = auth_make(guards->builder, guards->place, at, &made)
                              ? guard_add(guards, at, made.kind)
                              : NULL;
    if (guard)
        *guard = made;
}

/* ---- cors ----------------------------------------------------------------------------------- */

/* Before all others, since a browser asks without credentials; in place of that of a block around.
 */
static void cors_add(struct guards *guards, const struct statement *at)
{
    struct guard made;
    if (!cors_make(guards->builder, at, &made))
        return;
    if (!guards->count || guards->list[0].kind != GUARD_CORS) {
        if (!guard_add(guards, at, GUARD_CORS))
            return;
        memmove(guards->list + 1, guards->list, (guards->count - 1) * sizeof *guards->list);
    }
    guards->list[0] = made;
}

/* ---- a block -------------------------------------------------------------------------------- */

static bool is_guard(const struct statement *at)
{
    enum directive_id id = at->directive->id;
    return id == DIRECTIVE_ALLOW || id == DIRECTIVE_DENY || id == DIRECTIVE_GUARD_LIMIT ||
           id == DIRECTIVE_AUTH || id == DIRECTIVE_CORS;
}

static void guard_make(struct guards *guards, const struct statement *block,
                       const struct statement *at)
{
    if (at->directive->id == DIRECTIVE_GUARD_LIMIT)
        limit_add(guards, at);
    else if (at->directive->id == DIRECTIVE_CORS)
        cors_add(guards, at);
    else if (at->directive->id == DIRECTIVE_AUTH)
        auth_add(guards, at);
    else
        access_add(guards, block, at);
}

void guards_make(struct builder *builder, const struct guard_place *place,
                 const struct statement *block, struct site_scope *scope)
{
    size_t own = 0;
    security_headers_make(builder, place, block, scope);
    for (const struct statement *at = block; at; at = at->next)
        own += at->valid && is_guard(at); /* a `limit` may be two */
    if (!own)
        return;
    struct guards guards = {.builder = builder, .place = place, .count = scope->guard_count};
    guards.list = arena_array(builder->arena, guards.count + 2 * own, sizeof *guards.list);
    if (guards.count)
        memcpy(guards.list, scope->guards, guards.count * sizeof *guards.list);
    for (const struct statement *at = block; at; at = at->next)
        if (at->valid && is_guard(at))
            guard_make(&guards, block, at);
    scope->guards = guards.list;
    scope->guard_count = guards.count;
}
