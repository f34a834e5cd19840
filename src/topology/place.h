/* Places: what works with a topology — units, steering, the kernel's programs — knows services by
 * their index, so a service keeps one index over all generations of a configuration, and over
 * crashes of the supervisor, which says which (records.h).
 *
 * An index that no service of this topology has is an *absent* entry (service.absent): nothing
 * refers to it. Its name is that of the service which was there in the generation before, and which
 * may still be on its way out; or "". */
#pragma once

#include "topology/topology.h"

/* Moves service i to places[i] (all different, less than `count`), and everything that refers to
 * it. `before` (NULL: there is none) has been placed, and must outlive this one for as long as the
 * entries of its services stay absent here: their texts are its. 0 or -ENOMEM. */
int topology_place(struct topology *topology, const uint32_t *places, size_t count,
                   const struct topology *before);
