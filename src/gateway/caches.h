/* The stores of cached answers of this process, by name. They live over generations: one that
 * builds takes those that it names, made when there is none; when all workers use it they get its
 * bounds, and those that it does not name go. By the main thread only. */
#pragma once

#include "gateway/core/generation.h"
#include "topology/topology.h"

struct caches {
    struct cache_store *list[2 * CACHES_MAX]; /* of two generations */
    size_t count;
};

/* A reference to each of the topology's, in an array of the caller's. 0 or -ENOMEM. */
int caches_take(struct caches *caches, const struct topology *topology, unsigned workers,
                struct cache_store ***ret_stores);
/* This is the generation that everybody uses now. */
void caches_settle(struct caches *caches, const struct topology *topology);
