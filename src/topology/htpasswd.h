/* Lines of a file of passwords, as htpasswd(1) writes them: `NAME:HASH`, `#` begins a comment.
 * Hashes are those of crypt(5) that are made for passwords — bcrypt ($2y$), yescrypt ($y$),
 * SHA-crypt ($5$, $6$) — and Apache's $apr1$; others are refused: plain text, {SHA} and DES are no
 * protection. So are hashes that would keep a processor busy for seconds. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum {
    HTPASSWD_NAME_BYTES_MAX = 128,
    HTPASSWD_HASH_BYTES_MAX = 255,
    HTPASSWD_BCRYPT_COST_MAX = 14, /* about a second */
    HTPASSWD_SHA_ROUNDS_MAX = 2000000,
};

enum htpasswd_result { HTPASSWD_USER, HTPASSWD_NOTHING, HTPASSWD_BAD };

struct htpasswd_line {
    const char *name; /* into the line, not ended by a 0 */
    size_t name_length;
    const char *hash;
    size_t hash_length;
    const char *problem; /* HTPASSWD_BAD: a sentence's end: "has no `:`"; never the line's text */
};

/* NOTHING: an empty line, or a comment. A further field behind another `:` is left out. */
enum htpasswd_result htpasswd_read(const char *line, size_t length, struct htpasswd_line *ret_line);
