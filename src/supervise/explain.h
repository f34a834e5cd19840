/* `enginx check --explain`: which mechanism would serve this topology on this machine, which path
 * each service and listener takes and why, and what is not enforced. Tries the mechanisms for real,
 * under a name of its own, and takes everything back. */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "topology/topology.h"

/* "direct", "relay" or "http"; "none" where nothing can steer. NULL: a service without a listener,
 * which is reached at its home. */
const char *explain_path(const struct listener *listener, bool steered);

void explain_print(const struct topology *topology, const char *cgroup_base, FILE *out);
