/* The matcher: a site compiled, so that finding a request's route costs the same with ten hosts or
 * ten thousand, and with ten routes or a thousand. Immutable; part of a generation; any thread.
 *
 * Hosts: exact names before wildcards, of these the longest; `*.a.b` matches any depth below a.b;
 * then the site's rest (`*`). The host that matches best decides alone: when it has no route for
 * the path, that is 404. Case and one dot at the end make no difference.
 *
 * Routes, whatever their order in the file: exact paths, then prefixes (the longest first), where
 * regular expressions and globs stand before a prefix that is not longer than their fixed first
 * bytes up to a slash (`/` at least: `*.php` stands before `/`, and `/api/` before `*.php`), those
 * with more fixed bytes first, in the order of the file among equals; of routes with the same path
 * those with more conditions (methods, headers) first. A route whose conditions do not hold is
 * passed over. `method=GET` serves HEAD, too.
 *
 * A path is matched with its percent-encoding of unreserved bytes undone and dot segments removed
 * (path.h), as origins read it, and routes' paths are brought into the same form; what is sent on
 * stays as the client sent it. */
#pragma once

#include <stdint.h>

#include "gateway/http/head.h"
#include "topology/site.h"

struct match;
struct regex;

/* 0; -ENOMEM; -EINVAL with `why`: a regular expression that PCRE2 refuses, a path that none can be.
 * The site must outlive its use. */
int match_new(const struct site *site, struct match **ret_match, char *why, size_t why_size);
void match_free(struct match *match); /* accepts NULL */
uint32_t match_route_count(const struct match *match);
const struct route *match_route(const struct match *match, uint32_t number);
/* The compiled expression of a route's rewrite; NULL: that one has none. */
const struct regex *match_rewrite(const struct match *match, uint32_t number, size_t rewrite);

enum match_result {
    MATCH_FOUND,
    MATCH_NONE,     /* 404 */
    MATCH_METHOD,   /* the path matches, no method does: 405; `allow` */
    MATCH_BAD_PATH, /* climbs above the root, encodes a NUL, is too long, or costs a regular
                       expression more than its bounds: 400 */
};

struct matched {
    const struct route *route;
    uint32_t number;           /* of the route: 0 … match_route_count - 1 */
    struct slice captures[10]; /* into the normalised path, which lives in the scratch */
    struct slice allow;        /* MATCH_METHOD: "GET, HEAD, POST"; in the scratch */
};

enum {
    MATCH_PATH_BYTES_MAX = 63 * 1024, /* of a normalised path */
    MATCH_ALLOW_BYTES_MAX = 1024,
    MATCH_SCRATCH_BYTES = MATCH_PATH_BYTES_MAX + MATCH_ALLOW_BYTES_MAX,
    MATCH_KEY_BYTES_MAX = 1024, /* of a route's path */
};
/* Allocates nothing (but once a thread, for regular expressions). */
enum match_result match_find(const struct match *match, const struct head *request, char *scratch,
                             struct matched *ret_matched);
