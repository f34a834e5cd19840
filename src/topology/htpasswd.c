#include "topology/htpasswd.h"

#include <ctype.h>
#include <string.h>

struct text {
    const char *bytes;
    size_t length;
};

static bool begins(struct text text, const char *with)
{
    size_t length = strlen(with);
    return text.length > length && memcmp(text.bytes, with, length) == 0;
}

/* The alphabet of crypt(5), `$` between its parts, `=` and `,` of parameters. */
static bool hash_bytes_good(struct text hash)
{
    for (size_t i = 0; i < hash.length; i++) {
        unsigned char byte = (unsigned char)hash.bytes[i];
        if (!isalnum(byte) && !strchr("./$=,", byte))
            return false;
    }
    return memchr(hash.bytes, 0, hash.length) == NULL;
}

/* "$2y$10$" and 53 characters. */
static const char *bcrypt_problem(struct text hash)
{
    const char *at = hash.bytes;
    if (hash.length != 60 || !strchr("aby", at[2]) || !isdigit((unsigned char)at[4]) ||
        !isdigit((unsigned char)at[5]) || at[6] != '$')
        return "has a broken bcrypt hash";
    int cost = (at[4] - '0') * 10 + at[5] - '0';
    if (cost < 4 || cost > HTPASSWD_BCRYPT_COST_MAX)
        return "has a bcrypt hash that takes too long: its cost is 14 at most";
    return NULL;
}

/* "$6$rounds=5000$salt$hash". */
static const char *sha_problem(struct text hash)
{
    struct text rest = {hash.bytes + 3, hash.length - 3};
    if (!begins(rest, "rounds="))
        return NULL;
    unsigned long rounds = 0;
    for (size_t i = 7; i < rest.length && isdigit((unsigned char)rest.bytes[i]); i++)
        if (rounds <= HTPASSWD_SHA_ROUNDS_MAX)
            rounds = rounds * 10 + (unsigned long)(rest.bytes[i] - '0');
    return rounds > HTPASSWD_SHA_ROUNDS_MAX ? "has a hash that takes too long: too many rounds"
                                            : NULL;
}

static const char *hash_problem(struct text hash)
{
    if (!hash.length)
        return "has no hash";
    if (hash.length > HTPASSWD_HASH_BYTES_MAX || !hash_bytes_good(hash))
        return "has a hash that is none";
    if (begins(hash, "$2"))
        return bcrypt_problem(hash);
    if (begins(hash, "$5$") || begins(hash, "$6$"))
        return sha_problem(hash);
    if (begins(hash, "$y$") || begins(hash, "$apr1$"))
        return NULL;
    return "has a hash of a kind that is not taken: bcrypt, yescrypt, SHA-crypt and apr1 are";
}

static bool name_good(struct text name)
{
    for (size_t i = 0; i < name.length; i++)
        if ((unsigned char)name.bytes[i] < ' ' || name.bytes[i] == 0x7f)
            return false;
    return name.length && name.length <= HTPASSWD_NAME_BYTES_MAX;
}

enum htpasswd_result htpasswd_read(const char *line, size_t length, struct htpasswd_line *ret_line)
{
    while (length && isspace((unsigned char)line[length - 1]))
        length--;
    if (!length || line[0] == '#')
        return HTPASSWD_NOTHING;
    const char *colon = memchr(line, ':', length);
    struct text name = {line, colon ? (size_t)(colon - line) : 0};
    struct text hash = {colon ? colon + 1 : line, colon ? length - name.length - 1 : 0};
    const char *further = memchr(hash.bytes, ':', hash.length);
    if (further)
        hash.length = (size_t)(further - hash.bytes);
    *ret_line = (struct htpasswd_line){
        .name = name.bytes,
        .name_length = name.length,
        .hash = hash.bytes,
        .hash_length = hash.length,
        .problem = !colon             ? "has no `:`"
                   : !name_good(name) ? "has no name, or one that is too long"
                                      : hash_problem(hash),
    };
    return ret_line->problem ? HTPASSWD_BAD : HTPASSWD_USER;
}
