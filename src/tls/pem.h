/* PEM: certificates and keys from bytes that a configuration brought; private to tls/. */
#pragma once

#include <openssl/ssl.h>
#include <stddef.h>

#include "tls/server.h"

/* Puts a certificate with its chain, and its key, into the context. 0 or -EINVAL, -ENOENT, with
 * `why` naming the file. Encrypted keys are refused: nobody is there to type a password. */
int pem_identity_load(SSL_CTX *context, const char *certificate_file, const char *key_file,
                      tls_read *read, void *owner, char *why, size_t why_size);
/* Adds every certificate of the file to those that are trusted; with `named` they are also told to
 * clients as acceptable. */
int pem_trust_load(SSL_CTX *context, const char *file, int named, tls_read *read, void *owner,
                   char *why, size_t why_size);
