#include "gateway/guard/jwt.h"

#include <jansson.h>
#include <math.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/guard/base64.h"

enum { SIGNATURE_BYTES_MAX = 1100, CLAIM_NAME_BYTES_MAX = 128, VALUE_TEXT_BYTES = 32 };

/* ---- algorithms ----------------------------------------------------------------------------- */

struct algorithm {
    const char *name;
    enum key_kind kind; /* the only one that it goes with */
    const char *digest; /* NULL: none of its own */
    bool pss;
    uint8_t half_bytes; /* of ECDSA: r and s */
};

/* RFC 7518 §3.1, RFC 8037. There is no `none`. */
static const struct algorithm algorithms[] = {
    {"HS256", KEY_SECRET, "SHA256", false, 0}, {"HS384", KEY_SECRET, "SHA384", false, 0},
    {"HS512", KEY_SECRET, "SHA512", false, 0}, {"RS256", KEY_RSA, "SHA256", false, 0},
    {"RS384", KEY_RSA, "SHA384", false, 0},    {"RS512", KEY_RSA, "SHA512", false, 0},
    {"PS256", KEY_RSA, "SHA256", true, 0},     {"PS384", KEY_RSA, "SHA384", true, 0},
    {"PS512", KEY_RSA, "SHA512", true, 0},     {"ES256", KEY_P256, "SHA256", false, 32},
    {"ES384", KEY_P384, "SHA384", false, 48},  {"ES512", KEY_P521, "SHA512", false, 66},
    {"EdDSA", KEY_EDWARDS, NULL, false, 0},
};

static const struct algorithm *algorithm_find(const char *name)
{
    for (size_t i = 0; name && i < sizeof algorithms / sizeof algorithms[0]; i++)
        if (strcmp(algorithms[i].name, name) == 0)
            return &algorithms[i];
    return NULL;
}

struct parts {
    struct slice signed_text; /* "HEADER.PAYLOAD" */
    struct slice header, payload;
    unsigned char signature[SIGNATURE_BYTES_MAX];
    size_t signature_bytes;
};

static bool secret_verify(const struct algorithm *algorithm, EVP_PKEY *key,
                          const struct parts *parts)
{
    unsigned char made[EVP_MAX_MD_SIZE];
    size_t length = sizeof made;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good =
        context &&
        EVP_DigestSignInit_ex(context, NULL, algorithm->digest, NULL, NULL, key, NULL) == 1 &&
        EVP_DigestSign(context, made, &length, (const unsigned char *)parts->signed_text.bytes,
                       parts->signed_text.length) == 1 &&
        length == parts->signature_bytes && CRYPTO_memcmp(made, parts->signature, length) == 0;
    EVP_MD_CTX_free(context);
    return good;
}

/* r and s as OpenSSL wants them (RFC 7518 §3.4); *ret_der is to be freed. 0: not good. */
static size_t signature_der(const struct algorithm *algorithm, const struct parts *parts,
                            unsigned char **ret_der)
{
    int half = algorithm->half_bytes;
    *ret_der = NULL;
    if (parts->signature_bytes != 2 * (size_t)half)
        return 0;
    ECDSA_SIG *signature = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(parts->signature, half, NULL);
    BIGNUM *s = BN_bin2bn(parts->signature + half, half, NULL);
    int length = 0;
    if (signature && r && s && ECDSA_SIG_set0(signature, r, s) == 1) {
        r = s = NULL; /* taken */
        length = i2d_ECDSA_SIG(signature, ret_der);
    }
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(signature);
    return length > 0 ? (size_t)length : 0;
}

static bool signature_verify(const struct algorithm *algorithm, EVP_PKEY *key,
                             const struct parts *parts)
{
    if (algorithm->kind == KEY_SECRET)
        return secret_verify(algorithm, key, parts);
    const unsigned char *signature = parts->signature;
    size_t length = parts->signature_bytes;
    unsigned char *der = NULL;
    if (algorithm->half_bytes) {
        length = signature_der(algorithm, parts, &der);
        signature = der;
    }
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *of_key = NULL;
    bool good =
        length && context &&
        EVP_DigestVerifyInit_ex(context, &of_key, algorithm->digest, NULL, NULL, key, NULL) == 1 &&
        (!algorithm->pss ||
         (EVP_PKEY_CTX_set_rsa_padding(of_key, RSA_PKCS1_PSS_PADDING) == 1 &&
          EVP_PKEY_CTX_set_rsa_pss_saltlen(of_key, RSA_PSS_SALTLEN_DIGEST) == 1)) &&
        EVP_DigestVerify(context, signature, length,
                         (const unsigned char *)parts->signed_text.bytes,
                         parts->signed_text.length) == 1;
    EVP_MD_CTX_free(context);
    OPENSSL_free(der);
    ERR_clear_error();
    return good;
}

/* ---- the three parts ------------------------------------------------------------------------- */

static bool parts_split(struct slice token, struct parts *parts)
{
    const char *end = token.bytes + token.length;
    const char *first = memchr(token.bytes, '.', token.length);
    const char *second = first ? memchr(first + 1, '.', (size_t)(end - first - 1)) : NULL;
    if (!second)
        return false;
    parts->header = (struct slice){token.bytes, (uint32_t)(first - token.bytes)};
    parts->payload = (struct slice){first + 1, (uint32_t)(second - first - 1)};
    parts->signed_text = (struct slice){token.bytes, (uint32_t)(second - token.bytes)};
    size_t length = (size_t)(end - second - 1);
    if (base64_bytes_max(length) > sizeof parts->signature)
        return false;
    ssize_t bytes = base64_decode(BASE64_URL, second + 1, length, parts->signature);
    parts->signature_bytes = bytes > 0 ? (size_t)bytes : 0;
    return bytes > 0;
}

/* NULL: no object in JSON, encoded. */
static json_t *object_decode(struct slice text)
{
    char bytes[JWT_BYTES_MAX];
    ssize_t length = base64_bytes_max(text.length) <= sizeof bytes
                         ? base64_decode(BASE64_URL, text.bytes, text.length, bytes)
                         : -1;
    json_t *root =
        length > 0 ? json_loadb(bytes, (size_t)length, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (root && !json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    return root;
}

/* ---- the key -------------------------------------------------------------------------------- */

static bool key_fits(const struct key *key, const struct algorithm *algorithm)
{
    return key->kind == algorithm->kind &&
           (!*key->algorithm || strcmp(key->algorithm, algorithm->name) == 0);
}

/* With a name, those of that name, or that have none; else all, within bounds. */
static enum jwt_result keys_try(const struct key_set *keys, const struct algorithm *algorithm,
                                const char *name, const struct parts *parts)
{
    unsigned tries = 0;
    for (size_t i = 0; i < keys->count && tries < JWT_TRIES_MAX; i++) {
        const struct key *key = &keys->keys[i];
        if (!key_fits(key, algorithm) || (name && *key->name && strcmp(key->name, name) != 0))
            continue;
        if (signature_verify(algorithm, key->key, parts))
            return JWT_GOOD;
        tries++;
    }
    return tries ? JWT_BAD : JWT_UNKNOWN_KEY;
}

static enum jwt_result signature_check(const struct key_set *keys, const json_t *header,
                                       const struct parts *parts, const char **why)
{
    const struct algorithm *algorithm =
        algorithm_find(json_string_value(json_object_get(header, "alg")));
    *why = "auth jwt: an algorithm that is not taken";
    if (!algorithm)
        return JWT_BAD;
    *why = "auth jwt: an extension that must be understood (crit)";
    if (json_object_get(header, "crit"))
        return JWT_BAD;
    enum jwt_result result =
        keys_try(keys, algorithm, json_string_value(json_object_get(header, "kid")), parts);
    *why = result == JWT_UNKNOWN_KEY ? "auth jwt: no key for it" : "auth jwt: a wrong signature";
    return result;
}

/* ---- what it says --------------------------------------------------------------------------- */

/* False: there is such a claim, and it is no time. */
static bool time_of(const json_t *payload, const char *name, bool *ret_there, double *ret_time)
{
    const json_t *claim = json_object_get(payload, name);
    *ret_there = claim != NULL;
    if (!claim)
        return true;
    *ret_time = json_number_value(claim);
    return json_is_number(claim) && isfinite(*ret_time);
}

static const char *times_check(const struct guard_jwt *rules, const json_t *payload, double now)
{
    bool ends, begins, made;
    double end = 0, begin = 0, issued = 0;
    if (!time_of(payload, "exp", &ends, &end) || !time_of(payload, "nbf", &begins, &begin) ||
        !time_of(payload, "iat", &made, &issued))
        return "auth jwt: a time that is none";
    if (!ends && !rules->endless)
        return "auth jwt: it never ends (no exp)";
    if (ends && end + rules->leeway_s <= now)
        return "auth jwt: it is over (exp)";
    if ((begins && begin - rules->leeway_s > now) || (made && issued - rules->leeway_s > now))
        return "auth jwt: it has not begun (nbf, iat)";
    return NULL;
}

/* Is the claim this text, or a list that has it? */
static bool claim_is(const json_t *claim, const char *wanted)
{
    char text[VALUE_TEXT_BYTES];
    if (json_is_string(claim))
        return strlen(wanted) == json_string_length(claim) &&
               strcmp(json_string_value(claim), wanted) == 0;
    if (json_is_boolean(claim))
        return strcmp(json_is_true(claim) ? "true" : "false", wanted) == 0;
    if (json_is_integer(claim)) {
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(claim));
        return strcmp(text, wanted) == 0;
    }
    return false;
}

static bool claim_has(const json_t *claim, const char *wanted)
{
    for (size_t i = 0; i < json_array_size(claim); i++)
        if (claim_is(json_array_get(claim, i), wanted))
            return true;
    return claim_is(claim, wanted);
}

/* "realm.role": the member of that name, or `role` in `realm`. */
static const json_t *claim_find(const json_t *object, const char *name)
{
    const json_t *claim = json_object_get(object, name);
    for (int depth = 0; !claim && depth < JWT_CLAIM_DEPTH_MAX; depth++) {
        char first[CLAIM_NAME_BYTES_MAX];
        const char *dot = strchr(name, '.');
        if (!dot || (size_t)(dot - name) >= sizeof first)
            return NULL;
        snprintf(first, sizeof first, "%.*s", (int)(dot - name), name);
        object = json_object_get(object, first);
        name = dot + 1;
        claim = json_object_get(object, name);
    }
    return claim;
}

static enum jwt_result claims_check(const struct guard_jwt *rules, const json_t *payload,
                                    double now, const char **why)
{
    *why = times_check(rules, payload, now);
    if (*why)
        return JWT_BAD;
    *why = "auth jwt: somebody else made it (iss)";
    if (rules->issuer && !claim_is(json_object_get(payload, "iss"), rules->issuer))
        return JWT_BAD;
    *why = "auth jwt: it is for somebody else (aud)";
    if (rules->audience && !claim_has(json_object_get(payload, "aud"), rules->audience))
        return JWT_BAD;
    *why = "auth jwt: a claim is not as it must be";
    for (size_t i = 0; i < rules->claim_count; i++)
        if (!claim_has(claim_find(payload, rules->claims[i].name), rules->claims[i].value))
            return JWT_NOT_ENOUGH;
    return JWT_GOOD;
}

/* ---- variables ------------------------------------------------------------------------------ */

struct claims {
    struct bump *arena;
    struct guard_claim *list;
    uint32_t count;
    bool no_memory;
};

/* A number or a word as text, or the text itself; false: neither. */
static bool scalar_text(const json_t *value, char text[VALUE_TEXT_BYTES], struct slice *ret_text)
{
    int length = -1;
    if (json_is_string(value)) {
        *ret_text = (struct slice){json_string_value(value), (uint32_t)json_string_length(value)};
        return true;
    }
    if (json_is_boolean(value))
        length = snprintf(text, VALUE_TEXT_BYTES, "%s", json_is_true(value) ? "true" : "false");
    else if (json_is_integer(value))
        length =
            snprintf(text, VALUE_TEXT_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        length = snprintf(text, VALUE_TEXT_BYTES, "%.17g", json_real_value(value));
    *ret_text = (struct slice){text, length > 0 ? (uint32_t)length : 0};
    return length >= 0;
}

/* "a,b" of ["a", "b"]; what is no scalar is left out. */
static struct slice list_text(struct claims *claims, const json_t *list)
{
    char text[VALUE_TEXT_BYTES];
    struct slice part;
    size_t length = 0;
    for (size_t i = 0; i < json_array_size(list); i++)
        if (scalar_text(json_array_get(list, i), text, &part))
            length += part.length + 1;
    char *joined = bump_alloc(claims->arena, length + 1);
    char *at = joined;
    for (size_t i = 0; at && i < json_array_size(list); i++) {
        if (!scalar_text(json_array_get(list, i), text, &part))
            continue;
        if (at != joined)
            *at++ = ',';
        memcpy(at, part.bytes, part.length);
        at += part.length;
    }
    return (struct slice){joined, joined ? (uint32_t)(at - joined) : 0};
}

static void claim_add(struct claims *claims, const char *name, const json_t *value)
{
    char text[VALUE_TEXT_BYTES];
    struct slice of_value;
    if (claims->count == JWT_CLAIMS_MAX)
        return;
    if (json_is_array(value)) {
        of_value = list_text(claims, value);
    } else if (scalar_text(value, text, &of_value)) {
        of_value.bytes = bump_copy(claims->arena, of_value.bytes, of_value.length);
    } else {
        return;
    }
    size_t length = strlen(name);
    const char *of_name = bump_copy(claims->arena, name, length);
    claims->no_memory |= !of_name || !of_value.bytes;
    claims->list[claims->count++] =
        (struct guard_claim){.name = {of_name, (uint32_t)length}, .value = of_value};
}

/* Members of members with a dot between them; the depth is bounded, so this may call itself. */
static void members_add(struct claims *claims, const json_t *object, const char *before, int depth)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char name[CLAIM_NAME_BYTES_MAX];
        int length = snprintf(name, sizeof name, "%s%s", before, key);
        if (length < 0 || (size_t)length + 2 > sizeof name)
            continue;
        if (json_is_object(value) && depth < JWT_CLAIM_DEPTH_MAX) {
            strcat(name, ".");
            members_add(claims, value, name, depth + 1);
        } else {
            claim_add(claims, name, value);
        }
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */

static enum jwt_result claims_take(struct bump *arena, const json_t *payload,
                                   const struct guard_claim **ret_claims, uint32_t *ret_count,
                                   const char **ret_why)
{
    struct claims claims = {.arena = arena};
    claims.list = bump_alloc(arena, JWT_CLAIMS_MAX * sizeof *claims.list);
    if (claims.list)
        members_add(&claims, payload, "", 1);
    *ret_why = "auth jwt: no memory for its claims";
    if (!claims.list || claims.no_memory)
        return JWT_BAD;
    *ret_claims = claims.list;
    *ret_count = claims.count;
    return JWT_GOOD;
}

enum jwt_result jwt_verify(const struct key_set *keys, const struct guard_jwt *rules,
                           struct slice token, uint64_t now_s, struct bump *arena,
                           const struct guard_claim **ret_claims, uint32_t *ret_count,
                           const char **ret_why)
{
    struct parts parts;
    *ret_why = "auth jwt: no token";
    if (token.length > JWT_BYTES_MAX || !parts_split(token, &parts))
        return JWT_BAD;
    json_t *header = object_decode(parts.header);
    enum jwt_result result = header ? signature_check(keys, header, &parts, ret_why) : JWT_BAD;
    json_decref(header);
    if (result != JWT_GOOD)
        return result;
    json_t *payload = object_decode(parts.payload);
    *ret_why = "auth jwt: its payload is no JSON";
    result = payload ? claims_check(rules, payload, (double)now_s, ret_why) : JWT_BAD;
    if (result == JWT_GOOD)
        result = claims_take(arena, payload, ret_claims, ret_count, ret_why);
    json_decref(payload);
    return result;
}
