/* The metrics page: what the tally and the board say, in Prometheus' text format (0.0.4), on the
 * `metrics` listener, served by the main thread with a few lines of HTTP of its own so that it
 * answers when the workers are at their caps. */
#pragma once

#include "base/buffer.h"
#include "event/loop.h"
#include "gateway/core/generation.h"
#include "upstream/board.h"
#include "upstream/tally.h"

enum {
    METRICS_CLIENTS_MAX = 16, /* further ones wait in the listening socket's queue */
    METRICS_BYTES_MAX = 256 * 1024 * 1024,
    METRICS_HEAD_BYTES_MAX = 8 * 1024, /* of a request */
    METRICS_CLIENT_MS = 15000,         /* from its connection to the last byte */
};

struct bans;

struct metrics_sources {
    const struct board *board;
    const struct tally *tally;
    const struct bans *bans; /* NULL: there are none */
};

/* Appends the page; pure but for reading the memory. `generation` may be NULL. Routes that nobody
 * has asked for yet are left out, and histograms without a request. */
void metrics_print(const struct metrics_sources *sources, const struct generation *generation,
                   struct buffer *out);

struct metrics;
/* Serves GET and HEAD of /metrics on a non-blocking listening socket (stays the caller's), a
 * request a connection. NULL with errno. */
struct metrics *metrics_new(struct loop *loop, int fd, const struct metrics_sources *sources);
/* The generation is the caller's, and must live until the next call. */
void metrics_settle(struct metrics *metrics, const struct generation *generation);
void metrics_free(struct metrics *metrics); /* accepts NULL */
