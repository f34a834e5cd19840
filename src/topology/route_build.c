#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/builder.h"
#include "topology/pattern.h"

enum { HINT_BYTES = 256, ROUTE_METHODS_MAX = 16, ROUTE_HEADERS_MAX = 16 };
enum { OPTION_METHOD, OPTION_HEADER, OPTION_ROOT, OPTION_INDEX, OPTION_SPLIT };
enum { ARGUMENT_PATTERN, ARGUMENT_ARROW, ARGUMENT_TARGETS };
enum { OPTION_REDIRECT_STATUS, OPTION_RESPOND_TYPE = 0, OPTION_RESPONSE = 0, OPTION_BODY = 0 };

static const uint16_t redirect_statuses[] = {301, 302, 303, 307, 308};

/* What a pattern as written is. False: reported. */
static bool path_build(struct builder *builder, const struct value *value, struct route *route,
                       uint32_t *ret_captures)
{
    const char *text = value->text;
    *ret_captures = 0;
    if (text[0] == '~') {
        route->path_kind = PATH_REGEX;
        route->path = builder_text(builder, text + 1);
        return regex_check(builder, value, ret_captures);
    }
    route->path_kind = PATH_PREFIX;
    if (text[0] == '=')
        route->path_kind = PATH_EXACT;
    else if (strpbrk(text, "*?"))
        route->path_kind = PATH_GLOB;
    route->path = builder_text(builder, text + (text[0] == '='));
    bool wild = route->path_kind == PATH_GLOB && strchr("*?", route->path[0]);
    if (route->path[0] == '/' || wild)
        return true;
    value_refuse(builder, value,
                 "/api/ is a prefix, =/api the whole path, *.php a pattern, ~^/u/[0-9]+$ a regular "
                 "expression",
                 "a path starts with `/`");
    return false;
}

static int text_compare(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* "GET,POST", sorted, so that two routes with the same methods are seen to be the same. */
static bool methods_build(struct builder *builder, const struct value *value, struct route *route)
{
    const char *methods[ROUTE_METHODS_MAX + 1] = {NULL};
    size_t count = 0;
    if (!value->given)
        return true;
    for (const char *at = value->text; *at;) {
        size_t length = strcspn(at, ",");
        if (count == ROUTE_METHODS_MAX) {
            value_refuse(builder, value, NULL, "too many methods: at most %d", ROUTE_METHODS_MAX);
            return false;
        }
        methods[count++] = arena_strndup(builder->arena, at, length);
        at += length + (at[length] == ',');
    }
    qsort(methods, count, sizeof methods[0], text_compare);
    const char **copy = arena_array(builder->arena, count + 1, sizeof *copy);
    memcpy(copy, methods, count * sizeof *copy);
    route->methods = copy;
    return true;
}

static int header_compare(const void *left, const void *right)
{
    const struct route_match_header *a = left, *b = right;
    int order = strcmp(a->name, b->name);
    return order ? order : strcmp(a->value ? a->value : "", b->value ? b->value : "");
}

static bool conditions_build(struct builder *builder, const struct value *first,
                             struct route *route)
{
    size_t count = 0;
    for (const struct value *at = first; at && at->given; at = at->next)
        count++;
    if (count > ROUTE_HEADERS_MAX) {
        value_refuse(builder, first, NULL, "too many headers: at most %d", ROUTE_HEADERS_MAX);
        return false;
    }
    if (!count)
        return true;
    struct route_match_header *headers = arena_array(builder->arena, count, sizeof *headers);
    for (const struct value *at = first; at; at = at->next) {
        struct route_match_header *header = &headers[route->header_count++];
        header->name = arena_strndup(builder->arena, at->header.text, at->header.name_length);
        if (at->header.wanted)
            header->value = builder_text(builder, at->header.wanted);
    }
    qsort(headers, count, sizeof *headers, header_compare);
    route->headers = headers;
    return true;
}

/* "shop.example /api/ GET,POST X-Beta: yes": what the route is called, and what no two share. */
static const char *name_make(struct builder *builder, const char *host, const struct route *route)
{
    static const char *const signs[] = {
        [PATH_PREFIX] = "", [PATH_EXACT] = "=", [PATH_GLOB] = "", [PATH_REGEX] = "~"};
    struct buffer *text = &builder->scratch;
    buffer_clear(text);
    buffer_printf(text, "%s %s%s", host, signs[route->path_kind], route->path);
    for (size_t i = 0; route->methods && route->methods[i]; i++)
        buffer_printf(text, "%s%s", i ? "," : " ", route->methods[i]);
    for (size_t i = 0; i < route->header_count; i++) {
        buffer_printf(text, " %s", route->headers[i].name);
        if (route->headers[i].value)
            buffer_printf(text, ": %s", route->headers[i].value);
    }
    if (text->overflowed)
        builder_no_memory(builder);
    return arena_strndup(builder->arena, text->data, text->length);
}

/* False: another route matches the same; reported. */
static bool route_claim(struct builder *builder, const struct route *route,
                        const struct place *place)
{
    char hint[HINT_BYTES];
    const struct place *first = builder_claim(builder, builder->routes, route->name, place);
    if (!first)
        return true;
    snprintf(hint, sizeof hint, "the first stands in %s:%zu", first->file, first->line);
    diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, place, hint,
                    "two routes match the same requests: `%.160s`", route->name);
    return false;
}

static bool location_good(struct builder *builder, const struct value *value)
{
    const char *text = value->text;
    if (*text == '/' || strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0 ||
        strncmp(text, "${", 2) == 0)
        return true;
    value_refuse(builder, value, "redirect https; or redirect https://shop.example$uri;",
                 "a URL starts with `https://`, `http://` or `/`");
    return false;
}

static bool redirect_build(struct builder *builder, const struct publication *publication,
                           const struct statement *at, uint32_t captures, struct route *route)
{
    const struct value *value = &at->arguments[0];
    route->kind = ROUTE_REDIRECT;
    route->status = redirect_statuses[at->options[OPTION_REDIRECT_STATUS].choice];
    if (strcmp(value->text, "https") == 0) {
        struct place place = value_place(value);
        if (listen_has_tls(publication->statement))
            diagnostics_add(builder->diagnostics, DIAGNOSTIC_WARNING, &place,
                            "listen 80 http { redirect https; }",
                            "`redirect https` where https is already: clients go in a circle");
        route->location = "https://${host}${uri}";
        return true;
    }
    captures_check(builder, value, captures);
    route->location = builder_text(builder, value->text);
    return location_good(builder, value);
}

static bool respond_build(struct builder *builder, const struct statement *at, uint32_t captures,
                          struct route *route)
{
    const struct value *body = at->argument_count > 1 ? &at->arguments[1] : NULL;
    const struct value *type = &at->options[OPTION_RESPOND_TYPE];
    route->kind = ROUTE_RESPOND;
    route->status = (uint16_t)at->arguments[0].number;
    route->type = type->given ? builder_text(builder, type->text) : "text/plain";
    if (!body)
        return true;
    captures_check(builder, body, captures);
    route->body = builder_text(builder, body->text);
    if (route->status != 204 && route->status != 205 && route->status != 304)
        return true;
    value_refuse(builder, body, NULL, "a response with status %u has no body", route->status);
    return false;
}

static bool action_build(struct builder *builder, const struct publication *publication,
                         const struct statement *at, uint32_t captures, struct route *route)
{
    return at->directive->id == DIRECTIVE_REDIRECT
               ? redirect_build(builder, publication, at, captures, route)
               : respond_build(builder, at, captures, route);
}

/* `redirect` or `respond` of a route's block; NULL: neither. Two of them: reported. */
static const struct statement *action_find(struct builder *builder, const struct statement *block)
{
    const struct statement *redirect = statement_find(block, DIRECTIVE_REDIRECT);
    const struct statement *respond = statement_find(block, DIRECTIVE_RESPOND);
    if (redirect && respond)
        statement_refuse(builder, respond, NULL, "`redirect` and `respond` exclude each other");
    return redirect ? redirect : respond;
}

/* The proxied request's own: what a redirect or response has no use for. */
static void proxy_only(struct builder *builder, const struct statement *block)
{
    static const enum directive_id ids[] = {DIRECTIVE_REWRITE, DIRECTIVE_ROUTE_TIMEOUT,
                                            DIRECTIVE_ROUTE_CACHE};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        const struct statement *at = statement_find(block, ids[i]);
        if (at)
            statement_refuse(builder, at, NULL, "`%s` is for requests that a service gets",
                             at->directive->name);
    }
}

static struct script_options script_options(const struct statement *statement)
{
    const struct value *options = statement->options;
    return (struct script_options){&options[OPTION_ROOT], &options[OPTION_INDEX],
                                   &options[OPTION_SPLIT]};
}

/* `-> SERVICE …`, and where its scripts lie if it speaks FastCGI. */
static bool targets_build(struct builder *builder, const struct publication *publication,
                          const struct statement *statement, struct route *route)
{
    const struct script_options script = script_options(statement);
    return route_targets_build(builder, publication, &statement->arguments[ARGUMENT_TARGETS],
                               statement->argument_count - ARGUMENT_TARGETS, route) &&
           route_script_build(builder, statement, route->speaks == SPEAKS_FASTCGI, &script, route);
}

/* `-> files DIR …`; `index=` stands among the route's own options. */
static bool files_build(struct builder *builder, const struct statement *statement,
                        struct route *route)
{
    static const struct value none;
    const struct value *options = statement->options;
    const struct script_options script = {&options[OPTION_ROOT], &none, &options[OPTION_SPLIT]};
    return route_files_build(builder, &statement->arguments[ARGUMENT_TARGETS],
                             statement->argument_count - ARGUMENT_TARGETS, &options[OPTION_INDEX],
                             route) &&
           route_script_build(builder, statement, false, &script, route);
}

/* `root=` without a service. */
static bool script_none(struct builder *builder, const struct statement *statement,
                        struct route *route)
{
    const struct script_options script = script_options(statement);
    return route_script_build(builder, statement, false, &script, route);
}

static bool kind_build(struct builder *builder, const struct publication *publication,
                       const struct statement *statement, const struct statement *block,
                       uint32_t captures, struct route *route)
{
    const struct statement *action = action_find(builder, block);
    size_t arguments = statement->argument_count;
    if (arguments > ARGUMENT_TARGETS) {
        if (action)
            statement_refuse(builder, action, "leave out one of them",
                             "`%s` and `-> SERVICE` exclude each other", action->directive->name);
        bool files = route_leads_to_files(builder, &statement->arguments[ARGUMENT_TARGETS]);
        bool good = files ? files_build(builder, statement, route)
                          : targets_build(builder, publication, statement, route);
        return good && !action;
    }
    if (!action) {
        statement_refuse(builder, statement, statement->directive->example,
                         "`route` leads nowhere: it needs `-> SERVICE`, `redirect` or `respond`");
        return false;
    }
    proxy_only(builder, block);
    return script_none(builder, statement, route) && action->valid &&
           action_build(builder, publication, action, captures, route);
}

static void bounds_apply(const struct statement *block, struct route *route)
{
    const struct statement *bounds = statement_next(block, DIRECTIVE_ROUTE_BOUNDS);
    const struct statement *timeout = statement_next(block, DIRECTIVE_ROUTE_TIMEOUT);
    if (bounds)
        route->body_bytes_max = bounds->options[OPTION_BODY].number;
    if (timeout)
        route->response_ms = option_number(timeout, OPTION_RESPONSE);
}

static void scope_apply(struct route *route, const struct site_scope *scope)
{
    route->compression = scope->compression;
    route->headers_change = scope->headers;
    route->headers_change_count = scope->header_count;
    route->rewrites = scope->rewrites;
    route->rewrite_count = scope->rewrite_count;
    route->guards = scope->guards;
    route->guard_count = scope->guard_count;
    if (route->kind == ROUTE_PROXY)
        route->cache = scope->cache;
}

/* `route PATTERN …`. */
static bool pattern_route(struct builder *builder, const struct publication *publication,
                          const struct statement *statement, const char *host,
                          const struct site_scope *outer, struct route *route)
{
    struct site_scope scope;
    uint32_t captures;
    size_t mark = check_pool_begin(&builder->checker);
    const struct statement *block = check_block(&builder->checker, statement->node->children,
                                                CONTEXT_ROUTE, &publication->variables);
    const struct value *pattern = &statement->arguments[ARGUMENT_PATTERN];
    bool good = statement->valid && path_build(builder, pattern, route, &captures);
    if (good) {
        good = methods_build(builder, &statement->options[OPTION_METHOD], route) &&
               conditions_build(builder, &statement->options[OPTION_HEADER], route);
        good &= kind_build(builder, publication, statement, block, captures, route);
        good = good && route_follow_build(builder, block, route);
        route->name = name_make(builder, host, route);
        site_scope_make(builder, block, outer, captures, &scope);
        guards_make(builder, &(struct guard_place){publication, route->name, captures}, block,
                    &scope);
        scope_apply(route, &scope);
        bounds_apply(block, route);
    }
    if (good) {
        struct place place = value_place(pattern);
        good = route_claim(builder, route, &place);
    }
    check_pool_end(&builder->checker, mark);
    return good;
}

/* All that no other route takes. */
static bool rest_claim(struct builder *builder, const char *host, const struct site_scope *scope,
                       const struct place *place, struct route *route)
{
    route->path_kind = PATH_PREFIX;
    route->path = "/";
    scope_apply(route, scope);
    route->name = name_make(builder, host, route);
    return route_claim(builder, route, place);
}

bool route_build(struct builder *builder, const struct publication *publication,
                 const struct statement *statement, const char *host,
                 const struct site_scope *scope, struct route *ret_route)
{
    *ret_route = (struct route){
        .file = builder_file(builder, statement),
        .line = statement->node->name.line,
    };
    if (statement->directive->id == DIRECTIVE_ROUTE)
        return pattern_route(builder, publication, statement, host, scope, ret_route);
    struct place place = statement_place(statement);
    return statement->valid &&
           action_build(builder, publication, statement, UINT32_MAX, ret_route) &&
           rest_claim(builder, host, scope, &place, ret_route);
}

bool route_of_listener(struct builder *builder, const struct publication *publication,
                       const struct site_scope *scope, struct route *ret_route)
{
    const struct statement *statement = publication->statement;
    const struct value *target = &statement->arguments[LISTEN_SERVICE];
    struct place place = value_place(target);
    *ret_route = (struct route){
        .file = builder_file(builder, statement),
        .line = statement->node->name.line,
    };
    const struct draft *draft =
        draft_published(builder, target->text, &place, &publication->variables);
    if (!draft)
        return false;
    if (draft->service.gateway.speaks == SPEAKS_FASTCGI) {
        value_refuse(
            builder, target, "in its block: route ~\\.php(/|$) -> php root=/srv/www;",
            "the service speaks FastCGI: `root=` of a route must say where its scripts lie");
        return false;
    }
    if (!role_wish_check(builder, &place, &draft->service, listen_role(statement)))
        return false;
    struct route_target *targets = arena_alloc(builder->arena, sizeof *targets);
    *targets = (struct route_target){
        .service = draft->service.index, .weight = 1, .role = listen_role(statement)};
    ret_route->speaks = draft->service.gateway.speaks;
    ret_route->targets = targets;
    ret_route->target_count = 1;
    return rest_claim(builder, "*", scope, &place, ret_route);
}
