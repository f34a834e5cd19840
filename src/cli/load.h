/* Loading a configuration for a command: what is wrong with it is printed on standard error. */
#pragma once

#include "cli/cli.h"
#include "topology/topology.h"

/* NULL: it was said why. `ret_bundle` (may be NULL): everything that was read, sealed
 * (conf/bundle.h); the caller's. */
struct topology *load_topology(const struct cli *cli, const char *path, int *ret_bundle);
/* From text, for `run`; `directory` resolves relative paths. */
struct topology *load_text(const struct cli *cli, const char *text, size_t length,
                           const char *directory, int *ret_bundle);
