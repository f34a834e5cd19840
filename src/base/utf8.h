/* UTF-8 (RFC 3629). Pure. */
#pragma once

#include <stddef.h>

/* Bytes of the well-formed sequence at `text`, 1 … 4; 0: it is none. `left` > 0 may be read. */
size_t utf8_sequence(const unsigned char *text, size_t left);
