/* From a configuration's text to a topology: conf parses and checks by the directive table, build
 * resolves names, orders and bounds. All errors are collected in the diagnostics. */
#pragma once

#include "conf/bundle.h"
#include "conf/diagnostics.h"
#include "topology/topology.h"

enum {
    TOPOLOGY_BYTES_MAX = 256 * 1024 * 1024, /* of a topology, and of the tree while it is built */
};

struct topology_options {
    const char *name_override; /* -c NAME; NULL: `cluster` or the file's name */
    char *const *environment;  /* for $env.NAME; NULL: empty */
    size_t bytes_max;          /* for tests; 0: TOPOLOGY_BYTES_MAX */
    struct bundle *collect;    /* everything that was read is added to it; NULL: nowhere */
};

/* Reads `path` and what it includes. NULL: `diagnostics` says why. */
struct topology *topology_load(const char *path, const struct topology_options *options,
                               struct diagnostics *diagnostics);
/* The same from memory; `path` is the name for messages (and topology.file where it is absolute),
 * `directory` resolves relative paths; it should be absolute. NULL: "/", and no `include`. */
struct topology *topology_parse(const char *text, size_t length, const char *path,
                                const char *directory, const struct topology_options *options,
                                struct diagnostics *diagnostics);
/* The same topology from what topology_options.collect got, on any machine: the disk and the
 * environment are not looked at. NULL: `diagnostics` says why. */
struct topology *topology_load_bundle(const struct bundle *bundle, struct diagnostics *diagnostics);
