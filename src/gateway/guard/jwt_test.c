/* Tokens: the examples of RFC 7515 and RFC 8037, and what an attacker makes of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "gateway/guard/jwt.h"

/* RFC 7515: {"iss":"joe","exp":1300819380,"http://example.com/is_root":true}. */
#define JOE                                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ"
#define JOE_ENDS 1300819380
/* A.1 */
#define HS_TOKEN                                                                                   \
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." JOE ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
#define HS_KEY                                                                                     \
    "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4" \
    "hcgUuTwjAzZr1Z9CAow\"}"
/* A.3 */
#define ES_TOKEN                                                                                   \
    "eyJhbGciOiJFUzI1NiJ9." JOE                                                                    \
    ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define ES_MEMBERS                                                                                 \
    "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","      \
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""
/* RFC 8037 A.4: its payload is no JSON. */
#define ED_TOKEN                                                                                   \
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvM" \
    "g3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
#define ED_KEY                                                                                     \
    "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}"
#define SET(keys) "{\"keys\":[" keys "]}"

static struct {
    struct bump_store *store;
    struct bump *arena;
    const struct guard_claim *claims;
    uint32_t count;
    const char *why;
    uint64_t now;
    EVP_PKEY *rsa; /* a private key */
} test;

static const struct guard_jwt any;

static enum jwt_result verified(const struct key_set *keys, const struct guard_jwt *rules,
                                const char *token)
{
    return jwt_verify(keys, rules, (struct slice){token, (uint32_t)strlen(token)}, test.now,
                      test.arena, &test.claims, &test.count, &test.why);
}

static struct key_set *set_of(const char *json)
{
    char why[KEY_WHY_BYTES];
    struct key_set *set = key_set_of_json(json, strlen(json), true, why);
    if (!set)
        fail_msg("%s", why);
    return set;
}

static enum jwt_result with_set(const char *json, const char *token)
{
    struct key_set *set = set_of(json);
    enum jwt_result result = verified(set, &any, token);
    key_set_free(set);
    return result;
}

static int setup(void **state)
{
    (void)state;
    test.store = bump_store_new(4);
    test.arena = bump_new(test.store, 1 << 20);
    test.now = JOE_ENDS - 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bump_free(test.arena);
    bump_store_free(test.store);
    return 0;
}

/* ---- making tokens -------------------------------------------------------------------------- */

static size_t encoded(const void *bytes, size_t length, char *out)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    const uint8_t *at = bytes;
    size_t count = 0;
    for (size_t i = 0; i < length; i += 3) {
        size_t left = length - i;
        uint32_t bits = (uint32_t)at[i] << 16 | (left > 1 ? (uint32_t)at[i + 1] << 8 : 0) |
                        (left > 2 ? at[i + 2] : 0);
        for (size_t k = 0; k < (left > 2 ? 4 : left + 1); k++)
            out[count++] = letters[bits >> (18 - 6 * k) & 63];
    }
    out[count] = 0;
    return count;
}

/* With a key of ours; `pss` as PS. */
static const char *signed_by(EVP_PKEY *key, const char *digest, bool pss, const char *header,
                             const char *payload)
{
    static char token[JWT_BYTES_MAX];
    unsigned char signature[600];
    size_t length = sizeof signature, at = encoded(header, strlen(header), token);
    token[at++] = '.';
    at += encoded(payload, strlen(payload), token + at);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *of_key = NULL;
    assert_int_equal(EVP_DigestSignInit_ex(context, &of_key, digest, NULL, NULL, key, NULL), 1);
    if (pss) {
        EVP_PKEY_CTX_set_rsa_padding(of_key, RSA_PKCS1_PSS_PADDING);
        EVP_PKEY_CTX_set_rsa_pss_saltlen(of_key, RSA_PSS_SALTLEN_DIGEST);
    }
    assert_int_equal(EVP_DigestSign(context, signature, &length, (unsigned char *)token, at), 1);
    EVP_MD_CTX_free(context);
    token[at++] = '.';
    encoded(signature, length, token + at);
    return token;
}

static char secret_text[] = "0123456789abcdef0123456789abcdef\n";

static const char *said(const char *payload)
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, (unsigned char *)secret_text, 32);
    const char *token = signed_by(key, "SHA256", false, "{\"alg\":\"HS256\"}", payload);
    EVP_PKEY_free(key);
    return token;
}

static enum jwt_result said_result(const struct guard_jwt *rules, const char *payload)
{
    char why[KEY_WHY_BYTES];
    struct key_set *set = key_set_of_secret(secret_text, strlen(secret_text), why);
    assert_non_null(set);
    enum jwt_result result = verified(set, rules, said(payload));
    key_set_free(set);
    return result;
}

/* ---- signatures ----------------------------------------------------------------------------- */

static void the_examples_of_the_standards(void **state)
{
    (void)state;
    assert_int_equal(with_set(SET(HS_KEY), HS_TOKEN), JWT_GOOD);
    assert_int_equal(with_set(SET("{" ES_MEMBERS "}"), ES_TOKEN), JWT_GOOD);
    assert_int_equal(with_set(SET(HS_KEY "," ED_KEY ",{" ES_MEMBERS "}"), ES_TOKEN), JWT_GOOD);
    assert_int_equal(test.count, 3);
    assert_true(slice_is(test.claims[0].name, "iss"));
    assert_true(slice_is(test.claims[0].value, "joe"));
    assert_true(slice_is(test.claims[1].value, "1300819380"));
    assert_true(slice_is(test.claims[2].value, "true"));
    assert_int_equal(with_set(SET(ED_KEY), ED_TOKEN), JWT_BAD);
    assert_string_equal(test.why, "auth jwt: its payload is no JSON"); /* it was looked at */
}

static void one_bit_is_too_much(void **state)
{
    (void)state;
    static const char *const tokens[] = {HS_TOKEN, ES_TOKEN};
    struct key_set *set = set_of(SET(HS_KEY ",{" ES_MEMBERS "}"));
    for (int i = 0; i < 2; i++) {
        char token[512];
        size_t length = strlen(tokens[i]);
        for (size_t at = 0; at < length; at++) {
            strcpy(token, tokens[i]);
            token[at] = token[at] == 'A' ? 'B' : 'A';
            assert_int_not_equal(verified(set, &any, token), JWT_GOOD);
        }
        for (size_t cut = 0; cut < length; cut++) {
            strcpy(token, tokens[i]);
            token[cut] = 0;
            assert_int_not_equal(verified(set, &any, token), JWT_GOOD);
        }
        snprintf(token, sizeof token, "%sA", tokens[i]);
        assert_int_not_equal(verified(set, &any, token), JWT_GOOD);
        snprintf(token, sizeof token, "%s.", tokens[i]);
        assert_int_not_equal(verified(set, &any, token), JWT_GOOD);
    }
    key_set_free(set);
}

static char *public_pem(EVP_PKEY *key)
{
    static char text[1024];
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PUBKEY(bio, key);
    int length = BIO_read(bio, text, sizeof text - 1);
    BIO_free(bio);
    text[length > 0 ? length : 0] = 0;
    return text;
}

static const char nothing[] = "{\"exp\":9999999999,\"sub\":\"ann\"}";

static void rsa_in_all_ways(void **state)
{
    (void)state;
    static const struct {
        const char *header, *digest;
        bool pss;
    } ways[] = {{"{\"alg\":\"RS256\"}", "SHA256", false}, {"{\"alg\":\"RS384\"}", "SHA384", false},
                {"{\"alg\":\"RS512\"}", "SHA512", false}, {"{\"alg\":\"PS256\"}", "SHA256", true},
                {"{\"alg\":\"PS384\"}", "SHA384", true},  {"{\"alg\":\"PS512\"}", "SHA512", true}};
    char why[KEY_WHY_BYTES];
    const char *pem = public_pem(test.rsa);
    struct key_set *set = key_set_of_pem(pem, strlen(pem), why);
    assert_non_null(set);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        for (size_t k = 0; k < sizeof ways / sizeof ways[0]; k++)
            assert_int_equal(
                verified(set, &any,
                         signed_by(test.rsa, ways[i].digest, ways[i].pss, ways[k].header, nothing)),
                i == k ? JWT_GOOD : JWT_BAD);
    key_set_free(set);
}

/* The key says what it is for, not the token. */
static void nobody_chooses_the_algorithm(void **state)
{
    (void)state;
    char why[KEY_WHY_BYTES];
    char *pem = public_pem(test.rsa);
    struct key_set *set = key_set_of_pem(pem, strlen(pem), why);
    EVP_PKEY *confused =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, (unsigned char *)pem, strlen(pem));
    const char *token = signed_by(confused, "SHA256", false, "{\"alg\":\"HS256\"}", nothing);
    assert_int_equal(verified(set, &any, token), JWT_UNKNOWN_KEY);
    static const char *const headers[] = {"{\"alg\":\"none\"}",
                                          "{\"alg\":\"None\"}",
                                          "{\"alg\":\"\"}",
                                          "{}",
                                          "{\"alg\":null}",
                                          "{\"alg\":[\"RS256\"]}",
                                          "[\"RS256\"]",
                                          "{\"alg\":\"RS256\",\"alg\":\"RS256\"}",
                                          "{\"alg\":\"RS256\",\"crit\":[\"exp\"]}"};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        token = signed_by(test.rsa, "SHA256", false, headers[i], nothing);
        assert_int_equal(verified(set, &any, token), JWT_BAD);
    }
    assert_int_equal(verified(set, &any, "eyJhbGciOiJub25lIn0." JOE "."), JWT_BAD);
    assert_int_equal(verified(set, &any, "eyJhbGciOiJub25lIn0." JOE), JWT_BAD);
    key_set_free(set);
    EVP_PKEY_free(confused);
    /* A set may say it more narrowly, or that the key is for something else. */
    assert_int_equal(with_set(SET("{" ES_MEMBERS ",\"alg\":\"ES384\"}"), ES_TOKEN),
                     JWT_UNKNOWN_KEY);
    assert_int_equal(with_set(SET("{" ES_MEMBERS ",\"alg\":\"ES256\",\"use\":\"sig\"}"), ES_TOKEN),
                     JWT_GOOD);
    assert_int_equal(with_set(SET("{" ES_MEMBERS ",\"use\":\"enc\"}," HS_KEY), ES_TOKEN),
                     JWT_UNKNOWN_KEY);
}

static void keys_are_found_by_name(void **state)
{
    (void)state;
    struct key_set *set = set_of(SET("{\"kty\":\"oct\",\"kid\":\"a\",\"k\":"
                                     "\"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY\"}"));
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, (unsigned char *)secret_text, 32);
    assert_int_equal(
        verified(set, &any,
                 signed_by(key, "SHA256", false, "{\"alg\":\"HS256\",\"kid\":\"a\"}", nothing)),
        JWT_GOOD);
    assert_int_equal(
        verified(set, &any,
                 signed_by(key, "SHA256", false, "{\"alg\":\"HS256\",\"kid\":\"b\"}", nothing)),
        JWT_UNKNOWN_KEY);
    assert_int_equal(
        verified(set, &any, signed_by(key, "SHA256", false, "{\"alg\":\"HS256\"}", nothing)),
        JWT_GOOD);
    EVP_PKEY_free(key);
    key_set_free(set);
}

static void weak_and_broken_keys_are_none(void **state)
{
    (void)state;
    char why[KEY_WHY_BYTES];
    static const char *const sets[] = {
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        SET(""),
        SET("1,null,\"x\",[]"),
        SET("{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}"),
        SET("{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}"),
        SET("{\"kty\":\"RSA\",\"n\":\"AQAB\"}"),
        SET("{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
            "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
            "\"y\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}"), /* not on the curve */
        SET("{\"kty\":\"EC\",\"crv\":\"P-999\",\"x\":\"AA\",\"y\":\"AA\"}"),
        SET("{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AA\"}"),
        SET("{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"AA\"}"),
        "{\"keys\":[],\"keys\":[" ED_KEY "]}",
    };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        struct key_set *set = key_set_of_json(sets[i], strlen(sets[i]), true, why);
        if (set)
            fail_msg("taken: %s", sets[i]);
    }
    assert_null(key_set_of_json(SET(HS_KEY), strlen(SET(HS_KEY)), false, why));
    assert_null(key_set_of_secret("short\n", 6, why));
    assert_null(key_set_of_pem("x", 1, why));
    EVP_PKEY *small = EVP_RSA_gen(1024);
    char *pem = public_pem(small);
    assert_null(key_set_of_pem(pem, strlen(pem), why));
    EVP_PKEY_free(small);
    struct key_set *some = set_of(SET("{\"kty\":\"new\"}," ED_KEY ",{}"));
    assert_int_equal(some->count, 1); /* what is not known does not spoil the rest */
    key_set_free(some);
}

/* ---- what it says --------------------------------------------------------------------------- */

static void times_hold(void **state)
{
    (void)state;
    static const struct {
        const char *payload;
        enum jwt_result plain, lenient;
    } rows[] = {
        {"{\"exp\":1001}", JWT_GOOD, JWT_GOOD},
        {"{\"exp\":1000}", JWT_BAD, JWT_GOOD},
        {"{\"exp\":1000.5}", JWT_GOOD, JWT_GOOD},
        {"{\"exp\":990}", JWT_BAD, JWT_BAD},
        {"{\"exp\":\"2000\"}", JWT_BAD, JWT_BAD},
        {"{\"exp\":null}", JWT_BAD, JWT_BAD},
        {"{\"exp\":1e400}", JWT_BAD, JWT_BAD},
        {"{\"exp\":-1}", JWT_BAD, JWT_BAD},
        {"{}", JWT_BAD, JWT_GOOD},
        {"{\"exp\":2000,\"nbf\":1000}", JWT_GOOD, JWT_GOOD},
        {"{\"exp\":2000,\"nbf\":1001}", JWT_BAD, JWT_GOOD},
        {"{\"exp\":2000,\"nbf\":1011}", JWT_BAD, JWT_BAD},
        {"{\"exp\":2000,\"iat\":1001}", JWT_BAD, JWT_GOOD},
        {"{\"exp\":2000,\"iat\":1011}", JWT_BAD, JWT_BAD},
    };
    static const struct guard_jwt lenient = {.leeway_s = 10, .endless = true};
    test.now = 1000;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (said_result(&any, rows[i].payload) != rows[i].plain)
            fail_msg("%s", rows[i].payload);
        if (said_result(&lenient, rows[i].payload) != rows[i].lenient)
            fail_msg("leniently: %s", rows[i].payload);
    }
}

static void it_is_from_and_for_whom_it_must_be(void **state)
{
    (void)state;
    static const struct guard_rule rule[] = {{"realm.roles", "admin"}, {"level", "3"}};
    static const struct guard_jwt rules = {
        .issuer = "idp", .audience = "shop", .claims = rule, .claim_count = 2, .endless = true};
    static const struct {
        const char *payload;
        enum jwt_result result;
    } rows[] = {
        {"{\"iss\":\"idp\",\"aud\":\"shop\",\"realm\":{\"roles\":[\"x\",\"admin\"]},\"level\":3}",
         JWT_GOOD},
        {"{\"iss\":\"idp\",\"aud\":[\"a\",\"shop\"],\"realm.roles\":\"admin\",\"level\":\"3\"}",
         JWT_GOOD},
        {"{\"iss\":\"idp2\",\"aud\":\"shop\",\"realm.roles\":\"admin\",\"level\":3}", JWT_BAD},
        {"{\"iss\":[\"idp\"],\"aud\":\"shop\",\"realm.roles\":\"admin\",\"level\":3}", JWT_BAD},
        {"{\"aud\":\"shop\",\"realm.roles\":\"admin\",\"level\":3}", JWT_BAD},
        {"{\"iss\":\"idp\",\"aud\":\"shop2\",\"realm.roles\":\"admin\",\"level\":3}", JWT_BAD},
        {"{\"iss\":\"idp\",\"aud\":\"shop\\u0000\",\"realm.roles\":\"admin\",\"level\":3}",
         JWT_BAD},
        {"{\"iss\":\"idp\",\"aud\":\"shop\",\"realm.roles\":\"adm\",\"level\":3}", JWT_NOT_ENOUGH},
        {"{\"iss\":\"idp\",\"aud\":\"shop\",\"realm.roles\":\"admin\",\"level\":4}",
         JWT_NOT_ENOUGH},
        {"{\"iss\":\"idp\",\"aud\":\"shop\",\"realm\":\"admin\",\"level\":3}", JWT_NOT_ENOUGH},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (said_result(&rules, rows[i].payload) != rows[i].result)
            fail_msg("%s", rows[i].payload);
}

static void claims_become_variables(void **state)
{
    (void)state;
    static const struct guard_jwt rules = {.endless = true};
    static const char *const expected[] = {"a=text",        "b=1",   "c.d=true", "c.e.f=x",
                                           "g=1,two,false", "i=1.5", NULL};
    assert_int_equal(said_result(&rules,
                                 "{\"a\":\"text\",\"b\":1,\"c\":{\"d\":true,\"e\":{\"f\":"
                                 "\"x\"}},\"g\":[1,\"two\",false,{}],\"h\":null,\"i\":1.5}"),
                     JWT_GOOD);
    for (size_t i = 0; expected[i]; i++) {
        char text[64];
        snprintf(text, sizeof text, "%.*s=%.*s", (int)test.claims[i].name.length,
                 test.claims[i].name.bytes, (int)test.claims[i].value.length,
                 test.claims[i].value.bytes);
        assert_string_equal(text, expected[i]);
    }
    assert_int_equal(test.count, 6);
}

static void many_claims_and_deep_ones_are_bounded(void **state)
{
    (void)state;
    static const struct guard_jwt rules = {.endless = true};
    char payload[4096] = "{\"x\":1";
    for (int i = 0; i < 200; i++)
        snprintf(payload + strlen(payload), sizeof payload - strlen(payload), ",\"c%d\":1", i);
    strcat(payload, "}");
    assert_int_equal(said_result(&rules, payload), JWT_GOOD);
    assert_int_equal(test.count, JWT_CLAIMS_MAX);
    payload[0] = 0;
    for (int i = 0; i < 300; i++)
        strcat(payload, "{\"a\":");
    strcat(payload, "1");
    for (int i = 0; i < 300; i++)
        strcat(payload, "}");
    assert_int_equal(said_result(&rules, payload), JWT_GOOD);
    assert_int_equal(test.count, 0);
}

static int keys_make(void **state)
{
    (void)state;
    test.rsa = EVP_RSA_gen(2048);
    return test.rsa ? 0 : -1;
}

static int keys_free(void **state)
{
    (void)state;
    EVP_PKEY_free(test.rsa);
    return 0;
}

int main(void)
{
#define TEST(it) cmocka_unit_test_setup_teardown(it, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_examples_of_the_standards),
        TEST(one_bit_is_too_much),
        TEST(rsa_in_all_ways),
        TEST(nobody_chooses_the_algorithm),
        TEST(keys_are_found_by_name),
        TEST(weak_and_broken_keys_are_none),
        TEST(times_hold),
        TEST(it_is_from_and_for_whom_it_must_be),
        TEST(claims_become_variables),
        TEST(many_claims_and_deep_ones_are_bounded),
    };
    return cmocka_run_group_tests(tests, keys_make, keys_free);
}
