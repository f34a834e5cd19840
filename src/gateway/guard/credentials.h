/* What a client says of itself in Authorization: `Basic` (RFC 7617) or `Bearer` (RFC 6750). Pure.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "gateway/http/head.h"

enum { CREDENTIALS_USER_BYTES_MAX = 128, CREDENTIALS_PASSWORD_BYTES_MAX = 512 };

/* The credentials of that scheme ("Basic"; any case), without it. False: there are none, or there
 * is more than one Authorization. */
bool credentials_find(const struct head *request, const char *scheme, struct slice *ret_rest);

struct credentials { /* wipe it: explicit_bzero */
    char user[CREDENTIALS_USER_BYTES_MAX + 1];
    char password[CREDENTIALS_PASSWORD_BYTES_MAX + 1];
};

/* `dXNlcjpwYXNz`: false: not Base64, no `:`, too long, or with control bytes in the name or a NUL
 * in the password. */
bool credentials_parse(struct slice text, struct credentials *ret_credentials);
