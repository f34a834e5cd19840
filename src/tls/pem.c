#include "tls/pem.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>

#include "tls/problem.h"

/* NULL with `why`: not there. */
static BIO *file_open(const char *file, tls_read *read, void *owner, char *why, size_t why_size)
{
    size_t length;
    const char *bytes = read(owner, file, &length);
    BIO *bio = bytes && length <= INT32_MAX ? BIO_new_mem_buf(bytes, (int)length) : NULL;
    if (!bio)
        snprintf(why, why_size, "%s cannot be read", file);
    return bio;
}

static int refuse(const char *file, const char *what, char *why, size_t why_size)
{
    char problem[256];
    problem_take(problem, sizeof problem);
    snprintf(why, why_size, "%s: %s (%s)", file, what, problem);
    return -EINVAL;
}

static int no_password(char *text, int size, int writing, void *context)
{
    (void)text, (void)size, (void)writing, (void)context;
    return -1;
}

/* At the end of a PEM file OpenSSL says "no start line". */
static bool ended_well(void)
{
    unsigned long code = ERR_peek_last_error();
    bool end = ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (end)
        ERR_clear_error();
    return end;
}

static int chain_load(SSL_CTX *context, BIO *bio, const char *file, char *why, size_t why_size)
{
    X509 *leaf = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL);
    if (!leaf)
        return refuse(file, "there is no certificate in PEM in it", why, why_size);
    int good = SSL_CTX_use_certificate(context, leaf);
    X509_free(leaf);
    if (good != 1)
        return refuse(file, "the certificate cannot be used", why, why_size);
    SSL_CTX_clear_chain_certs(context);
    X509 *next;
    while ((next = PEM_read_bio_X509(bio, NULL, no_password, NULL)))
        if (SSL_CTX_add0_chain_cert(context, next) != 1) {
            X509_free(next);
            return refuse(file, "a certificate of its chain cannot be used", why, why_size);
        }
    return ended_well() ? 0 : refuse(file, "its chain is not whole", why, why_size);
}

static int key_load(SSL_CTX *context, BIO *bio, const char *file, char *why, size_t why_size)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    if (!key)
        return refuse(file, "there is no private key in PEM without a password in it", why,
                      why_size);
    int good = SSL_CTX_use_PrivateKey(context, key);
    EVP_PKEY_free(key);
    if (good != 1 || SSL_CTX_check_private_key(context) != 1)
        return refuse(file, "the key is not the certificate's", why, why_size);
    return 0;
}

int pem_identity_load(SSL_CTX *context, const char *certificate_file, const char *key_file,
                      tls_read *read, void *owner, char *why, size_t why_size)
{
    ERR_clear_error();
    BIO *bio = file_open(certificate_file, read, owner, why, why_size);
    if (!bio)
        return -ENOENT;
    int error = chain_load(context, bio, certificate_file, why, why_size);
    BIO_free(bio);
    if (error)
        return error;
    bio = file_open(key_file, read, owner, why, why_size);
    if (!bio)
        return -ENOENT;
    error = key_load(context, bio, key_file, why, why_size);
    BIO_free(bio);
    return error;
}

int pem_trust_load(SSL_CTX *context, const char *file, int named, tls_read *read, void *owner,
                   char *why, size_t why_size)
{
    ERR_clear_error();
    BIO *bio = file_open(file, read, owner, why, why_size);
    if (!bio)
        return -ENOENT;
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    unsigned count = 0;
    int error = 0;
    X509 *next;
    while (!error && (next = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL))) {
        if (X509_STORE_add_cert(store, next) != 1 ||
            (named && SSL_CTX_add_client_CA(context, next) != 1))
            error = refuse(file, "a certificate cannot be used", why, why_size);
        X509_free(next);
        count++;
    }
    if (!error && (!ended_well() || !count))
        error = refuse(file, "it is not a list of certificates in PEM", why, why_size);
    BIO_free(bio);
    return error;
}
