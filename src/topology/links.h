/* Links: for each service of a topology a list of numbers — who uses it, which listeners lead to
 * it. A topology says such things the other way round, and a walk over all of it for each service
 * that changes would make ten thousand services slow. Made once, never changed; owned by whoever
 * made it, and it must not outlive the topology's numbering. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "topology/topology.h"

struct links;

/* The services that use each service, ascending. NULL: no memory. */
struct links *links_users_new(const struct topology *topology);
/* The listeners that lead to each service — by their own `->`, a route or a name of TLS — in the
 * topology's order. NULL: no memory. */
struct links *links_listeners_new(const struct topology *topology);
void links_free(struct links *links); /* accepts NULL */

/* The list of one service; its length in *ret_count. */
const uint32_t *links_of(const struct links *links, uint32_t service, size_t *ret_count);
