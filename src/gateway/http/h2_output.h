/* What one write of an HTTP/2 connection takes: the frames that there are, gathered from where they
 * lie. A worker has one output, since a wire fills and writes it without letting anybody else in
 * between.
 *
 * Frames that are libnghttp2's, small ones, and everything on a TLS stream (whose records are made
 * of one run) are copied to `bytes`. A large DATA frame of a plain stream is not: its head is, and
 * what it carries is sent from the stream's block, which is lent to the output until it is written.
 * A block that is given back meanwhile is not used again before. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    H2_BLOCK_BYTES = 64 * 1024,
    H2_OUTPUT_BYTES = 96 * 1024,  /* what is copied for a write, at most */
    H2_OUTPUT_MARGIN = 20 * 1024, /* no frame is larger */
    H2_GATHER_BYTES = 256 * 1024, /* what a write takes, at most, but for the last frame */
    H2_LENT_BYTES_MIN = 2 * 1024, /* less is cheaper to copy */
    H2_PARTS_MAX = 64,
    H2_BLOCKS_KEPT = 128, /* empty, to be used again */
};

struct h2_output {
    size_t length; /* of `bytes` */
    size_t total;  /* of all parts */
    unsigned part_count;
    unsigned retired_count;
    uint32_t turn; /* another one after each write */
    unsigned spare_count;
    char *spares; /* empty blocks: a list through their first bytes */
    struct iovec parts[H2_PARTS_MAX];
    char *retired[H2_PARTS_MAX]; /* blocks that were given back while they were lent */
    char bytes[H2_OUTPUT_BYTES];
};

/* What a stream sends next: a block of its own, or none. Used from its start again when it was
 * emptied and written. */
struct h2_block {
    char *bytes; /* NULL: none just now */
    uint32_t from, to;
    uint32_t lent; /* the turn in which it was last lent */
};

/* Is there room for the next frame, whatever it is? */
bool h2_output_full(const struct h2_output *output);
/* A frame of libnghttp2's own, when it is not full. */
void h2_output_frame(struct h2_output *output, const uint8_t *bytes, size_t length);
/* A DATA frame: its head, and bytes from the block's front, which is not moved. `lends`: it may be
 * sent from there. False: no room, and nothing was done. */
bool h2_output_data(struct h2_output *output, const uint8_t *head, struct h2_block *block,
                    size_t length, bool lends);
/* It was written, or copied (h2_output_rest): blocks are nobody's any more. */
void h2_output_written(struct h2_output *output);
/* What there is behind the first `sent` bytes: `rest` has room for it. */
void h2_output_rest(const struct h2_output *output, size_t sent, char *rest);
void h2_output_done(struct h2_output *output);

/* ---- blocks ---- */

/* Where further bytes go: how many have room, at most `most`. 0: none, or no memory, which
 * `bytes` NULL tells. */
size_t h2_block_room(struct h2_block *block, struct h2_output *output, size_t most,
                     char **ret_bytes);
/* How much was put there, of at most `most`; -ENOMEM. */
ssize_t h2_block_put(struct h2_block *block, struct h2_output *output, const char *bytes,
                     size_t length, size_t most);
bool h2_block_full(const struct h2_block *block, const struct h2_output *output);
/* The first so many bytes are sent. True: it is empty. */
bool h2_block_took(struct h2_block *block, size_t length);
void h2_block_drop(struct h2_block *block, struct h2_output *output);
