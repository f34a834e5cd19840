/* OpenSSL's contexts, as all of ours are; private to tls/. */
#pragma once

#include <openssl/ssl.h>

struct tls_server;
struct tls_client;

/* For TLS 1.2, whose users choose by forward secrecy and authenticated encryption; TLS 1.3's own
 * suites are all good. */
#define CONTEXT_CIPHERS "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!kRSA"

/* TLS 1.2 at least, no renegotiation, no compression, buffers given back while idle. NULL: no
 * memory. */
SSL_CTX *context_new(const SSL_METHOD *method);

SSL *context_accept(struct tls_server *server);
/* With the name set and, where one is kept, a session to resume. */
SSL *context_connect(struct tls_client *client, const char *name);
