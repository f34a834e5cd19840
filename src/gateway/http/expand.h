/* Request variables in patterns ($host, $path, $1 …; topology/site.h), rewrites of the target, and
 * header rules. Results live in the exchange's arena. */
#pragma once

#include "gateway/http/exchange.h"

/* All names that a pattern may hold; ends with NULL; topology checks patterns against the same
 * list (topology/pattern.h). */
struct slice expand_pattern(struct exchange *exchange, const char *pattern);
/* The target as the upstream gets it, after the route's rewrites. */
struct slice expand_target(struct exchange *exchange);

/* The fields of a request or response after the route's rules: an array in the arena; those that
 * stay are not copied. */
const struct field *expand_fields(struct exchange *exchange, bool response,
                                  const struct field *fields, uint32_t count, uint32_t *ret_count);
