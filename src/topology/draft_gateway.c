#include <stdio.h>
#include <string.h>

#include "conf/nearest.h"
#include "topology/builder.h"

enum { HINT_BYTES = 256, COOKIE_NAME_BYTES_MAX = 64 };

/* Options of the table, by their place in its rows. */
enum { TLS_NAME, TLS_CA, TLS_VERIFY, TLS_CERTIFICATE, TLS_KEY };
enum {
    TIMEOUT_CONNECT,
    TIMEOUT_SEND,
    TIMEOUT_RESPONSE,
    TIMEOUT_READ,
    TIMEOUT_IDLE,
    TIMEOUT_TUNNEL
};
enum { CAPACITY_CONNECTIONS, CAPACITY_REQUESTS, CAPACITY_IDLE };
enum { RETRY_TRIES, RETRY_BUDGET, RETRY_METHODS };

/* The choices of the table, in their order. */
static const enum balance_policy balance_policies[] = {
    BALANCE_LEAST, BALANCE_ROUND_ROBIN, BALANCE_RANDOM, BALANCE_WEIGHTED,
    BALANCE_HASH,  BALANCE_EWMA,        BALANCE_STICKY};
static const enum retry_methods retry_methods[] = {RETRY_SAFE, RETRY_IDEMPOTENT, RETRY_ALL};

static const char cookie_name_default[] = "enginx";

/* Keys of `balance hash`; one that ends with a colon is followed by a name. */
static const struct {
    const char *name;
    enum hash_key key;
} hash_keys[] = {
    {"client", HASH_CLIENT},  {"path", HASH_PATH},      {"uri", HASH_URI},      {"host", HASH_HOST},
    {"header:", HASH_HEADER}, {"cookie:", HASH_COOKIE}, {"query:", HASH_QUERY},
};
enum { HASH_KEYS = sizeof hash_keys / sizeof hash_keys[0] };

static void hash_key_unknown(struct builder *builder, const struct value *value)
{
    char hint[HINT_BYTES] =
        "known: client, path, uri, host, header:NAME, cookie:NAME and query:NAME";
    struct nearest nearest = {.word = value->text};
    for (size_t i = 0; i < HASH_KEYS; i++)
        nearest_try(&nearest, hash_keys[i].name);
    if (nearest.best)
        snprintf(hint, sizeof hint, "did you mean `%s%s`?", nearest.best,
                 nearest.best[strlen(nearest.best) - 1] == ':' ? "NAME" : "");
    value_refuse(builder, value, hint, "`%.64s` is not a key to balance by", value->text);
}

static void hash_apply(struct builder *builder, struct service *service, const struct value *value)
{
    for (size_t i = 0; i < HASH_KEYS; i++) {
        size_t length = strlen(hash_keys[i].name);
        bool named = hash_keys[i].name[length - 1] == ':';
        if (strncmp(value->text, hash_keys[i].name, length) != 0 ||
            (value->text[length] != 0) != named)
            continue;
        service->gateway.hash_key = hash_keys[i].key;
        if (named)
            service->gateway.hash_name = builder_text(builder, value->text + length);
        return;
    }
    hash_key_unknown(builder, value);
}

/* A cookie's name is a token: RFC 6265 §4.1.1. */
static bool cookie_name_good(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                 "!#$%&'*+-.^_`|~");
    return length && length <= COOKIE_NAME_BYTES_MAX && !name[length];
}

static void sticky_apply(struct builder *builder, struct service *service,
                         const struct value *value)
{
    static const char word[] = "cookie";
    size_t length = strlen(word);
    bool good = strncmp(value->text, word, length) == 0;
    const char *name = good ? value->text + length : "";
    if (good && *name == ':' && cookie_name_good(name + 1))
        service->gateway.cookie_name = builder_text(builder, name + 1);
    else if (!good || *name)
        value_refuse(builder, value, "balance sticky cookie; or balance sticky cookie:NAME;",
                     "`balance sticky` goes by a cookie");
}

void balance_apply(struct builder *builder, struct service *service,
                   const struct statement *statement)
{
    const struct value *key = statement->argument_count > 1 ? &statement->arguments[1] : NULL;
    const struct value *bound = &statement->options[0];
    service->balance = balance_policies[statement->arguments[0].choice];
    service->gateway.cookie_name = cookie_name_default;
    if (service->balance == BALANCE_HASH && key)
        hash_apply(builder, service, key);
    else if (service->balance == BALANCE_STICKY && key)
        sticky_apply(builder, service, key);
    else if (key)
        value_refuse(builder, key, "balance hash client;",
                     "only `balance hash` and `balance sticky` have a key");
    if (service->balance == BALANCE_HASH && bound->given)
        service->gateway.hash_bound_percent = (uint32_t)bound->number;
    else if (bound->word)
        value_refuse(builder, bound, "balance hash path bound=1.25;",
                     "`bound=` belongs to `balance hash`");
}

/* The gateway opens no file, so the system's authorities must be named to be in the bundle. */
static const char system_authorities[] = "/etc/ssl/certs/ca-certificates.crt";

static void tls_apply(struct builder *builder, struct service *service,
                      const struct statement *statement)
{
    const struct value *options = statement->options;
    struct service_tls *tls = &service->gateway.tls;
    tls->on = true;
    tls->verify = options[TLS_VERIFY].choice == 0;
    if (options[TLS_NAME].given)
        tls->name = builder_text(builder, options[TLS_NAME].text);
    if (tls->name && tls->name[0] == '*')
        value_refuse(builder, &options[TLS_NAME], NULL, "one name is expected, and no pattern");
    if (options[TLS_CA].given)
        tls->ca_file = builder_pem(builder, &options[TLS_CA], FILE_AUTHORITIES);
    else if (tls->verify)
        tls->ca_file = builder_pem_system(builder, statement, system_authorities);
    if (options[TLS_CERTIFICATE].given) {
        const struct value *key = &options[options[TLS_KEY].given ? TLS_KEY : TLS_CERTIFICATE];
        tls->certificate_file = builder_pem(builder, &options[TLS_CERTIFICATE], FILE_CERTIFICATE);
        tls->key_file = builder_pem(builder, key, FILE_KEY);
    } else if (options[TLS_KEY].given) {
        value_refuse(builder, &options[TLS_KEY], "certificate=FILE", "a key without a certificate");
    }
}

static void timeout_apply(struct service_gateway *gateway, const struct statement *statement)
{
    gateway->connect_ms = option_number(statement, TIMEOUT_CONNECT);
    gateway->send_ms = option_number(statement, TIMEOUT_SEND);
    gateway->response_ms = option_number(statement, TIMEOUT_RESPONSE);
    gateway->read_ms = option_number(statement, TIMEOUT_READ);
    gateway->idle_ms = option_number(statement, TIMEOUT_IDLE);
    gateway->tunnel_ms = option_number(statement, TIMEOUT_TUNNEL);
}

static void retry_apply(struct service_gateway *gateway, const struct statement *statement)
{
    gateway->retry_tries = option_number(statement, RETRY_TRIES);
    gateway->retry_budget_percent = option_number(statement, RETRY_BUDGET);
    gateway->retry_methods = retry_methods[statement->options[RETRY_METHODS].choice];
}

static void capacity_apply(struct service_gateway *gateway, const struct statement *statement)
{
    gateway->connections_max = option_number(statement, CAPACITY_CONNECTIONS);
    gateway->requests_max = option_number(statement, CAPACITY_REQUESTS);
    gateway->idle_max = option_number(statement, CAPACITY_IDLE);
}

enum {
    BREAKER_FAILURES,
    BREAKER_ERRORS,
    BREAKER_WITHIN,
    BREAKER_OPEN,
    BREAKER_PROBES,
    BREAKER_STATUS
};

static void breaker_apply(struct service_breaker *breaker, const struct statement *statement)
{
    const struct value *status = &statement->options[BREAKER_STATUS];
    *breaker = (struct service_breaker){
        .failures = option_number(statement, BREAKER_FAILURES),
        .errors_percent = option_number(statement, BREAKER_ERRORS),
        .within_ms = option_number(statement, BREAKER_WITHIN),
        .open_ms = option_number(statement, BREAKER_OPEN),
        .probes = option_number(statement, BREAKER_PROBES),
        .status_low = (uint16_t)status->range.low,
        .status_high = (uint16_t)status->range.high,
    };
}

void draft_speaks_settle(struct builder *builder, struct service *service)
{
    const struct statement *capacity = builder_first(builder, DIRECTIVE_CAPACITY);
    if (service->gateway.speaks == SPEAKS_FASTCGI &&
        !(capacity && capacity->options[CAPACITY_IDLE].word))
        service->gateway.idle_max = 0;
    const struct statement *header = builder_first(builder, DIRECTIVE_SERVICE_PROXY);
    if (service->gateway.speaks == SPEAKS_HTTP2 && header)
        statement_refuse(builder, header, NULL,
                         "with `speaks http2` requests of many clients share a connection, which "
                         "has one PROXY header");
    if (service->check == CHECK_GRPC && service->gateway.tls.on &&
        service->gateway.speaks != SPEAKS_HTTP2)
        statement_refuse(builder, builder_first(builder, DIRECTIVE_CHECK), "speaks http2;",
                         "`check grpc` with `tls` needs a service that speaks HTTP/2");
}

void draft_gateway_apply(struct builder *builder, struct service *service,
                         const struct statement *statement)
{
    struct service_gateway *gateway = &service->gateway;
    switch ((int)statement->directive->id) {
    case DIRECTIVE_SERVICE_TLS:
        tls_apply(builder, service, statement);
        break;
    case DIRECTIVE_SERVICE_PROXY:
        gateway->proxy_protocol = (uint8_t)(statement->arguments[0].choice + 1);
        break;
    case DIRECTIVE_SLOW_START:
        gateway->slow_start_ms = (uint32_t)statement->arguments[0].number;
        break;
    case DIRECTIVE_CAPACITY:
        capacity_apply(gateway, statement);
        break;
    case DIRECTIVE_SERVICE_TIMEOUT:
        timeout_apply(gateway, statement);
        break;
    case DIRECTIVE_RETRY:
        retry_apply(gateway, statement);
        break;
    case DIRECTIVE_HOLD:
        gateway->hold_max = option_number(statement, 0);
        gateway->hold_ms = option_number(statement, 1);
        break;
    case DIRECTIVE_EJECT:
        gateway->eject_failures = option_number(statement, 0);
        gateway->eject_ms = option_number(statement, 1);
        break;
    case DIRECTIVE_BREAKER:
        breaker_apply(&gateway->breaker, statement);
        break;
    case DIRECTIVE_SPEAKS:
        gateway->speaks = (enum service_speaks)statement->arguments[0].choice;
        break;
    default:
        break; /* `at` is gathered */
    }
}
