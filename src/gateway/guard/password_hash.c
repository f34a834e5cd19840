#include "gateway/guard/password_hash.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MD5_BYTES = 16, APR1_SALT_BYTES_MAX = 8, APR1_ROUNDS = 1000, APR1_TEXT_BYTES = 22 };

static const char apr1_mark[] = "$apr1$";
enum { APR1_MARK_BYTES = sizeof apr1_mark - 1 };

/* ---- apr1: crypt's MD5 with another mark ----------------------------------------------------- */

struct apr1 {
    EVP_MD_CTX *md;
    const char *password, *salt;
    size_t password_bytes, salt_bytes;
    bool failed;
};

static void begin(struct apr1 *apr1)
{
    apr1->failed |= EVP_DigestInit_ex(apr1->md, EVP_md5(), NULL) != 1;
}

static void add(struct apr1 *apr1, const void *bytes, size_t length)
{
    apr1->failed |= EVP_DigestUpdate(apr1->md, bytes, length) != 1;
}

static void end(struct apr1 *apr1, uint8_t sum[MD5_BYTES])
{
    apr1->failed |= EVP_DigestFinal_ex(apr1->md, sum, NULL) != 1;
}

static void apr1_first(struct apr1 *apr1, uint8_t sum[MD5_BYTES])
{
    begin(apr1);
    add(apr1, apr1->password, apr1->password_bytes);
    add(apr1, apr1->salt, apr1->salt_bytes);
    add(apr1, apr1->password, apr1->password_bytes);
    end(apr1, sum);
    begin(apr1);
    add(apr1, apr1->password, apr1->password_bytes);
    add(apr1, apr1_mark, APR1_MARK_BYTES);
    add(apr1, apr1->salt, apr1->salt_bytes);
    for (size_t left = apr1->password_bytes; left; left -= left < MD5_BYTES ? left : MD5_BYTES)
        add(apr1, sum, left < MD5_BYTES ? left : MD5_BYTES);
    for (size_t bits = apr1->password_bytes; bits; bits >>= 1)
        add(apr1, bits & 1 ? "" : apr1->password, 1);
    end(apr1, sum);
}

static void apr1_round(struct apr1 *apr1, int number, uint8_t sum[MD5_BYTES])
{
    begin(apr1);
    if (number & 1)
        add(apr1, apr1->password, apr1->password_bytes);
    else
        add(apr1, sum, MD5_BYTES);
    if (number % 3)
        add(apr1, apr1->salt, apr1->salt_bytes);
    if (number % 7)
        add(apr1, apr1->password, apr1->password_bytes);
    if (number & 1)
        add(apr1, sum, MD5_BYTES);
    else
        add(apr1, apr1->password, apr1->password_bytes);
    end(apr1, sum);
}

static void apr1_text(const uint8_t sum[MD5_BYTES], char text[APR1_TEXT_BYTES + 1])
{
    static const char letters[] =
        "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const uint8_t order[6][3] = {{0, 6, 12}, {1, 7, 13}, {2, 8, 14},
                                        {3, 9, 15}, {4, 10, 5}, {16, 16, 11}};
    for (int i = 0; i < 6; i++) {
        uint32_t bits = i == 5 ? sum[11]
                               : (uint32_t)sum[order[i][0]] << 16 |
                                     (uint32_t)sum[order[i][1]] << 8 | sum[order[i][2]];
        for (int k = 0; k < (i == 5 ? 2 : 4); k++, bits >>= 6)
            *text++ = letters[bits & 63];
    }
    *text = 0;
}

static bool apr1_matches(const char *password, const char *hash)
{
    const char *salt = hash + APR1_MARK_BYTES, *salt_end = strchr(salt, '$');
    uint8_t sum[MD5_BYTES];
    char text[APR1_TEXT_BYTES + 1];
    if (!salt_end || strlen(salt_end + 1) != APR1_TEXT_BYTES)
        return false;
    size_t salt_bytes = (size_t)(salt_end - salt);
    struct apr1 apr1 = {
        .md = EVP_MD_CTX_new(),
        .password = password,
        .salt = salt,
        .password_bytes = strlen(password),
        .salt_bytes = salt_bytes < APR1_SALT_BYTES_MAX ? salt_bytes : APR1_SALT_BYTES_MAX,
    };
    if (!apr1.md)
        return false;
    apr1_first(&apr1, sum);
    for (int i = 0; i < APR1_ROUNDS; i++)
        apr1_round(&apr1, i, sum);
    EVP_MD_CTX_free(apr1.md);
    apr1_text(sum, text);
    return !apr1.failed && CRYPTO_memcmp(text, salt_end + 1, APR1_TEXT_BYTES) == 0;
}

/* ---- the system's --------------------------------------------------------------------------- */

/* crypt_rn gives NULL for a hash that is none, and no sanitizer knows it better. */
static bool crypt_matches(const char *password, const char *hash)
{
    struct crypt_data *data = calloc(1, sizeof *data); /* 32 KiB */
    const char *made = data ? crypt_rn(password, hash, data, (int)sizeof *data) : NULL;
    size_t length = strlen(hash);
    bool matches = made && strlen(made) == length && CRYPTO_memcmp(made, hash, length) == 0;
    if (data)
        explicit_bzero(data, sizeof *data);
    free(data);
    return matches;
}

bool password_hash_matches(const char *password, const char *hash)
{
    if (strncmp(hash, apr1_mark, APR1_MARK_BYTES) == 0)
        return apr1_matches(password, hash);
    return crypt_matches(password, hash);
}
