#include "gateway/http/h2_output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD_BYTES = 9 }; /* of a frame (RFC 9113 §4.1) */

/* ---- empty blocks --------------------------------------------------------------------------- */

static char *spare_take(struct h2_output *output)
{
    char *spare = output->spares;
    if (!spare)
        return malloc(H2_BLOCK_BYTES);
    memcpy(&output->spares, spare, sizeof output->spares);
    output->spare_count--;
    return spare;
}

static void spare_give(struct h2_output *output, char *spare)
{
#ifndef __SANITIZE_ADDRESS__
    if (spare && output->spare_count < H2_BLOCKS_KEPT) {
        memcpy(spare, &output->spares, sizeof output->spares);
        output->spares = spare;
        output->spare_count++;
        return;
    }
#else
    (void)output;
#endif
    free(spare);
}

void h2_output_done(struct h2_output *output)
{
    h2_output_written(output);
    while (output->spares)
        free(spare_take(output));
}

/* ---- frames --------------------------------------------------------------------------------- */

/* For a frame's head, and what it carries, each with a part of its own. */
bool h2_output_full(const struct h2_output *output)
{
    return H2_OUTPUT_BYTES - output->length < H2_OUTPUT_MARGIN ||
           H2_PARTS_MAX - output->part_count < 2 || output->total >= H2_GATHER_BYTES;
}

static void part_add(struct h2_output *output, char *bytes, size_t length)
{
    output->parts[output->part_count++] = (struct iovec){bytes, length};
    output->total += length;
}

/* Behind what was copied last, if that is the last part. */
static void copy(struct h2_output *output, const void *bytes, size_t length)
{
    char *to = output->bytes + output->length;
    struct iovec *last = output->part_count ? &output->parts[output->part_count - 1] : NULL;
    memcpy(to, bytes, length);
    output->length += length;
    if (!last || (char *)last->iov_base + last->iov_len != to) {
        part_add(output, to, length);
        return;
    }
    last->iov_len += length;
    output->total += length;
}

void h2_output_frame(struct h2_output *output, const uint8_t *bytes, size_t length)
{
    copy(output, bytes, length);
}

bool h2_output_data(struct h2_output *output, const uint8_t *head, struct h2_block *block,
                    size_t length, bool lends)
{
    char *bytes = block->bytes + block->from;
    if (h2_output_full(output))
        return false;
    copy(output, head, HEAD_BYTES);
    if (lends && length >= H2_LENT_BYTES_MIN) {
        part_add(output, bytes, length);
        block->lent = output->turn;
    } else if (length) {
        copy(output, bytes, length);
    }
    return true;
}

void h2_output_written(struct h2_output *output)
{
    for (unsigned i = 0; i < output->retired_count; i++)
        spare_give(output, output->retired[i]);
    output->length = output->total = 0;
    output->part_count = output->retired_count = 0;
    output->turn++;
}

void h2_output_rest(const struct h2_output *output, size_t sent, char *rest)
{
    for (unsigned i = 0; i < output->part_count; i++) {
        const struct iovec *part = &output->parts[i];
        size_t over = sent < part->iov_len ? sent : part->iov_len;
        sent -= over;
        memcpy(rest, (const char *)part->iov_base + over, part->iov_len - over);
        rest += part->iov_len - over;
    }
}

/* ---- a stream's block ----------------------------------------------------------------------- */

static bool lent(const struct h2_block *block, const struct h2_output *output)
{
    return block->lent == output->turn;
}

/* Emptied, and written: it is used from its start again. */
static bool anew(const struct h2_block *block, const struct h2_output *output)
{
    return block->from == block->to && !lent(block, output);
}

bool h2_block_full(const struct h2_block *block, const struct h2_output *output)
{
    return block->to == H2_BLOCK_BYTES && !anew(block, output);
}

size_t h2_block_room(struct h2_block *block, struct h2_output *output, size_t most,
                     char **ret_bytes)
{
    if (!block->bytes)
        *block = (struct h2_block){.bytes = spare_take(output), .lent = output->turn - 1};
    else if (anew(block, output))
        block->from = block->to = 0;
    *ret_bytes = block->bytes ? block->bytes + block->to : NULL;
    size_t room = block->bytes ? H2_BLOCK_BYTES - block->to : 0;
    return room < most ? room : most;
}

ssize_t h2_block_put(struct h2_block *block, struct h2_output *output, const char *bytes,
                     size_t length, size_t most)
{
    char *to;
    size_t room = h2_block_room(block, output, most, &to);
    if (!to)
        return -ENOMEM;
    size_t taken = length < room ? length : room;
    memcpy(to, bytes, taken);
    block->to += (uint32_t)taken;
    return (ssize_t)taken;
}

bool h2_block_took(struct h2_block *block, size_t length)
{
    block->from += (uint32_t)length;
    return block->from == block->to;
}

void h2_block_drop(struct h2_block *block, struct h2_output *output)
{
    if (block->bytes && lent(block, output) && output->retired_count < H2_PARTS_MAX)
        output->retired[output->retired_count++] = block->bytes;
    else
        spare_give(output, block->bytes);
    *block = (struct h2_block){0};
}
