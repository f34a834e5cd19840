#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "topology/builder.h"

enum { HINT_BYTES = 256, ADDRESS_BYTES = INET6_ADDRSTRLEN + 16, UDP_IDLE_MS = 60000 };

/* The choices of the table, in their order. */
static const enum protocol protocols[] = {PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_TCP};
enum { CHOICE_HTTP = 2 };
static const enum udp_sticky stickies[] = {STICKY_CLIENT, STICKY_SOURCE, STICKY_TOKEN};

static const char *const protocol_names[] = {[PROTOCOL_TCP] = "tcp", [PROTOCOL_UDP] = "udp"};

#define problem(builder, place, hint, ...)                                                         \
    diagnostics_add((builder)->diagnostics, DIAGNOSTIC_ERROR, place, hint, __VA_ARGS__)

void publication_add(struct builder *builder, const struct statement *statement,
                     const struct variables *variables)
{
    if (!statement->valid)
        return;
    struct publication *publication = arena_alloc(builder->tree_arena, sizeof *publication);
    publication->statement = statement;
    publication->variables = *variables;
    *builder->publications_tail = publication;
    builder->publications_tail = &publication->next;
    builder->publication_count++;
}

/* "tcp:8080", "tcp:127.0.0.1:8080", "tcp:[::1]:8080". */
static void address_print(enum protocol protocol, const struct value_address *address,
                          char text[ADDRESS_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "";
    bool six = address->family == AF_INET6;
    if (address->family != AF_UNSPEC)
        inet_ntop(address->family, &address->v6, host, sizeof host);
    snprintf(text, ADDRESS_BYTES, "%s:%s%s%s%s%u", protocol_names[protocol], six ? "[" : "", host,
             six ? "]" : "", *host ? ":" : "", address->port);
}

static void address_take(struct listener *listener, const struct value_address *address)
{
    listener->port = address->port;
    listener->address.ss_family = address->family;
    if (address->family == AF_INET) {
        struct sockaddr_in *four = (struct sockaddr_in *)&listener->address;
        four->sin_port = htons(address->port);
        four->sin_addr = address->v4;
    } else if (address->family == AF_INET6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)&listener->address;
        six->sin6_port = htons(address->port);
        six->sin6_addr = address->v6;
    }
}

/* False: another listener has it; reported. */
static bool address_claim(struct builder *builder, const struct statement *statement,
                          enum protocol protocol, const struct value_address *address)
{
    char text[ADDRESS_BYTES];
    void *other = NULL;
    address_print(protocol, address, text);
    const char *key = arena_strdup(builder->tree_arena, text);
    /* The table has no constant values; what is put in is only ever read. */
    int error = table_add(builder->addresses, key, (void *)(uintptr_t)statement, &other);
    if (error == -ENOMEM)
        builder_no_memory(builder);
    if (!error)
        return true;
    char hint[HINT_BYTES];
    struct place place = value_place(&statement->arguments[0]);
    const struct statement *first = other;
    struct place first_place = statement_place(first);
    if (first->node == statement->node)
        snprintf(hint, sizeof hint, "each realm needs its own, like $(7000 + $index)");
    else
        snprintf(hint, sizeof hint, "the first stands in %s:%zu", first_place.file,
                 first_place.line);
    problem(builder, &place, hint, "two listeners at `%s`", statement->arguments[0].word->text);
    return false;
}

/* Any address is the any-address of both families. */
static bool addresses_claim(struct builder *builder, const struct statement *statement,
                            enum protocol protocol, const struct value_address *address)
{
    if (address->family != AF_UNSPEC)
        return address_claim(builder, statement, protocol, address);
    struct value_address four = {.family = AF_INET, .port = address->port};
    struct value_address six = {.family = AF_INET6, .port = address->port};
    return address_claim(builder, statement, protocol, &four) &&
           address_claim(builder, statement, protocol, &six);
}

/* `what` of the options is given on a listener that has no use for it. */
static void option_refuse(struct builder *builder, const struct statement *statement, size_t option,
                          const char *use)
{
    const struct value *value = &statement->options[option];
    if (value->word)
        value_refuse(builder, value, NULL, "`%s=` is for %s",
                     statement->directive->options[option].name, use);
}

static void idle_settle(const struct statement *statement, const struct service *service,
                        struct listener *listener)
{
    const struct value *idle = &statement->options[LISTEN_OPTION_IDLE];
    if (idle->given)
        listener->idle_ms = (uint32_t)idle->number;
    else if (listener->protocol == PROTOCOL_UDP)
        listener->idle_ms = UDP_IDLE_MS;
    else if (service)
        listener->idle_ms = service->gateway.tunnel_ms;
}

static void sticky_settle(struct builder *builder, const struct statement *statement,
                          struct listener *listener)
{
    const struct value *sticky = &statement->options[LISTEN_OPTION_STICKY];
    const struct value *token = &statement->options[LISTEN_OPTION_TOKEN];
    if (token->given) {
        listener->sticky = STICKY_TOKEN;
        listener->token_at = (uint8_t)token->range.low;
        listener->token_bytes = (uint8_t)token->range.high;
    }
    if (!sticky->given)
        return;
    if (token->given && stickies[sticky->choice] != STICKY_TOKEN)
        value_refuse(builder, token, "sticky=token", "`token=` belongs to `sticky=token`");
    else if (!token->given && stickies[sticky->choice] == STICKY_TOKEN)
        value_refuse(builder, sticky, "token=0:8 for the first eight bytes",
                     "`sticky=token` needs to know where the token stands");
    listener->sticky = stickies[sticky->choice];
}

static void role_settle(struct builder *builder, const struct statement *statement,
                        const struct service *service, struct listener *listener)
{
    const struct value *role = &statement->options[LISTEN_OPTION_ROLE];
    if (!role->word)
        return;
    struct place place = value_place(role);
    listener->role = listen_role(statement);
    if (listener->protocol == PROTOCOL_UDP)
        value_refuse(builder, role, NULL, "`role=` is for tcp and http");
    else if (listener->sni_count)
        value_refuse(builder, role, NULL, "`role=` is of the service behind `->`");
    else if (service)
        role_wish_check(builder, &place, service, listener->role);
}

/* The service behind `->`; NULL: none, or not known; reported where one is needed. */
static const struct service *stream_service(struct builder *builder,
                                            const struct publication *publication,
                                            struct listener *listener)
{
    const struct statement *statement = publication->statement;
    listener->service = UINT32_MAX;
    if (statement->argument_count <= LISTEN_SERVICE) {
        /* What is wrong in its block may have been what it lacks. */
        if (!listener->sni_count &&
            diagnostics_errors(builder->diagnostics) == builder->errors_before)
            statement_refuse(builder, statement, "listen 5432 tcp -> db;",
                             "`listen … %s` needs `-> SERVICE`",
                             protocol_names[listener->protocol]);
        return NULL;
    }
    const struct value *target = &statement->arguments[LISTEN_SERVICE];
    struct place place = value_place(target);
    const struct draft *draft =
        draft_published(builder, target->text, &place, &publication->variables);
    if (!draft)
        return NULL;
    listener->service = draft->service.index;
    return &draft->service;
}

static void stream_finish(struct builder *builder, const struct publication *publication,
                          const struct statement *block, struct listener *listener)
{
    const struct statement *statement = publication->statement;
    const struct value *port = &statement->options[LISTEN_OPTION_PORT];
    bool udp = listener->protocol == PROTOCOL_UDP;
    listener->kind = LISTENER_STREAM;
    if (udp && listen_has_tls(statement))
        value_refuse(builder, &statement->arguments[LISTEN_TLS], NULL, "udp has no TLS");
    if (!udp) {
        option_refuse(builder, statement, LISTEN_OPTION_STICKY, "udp");
        option_refuse(builder, statement, LISTEN_OPTION_TOKEN, "udp");
    }
    listener_block_apply(builder, publication, block, listener);
    if (!udp)
        listener_tls_settle(builder, publication, block, listener);
    else
        sticky_settle(builder, statement, listener);
    const struct service *service = stream_service(builder, publication, listener);
    idle_settle(statement, service, listener);
    role_settle(builder, statement, service, listener);
    listener_path_settle(builder, publication, service, listener);
    if (port->given)
        listener->target_port = (uint16_t)port->number;
    else if (udp && listener->path == LISTENER_DIRECT)
        listener->target_port = listener->port; /* see listener_path.c */
    if (port->given && service && service->gateway.remote_count)
        value_refuse(builder, port, NULL, "`at` says the port of `%s`", service->name);
}

static void http_finish(struct builder *builder, const struct publication *publication,
                        const struct statement *block, struct listener *listener)
{
    const struct statement *statement = publication->statement;
    for (size_t i = LISTEN_OPTION_PORT; i <= LISTEN_OPTION_TOKEN; i++)
        option_refuse(builder, statement, i,
                      i >= LISTEN_OPTION_STICKY ? "udp" : "`listen … tcp` and `listen … udp`");
    listener->kind = LISTENER_HTTP;
    listener->path = LISTENER_GATEWAY_HTTP;
    listener->path_why = "requests are led by host and path";
    listener->service = UINT32_MAX;
    listener_block_apply(builder, publication, block, listener);
    listener->site = site_build(builder, publication, block);
    listener_tls_settle(builder, publication, block, listener);
    if (statement->options[LISTEN_OPTION_ROLE].word && statement->argument_count <= LISTEN_SERVICE)
        value_refuse(builder, &statement->options[LISTEN_OPTION_ROLE],
                     "in its block: route / -> db role=primary;",
                     "`role=` is of the service behind `->`");
}

static void metrics_finish(struct listener *listener)
{
    listener->kind = LISTENER_METRICS;
    listener->path = LISTENER_GATEWAY_HTTP;
    listener->path_why = "the gateway has the figures";
    listener->service = UINT32_MAX;
}

/* What its block says, and who gets its connections. */
static void listen_finish(struct builder *builder, const struct publication *publication,
                          struct listener *listener)
{
    const struct statement *statement = publication->statement;
    size_t mark = check_pool_begin(&builder->checker);
    builder->certificates = NULL;
    builder->certificates_tail = &builder->certificates;
    builder->certificate_count = 0;
    builder->own_routes = NULL;
    builder->own_route_count = builder->own_route_room = 0;
    builder->errors_before = diagnostics_errors(builder->diagnostics);
    site_tables_renew(builder);
    const struct statement *block = check_block(&builder->checker, statement->node->children,
                                                CONTEXT_LISTEN, &publication->variables);
    if (statement->arguments[LISTEN_PROTOCOL].choice == CHOICE_HTTP)
        http_finish(builder, publication, block, listener);
    else
        stream_finish(builder, publication, block, listener);
    check_pool_end(&builder->checker, mark);
}

static void publication_finish(struct builder *builder, const struct publication *publication,
                               struct listener *listener)
{
    const struct statement *statement = publication->statement;
    const struct value_address *address = &statement->arguments[0].address;
    bool metrics = statement->directive->id == DIRECTIVE_METRICS;
    char text[ADDRESS_BYTES];
    listener->protocol =
        metrics ? PROTOCOL_TCP : protocols[statement->arguments[LISTEN_PROTOCOL].choice];
    address_take(listener, address);
    address_print(listener->protocol, address, text);
    listener->text = builder_text(builder, text);
    listener->line = statement->node->name.line;
    listener->file = builder_file(builder, statement);
    addresses_claim(builder, statement, listener->protocol, address);
    if (metrics)
        metrics_finish(listener);
    else
        listen_finish(builder, publication, listener);
}

void publications_finish(struct builder *builder)
{
    struct topology *topology = builder->topology;
    topology->listener_count = builder->publication_count;
    topology->listeners =
        arena_array(builder->arena, topology->listener_count, sizeof *topology->listeners);
    struct listener *listener = topology->listeners;
    for (const struct publication *at = builder->publications; at; at = at->next)
        publication_finish(builder, at, listener++);
    auth_jwts_finish(builder);
}
