/* Topologies that are not in use any more, for as long as something of them is needed: the names of
 * services that are gone from the configuration while their last instances end, and the programs
 * that a rollout may have to put back. For these the keeper holds the bundle (conf/bundle.h) that
 * such a topology was built from, so that a supervisor that comes after a crash can build it again.
 * Owned by the supervisor. */
#pragma once

#include "supervise/supervisor.h"

struct past_topology;

struct past_topology *past_new(void);       /* NULL: no memory */
void past_free(struct past_topology *past); /* one that was not added; accepts NULL */
/* Takes both over: the topology, which is not in use from now on, and its bundle (-1: none). */
void past_add(struct supervisor *supervisor, struct past_topology *past, struct topology *topology,
              uint32_t generation, int bundle_fd);
/* Frees those that nothing is needed of; puts the bundles of the others to the keeper. */
void past_sweep(struct supervisor *supervisor);
/* Frees all of them; the keeper goes on with what it holds. */
void past_end(struct supervisor *supervisor);

/* What an earlier supervisor's keeper held: units get the programs that their instances were
 * started from, where those are not what the configuration says now. Before instances are adopted.
 */
void past_find(struct supervisor *supervisor);
