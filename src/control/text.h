/* Text from outside as JSON: what programs say, names of files. jansson refuses what is not UTF-8, and
 * one bad byte should not cost the whole answer. */
#pragma once

#include <jansson.h>

/* A new reference: a string in which each byte that belongs to no character of UTF-8 (RFC 3629) is
 * U+FFFD; null for NULL. NULL: no memory. */
json_t *json_text(const char *text);
