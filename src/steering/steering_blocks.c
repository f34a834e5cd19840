#include "steering/steering_blocks.h"

#include <errno.h>
#include <stdbool.h>

static bool is_free(const struct steering_blocks *blocks, uint32_t from, uint32_t count)
{
    if (from >= BLOCK_COUNT || count > BLOCK_COUNT - from)
        return false;
    for (uint32_t i = from; i < from + count; i++)
        if (blocks->taken[i / 8] & (1u << i % 8))
            return false;
    return true;
}

int steering_blocks_take(struct steering_blocks *blocks, uint32_t count, uint32_t preferred,
                         uint32_t *ret_block)
{
    uint32_t from = preferred;
    if (!is_free(blocks, from, count))
        for (from = 0; from < BLOCK_COUNT && !is_free(blocks, from, count);)
            from++;
    if (from >= BLOCK_COUNT)
        return -ENOSPC;
    for (uint32_t i = from; i < from + count; i++)
        blocks->taken[i / 8] = (uint8_t)(blocks->taken[i / 8] | 1u << i % 8);
    *ret_block = from;
    return 0;
}

void steering_blocks_give(struct steering_blocks *blocks, uint32_t block, uint32_t count)
{
    for (uint32_t i = block; i < block + count && i < BLOCK_COUNT; i++)
        blocks->taken[i / 8] &= (uint8_t) ~(1u << i % 8);
}
