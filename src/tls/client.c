#include "tls/client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/table.h"
#include "tls/context.h"
#include "tls/pem.h"

enum { SESSIONS = 64, NAME_BYTES = 256 };

/* Sessions to resume, by the name that was asked for; touched once a handshake. */
struct kept_session {
    char name[NAME_BYTES];
    SSL_SESSION *session; /* NULL: none */
};

struct tls_client {
    SSL_CTX *context;
    char *name; /* NULL: the endpoint's */
    bool verify;
    pthread_mutex_t lock;
    struct kept_session sessions[SESSIONS];
};

static struct kept_session *kept_of(struct tls_client *client, const char *name)
{
    return &client->sessions[hash_bytes(name, strlen(name), hash_seed()) % SESSIONS];
}

/* Called with each ticket that comes; 1: we keep the reference. */
static int session_came(SSL *ssl, SSL_SESSION *session)
{
    struct tls_client *client = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (!name || strlen(name) >= NAME_BYTES)
        return 0;
    pthread_mutex_lock(&client->lock);
    struct kept_session *kept = kept_of(client, name);
    SSL_SESSION_free(kept->session);
    kept->session = session;
    strcpy(kept->name, name);
    pthread_mutex_unlock(&client->lock);
    return 1;
}

static void session_resume(struct tls_client *client, SSL *ssl, const char *name)
{
    pthread_mutex_lock(&client->lock);
    const struct kept_session *kept = kept_of(client, name);
    if (kept->session && strcmp(kept->name, name) == 0)
        SSL_set_session(ssl, kept->session);
    pthread_mutex_unlock(&client->lock);
}

static bool is_address(const char *name)
{
    unsigned char address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

SSL *context_connect(struct tls_client *client, const char *name)
{
    SSL *ssl = SSL_new(client->context);
    if (!ssl || !name)
        return ssl;
    bool address = is_address(name);
    int good = 1;
    if (!address) /* SSL_set_tlsext_host_name, whose macro casts const away */
        good = SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name,
                        (void *)(uintptr_t)name) == 1;
    if (client->verify && good)
        good = address ? X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1
                       : SSL_set1_host(ssl, name) == 1;
    if (!good) { /* never unverified because a name was odd */
        SSL_free(ssl);
        return NULL;
    }
    if (!address)
        session_resume(client, ssl, name);
    return ssl;
}

static int client_fill(struct tls_client *client, const struct service_tls *settings,
                       const char *alpn, tls_read *read, void *owner, char *why, size_t why_size)
{
    SSL_CTX *context = client->context;
    SSL_CTX_set_app_data(context, client);
    SSL_CTX_set_session_cache_mode(context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
    SSL_CTX_sess_set_new_cb(context, session_came);
    SSL_CTX_set_cipher_list(context, "DEFAULT:!aNULL");
    SSL_CTX_set_verify(context, settings->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (alpn &&
        SSL_CTX_set_alpn_protos(context, (const unsigned char *)alpn, (unsigned)strlen(alpn)) != 0)
        return -ENOMEM;
    int error = 0;
    if (settings->verify && settings->ca_file)
        error = pem_trust_load(context, settings->ca_file, 0, read, owner, why, why_size);
    if (!error && settings->certificate_file)
        error =
            pem_identity_load(context, settings->certificate_file,
                              settings->key_file ? settings->key_file : settings->certificate_file,
                              read, owner, why, why_size);
    return error;
}

int tls_client_new(const struct service_tls *settings, const char *alpn, tls_read *read,
                   void *owner, struct tls_client **ret_client, char *why, size_t why_size)
{
    struct tls_client *client = calloc(1, sizeof *client);
    if (!client)
        return -ENOMEM;
    pthread_mutex_init(&client->lock, NULL);
    client->verify = settings->verify;
    client->name = settings->name ? strdup(settings->name) : NULL;
    client->context = context_new(TLS_client_method());
    int error = client->context && (client->name || !settings->name) ? 0 : -ENOMEM;
    if (!error)
        error = client_fill(client, settings, alpn, read, owner, why, why_size);
    if (error)
        tls_client_free(client);
    else
        *ret_client = client;
    return error;
}

void tls_client_free(struct tls_client *client)
{
    if (!client)
        return;
    for (size_t i = 0; i < SESSIONS; i++)
        SSL_SESSION_free(client->sessions[i].session);
    SSL_CTX_free(client->context);
    pthread_mutex_destroy(&client->lock);
    free(client->name);
    free(client);
}

const char *tls_client_name(const struct tls_client *client)
{
    return client->name;
}
