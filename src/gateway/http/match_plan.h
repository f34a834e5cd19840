/* What a compiled matcher consists of: for match_build.c, which makes it, and match.c, which looks
 * things up in it. Everything lives in the matcher's arena but the regular expressions. */
#pragma once

#include "base/arena.h"
#include "gateway/http/match.h"

enum { PLAN_NONE = UINT32_MAX };

struct candidate { /* a route; stands under its number */
    const struct route *route;
    struct regex *regex;     /* PATH_REGEX */
    struct regex **rewrites; /* by place among the route's rewrites; NULL: none is a regex */
    struct slice glob;       /* PATH_GLOB, in the normal form */
    uint32_t next;           /* the next one of its chain; PLAN_NONE */
    uint32_t fixed;          /* of a regex or glob: bytes that it begins with */
    uint32_t methods;        /* 1 << enum http_method; 0: all */
    uint32_t conditions;
    uint32_t rewrite_count; /* the route's, which may be gone when this is freed */
};

struct chain { /* of candidates, in the order in which they are tried */
    uint32_t first;
    uint32_t last;
};

/* A text of a host that routes hang on: a path or prefix, or what a pattern begins with, up to a
 * slash. */
struct place {
    uint64_t hash;
    const char *text;
    uint32_t length;
    uint32_t host;
    struct chain exact;
    struct chain patterns;
    struct chain prefixes;
};

struct host_plan {
    uint64_t seed;    /* of the hashes of its places */
    uint64_t lengths; /* of its places: bit (length mod 64) */
    uint32_t longest;
};

struct host_name {
    uint64_t hash;
    const char *text; /* of a wildcard: what follows `*.` */
    uint32_t length;
    uint32_t host;
    bool wildcard;
};

struct slots { /* open addressing: hash's upper half, index + 1; 0: free */
    uint64_t *slots;
    uint64_t mask;
};

struct match {
    struct arena *arena;
    struct candidate *candidates;
    struct place *places;
    struct host_plan *hosts;
    struct host_name *names;
    struct slots place_slots;
    struct slots name_slots;
    uint64_t wildcard_lengths; /* bit (length mod 64) */
    uint32_t candidate_count;
    uint32_t place_count;
    uint32_t name_count;
    uint32_t rest; /* the host of all other names; PLAN_NONE */
};

/* FNV-1a. Only texts of the configuration are in the tables, so nobody can fill a chain; a step can
 * be taken byte by byte, which gives the hash of each beginning on the way. */
static inline uint64_t plan_hash_step(uint64_t hash, char byte)
{
    return (hash ^ (unsigned char)byte) * 0x100000001b3ull;
}
static inline uint64_t plan_hash_end(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= 0x9e3779b97f4a7c15ull;
    return hash ^ hash >> 29;
}
static inline uint64_t plan_name_seed(bool wildcard)
{
    return wildcard ? 0x84222325cbf29ce4ull : 0xcbf29ce484222325ull;
}
/* Names are hashed from their end on, which gives the hash of each parent domain on the way. */
static inline char plan_lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte + 32) : byte;
}

const struct place *plan_place(const struct match *match, uint32_t host, uint64_t hash,
                               const char *text, uint32_t length);
const struct host_name *plan_name(const struct match *match, bool wildcard, uint64_t hash,
                                  const char *text, uint32_t length);
