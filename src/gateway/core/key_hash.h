/* SipHash-2-4 (Aumasson, Bernstein 2012), 64 bits: a hash of what clients send, of which nobody
 * without the secret can find two that are the same. The secret is the process' own. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct key_secret {
    uint64_t first, second;
};

uint64_t key_hash(const struct key_secret *secret, const void *bytes, size_t length);
/* Of the process; made when it is first asked for. Any thread. */
const struct key_secret *key_secret(void);
