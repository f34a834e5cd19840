/* What a configuration names and the machine has, or has not: users and groups, programs, folders.
 * A user that is missing is an error; a program or a folder may come later, so that is a warning.
 * What depends on the instance (templates) is not looked for. May read files; for where a
 * configuration is loaded by a person, or for one. */
#pragma once

#include "conf/bundle.h"
#include "conf/diagnostics.h"
#include "topology/topology.h"

/* `bundle`: what the topology was made from, so that messages show its lines; NULL: they do not. */
void prerequisites_check(const struct topology *topology, const struct bundle *bundle,
                         struct diagnostics *diagnostics);
