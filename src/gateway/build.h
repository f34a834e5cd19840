/* From a bundle to a generation: the topology is built as the supervisor built it, and what workers
 * need is compiled — matchers of sites, TLS contexts — so that whatever can fail fails here, before
 * anything serves it. By the main thread. */
#pragma once

#include "gateway/core/generation.h"
#include "gateway/sockets.h"
#include "tls/server.h"
#include "upstream/tally.h"

enum { BUILD_WHY_BYTES = 2048 };

struct caches;

struct build_setup {
    int bundle_fd; /* stays the caller's */
    uint32_t number;
    struct tally *tally;
    const struct sockets *sockets;
    struct tls_tickets *tickets;
    struct caches *caches;
    int *cache_files; /* CACHES_MAX, as directories */
    int *directories; /* DIRECTORIES_MAX, -1: not given; those that it needs are taken */
};

/* *ret_generation has one reference, the caller's. 0 or -errno with `why` in words. */
int generation_build(const struct build_setup *setup, struct generation **ret_generation,
                     char why[BUILD_WHY_BYTES]);
