/* What of a configuration only the gateway finds out, before it has to: whether keys belong to
 * their certificates, authorities are there, sets of keys can be read. Tried in a process of its
 * own, so that what OpenSSL takes for it is not the supervisor's. */
#pragma once

#include "conf/bundle.h"
#include "conf/diagnostics.h"
#include "topology/topology.h"

/* Adds what is wrong to `diagnostics`. `bundle`: the files that the topology was made from. */
void preflight_run(const struct topology *topology, int bundle_fd, struct diagnostics *diagnostics);
