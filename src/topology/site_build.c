#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "conf/nearest.h"
#include "topology/builder.h"

enum { HINT_BYTES = 256, FIELD_BYTES = 32, FIELDS_MAX = 64 };

/* Options of the table, by their place in its rows. */
enum { TIMEOUT_HEADER, TIMEOUT_BODY, TIMEOUT_SEND, TIMEOUT_IDLE, TIMEOUT_TUNNEL };
enum { BOUNDS_HEADER, BOUNDS_FIELDS, BOUNDS_BODY, BOUNDS_SLOWEST = 5 };

static const enum access_log_format formats[] = {ACCESS_OFF, ACCESS_TEXT, ACCESS_JSON};

struct site_build { /* a site being built */
    struct builder *builder;
    const struct publication *publication;
    struct site *site;
    struct site_host *hosts;
    size_t host_count;
    size_t route_count; /* of all hosts */
};

static void timeout_apply(struct site *site, const struct statement *statement)
{
    site->header_ms = option_number(statement, TIMEOUT_HEADER);
    site->body_ms = option_number(statement, TIMEOUT_BODY);
    site->send_ms = option_number(statement, TIMEOUT_SEND);
    site->idle_ms = option_number(statement, TIMEOUT_IDLE);
    site->tunnel_ms = option_number(statement, TIMEOUT_TUNNEL);
}

static void bounds_apply(struct site *site, const struct statement *statement)
{
    site->header_bytes_max = option_number(statement, BOUNDS_HEADER);
    site->header_count_max = option_number(statement, BOUNDS_FIELDS);
    site->body_bytes_max = statement->options[BOUNDS_BODY].number;
    site->rate_bytes_min = option_number(statement, BOUNDS_SLOWEST);
}

void site_defaults(struct builder *builder)
{
    timeout_apply(&builder->site_defaults,
                  check_defaults(&builder->checker, DIRECTIVE_LISTEN_TIMEOUT));
    bounds_apply(&builder->site_defaults, check_defaults(&builder->checker, DIRECTIVE_BOUNDS));
    builder->site_defaults.http2 = true;
}

static const char *field_find(const char *name, size_t length)
{
    for (size_t i = 0; access_log_fields[i]; i++)
        if (strlen(access_log_fields[i]) == length &&
            memcmp(access_log_fields[i], name, length) == 0)
            return access_log_fields[i];
    return NULL;
}

static void field_unknown(struct builder *builder, const struct value *value, const char *name,
                          size_t length)
{
    char hint[HINT_BYTES], word[FIELD_BYTES];
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    struct nearest nearest = {.word = word};
    for (size_t i = 0; access_log_fields[i]; i++)
        nearest_try(&nearest, access_log_fields[i]);
    if (nearest.best)
        snprintf(hint, sizeof hint, "did you mean `%s`?", nearest.best);
    else
        snprintf(hint, sizeof hint, "like time,client,method,uri,status,duration");
    value_refuse(builder, value, hint, "the access log has no field `%s`", word);
}

struct access_log access_log_take(struct builder *builder, const struct statement *statement)
{
    struct access_log access_log = {.format = formats[statement->arguments[0].choice]};
    const struct value *value = &statement->options[0];
    const char *fields[FIELDS_MAX];
    size_t count = 0;
    if (!value->given)
        return access_log;
    for (const char *at = value->text; *at;) {
        size_t length = strcspn(at, ",");
        const char *field = field_find(at, length);
        if (!field)
            field_unknown(builder, value, at, length);
        else if (count < FIELDS_MAX)
            fields[count++] = field;
        at += length + (at[length] == ',');
    }
    const char **copy = arena_array(builder->arena, count + 1, sizeof *copy);
    if (count)
        memcpy(copy, fields, count * sizeof *copy);
    access_log.fields = copy;
    return access_log;
}

/* In lower case, without the root's dot. */
static const char *host_name(struct builder *builder, const char *text)
{
    char *name = arena_strdup(builder->arena, text);
    size_t length = strlen(name);
    if (length > 1 && name[length - 1] == '.')
        name[length - 1] = 0;
    for (char *at = name; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    return name;
}

static bool host_claim(struct builder *builder, const char *name, const struct place *place)
{
    char hint[HINT_BYTES];
    const struct place *first = builder_claim(builder, builder->hosts, name, place);
    if (!first)
        return true;
    snprintf(hint, sizeof hint, "the first stands in %s:%zu", first->file, first->line);
    diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, place, hint,
                    "the host `%.80s` is given twice", name);
    return false;
}

const char *const *host_names_take(struct builder *builder, const struct value *values,
                                   size_t count)
{
    const char **names = arena_array(builder->arena, count + 1, sizeof *names);
    size_t taken = 0;
    for (size_t i = 0; i < count; i++) {
        struct place place = value_place(&values[i]);
        const char *name = host_name(builder, values[i].text);
        if (host_claim(builder, name, &place))
            names[taken++] = name;
    }
    return names;
}

static bool is_route(const struct statement *statement)
{
    enum directive_id id = statement->directive->id;
    return id == DIRECTIVE_ROUTE || id == DIRECTIVE_REDIRECT || id == DIRECTIVE_RESPOND;
}

/* Room for all routes of a block and `further` ones. */
static struct route *routes_room(struct site_build *build, const struct statement *block,
                                 size_t further)
{
    size_t count = further;
    for (const struct statement *at = block; at; at = at->next)
        count += is_route(at);
    build->route_count += count;
    if (build->route_count > SITE_ROUTES_MAX) {
        statement_refuse(build->builder, build->publication->statement, NULL,
                         "too many routes: at most %d", SITE_ROUTES_MAX);
        builder_no_memory(build->builder);
    }
    return arena_array(build->builder->arena, count, sizeof(struct route));
}

static void routes_build(struct site_build *build, const struct statement *block,
                         const struct site_scope *scope, struct route *routes,
                         struct site_host *host)
{
    const char *name = host->names[0] ? host->names[0] : "";
    for (const struct statement *at = block; at; at = at->next)
        if (is_route(at) && route_build(build->builder, build->publication, at, name, scope,
                                        &routes[host->route_count]))
            host->route_count++;
    host->routes = routes;
}

static void host_build(struct site_build *build, const struct statement *statement,
                       const struct site_scope *outer)
{
    struct builder *builder = build->builder;
    struct site_host *host = &build->hosts[build->host_count];
    struct site_scope scope;
    size_t mark = check_pool_begin(&builder->checker);
    const struct statement *block = check_block(&builder->checker, statement->node->children,
                                                CONTEXT_HOST, &build->publication->variables);
    *host = (struct site_host){0}; /* one that was refused stood here before */
    host->names = host_names_take(builder, statement->arguments,
                                  statement->valid ? statement->argument_count : 0);
    site_scope_make(builder, block, outer, UINT32_MAX, &scope);
    guards_make(
        builder,
        &(struct guard_place){build->publication, host->names[0] ? host->names[0] : "", UINT32_MAX},
        block, &scope);
    for (const struct statement *at = statement_next(block, DIRECTIVE_CERTIFICATE); at;
         at = statement_next(at->next, DIRECTIVE_CERTIFICATE))
        certificate_add(builder, at);
    routes_build(build, block, &scope, routes_room(build, block, 0), host);
    if (!host->route_count && !statement->node->children)
        statement_refuse(builder, statement, statement->directive->example,
                         "a host without routes has nothing to answer");
    check_pool_end(&builder->checker, mark);
    if (host->names[0])
        build->host_count++;
}

/* What stands in no `host` block. */
static void rest_build(struct site_build *build, const struct statement *block,
                       const struct site_scope *scope)
{
    static const char *const all[] = {"*", NULL};
    const struct publication *publication = build->publication;
    struct site_host *host = &build->hosts[build->host_count];
    bool target = publication->statement->argument_count > LISTEN_SERVICE;
    struct route *routes = routes_room(build, block, target);
    *host = (struct site_host){.names = all};
    if (target && route_of_listener(build->builder, publication, scope, &routes[host->route_count]))
        host->route_count++;
    routes_build(build, block, scope, routes, host);
    bool any = target;
    for (const struct statement *at = block; at && !any; at = at->next)
        any = is_route(at);
    if (!any)
        return;
    struct place place = statement_place(publication->statement);
    build->host_count++;
    if (table_get(build->builder->hosts, "*"))
        diagnostics_add(build->builder->diagnostics, DIAGNOSTIC_ERROR, &place,
                        "put them into the block of `host *`, or leave that out",
                        "there is `host *`, and routes outside of `host`, which are for all other "
                        "names as well");
}

static void settings_apply(struct builder *builder, const struct statement *block,
                           struct site *site)
{
    const struct statement *at = statement_next(block, DIRECTIVE_LISTEN_TIMEOUT);
    struct access_log access_log = builder->access_log;
    if (at)
        timeout_apply(site, at);
    at = statement_next(block, DIRECTIVE_BOUNDS);
    if (at)
        bounds_apply(site, at);
    at = statement_next(block, DIRECTIVE_ACCESS_LOG);
    if (at)
        access_log = access_log_take(builder, at);
    at = statement_next(block, DIRECTIVE_TRUST);
    if (at)
        site->trusted = networks_take(builder, at, &site->trusted_count);
    at = statement_next(block, DIRECTIVE_HTTP2);
    if (at)
        site->http2 = at->arguments[0].choice == 0;
    site->access_log = access_log.format;
    site->access_fields = access_log.fields;
}

static size_t hosts_count(const struct statement *block)
{
    size_t count = 0;
    for (; block; block = block->next)
        count += block->directive->id == DIRECTIVE_HOST;
    return count;
}

static bool host_is_rest(const struct site_host *host)
{
    for (size_t i = 0; host->names[i]; i++)
        if (strcmp(host->names[i], "*") == 0)
            return true;
    return false;
}

/* The host for all names stands last, wherever its block does. */
static void rest_last(struct site_build *build)
{
    for (size_t i = 0; i + 1 < build->host_count; i++) {
        if (!host_is_rest(&build->hosts[i]))
            continue;
        struct site_host rest = build->hosts[i];
        memmove(&build->hosts[i], &build->hosts[i + 1], (build->host_count - i - 1) * sizeof rest);
        build->hosts[build->host_count - 1] = rest;
        return;
    }
}

void site_tables_renew(struct builder *builder)
{
    table_free(builder->hosts);
    table_free(builder->routes);
    builder->hosts = table_new();
    builder->routes = table_new();
    if (!builder->hosts || !builder->routes)
        builder_no_memory(builder);
}

const struct site *site_build(struct builder *builder, const struct publication *publication,
                              const struct statement *block)
{
    struct site_scope scope;
    struct site_build build = {.builder = builder, .publication = publication};
    size_t hosts = hosts_count(block);
    if (hosts >= SITE_HOSTS_MAX) {
        statement_refuse(builder, publication->statement, NULL, "too many hosts: at most %d",
                         SITE_HOSTS_MAX);
        return NULL;
    }
    build.site = arena_alloc(builder->arena, sizeof *build.site);
    *build.site = builder->site_defaults;
    build.hosts = arena_array(builder->arena, hosts + 1, sizeof *build.hosts);
    settings_apply(builder, block, build.site);
    site_scope_make(builder, block, NULL, UINT32_MAX, &scope);
    guards_make(builder, &(struct guard_place){publication, "", UINT32_MAX}, block, &scope);
    for (const struct statement *at = block; at; at = at->next)
        if (at->directive->id == DIRECTIVE_HOST)
            host_build(&build, at, &scope);
    rest_build(&build, block, &scope);
    rest_last(&build);
    build.site->hosts = build.hosts;
    build.site->host_count = build.host_count;
    build.site->own_routes = builder->own_routes;
    build.site->own_route_count = builder->own_route_count;
    /* What is wrong in its block may have been what it lacks. */
    if (!build.route_count && diagnostics_errors(builder->diagnostics) == builder->errors_before)
        statement_refuse(builder, publication->statement,
                         "listen 80 http -> web; or listen 80 http { route / -> web; }",
                         "`listen … http` leads nowhere");
    return build.site;
}
