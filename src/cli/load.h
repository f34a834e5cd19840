/* Loading a configuration for a command: what is wrong with it is printed on standard error. */
#pragma once

#include "cli/cli.h"
#include "cli/place.h"
#include "topology/topology.h"

/* NULL: it was said why. `ret_bundle` (may be NULL): everything that was read, sealed
 * (conf/bundle.h); the caller's. With it the configuration is tried as well (preflight.h). */
struct topology *load_topology(const struct cli *cli, const char *path, int *ret_bundle);
/* What somebody else loads, tried here. False: it was said what is wrong; what cannot be read by
 * whoever asks is left to who loads it. */
bool load_preflight(const char *path);
/* The same; and where the file is wrong the last good one of it is told of, or taken (`take`).
 * `ret_path` gets where that is kept; "": nowhere. */
struct topology *load_or_last_good(const struct cli *cli, const char *path, bool take,
                                   int *ret_bundle, char ret_path[PLACE_BYTES]);
/* From text, for `run`; `directory` resolves relative paths. */
struct topology *load_text(const struct cli *cli, const char *text, size_t length,
                           const char *directory, int *ret_bundle);
