/* The stores of cached answers of this process, by name. They live over generations: one that
 * builds takes those that it names, made when there is none; when all workers use it they get its
 * bounds, and those that it does not name go. By the main thread only. */
#pragma once

#include "gateway/core/generation.h"
#include "topology/topology.h"

struct cache_kept {
    struct cache_store *store; /* a reference */
    char *disk;                /* that it was made with, NULL: none; another makes another store */
    uint64_t disk_bytes;
    int file; /* of its disk, until that begins; -1: none */
};

struct caches {
    struct cache_kept list[2 * CACHES_MAX]; /* of two generations */
    size_t count;
};

/* A reference to each of the topology's, in an array of the caller's. `files`: descriptors of their
 * files, all of which are taken or closed. 0 or -ENOMEM. */
int caches_take(struct caches *caches, const struct topology *topology, unsigned workers,
                int *files, struct cache_store ***ret_stores);
/* Takes answers out of the cache of that name (`*`: of all): "all", "tags red,blue", "target
 * shop.example/news/1", "below shop.example/news/". How many were in memory. */
uint64_t caches_purge(struct caches *caches, const char *name, const char *what, size_t length);
/* This is the generation that everybody uses now. */
void caches_settle(struct caches *caches, const struct topology *topology);
