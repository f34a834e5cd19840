#include "tls/server.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/table.h"
#include "tls/context.h"
#include "tls/pem.h"
#include "tls/problem.h"
#include "tls/tickets.h"

enum { NAME_BYTES_MAX = 253, NAMES_MAX = 65536 };

struct tls_server {
    SSL_CTX **contexts; /* one for each certificate; [0] takes the handshake */
    size_t count;
    struct table *names; /* "shop.example", "*.shop.example" → SSL_CTX */
    char **keys;         /* the table's, owned */
    size_t key_count;
    unsigned char *alpn; /* NULL: none */
    unsigned alpn_length;
};

/* ---- names -------------------------------------------------------------------------------------
 */

/* The first certificate that has a name keeps it. 0 or -ENOMEM. */
static int name_add(struct tls_server *server, SSL_CTX *context, const char *bytes, int length)
{
    if (length <= 0 || length > NAME_BYTES_MAX || memchr(bytes, 0, (size_t)length) ||
        server->key_count == NAMES_MAX)
        return 0;
    char **keys = reallocarray(server->keys, server->key_count + 1, sizeof *keys);
    if (!keys)
        return -ENOMEM;
    server->keys = keys;
    char *key = strndup(bytes, (size_t)length);
    if (!key)
        return -ENOMEM;
    keys[server->key_count++] = key;
    for (char *at = key; *at; at++)
        *at = (char)tolower((unsigned char)*at);
    int error = table_add(server->names, key, context, NULL);
    return error == -EEXIST ? 0 : error;
}

static int names_of_subject(struct tls_server *server, SSL_CTX *context, X509 *certificate)
{
    char text[NAME_BYTES_MAX + 1];
    int length = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text,
                                           sizeof text);
    return name_add(server, context, text, length);
}

/* The alternative names, or without any the common name (RFC 6125 §6.4.4). */
static int names_learn(struct tls_server *server, SSL_CTX *context)
{
    X509 *certificate = SSL_CTX_get0_certificate(context);
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (!names)
        return names_of_subject(server, context, certificate);
    int error = 0;
    for (int i = 0; !error && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type == GEN_DNS)
            error = name_add(server, context, (const char *)ASN1_STRING_get0_data(name->d.dNSName),
                             ASN1_STRING_length(name->d.dNSName));
    }
    GENERAL_NAMES_free(names);
    return error;
}

/* A wildcard stands for one label (RFC 6125 §6.4.3). */
static SSL_CTX *context_of_name(const struct tls_server *server, const char *sni)
{
    char name[NAME_BYTES_MAX + 2];
    size_t length = strnlen(sni, NAME_BYTES_MAX + 1);
    if (length > NAME_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i <= length; i++)
        name[i] = (char)tolower((unsigned char)sni[i]);
    SSL_CTX *context = table_get(server->names, name);
    char *dot = strchr(name, '.');
    if (context || !dot || dot == name)
        return context;
    dot[-1] = '*';
    return table_get(server->names, dot - 1);
}

static int name_chosen(SSL *ssl, int *alert, void *owner)
{
    (void)alert;
    const struct tls_server *server = owner;
    const char *sni = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    SSL_CTX *context = sni ? context_of_name(server, sni) : NULL;
    if (context && context != SSL_get_SSL_CTX(ssl))
        SSL_set_SSL_CTX(ssl, context);
    return SSL_TLSEXT_ERR_OK;
}

/* No common protocol: the client is told, rather than spoken to in one that it does not expect
 * (RFC 7301 §3.2). */
static int protocol_chosen(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_length,
                           const unsigned char *offered, unsigned offered_length, void *owner)
{
    (void)ssl;
    const struct tls_server *server = owner;
    unsigned char *name;
    int found = SSL_select_next_proto(&name, ret_length, server->alpn, server->alpn_length, offered,
                                      offered_length);
    if (found != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret_name = name;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- contexts ----------------------------------------------------------------------------------
 */

static int clients_verify(SSL_CTX *context, const struct listener_tls *settings, tls_read *read,
                          void *owner, char *why, size_t why_size)
{
    if (settings->client == CLIENT_CERTIFICATE_NONE)
        return 0;
    int mode = SSL_VERIFY_PEER;
    if (settings->client == CLIENT_CERTIFICATE_REQUIRE)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context, mode, NULL);
    return pem_trust_load(context, settings->client_ca_file, 1, read, owner, why, why_size);
}

/* A resumed session brings its client's certificate, or none, along unasked: tickets are good only
 * where clients are asked for the same. */
static uint64_t clients_mark(const struct listener_tls *settings, tls_read *read, void *owner)
{
    uint64_t mark = hash_bytes(&settings->client, sizeof settings->client, hash_seed());
    size_t length;
    const char *bytes = settings->client == CLIENT_CERTIFICATE_NONE || !settings->client_ca_file
                            ? NULL
                            : read(owner, settings->client_ca_file, &length);
    return bytes ? hash_bytes(bytes, length, mark) : mark;
}

static void expiry_warn(SSL_CTX *context, const char *file)
{
    if (X509_cmp_current_time(X509_get0_notAfter(SSL_CTX_get0_certificate(context))) < 0)
        log_warn("certificate-expired", "file=%s", file);
}

static int context_fill(SSL_CTX *context, struct tls_server *server,
                        const struct listener_tls *settings, size_t place, tls_read *read,
                        void *owner, char *why, size_t why_size)
{
    const struct certificate *certificate = &settings->certificates[place];
    SSL_CTX_set_min_proto_version(context,
                                  settings->version_min == 13 ? TLS1_3_VERSION : TLS1_2_VERSION);
    if (SSL_CTX_set_cipher_list(context, settings->ciphers ? settings->ciphers : CONTEXT_CIPHERS) !=
        1) {
        char problem[256];
        problem_take(problem, sizeof problem);
        snprintf(why, why_size, "the ciphers \"%s\": %s", settings->ciphers, problem);
        return -EINVAL;
    }
    if (!settings->tickets)
        SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_tlsext_servername_callback(context, name_chosen);
    SSL_CTX_set_tlsext_servername_arg(context, server);
    if (server->alpn)
        SSL_CTX_set_alpn_select_cb(context, protocol_chosen, server);
    int error = pem_identity_load(context, certificate->certificate_file, certificate->key_file,
                                  read, owner, why, why_size);
    if (!error)
        error = clients_verify(context, settings, read, owner, why, why_size);
    if (!error)
        expiry_warn(context, certificate->certificate_file);
    return error ? error : names_learn(server, context);
}

static int context_add(struct tls_server *server, const struct listener_tls *settings, size_t place,
                       tls_read *read, void *owner, struct tls_tickets *tickets, char *why,
                       size_t why_size)
{
    SSL_CTX *context = context_new(TLS_server_method());
    if (!context)
        return -ENOMEM;
    server->contexts[server->count++] = context;
    if (settings->tickets)
        tickets_use(tickets, context);
    else
        SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
    uint64_t id = clients_mark(settings, read, owner);
    SSL_CTX_set_session_id_context(context, (const unsigned char *)&id, sizeof id);
    return context_fill(context, server, settings, place, read, owner, why, why_size);
}

/* ---- life --------------------------------------------------------------------------------------
 */

int tls_server_new(const struct listener_tls *settings, const char *alpn, tls_read *read,
                   void *owner, struct tls_tickets *tickets, struct tls_server **ret_server,
                   char *why, size_t why_size)
{
    struct tls_server *server = calloc(1, sizeof *server);
    int error = server ? 0 : -ENOMEM;
    if (!error) {
        server->contexts = calloc(settings->certificate_count + 1, sizeof *server->contexts);
        server->names = table_new();
        server->alpn = alpn ? (unsigned char *)strdup(alpn) : NULL;
        server->alpn_length = alpn ? (unsigned)strlen(alpn) : 0;
        if (!server->contexts || !server->names || (alpn && !server->alpn))
            error = -ENOMEM;
    }
    if (!error && !settings->certificate_count) {
        snprintf(why, why_size, "there is no certificate");
        error = -EINVAL;
    }
    for (size_t i = 0; !error && i < settings->certificate_count; i++)
        error = context_add(server, settings, i, read, owner, tickets, why, why_size);
    if (error)
        tls_server_free(server);
    else
        *ret_server = server;
    return error;
}

void tls_server_free(struct tls_server *server)
{
    if (!server)
        return;
    for (size_t i = 0; i < server->count; i++)
        SSL_CTX_free(server->contexts[i]);
    for (size_t i = 0; i < server->key_count; i++)
        free(server->keys[i]);
    free(server->keys);
    free(server->contexts);
    table_free(server->names);
    free(server->alpn);
    free(server);
}

SSL *context_accept(struct tls_server *server)
{
    return SSL_new(server->contexts[0]);
}
