/* Blocks of instance addresses (topology/addresses.h) where no registry of the machine's clusters
 * exists: handed out from 0 upwards, known only to this process. Another unprivileged cluster of
 * the machine may hand out the same; their instances then share addresses, not ports. */
#pragma once

#include <stdint.h>

#include "topology/addresses.h"

struct steering_blocks { /* zero-initialised: all free */
    uint8_t taken[(BLOCK_COUNT + 7) / 8];
};

/* `count` adjoining ones, from `preferred` on if they are free (UINT32_MAX: no preference). 0 or
 * -ENOSPC. */
int steering_blocks_take(struct steering_blocks *blocks, uint32_t count, uint32_t preferred,
                         uint32_t *ret_block);
void steering_blocks_give(struct steering_blocks *blocks, uint32_t block, uint32_t count);
