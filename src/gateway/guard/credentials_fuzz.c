/* Fuzz target: any bytes as the value of Authorization. What is taken has one text only: encoded
 * again it is what was sent. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/guard/base64.h"
#include "gateway/guard/credentials.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t encode(const uint8_t *bytes, size_t length, char *out)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = 0;
    for (size_t i = 0; i < length; i += 3) {
        uint32_t bits = (uint32_t)bytes[i] << 16;
        bits |= i + 1 < length ? (uint32_t)bytes[i + 1] << 8 : 0;
        bits |= i + 2 < length ? bytes[i + 2] : 0;
        out[at++] = letters[bits >> 18];
        out[at++] = letters[bits >> 12 & 63];
        out[at++] = i + 1 < length ? letters[bits >> 6 & 63] : '=';
        out[at++] = i + 2 < length ? letters[bits & 63] : '=';
    }
    return at;
}

static void base64_verify(const char *text, size_t length)
{
    uint8_t *bytes = malloc(base64_bytes_max(length));
    char *again = malloc(2 * length + 8);
    ssize_t count = base64_decode(BASE64_USUAL, text, length, bytes);
    if (count >= 0 &&
        (encode(bytes, (size_t)count, again) != length || memcmp(again, text, length) != 0))
        abort();
    base64_decode(BASE64_URL, text, length, bytes);
    free(bytes);
    free(again);
}

static void credentials_verify(const struct credentials *credentials)
{
    size_t user = strlen(credentials->user), password = strlen(credentials->password);
    if (!user || user > CREDENTIALS_USER_BYTES_MAX || password > CREDENTIALS_PASSWORD_BYTES_MAX ||
        strchr(credentials->user, ':') || strchr(credentials->user, '\n'))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct field field = {.name = SLICE("Authorization")};
    struct credentials credentials;
    char *text = malloc(size + 1);
    if (!text || size > UINT32_MAX)
        return 0;
    memcpy(text, data, size);
    field.value = (struct slice){text, (uint32_t)size};
    struct head request = {.fields = &field, .field_count = 1};
    struct slice rest;
    base64_verify(text, size);
    if (credentials_find(&request, "Basic", &rest)) {
        if (rest.bytes < text || rest.bytes + rest.length != text + size)
            abort();
        if (credentials_parse(rest, &credentials))
            credentials_verify(&credentials);
    }
    free(text);
    return 0;
}
