/* For tests: everything that a topology says, as text, so that two can be compared. */
#pragma once

#include <stdio.h>

#include "topology/topology.h"

void topology_dump(const struct topology *topology, FILE *out);
