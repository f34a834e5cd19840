/* The metrics page: what the tally and the board say, in Prometheus' text format (0.0.4), on the
 * `metrics` listener, served by the main thread with a few lines of HTTP of its own so that it
 * answers when the workers are at their caps. */
#pragma once

#include "base/buffer.h"
#include "event/loop.h"
#include "gateway/core/generation.h"
#include "upstream/board.h"
#include "upstream/tally.h"

enum { METRICS_CLIENTS_MAX = 16, METRICS_BYTES_MAX = 64 * 1024 * 1024 };

/* Appends the page; pure but for reading the memory. `generation` may be NULL. */
void metrics_print(const struct board *board, const struct tally *tally,
                   const struct generation *generation, struct buffer *out);

struct metrics;
/* Serves on a listening socket (stays the caller's). NULL with errno. */
struct metrics *metrics_new(struct loop *loop, int fd, const struct board *board,
                            const struct tally *tally);
void metrics_settle(struct metrics *metrics, const struct generation *generation);
void metrics_free(struct metrics *metrics);
