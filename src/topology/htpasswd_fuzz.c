/* Fuzz target: any bytes are lines of a file of passwords, or refused. What is taken keeps to its
 * bounds, lies in the line, and ends nothing that it is put into. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "topology/htpasswd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void user_verify(const struct htpasswd_line *user, const char *line, size_t length)
{
    if (user->name != line || user->name_length == 0 ||
        user->name_length > HTPASSWD_NAME_BYTES_MAX || user->hash <= line ||
        user->hash + user->hash_length > line + length ||
        user->hash_length > HTPASSWD_HASH_BYTES_MAX)
        abort();
    if (memchr(user->name, ':', user->name_length) || memchr(user->hash, 0, user->hash_length) ||
        memchr(user->hash, ':', user->hash_length) || user->hash[0] != '$')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data, *end = text + size;
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = newline ? (size_t)(newline - text) : (size_t)(end - text);
        char *line = malloc(length + 1); /* of exactly this length, so that a step beyond shows */
        struct htpasswd_line user;
        if (!line)
            return 0;
        memcpy(line, text, length);
        enum htpasswd_result result = htpasswd_read(line, length, &user);
        if (result == HTPASSWD_USER)
            user_verify(&user, line, length);
        if (result == HTPASSWD_BAD && !user.problem)
            abort();
        free(line);
        text += length + 1;
    }
    return 0;
}
