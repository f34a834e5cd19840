/* What tells stored answers apart: the primary key (RFC 9111 §2) and, where an answer has Vary,
 * what the request says in the fields that it names (§4.1). Pure; the caller has the memory.
 *
 * A key is lines of text: the listener, since two of them may lead elsewhere with the same host;
 * the route, if it was chosen by a header and not by the target alone; then scheme, host and
 * target, or what the route's `key=` makes. The host is in lower case and has no port that is the
 * scheme's own. The target stays byte by byte as the service gets it: what two servers could read
 * differently
 * (%41 for A, `//`, `..`) is not made one, or a client could have one answer stored for the other.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/http/head.h"

enum {
    CACHE_KEY_BYTES_MAX = 8 * 1024, /* a longer one: not cached */
    VARY_NAMES_MAX = 16,            /* more: not stored */
    VARY_BYTES_MAX = 8 * 1024,
};

struct cache_key_parts {
    struct slice listener, route; /* route "": chosen by the target alone */
    struct slice scheme, host, target;
    uint16_t port;       /* of the authority; 0: none stated */
    struct slice custom; /* instead of scheme, host and target; bytes NULL: none */
};

struct cache_key {
    uint64_t hash;
    const char *bytes;
    uint32_t length;
    uint32_t url; /* where the host and the target begin: for purges; custom keys: where it does */
};

/* Writes the key's text to `room` (CACHE_KEY_BYTES_MAX). False: it is too long, or a part has a
 * control byte in it. */
bool cache_key_make(const struct cache_key_parts *parts, char *room, struct cache_key *ret_key);

/* The names in all Vary fields of a response, in lower case, with commas between them, into `room`
 * (VARY_BYTES_MAX). Bytes; -1: too many, too long, or not a list of names. */
int vary_names(const struct field *fields, uint32_t count, char *room);
/* What a request has in the fields of these names, to be compared byte by byte: values of one name
 * joined, without white space around commas. Into `room` (VARY_BYTES_MAX). Bytes; -1: too long. */
int vary_values(struct slice names, const struct head *request, char *room);
