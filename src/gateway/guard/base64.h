/* Base64 (RFC 4648), strictly: nothing but the alphabet, padding as it must be (in the URL
 * alphabet: none), no bits that mean nothing. So each text has one meaning, and each meaning one
 * text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum base64_alphabet { BASE64_USUAL, BASE64_URL };

/* Bytes that a text of so many can be, at most. */
static inline size_t base64_bytes_max(size_t length)
{
    return length / 4 * 3 + 3;
}

/* The number of bytes written to `out` (room for base64_bytes_max); -1: not Base64. */
ssize_t base64_decode(enum base64_alphabet alphabet, const char *text, size_t length, void *out);
