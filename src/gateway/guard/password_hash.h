/* Is this the password of that hash? crypt(3) of the system's libcrypt, and Apache's apr1. Slow by
 * design: milliseconds to a second. Any thread. */
#pragma once

#include <stdbool.h>

/* `hash` is one that topology/htpasswd.h takes. */
bool password_hash_matches(const char *password, const char *hash);
