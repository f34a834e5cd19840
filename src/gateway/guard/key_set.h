/* Keys that signatures of tokens are verified with: of a PEM file, a secret, or a JWK set (RFC
 * 7517). What a key may be used for is decided by its kind, never by the token: an RSA key verifies
 * RS and PS, one of P-256 verifies ES256, Ed25519 EdDSA, a secret HS. So nobody can pass off a
 * public key as a secret. Immutable; any thread. */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/http/head.h"
#include "topology/guard.h"

enum {
    KEYS_MAX = 64,             /* of a set; further ones are left out */
    KEY_NAME_BYTES_MAX = 256,  /* `kid` */
    KEY_SECRET_BYTES_MIN = 32, /* RFC 7518 §3.2 for HS256 */
    KEY_RSA_BITS_MIN = 2048,   /* RFC 7518 §3.3 */
    KEY_SET_BYTES_MAX = 256 * 1024,
    KEY_WHY_BYTES = 160,
};

enum key_kind { KEY_SECRET, KEY_RSA, KEY_P256, KEY_P384, KEY_P521, KEY_EDWARDS };

struct key {
    enum key_kind kind;
    EVP_PKEY *key;
    char name[KEY_NAME_BYTES_MAX + 1]; /* "": none */
    char algorithm[8]; /* that alone, if the set says so; "": what its kind allows */
};

struct key_set {
    size_t count;
    struct key keys[];
};

/* A public key or a certificate. NULL: `why` says it. */
struct key_set *key_set_of_pem(const char *text, size_t length, char why[KEY_WHY_BYTES]);
/* A secret of KEY_SECRET_BYTES_MIN at least; line breaks at its end are none of it. */
struct key_set *key_set_of_secret(const char *bytes, size_t length, char why[KEY_WHY_BYTES]);
/* Keys that are not for signatures, or of kinds that are not known, are left out; none that is
 * left: NULL. `secrets`: those may be in it (of a file; what a server shows to everybody is no
 * secret). */
struct key_set *key_set_of_json(const char *text, size_t length, bool secrets,
                                char why[KEY_WHY_BYTES]);
/* Of the file that the setting names, whose bytes it has; not for GUARD_KEYS_SERVICE. */
struct key_set *key_set_of_setting(const struct guard_jwt *jwt, char why[KEY_WHY_BYTES]);
void key_set_free(struct key_set *set); /* accepts NULL */
