/* Request variables in patterns ($host, $path, $1 …; topology/pattern.h), rewrites of the target,
 * and header rules. Results live in the exchange's arena, or where the pattern does; whatever came
 * from outside has lost its control bytes on the way, so that it cannot end a line. */
#pragma once

#include "gateway/http/exchange.h"

/* Never NULL, but with no memory: then `bytes` is. Variables that have no value are "" — also $host
 * when what the client sent is neither a name nor an address. */
struct slice expand_pattern(struct exchange *exchange, const char *pattern);

/* The target as the upstream gets it, after the route's rewrites; without any it is the client's,
 * byte by byte. A rewritten path is in the normal form (http/path.h). Rules that do not apply (a
 * prefix that is not there) change nothing. A replacement with `?` gives the query as well, else
 * the client's stays. `bytes` NULL: no memory, or no path comes of it (it climbs above the root,
 * an expression reached its bounds): 400. */
struct slice expand_target(struct exchange *exchange);

/* The fields of a request or response after the route's rules: `fields` itself when there are none,
 * else an array in the arena; the texts of those that stay are not copied. NULL: no memory. `set`
 * takes all of that name away first; a value that expands to nothing is not sent. */
const struct field *expand_fields(struct exchange *exchange, bool response,
                                  const struct field *fields, uint32_t count, uint32_t *ret_count);
