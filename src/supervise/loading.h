/* Loading a configuration file for a cluster: by `up` and `check`, and by the supervisor itself
 * when it is told to reload. What the machine lacks of what it names is told, too
 * (prerequisites.h). */
#pragma once

#include "conf/diagnostics.h"
#include "topology/topology.h"

/* `name` (NULL: the file's own): of the cluster. `ret_bundle` (may be NULL): everything that was
 * read, sealed (conf/bundle.h); the caller's. NULL: `diagnostics` says why, or there was no memory.
 */
struct topology *loading_file(const char *path, const char *name, struct diagnostics *diagnostics,
                              int *ret_bundle);
/* From the last good one (last_good.h). */
struct topology *loading_last_good(const char *path, struct diagnostics *diagnostics,
                                   int *ret_bundle);
/* The same from text; `directory` resolves relative paths. */
struct topology *loading_text(const char *text, size_t length, const char *directory,
                              const char *name, struct diagnostics *diagnostics, int *ret_bundle);
