/* Fuzz target: the first line of any bytes as a JWK set, the rest as a token. Whatever is taken has
 * a signature that no fuzzer can make, but for the seeds'; so what it says is looked at without. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/guard/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA_BYTES = 1 << 18 };

/* RFC 7515 A.1. */
static const char known[] =
    "{\"keys\":[{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKt"
    "MN3Yj0iPS4hcgUuTwjAzZr1Z9CAow\"}]}";

static void token_try(const struct key_set *keys, const char *token, size_t length)
{
    static const struct guard_rule rule = {"a.b", "c"};
    static const struct guard_jwt rules = {.issuer = "joe", .claims = &rule, .claim_count = 1};
    struct bump_store *store = bump_store_new(2);
    struct bump *arena = bump_new(store, ARENA_BYTES);
    const struct guard_claim *claims = NULL;
    const char *why = NULL;
    uint32_t count = 0;
    struct slice text = {token, (uint32_t)length};
    enum jwt_result result =
        jwt_verify(keys, &rules, text, 1300819379, arena, &claims, &count, &why);
    if (count > JWT_CLAIMS_MAX || (result != JWT_GOOD && !why))
        abort();
    bump_free(arena);
    bump_store_free(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[KEY_WHY_BYTES];
    const char *text = (const char *)data;
    const char *newline = size ? memchr(text, '\n', size) : NULL;
    size_t length = newline ? (size_t)(newline - text) : size;
    struct key_set *set = key_set_of_json(text, length, size & 1, why);
    if (set && (set->count == 0 || set->count > KEYS_MAX))
        abort();
    if (newline && set)
        token_try(set, newline + 1, size - length - 1);
    key_set_free(set);
    set = key_set_of_json(known, sizeof known - 1, true, why);
    if (newline)
        token_try(set, newline + 1, size - length - 1);
    key_set_free(set);
    key_set_free(key_set_of_pem(text, length, why));
    return 0;
}
