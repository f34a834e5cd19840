/* Addresses that enginx gives: each service a home, 127.86.x.y, each instance one of its own,
 * 127.77.S.I (DESIGN: "Addresses"). Host byte order throughout. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topology/topology.h"

enum {
    INSTANCES_PER_BLOCK = 254,    /* a block is a /24: .1 to .254 */
    BLOCK_COUNT = 64 * 256 - 256, /* of 127.64.0.0/10 without 127.86.0.0/16 */
};

/* Homes of all services of a topology, derived from "cluster/service" and probed linearly where two
 * collide, in the order of names, so that the same file gives the same homes on every machine.
 * ret_homes has service_count entries; 0: an
 * absent service. */
void addresses_homes(const struct topology *topology, uint32_t *ret_homes);

/* The /24 of block number 0 … BLOCK_COUNT - 1: 127.77.1.0, 127.77.2.0, …, then 127.77.0.0, then the
 * rest of 127.64.0.0/10 upwards without 127.86.0.0/16. */
uint32_t addresses_block(uint32_t block);
/* Blocks that a service with up to `instances` needs. */
uint32_t addresses_blocks_needed(uint32_t instances);

enum { ADDRESS_TEXT_BYTES = 16 };
const char *address_format(uint32_t address, char text[ADDRESS_TEXT_BYTES]);
