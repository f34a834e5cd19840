/* The start order: what is used starts before what uses it, and otherwise the file's order holds.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "topology/topology.h"

/* Called for each circle found: members[0] uses members[1] … and the last one uses members[0]. */
typedef void order_circle(void *context, const uint32_t *members, size_t count);

/* Fills ret_order (service_count entries). `scratch` has room for 3 * service_count entries. Takes
 * time in proportion to services and uses. */
void order_make(const struct topology *topology, uint32_t *ret_order, uint32_t *scratch,
                order_circle *circle, void *context);
