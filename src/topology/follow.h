/* Following: a new topology takes the place of one that is in use. What works with it — units,
 * steering, records of the kernel's programs — knows services by their index, so a service keeps
 * the index that it had, over all generations.
 *
 * The index of a service that is gone stays behind as an *absent* entry (service.absent): its name
 * is what it was, nothing refers to it, and it is nobody's as soon as its last process is gone;
 * then a new service may be given it. */
#pragma once

#include <stdbool.h>

#include "topology/topology.h"

/* Puts the services of `topology` where `before` has them; those that are new take entries of
 * `before` that are absent and `free` (owner, index), or come behind. 0 or -ENOMEM; before any
 * change but in order and indexes. `before` must outlive it for as long as one of its services is
 * absent here: their texts are its. */
typedef bool follow_free(void *owner, uint32_t index);
int topology_follow(struct topology *topology, const struct topology *before, follow_free *free,
                    void *owner);
