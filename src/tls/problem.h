/* What OpenSSL says went wrong, in words; private to tls/. */
#pragma once

#include <stddef.h>

/* The newest of the thread's error queue, which is emptied. Never empty text. */
void problem_take(char *why, size_t size);
