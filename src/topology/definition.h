/* The definition of a service as a number: see struct service. The same on every machine that has
 * the same file at the same place. */
#pragma once

#include <stdint.h>

#include "topology/topology.h"

uint64_t service_definition(const struct topology *topology, const struct service *service);
