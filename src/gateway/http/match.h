/* The matcher: a site compiled, so that finding a request's route costs the same with ten hosts or
 * ten thousand, and with ten routes or a thousand. Immutable; part of a generation; any thread.
 *
 * Hosts: exact names before wildcards, of these the longest; `*.a.b` matches any depth below a.b;
 * then the site's rest. Routes, whatever their order: exact paths, then prefixes (the longest
 * first), where regular expressions and globs stand before the prefix of the same host when they
 * are longer in their fixed first bytes, in the order of the file among equals; of routes with the
 * same path those with more conditions (methods, headers) first. A path is matched with its
 * percent-encoding of unreserved bytes undone and dot segments removed (RFC 3986 §6.2.2), as
 * origins read it; what is sent on stays as the client sent it. */
#pragma once

#include <stdint.h>

#include "gateway/http/head.h"
#include "topology/site.h"

struct match;

/* 0 or -errno; `why`: a regular expression that PCRE2 refuses. The site must outlive it. */
int match_new(const struct site *site, struct match **ret_match, char *why, size_t why_size);
void match_free(struct match *match);
uint32_t match_route_count(const struct match *match);
const struct route *match_route(const struct match *match, uint32_t number);

enum match_result {
    MATCH_FOUND,
    MATCH_NONE,     /* 404 */
    MATCH_METHOD,   /* the path matches, no method does: 405; `allow` */
    MATCH_BAD_PATH, /* climbs above the root, or encodes a NUL: 400 */
};

struct matched {
    const struct route *route;
    uint32_t number;           /* of the route: 0 … match_route_count - 1 */
    struct slice captures[10]; /* into the normalised path, which lives in the scratch */
};

enum { MATCH_SCRATCH_BYTES = 64 * 1024 };
/* `scratch` holds the normalised path (MATCH_SCRATCH_BYTES). */
enum match_result match_find(const struct match *match, const struct head *request, char *scratch,
                             struct matched *ret_matched);
