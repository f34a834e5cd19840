#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "topology/builder.h"

enum { HINT_BYTES = 256, ADDRESS_BYTES = INET6_ADDRSTRLEN + 16 };

static const enum protocol protocols[] = {PROTOCOL_TCP, PROTOCOL_UDP}; /* as the table's choices */
static const char *const protocol_names[] = {[PROTOCOL_TCP] = "tcp", [PROTOCOL_UDP] = "udp"};

#define problem(builder, place, hint, ...)                                                         \
    diagnostics_add((builder)->diagnostics, DIAGNOSTIC_ERROR, place, hint, __VA_ARGS__)

void publication_add(struct builder *builder, const struct statement *statement, const char *realm)
{
    if (!statement->valid)
        return;
    struct publication *publication = arena_alloc(builder->tree_arena, sizeof *publication);
    publication->statement = statement;
    publication->realm = realm;
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

/* Whether a service states UDP ports, and this one among them. */
static bool udp_stated(const struct service *service, uint16_t port, uint16_t *ret_first)
{
    *ret_first = 0;
    for (size_t i = 0; i < service->port_count; i++) {
        if (service->ports[i].protocol != PROTOCOL_UDP)
            continue;
        if (service->ports[i].port == port)
            return true;
        if (!*ret_first)
            *ret_first = service->ports[i].port;
    }
    return false;
}

/* On the direct path a UDP program answers from its own socket, so its port is the published one.
 */
static void udp_check(struct builder *builder, const struct statement *statement,
                      const struct service *service, struct listener *listener)
{
    static const char hint[] =
        "replies would leave from the program's own port, and clients would not know them";
    const struct value *option = &statement->options[0];
    uint16_t first;
    if (option->given && option->number != listener->port) {
        struct place place = value_place(option);
        problem(builder, &place, hint, "udp cannot be published under another port");
    } else if (!udp_stated(service, listener->port, &first) && first) {
        struct place place = value_place(&statement->arguments[0]);
        problem(builder, &place, hint,
                "udp cannot be published under another port: the program's is %u", first);
    }
    listener->target_port = listener->port;
}

static void publication_finish(struct builder *builder, const struct publication *publication,
                               struct listener *listener)
{
    const struct statement *statement = publication->statement;
    const struct value *target = &statement->arguments[3];
    const struct value_address *address = &statement->arguments[0].address;
    char text[ADDRESS_BYTES];
    listener->protocol = protocols[statement->arguments[1].choice];
    address_take(listener, address);
    address_print(listener->protocol, address, text);
    listener->text = builder_text(builder, text);
    listener->line = statement->node->name.line;
    listener->file = builder_file(builder, statement);
    addresses_claim(builder, statement, listener->protocol, address);
    if (statement->options[0].given)
        listener->target_port = (uint16_t)statement->options[0].number;
    const struct draft *draft = draft_resolve(builder, target, publication->realm);
    if (!draft)
        return;
    listener->service = draft->service.index;
    if (!draft->service.listens) {
        struct place place = value_place(target);
        problem(builder, &place, "its `port none` says so", "`%s` listens nowhere",
                draft->service.name);
    }
    if (listener->protocol == PROTOCOL_UDP)
        udp_check(builder, statement, &draft->service, listener);
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
}
