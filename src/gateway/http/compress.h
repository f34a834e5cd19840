/* Compressed responses: the last filter before the codec, put there when a response's head comes by
 * that `compress` of its route is for (compress_choose.h), so that other responses pay for nothing.
 *
 * It streams: what a handler wrote comes out when the buffer is full, or when the turn brought no
 * more (a flush), so that events and slow pages go on. Its bounds are a worker's: encoders may have
 * COMPRESS_BYTES_MAX together (then a response goes with a coding that takes less, or as it is),
 * and COMPRESS_TURN_BYTES are compressed in a turn; then those that have more stand in line.
 * Small bodies that are there whole are compressed at once, up to COMPRESS_TURN_BYTES_MAX; then
 * they are streams, too. */
#pragma once

#include "gateway/http/exchange.h"

enum {
    COMPRESS_BYTES_MAX = 64 * 1024 * 1024,
    COMPRESS_TURN_BYTES = 512 * 1024,
    COMPRESS_TURN_BYTES_MAX = 4 * COMPRESS_TURN_BYTES,
    COMPRESS_OUT_BYTES = 33 * 1024,
};

/* A head on its way to the codec, of a route with `compress`: as exchange_respond. */
ssize_t compress_respond(struct exchange *exchange, const struct response_head *head,
                         const char *bytes, size_t length, bool last);

struct compress_worker;
void compress_worker_free(struct worker *worker, struct compress_worker *compress);
