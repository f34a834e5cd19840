#include <string.h>

#include "topology/builder.h"

/* Options of the table, by their place in its rows. */
enum { TLS_MIN, TLS_CIPHERS, TLS_CLIENT, TLS_CLIENT_CA, TLS_TICKETS };
enum { BOUNDS_CONNECTIONS = 3, BOUNDS_PER_CLIENT = 4 };
enum { CERTIFICATE_KEY };

static const int versions[] = {12, 13};
static const enum client_certificate clients[] = {
    CLIENT_CERTIFICATE_NONE, CLIENT_CERTIFICATE_OPTIONAL, CLIENT_CERTIFICATE_REQUIRE};

const struct network *networks_take(struct builder *builder, const struct statement *statement,
                                    size_t *ret_count)
{
    size_t count = statement->argument_count;
    struct network *networks = arena_array(builder->arena, count, sizeof *networks);
    for (size_t i = 0; i < count; i++) {
        const struct value *value = &statement->arguments[i];
        if (value->choice == 0)
            continue; /* `all`: length 0 */
        memcpy(networks[i].address, value->network.address, sizeof networks[i].address);
        networks[i].length = value->network.length;
    }
    *ret_count = count;
    return networks;
}

void certificate_add(struct builder *builder, const struct statement *statement)
{
    const struct value *file = &statement->arguments[0];
    const struct value *key = &statement->options[CERTIFICATE_KEY];
    struct certificate_entry *entry = arena_alloc(builder->tree_arena, sizeof *entry);
    entry->certificate.certificate_file = builder_pem(builder, file, FILE_CERTIFICATE);
    entry->certificate.key_file = builder_pem(builder, key->given ? key : file, FILE_KEY);
    *builder->certificates_tail = entry;
    builder->certificates_tail = &entry->next;
    builder->certificate_count++;
}

static void certificates_settle(struct builder *builder, struct listener_tls *tls)
{
    struct certificate *certificates =
        arena_array(builder->arena, builder->certificate_count, sizeof *certificates);
    for (const struct certificate_entry *at = builder->certificates; at; at = at->next)
        certificates[tls->certificate_count++] = at->certificate;
    tls->certificates = certificates;
}

static void tls_apply(struct builder *builder, const struct statement *at, struct listener_tls *tls)
{
    const struct value *options = at->options;
    tls->version_min = versions[options[TLS_MIN].choice];
    tls->client = clients[options[TLS_CLIENT].choice];
    tls->tickets = options[TLS_TICKETS].choice == 0;
    if (options[TLS_CIPHERS].given)
        tls->ciphers = builder_text(builder, options[TLS_CIPHERS].text);
    if (options[TLS_CLIENT_CA].given)
        tls->client_ca_file = builder_pem(builder, &options[TLS_CLIENT_CA], FILE_AUTHORITIES);
    bool asks = tls->client != CLIENT_CERTIFICATE_NONE;
    if (asks && !options[TLS_CLIENT_CA].given)
        value_refuse(builder, &options[TLS_CLIENT], "client-ca=FILE",
                     "client certificates need an authority that they are from");
    else if (!asks && options[TLS_CLIENT_CA].given)
        value_refuse(builder, &options[TLS_CLIENT_CA], "client=optional or client=require",
                     "clients are not asked for a certificate");
}

/* A certificate anywhere in the block, even one that was refused. */
static bool certificate_named(const struct node *first)
{
    for (const struct node *at = first; at; at = at->next) {
        if (strcmp(at->name.text, "certificate") == 0)
            return true;
        for (const struct node *inner = at->children; inner; inner = inner->next)
            if (strcmp(inner->name.text, "certificate") == 0)
                return true;
    }
    return false;
}

void listener_tls_settle(struct builder *builder, const struct publication *publication,
                         const struct statement *block, struct listener *listener)
{
    const struct statement *statement = publication->statement;
    const struct statement *settings = statement_find(block, DIRECTIVE_LISTEN_TLS);
    const struct statement *certificate = statement_find(block, DIRECTIVE_CERTIFICATE);
    if (!listen_has_tls(statement)) {
        if (settings)
            statement_refuse(builder, settings, "listen 443 http tls { … }",
                             "`tls` needs `listen … tls`");
        if (certificate)
            statement_refuse(builder, certificate, "listen 443 http tls { … }",
                             "`certificate` needs `listen … tls`");
        else if (builder->certificate_count)
            statement_refuse(builder, statement, "listen 443 http tls { … }",
                             "its hosts have certificates, and it has no `tls`");
        return;
    }
    struct listener_tls *tls = arena_alloc(builder->arena, sizeof *tls);
    tls_apply(builder,
              settings && settings->valid ? settings
                                          : check_defaults(&builder->checker, DIRECTIVE_LISTEN_TLS),
              tls);
    certificates_settle(builder, tls);
    listener->tls = tls;
    if (!tls->certificate_count && !certificate_named(statement->node->children))
        value_refuse(builder, &statement->arguments[LISTEN_TLS],
                     "certificate shop.pem key=shop.key; in its block",
                     "`tls` needs a certificate");
}

static void flood_of_requests_refuse(struct builder *builder, const struct statement *at)
{
    if (at->options[FLOOD_REQUESTS].word)
        value_refuse(builder, &at->options[FLOOD_REQUESTS],
                     "of others than `listen … http`: connections=",
                     "`requests=` is for requests, and this is no `listen … http`");
}

/* What has no meaning for datagrams. */
static void streams_only(struct builder *builder, const struct statement *block)
{
    for (const struct statement *at = block; at; at = at->next) {
        enum directive_id id = at->directive->id;
        if (id != DIRECTIVE_ALLOW && id != DIRECTIVE_DENY && id != DIRECTIVE_FLOOD)
            statement_refuse(builder, at, "of `listen … udp`: allow, deny and flood",
                             "`%s` is not for datagrams", at->directive->name);
        if (id != DIRECTIVE_FLOOD)
            continue;
        flood_of_requests_refuse(builder, at);
        if (at->options[FLOOD_CONCURRENT].word)
            value_refuse(builder, &at->options[FLOOD_CONCURRENT],
                         "`connections=` is for sessions of datagrams, too",
                         "`concurrent=` is for connections, and this is `listen … udp`");
    }
}

/* What has no meaning for connections and datagrams. */
static void http_only(struct builder *builder, const struct statement *block)
{
    for (const struct statement *at = block; at; at = at->next) {
        switch ((int)at->directive->id) {
        case DIRECTIVE_CERTIFICATE:
        case DIRECTIVE_LISTEN_TLS:
        case DIRECTIVE_LISTEN_PROXY:
        case DIRECTIVE_SNI:
        case DIRECTIVE_ALLOW:
        case DIRECTIVE_DENY:
            break;
        case DIRECTIVE_FLOOD:
            flood_of_requests_refuse(builder, at);
            break;
        case DIRECTIVE_BOUNDS:
            for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX && at->directive->options[i].type; i++)
                if (at->options[i].word && i != BOUNDS_CONNECTIONS && i != BOUNDS_PER_CLIENT)
                    value_refuse(builder, &at->options[i],
                                 "of `listen … tcp`: connections= and "
                                 "per-client=",
                                 "`%s=` is for requests, and this is no `listen … http`",
                                 at->directive->options[i].name);
            break;
        default:
            statement_refuse(builder, at, NULL,
                             "`%s` is for requests, and this is no `listen … http`",
                             at->directive->name);
        }
    }
}

static void snis_take(struct builder *builder, const struct publication *publication,
                      const struct statement *block, struct listener *listener)
{
    size_t count = 0, names = 0;
    for (const struct statement *at = statement_next(block, DIRECTIVE_SNI); at;
         at = statement_next(at->next, DIRECTIVE_SNI)) {
        count++;
        names += at->argument_count - 2;
    }
    if (names > LISTENER_NAMES_MAX) {
        statement_refuse(builder, publication->statement, NULL,
                         "%zu names are too many: at most %d", names, LISTENER_NAMES_MAX);
        return;
    }
    struct sni_target *targets = arena_array(builder->arena, count, sizeof *targets);
    for (const struct statement *at = statement_next(block, DIRECTIVE_SNI); at;
         at = statement_next(at->next, DIRECTIVE_SNI)) {
        const struct value *service = &at->arguments[at->argument_count - 1];
        struct place place = value_place(service);
        const struct draft *draft =
            draft_published(builder, service->text, &place, &publication->variables);
        struct sni_target *target = &targets[listener->sni_count++];
        target->names = host_names_take(builder, at->arguments, at->argument_count - 2);
        target->service = draft ? draft->service.index : 0;
    }
    listener->snis = targets;
}

static void sni_check(struct builder *builder, const struct publication *publication,
                      const struct statement *block)
{
    const struct statement *sni = statement_find(block, DIRECTIVE_SNI);
    const struct statement *statement = publication->statement;
    if (!sni)
        return;
    if (statement->arguments[LISTEN_PROTOCOL].choice != 0)
        statement_refuse(builder, sni, "listen 443 tcp { sni shop.example -> shop; }",
                         "`sni` is for `listen … tcp`");
    else if (listen_has_tls(statement))
        statement_refuse(builder, sni, "leave out the `tls` of `listen`",
                         "`sni` passes TLS on as it is, and this listener ends it");
    else if (statement->argument_count > LISTEN_SERVICE)
        value_refuse(builder, &statement->arguments[LISTEN_SERVICE],
                     "sni * -> SERVICE; is for all other names",
                     "`-> SERVICE` and `sni` exclude each other");
}

void listener_block_apply(struct builder *builder, const struct publication *publication,
                          const struct statement *block, struct listener *listener)
{
    const struct statement *bounds = statement_next(block, DIRECTIVE_BOUNDS);
    const struct statement *proxy = statement_next(block, DIRECTIVE_LISTEN_PROXY);
    sni_check(builder, publication, block);
    if (listener->kind == LISTENER_STREAM) {
        if (listener->protocol == PROTOCOL_UDP)
            streams_only(builder, block);
        else
            http_only(builder, block);
        snis_take(builder, publication, block, listener);
        listener->access = access_make(builder, block);
    }
    listener->flood = flood_take(builder, statement_next(block, DIRECTIVE_FLOOD));
    if (bounds) {
        listener->connections_max = option_number(bounds, BOUNDS_CONNECTIONS);
        listener->connections_per_client = option_number(bounds, BOUNDS_PER_CLIENT);
    }
    if (proxy)
        listener->proxies = networks_take(builder, proxy, &listener->proxy_count);
    for (const struct statement *at = statement_next(block, DIRECTIVE_CERTIFICATE); at;
         at = statement_next(at->next, DIRECTIVE_CERTIFICATE))
        certificate_add(builder, at);
}
