/* `enginx check --explain`: which mechanism would serve this topology on this machine, which path
 * each service and listener takes and why, and what is not enforced. Tries the mechanisms for real,
 * under a name of its own, and takes everything back. */
#pragma once

#include <stdio.h>

#include "topology/topology.h"

void explain_print(const struct topology *topology, const char *cgroup_base, FILE *out);
