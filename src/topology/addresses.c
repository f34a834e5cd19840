#include "topology/addresses.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"

enum {
    HOME_NET = 0x7f560000, /* 127.86.0.0/16 */
    HOMES_PER_BLOCK = 254, /* .1 to .254: the others look like a network's own addresses */
    HOME_COUNT = 256 * HOMES_PER_BLOCK,
    BLOCK_NET = 0x7f400000, /* 127.64.0.0/10 */
    BLOCK_BYTES = 256,
    FIRST_OCTET = 77,   /* 127.77.0.0/16 comes first */
    SKIPPED_OCTET = 86, /* 127.86.0.0/16 has the homes */
    LOWEST_OCTET = 64,
};

static_assert((int)HOME_COUNT >= 2 * (int)TOPOLOGY_SERVICES_MAX, "homes must be found quickly");

static uint32_t home_of(uint32_t slot)
{
    return HOME_NET + (slot / HOMES_PER_BLOCK << 8) + 1 + slot % HOMES_PER_BLOCK;
}

static uint32_t home_slot(const struct topology *topology, const char *service)
{
    uint64_t hash = hash_bytes(topology->name, strlen(topology->name), hash_seed());
    hash = hash_bytes("/", 1, hash);
    hash = hash_bytes(service, strlen(service), hash);
    return (uint32_t)((hash ^ hash >> 32) % HOME_COUNT);
}

static int service_compare(const void *left, const void *right, void *context)
{
    const struct topology *topology = context;
    const uint32_t *a = left;
    const uint32_t *b = right;
    return strcmp(topology->services[*a].name, topology->services[*b].name);
}

void addresses_homes(const struct topology *topology, uint32_t *ret_homes)
{
    uint32_t order[TOPOLOGY_SERVICES_MAX];
    bool taken[HOME_COUNT] = {false};
    size_t count = 0;
    for (uint32_t i = 0; i < topology->service_count; i++) {
        ret_homes[i] = 0;
        assert(count < TOPOLOGY_SERVICES_MAX || topology->services[i].absent);
        if (!topology->services[i].absent)
            order[count++] = i;
    }
    /* The comparison only reads; qsort_r has no const. */
    qsort_r(order, count, sizeof order[0], service_compare, (void *)(uintptr_t)topology);
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = home_slot(topology, topology->services[order[i]].name);
        while (taken[slot])
            slot = (slot + 1) % HOME_COUNT;
        taken[slot] = true;
        ret_homes[order[i]] = home_of(slot);
    }
}

uint32_t addresses_block(uint32_t block)
{
    assert(block < BLOCK_COUNT);
    if (block < 256) /* 127.77.1.0 … 127.77.255.0, then 127.77.0.0 */
        return BLOCK_NET + ((FIRST_OCTET - LOWEST_OCTET) << 16) + (block + 1) % 256 * BLOCK_BYTES;
    uint32_t octet = LOWEST_OCTET + (block - 256) / 256;
    octet += octet >= FIRST_OCTET;
    octet += octet >= SKIPPED_OCTET;
    return BLOCK_NET + ((octet - LOWEST_OCTET) << 16) + block % 256 * BLOCK_BYTES;
}

uint32_t addresses_blocks_needed(uint32_t instances)
{
    return (instances + INSTANCES_PER_BLOCK - 1) / INSTANCES_PER_BLOCK;
}

const char *address_format(uint32_t address, char text[ADDRESS_TEXT_BYTES])
{
    snprintf(text, ADDRESS_TEXT_BYTES, "%u.%u.%u.%u", address >> 24, address >> 16 & 255,
             address >> 8 & 255, address & 255);
    return text;
}
