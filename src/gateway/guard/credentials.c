#include "gateway/guard/credentials.h"

#include <string.h>

#include "gateway/guard/base64.h"

enum {
    TEXT_BYTES_MAX = (CREDENTIALS_USER_BYTES_MAX + 1 + CREDENTIALS_PASSWORD_BYTES_MAX + 2) / 3 * 4
};

bool credentials_find(const struct head *request, const char *scheme, struct slice *ret_rest)
{
    const struct field *found = NULL;
    size_t length = strlen(scheme);
    for (uint32_t i = 0; i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        if (field->id != FIELD_OTHER || !slice_is_nocase(field->name, "authorization"))
            continue;
        if (found)
            return false;
        found = field;
    }
    if (!found || found->value.length <= length || found->value.bytes[length] != ' ')
        return false;
    struct slice word = {found->value.bytes, (uint32_t)length};
    const char *rest = found->value.bytes + length, *end = found->value.bytes + found->value.length;
    while (rest < end && *rest == ' ')
        rest++;
    *ret_rest = (struct slice){rest, (uint32_t)(end - rest)};
    return slice_is_nocase(word, scheme) && ret_rest->length;
}

static bool user_good(const char *user, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)user[i] < ' ' || user[i] == 0x7f)
            return false;
    return length > 0 && length <= CREDENTIALS_USER_BYTES_MAX;
}

bool credentials_parse(struct slice text, struct credentials *ret_credentials)
{
    char bytes[TEXT_BYTES_MAX / 4 * 3 + 3];
    if (text.length > TEXT_BYTES_MAX)
        return false;
    ssize_t length = base64_decode(BASE64_USUAL, text.bytes, text.length, bytes);
    const char *colon = length > 0 ? memchr(bytes, ':', (size_t)length) : NULL;
    size_t user = colon ? (size_t)(colon - bytes) : 0;
    size_t password = colon ? (size_t)length - user - 1 : 0;
    bool good = colon && user_good(bytes, user) && password <= CREDENTIALS_PASSWORD_BYTES_MAX &&
                !memchr(colon + 1, 0, password);
    if (good) {
        memcpy(ret_credentials->user, bytes, user);
        ret_credentials->user[user] = 0;
        memcpy(ret_credentials->password, colon + 1, password);
        ret_credentials->password[password] = 0;
    }
    explicit_bzero(bytes, sizeof bytes);
    return good;
}
