#include "gateway/guard/key_set.h"

#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/guard/base64.h"

enum { NUMBER_BYTES_MAX = 2048, COORDINATE_BYTES_MAX = 66 };

static struct key_set *set_new(size_t count)
{
    return calloc(1, sizeof(struct key_set) + count * sizeof(struct key));
}

struct key_set *key_set_of_setting(const struct guard_jwt *jwt, char why[KEY_WHY_BYTES])
{
    if (jwt->keys == GUARD_KEYS_PEM)
        return key_set_of_pem(jwt->text, jwt->length, why);
    if (jwt->keys == GUARD_KEYS_SECRET)
        return key_set_of_secret(jwt->text, jwt->length, why);
    return key_set_of_json(jwt->text, jwt->length, true, why);
}

void key_set_free(struct key_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->count; i++)
        EVP_PKEY_free(set->keys[i].key);
    free(set);
}

/* What a key is; false: nothing that tokens are signed with, or too weak. */
static bool kind_of(const EVP_PKEY *key, enum key_kind *ret_kind)
{
    char group[32] = "";
    if (EVP_PKEY_is_a(key, "HMAC")) {
        *ret_kind = KEY_SECRET;
        return true;
    }
    if (EVP_PKEY_is_a(key, "RSA")) {
        *ret_kind = KEY_RSA;
        return EVP_PKEY_get_bits(key) >= KEY_RSA_BITS_MIN;
    }
    if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448")) {
        *ret_kind = KEY_EDWARDS;
        return true;
    }
    if (!EVP_PKEY_is_a(key, "EC") || EVP_PKEY_get_group_name(key, group, sizeof group, NULL) != 1)
        return false;
    *ret_kind = strcmp(group, "prime256v1") == 0  ? KEY_P256
                : strcmp(group, "secp384r1") == 0 ? KEY_P384
                                                  : KEY_P521;
    return *ret_kind != KEY_P521 || strcmp(group, "secp521r1") == 0;
}

/* Takes the key over. NULL: `why`. */
static struct key_set *set_of_key(EVP_PKEY *key, char why[KEY_WHY_BYTES])
{
    enum key_kind kind;
    if (!key || !kind_of(key, &kind)) {
        EVP_PKEY_free(key);
        ERR_clear_error();
        snprintf(why, KEY_WHY_BYTES,
                 "no public key of RSA (2048 bits at least), P-256, P-384, "
                 "P-521 or Ed25519");
        return NULL;
    }
    struct key_set *set = set_new(1);
    if (!set) {
        EVP_PKEY_free(key);
        snprintf(why, KEY_WHY_BYTES, "no memory");
        return NULL;
    }
    set->count = 1;
    set->keys[0].kind = kind;
    set->keys[0].key = key;
    return set;
}

static EVP_PKEY *certificate_key(const char *text, size_t length)
{
    BIO *bio = BIO_new_mem_buf(text, (int)length);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = certificate ? X509_get_pubkey(certificate) : NULL;
    X509_free(certificate);
    BIO_free(bio);
    return key;
}

struct key_set *key_set_of_pem(const char *text, size_t length, char why[KEY_WHY_BYTES])
{
    BIO *bio = length <= KEY_SET_BYTES_MAX ? BIO_new_mem_buf(text, (int)length) : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL) : NULL;
    BIO_free(bio);
    if (!key && length <= KEY_SET_BYTES_MAX)
        key = certificate_key(text, length);
    return set_of_key(key, why);
}

struct key_set *key_set_of_secret(const char *bytes, size_t length, char why[KEY_WHY_BYTES])
{
    while (length && (bytes[length - 1] == '\n' || bytes[length - 1] == '\r'))
        length--;
    if (length < KEY_SECRET_BYTES_MIN || length > KEY_SET_BYTES_MAX) {
        snprintf(why, KEY_WHY_BYTES, "a secret has %d bytes at least", KEY_SECRET_BYTES_MIN);
        return NULL;
    }
    return set_of_key(
        EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, (const unsigned char *)bytes, length),
        why);
}

/* ---- JSON Web Keys -------------------------------------------------------------------------- */

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name)); /* NULL: none, or no text */
}

/* The bytes of a member, at most `room`; -1: it is not there, or not good. */
static ssize_t bytes_of(const json_t *object, const char *name, unsigned char *out, size_t room)
{
    const json_t *member = json_object_get(object, name);
    const char *text = json_string_value(member);
    size_t length = text ? json_string_length(member) : 0;
    if (!length || base64_bytes_max(length) > room)
        return -1;
    return base64_decode(BASE64_URL, text, length, out);
}

/* Takes the builder and its parameters; NULL: no such key. */
static EVP_PKEY *key_build(const char *type, OSSL_PARAM_BLD *build, bool complete)
{
    OSSL_PARAM *parameters = complete ? OSSL_PARAM_BLD_to_param(build) : NULL;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
    EVP_PKEY *key = NULL;
    if (parameters && context && EVP_PKEY_fromdata_init(context) == 1 &&
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    OSSL_PARAM_BLD_free(build);
    return key;
}

static EVP_PKEY *rsa_key(const json_t *jwk)
{
    unsigned char bytes[NUMBER_BYTES_MAX];
    ssize_t length = bytes_of(jwk, "n", bytes, sizeof bytes);
    BIGNUM *n = length > 0 ? BN_bin2bn(bytes, (int)length, NULL) : NULL;
    length = bytes_of(jwk, "e", bytes, 16);
    BIGNUM *e = length > 0 ? BN_bin2bn(bytes, (int)length, NULL) : NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    bool complete = build && n && e && BN_is_odd(e) && !BN_is_one(e) && BN_num_bits(n) <= 8192 &&
                    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) == 1 &&
                    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) == 1;
    EVP_PKEY *key = key_build("RSA", build, complete);
    BN_free(n);
    BN_free(e);
    return key;
}

static EVP_PKEY *curve_key(const json_t *jwk)
{
    static const struct {
        const char *name, *group;
        size_t bytes;
    } curves[] = {
        {"P-256", "prime256v1", 32}, {"P-384", "secp384r1", 48}, {"P-521", "secp521r1", 66}};
    unsigned char x[COORDINATE_BYTES_MAX + 6], y[COORDINATE_BYTES_MAX + 6];
    unsigned char point[1 + 2 * COORDINATE_BYTES_MAX] = {4};
    const char *name = text_of(jwk, "crv");
    for (size_t i = 0; name && i < sizeof curves / sizeof curves[0]; i++) {
        if (strcmp(curves[i].name, name) != 0)
            continue;
        size_t bytes = curves[i].bytes;
        if (bytes_of(jwk, "x", x, sizeof x) != (ssize_t)bytes ||
            bytes_of(jwk, "y", y, sizeof y) != (ssize_t)bytes)
            return NULL;
        memcpy(point + 1, x, bytes);
        memcpy(point + 1 + bytes, y, bytes);
        OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
        bool complete = build &&
                        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME,
                                                        curves[i].group, 0) == 1 &&
                        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                         1 + 2 * bytes) == 1;
        return key_build("EC", build, complete);
    }
    return NULL;
}

static EVP_PKEY *edwards_key(const json_t *jwk)
{
    unsigned char x[64];
    const char *name = text_of(jwk, "crv");
    ssize_t length = bytes_of(jwk, "x", x, sizeof x);
    if (!name || length < 0)
        return NULL;
    int type = strcmp(name, "Ed25519") == 0 ? EVP_PKEY_ED25519
               : strcmp(name, "Ed448") == 0 ? EVP_PKEY_ED448
                                            : 0;
    return type ? EVP_PKEY_new_raw_public_key(type, NULL, x, (size_t)length) : NULL;
}

static EVP_PKEY *secret_key(const json_t *jwk)
{
    unsigned char bytes[NUMBER_BYTES_MAX];
    ssize_t length = bytes_of(jwk, "k", bytes, sizeof bytes);
    return length >= KEY_SECRET_BYTES_MIN
               ? EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, bytes, (size_t)length)
               : NULL;
}

static EVP_PKEY *jwk_read(const json_t *jwk, bool secrets)
{
    const char *type = text_of(jwk, "kty"), *use = text_of(jwk, "use");
    if (!type || (use && strcmp(use, "sig") != 0))
        return NULL;
    if (strcmp(type, "RSA") == 0)
        return rsa_key(jwk);
    if (strcmp(type, "EC") == 0)
        return curve_key(jwk);
    if (strcmp(type, "OKP") == 0)
        return edwards_key(jwk);
    return secrets && strcmp(type, "oct") == 0 ? secret_key(jwk) : NULL;
}

static void jwk_add(struct key_set *set, const json_t *jwk, bool secrets)
{
    const char *name = text_of(jwk, "kid"), *algorithm = text_of(jwk, "alg");
    struct key *key = &set->keys[set->count];
    if ((name && strlen(name) > KEY_NAME_BYTES_MAX) ||
        (algorithm && strlen(algorithm) >= sizeof key->algorithm))
        return;
    key->key = jwk_read(jwk, secrets);
    if (!key->key)
        return;
    if (!kind_of(key->key, &key->kind)) {
        EVP_PKEY_free(key->key);
        key->key = NULL;
        return;
    }
    snprintf(key->name, sizeof key->name, "%s", name ? name : "");
    snprintf(key->algorithm, sizeof key->algorithm, "%s", algorithm ? algorithm : "");
    set->count++;
}

struct key_set *key_set_of_json(const char *text, size_t length, bool secrets,
                                char why[KEY_WHY_BYTES])
{
    json_t *root =
        length <= KEY_SET_BYTES_MAX ? json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL) : NULL;
    const json_t *list = json_object_get(root, "keys");
    struct key_set *set = json_is_array(list) ? set_new(KEYS_MAX) : NULL;
    snprintf(why, KEY_WHY_BYTES, "%s", set ? "no key in it verifies signatures" : "no JWK set");
    for (size_t i = 0; set && i < json_array_size(list) && set->count < KEYS_MAX; i++)
        jwk_add(set, json_array_get(list, i), secrets);
    json_decref(root);
    ERR_clear_error();
    if (set && set->count)
        return set;
    key_set_free(set);
    return NULL;
}
