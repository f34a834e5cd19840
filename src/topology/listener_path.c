#include <stdio.h>
#include <string.h>

#include "topology/builder.h"

enum { PATH_AUTO, PATH_DIRECT, PATH_RELAY }; /* choices of `path=` */
enum { REASON_BYTES = 256 };

/* Why the kernel alone cannot do what is asked; false: it can. The sentence is in `reason`. */
static bool listener_needs(const struct statement *statement, const struct listener *listener,
                           char reason[REASON_BYTES])
{
    const char *text = NULL;
    if (listener->tls)
        text = "TLS ends here";
    else if (listener->sni_count)
        text = "the name that a client asks for leads it";
    else if (listener->proxy_count)
        text = "its clients begin with a PROXY header";
    else if (listener->access)
        text = "not everybody may connect (`allow`, `deny`)";
    else if (listener->flood)
        text = "who floods it is banned (`flood`)";
    else if (listener->connections_max || listener->connections_per_client)
        text = "its connections are bounded";
    else if (listener->role != ROLE_WISH_ANY)
        text = "its connections go by role";
    else if (statement->options[LISTEN_OPTION_IDLE].given)
        text = "`idle=` needs somebody who sees whether anything moves";
    else if (listener->sticky == STICKY_SOURCE)
        text = "`sticky=source` is for all ports of a client";
    else if (listener->sticky == STICKY_TOKEN)
        text = "`sticky=token` needs somebody who looks into datagrams";
    if (text)
        snprintf(reason, REASON_BYTES, "%s", text);
    return text != NULL;
}

static bool service_needs(const struct service *service, const struct listener *listener,
                          char reason[REASON_BYTES])
{
    const struct service_gateway *gateway = &service->gateway;
    const char *text = NULL;
    if (gateway->remote_count)
        text = "is served elsewhere (`at`)";
    else if (gateway->tls.on)
        text = "is spoken to by TLS";
    else if (gateway->proxy_protocol)
        text = "gets a PROXY header";
    else if (gateway->breaker.failures && listener->protocol == PROTOCOL_TCP)
        text = "has a `breaker`";
    if (text)
        snprintf(reason, REASON_BYTES, "`%s` %s", service->name, text);
    return text != NULL;
}

/* Balancing by what only the gateway knows; NULL: the kernel can do it. */
static const char *balance_needs(const struct service *service)
{
    if (service->balance == BALANCE_EWMA)
        return "balance ewma";
    if (service->balance == BALANCE_HASH && service->gateway.hash_key != HASH_CLIENT)
        return "balance hash";
    if (service->gateway.hash_bound_percent)
        return "bound=";
    return NULL;
}

/* Whether a service states UDP ports, and this one is not among them. */
static bool udp_elsewhere(const struct service *service, uint16_t port, uint16_t *ret_first)
{
    *ret_first = 0;
    for (size_t i = 0; i < service->port_count; i++) {
        if (service->ports[i].protocol != PROTOCOL_UDP)
            continue;
        if (service->ports[i].port == port)
            return false;
        if (!*ret_first)
            *ret_first = service->ports[i].port;
    }
    return *ret_first != 0;
}

/* A UDP program answers from its own socket, so without the gateway its port is the published one.
 */
static bool port_needs(const struct statement *statement, const struct service *service,
                       const struct listener *listener, char reason[REASON_BYTES])
{
    const struct value *option = &statement->options[LISTEN_OPTION_PORT];
    uint16_t port = 0;
    if (listener->protocol != PROTOCOL_UDP)
        return false;
    if (option->given)
        port = option->number == listener->port ? 0 : (uint16_t)option->number;
    else if (!udp_elsewhere(service, listener->port, &port))
        port = 0;
    if (port)
        snprintf(reason, REASON_BYTES,
                 "replies of a program at port %u would not come from port %u", port,
                 listener->port);
    return port != 0;
}

static void requests_only(struct builder *builder, const struct statement *statement,
                          const struct service *service)
{
    const struct value *target = &statement->arguments[LISTEN_SERVICE];
    struct place place = value_place(target);
    bool sticky = service->balance == BALANCE_STICKY;
    bool hash = service->balance == BALANCE_HASH && service->gateway.hash_key != HASH_CLIENT;
    if (sticky)
        value_refuse(builder, target, "listen … http",
                     "`balance sticky` of `%s` goes by a cookie, and only requests have one",
                     service->name);
    else if (hash)
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_WARNING, &place, "listen … http",
                        "`balance hash` of `%s` looks at requests: connections are balanced by "
                        "least",
                        service->name);
}

/* path=direct where the gateway is needed. Balancing alone is not worth an error. */
static bool direct_refuse(struct builder *builder, const struct statement *statement,
                          const char *reason, const char *balance)
{
    struct place place = value_place(&statement->options[LISTEN_OPTION_PATH]);
    if (*reason)
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, "leave it out",
                        "path=direct is not possible: %s", reason);
    else if (balance)
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_WARNING, &place,
                        "path=relay, or leave it out",
                        "the direct path cannot do `%s`: it balances by least", balance);
    return *reason != 0;
}

static void relay_choose(struct builder *builder, struct listener *listener, const char *reason)
{
    listener->path = LISTENER_RELAY;
    listener->path_why = builder_text(builder, reason);
}

void listener_path_settle(struct builder *builder, const struct publication *publication,
                          const struct service *service, struct listener *listener)
{
    const struct statement *statement = publication->statement;
    int path = statement->options[LISTEN_OPTION_PATH].choice;
    char reason[REASON_BYTES] = "";
    const char *balance = service ? balance_needs(service) : NULL;
    bool needs = listener_needs(statement, listener, reason) ||
                 (service && (service_needs(service, listener, reason) ||
                              port_needs(statement, service, listener, reason)));
    if (service)
        requests_only(builder, statement, service);
    if (path == PATH_DIRECT && direct_refuse(builder, statement, reason, balance))
        return;
    if (needs) {
        relay_choose(builder, listener, reason);
    } else if (path == PATH_RELAY) {
        relay_choose(builder, listener, "`path=relay` says so");
    } else if (balance && path != PATH_DIRECT) {
        snprintf(reason, sizeof reason, "`%s` of `%s` needs the gateway", balance, service->name);
        relay_choose(builder, listener, reason);
    } else {
        listener->path = LISTENER_DIRECT;
        listener->path_why = "nothing in it needs the gateway";
    }
}
