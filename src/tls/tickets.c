#include "tls/tickets.h"

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { NAME_BYTES = 16, CIPHER_KEY_BYTES = 32, DIGEST_KEY_BYTES = 32, MAGIC = 0x74696b31 };

struct key {
    unsigned char name[NAME_BYTES];
    unsigned char cipher[CIPHER_KEY_BYTES];
    unsigned char digest[DIGEST_KEY_BYTES];
};
_Static_assert(sizeof(struct key) == TLS_TICKET_KEY_BYTES, "as server.h says");

struct keys {
    uint32_t magic;
    _Atomic uint32_t version; /* odd while they are being written */
    struct key list[TLS_TICKET_KEYS];
};
_Static_assert(sizeof(struct keys) <= TLS_TICKETS_BYTES, "they fit their memory");

struct tls_tickets {
    struct keys *shared; /* TLS_TICKETS_BYTES, mapped */
};

/* ---- life --------------------------------------------------------------------------------------
 */

static int keys_fill(struct keys *keys)
{
    if (RAND_bytes((unsigned char *)keys->list, sizeof keys->list) != 1)
        return -EIO;
    keys->magic = MAGIC;
    return 0;
}

struct tls_tickets *tls_tickets_new(int fd)
{
    struct tls_tickets *tickets = calloc(1, sizeof *tickets);
    if (!tickets)
        return NULL;
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *memory = mmap(NULL, TLS_TICKETS_BYTES, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (memory == MAP_FAILED) {
        free(tickets);
        return NULL;
    }
    tickets->shared = memory;
    if (tickets->shared->magic == MAGIC) {
        /* Whoever was killed while writing left keys that nobody knows: odd, and of no use. */
        if (!(atomic_load(&tickets->shared->version) & 1))
            return tickets;
        atomic_fetch_add(&tickets->shared->version, 1);
    }
    if (keys_fill(tickets->shared) == 0)
        return tickets;
    tls_tickets_free(tickets);
    errno = EIO;
    return NULL;
}

void tls_tickets_free(struct tls_tickets *tickets)
{
    if (!tickets)
        return;
    munmap(tickets->shared, TLS_TICKETS_BYTES);
    free(tickets);
}

int tls_tickets_rotate(struct tls_tickets *tickets)
{
    struct keys *keys = tickets->shared;
    struct key fresh;
    if (RAND_bytes((unsigned char *)&fresh, sizeof fresh) != 1)
        return -EIO;
    atomic_fetch_add(&keys->version, 1);
    atomic_thread_fence(memory_order_seq_cst);
    memmove(&keys->list[1], &keys->list[0], sizeof keys->list - sizeof keys->list[0]);
    keys->list[0] = fresh;
    atomic_fetch_add(&keys->version, 1);
    OPENSSL_cleanse(&fresh, sizeof fresh);
    return 0;
}

/* ---- use ---------------------------------------------------------------------------------------
 */

/* A consistent copy of the key at `place`. */
static void key_read(struct keys *keys, unsigned place, struct key *ret_key)
{
    uint32_t before, after;
    do {
        before = atomic_load_explicit(&keys->version, memory_order_acquire);
        *ret_key = keys->list[place];
        atomic_thread_fence(memory_order_acquire);
        after = atomic_load_explicit(&keys->version, memory_order_relaxed);
    } while (before != after || before & 1);
}

static int key_apply(const struct key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *digest, int sealing)
{
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->digest,
                                          sizeof key->digest),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)(uintptr_t) "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    if (EVP_MAC_CTX_set_params(digest, parameters) != 1)
        return -1;
    int good = sealing ? EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv)
                       : EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv);
    return good == 1 ? 1 : -1;
}

static struct tls_tickets *tickets_of(SSL *ssl)
{
    return SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
}

static int ticket_seal(struct keys *keys, unsigned char *name, unsigned char *iv,
                       EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *digest)
{
    struct key key;
    key_read(keys, 0, &key);
    memcpy(name, key.name, NAME_BYTES);
    int good = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1
                   ? key_apply(&key, iv, cipher, digest, 1)
                   : -1;
    OPENSSL_cleanse(&key, sizeof key);
    return good;
}

/* 0: not one of ours: a whole handshake; 1: opened; 2: opened, and a fresh one shall be given:
 * `single`, since clients of TLS 1.3 use each but once (RFC 8446 §C.4). */
static int ticket_open(struct keys *keys, const unsigned char *name, unsigned char *iv,
                       EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *digest, bool single)
{
    struct key key;
    int good = 0;
    for (unsigned i = 0; i < TLS_TICKET_KEYS && !good; i++) {
        key_read(keys, i, &key);
        if (CRYPTO_memcmp(key.name, name, NAME_BYTES) != 0)
            continue;
        good = key_apply(&key, iv, cipher, digest, 0);
        if (good > 0 && (i > 0 || single))
            good = 2;
    }
    OPENSSL_cleanse(&key, sizeof key);
    return good;
}

static int ticket_call(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                       EVP_MAC_CTX *digest, int sealing)
{
    struct keys *keys = tickets_of(ssl)->shared;
    return sealing
               ? ticket_seal(keys, name, iv, cipher, digest)
               : ticket_open(keys, name, iv, cipher, digest, SSL_version(ssl) >= TLS1_3_VERSION);
}

void tickets_use(struct tls_tickets *tickets, SSL_CTX *context)
{
    SSL_CTX_set_app_data(context, tickets);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(context, ticket_call);
}
