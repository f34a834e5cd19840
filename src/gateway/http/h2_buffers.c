#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/h2_worker.h"

enum { HELD_AT_FIRST = 4096, BLOCKS_KEPT = 256 };

/* ---- blocks --------------------------------------------------------------------------------- */

char *h2_block_take(struct h2_worker *h2)
{
    char *block = h2->blocks;
    if (!block)
        return malloc(H2_BLOCK_BYTES);
    memcpy(&h2->blocks, block, sizeof h2->blocks);
    h2->block_count--;
    return block;
}

static void block_give(struct h2_worker *h2, char *block)
{
#ifndef __SANITIZE_ADDRESS__
    if (block && h2->block_count < BLOCKS_KEPT) {
        memcpy(block, &h2->blocks, sizeof h2->blocks);
        h2->blocks = block;
        h2->block_count++;
        return;
    }
#else
    (void)h2;
#endif
    free(block);
}

ssize_t h2_block_put(struct h2_block *block, struct h2_worker *h2, const char *bytes, size_t length,
                     size_t room)
{
    if (!block->bytes)
        block->bytes = h2_block_take(h2);
    if (!block->bytes)
        return -ENOMEM;
    size_t taken = length < room ? length : room;
    memcpy(block->bytes + block->to, bytes, taken);
    block->to += (uint32_t)taken;
    return (ssize_t)taken;
}

void h2_block_drop(struct h2_block *block, struct h2_worker *h2)
{
    block_give(h2, block->bytes);
    *block = (struct h2_block){0};
}

/* ---- held ----------------------------------------------------------------------------------- */

int h2_held_put(struct h2_held *held, const char *bytes, size_t length)
{
    if (held->length + length > held->room) {
        size_t room = held->room ? 2 * (size_t)held->room : HELD_AT_FIRST;
        while (room < held->length + length)
            room *= 2;
        char *grown = realloc(held->bytes, room);
        if (!grown)
            return -ENOMEM;
        held->bytes = grown;
        held->room = (uint32_t)room;
    }
    memcpy(held->bytes + held->length, bytes, length);
    held->length += (uint32_t)length;
    return 0;
}

void h2_held_took(struct h2_held *held, size_t length)
{
    held->length -= (uint32_t)length;
    if (held->length)
        memmove(held->bytes, held->bytes + length, held->length);
    else
        h2_held_done(held);
}

void h2_held_done(struct h2_held *held)
{
    free(held->bytes);
    *held = (struct h2_held){0};
}
