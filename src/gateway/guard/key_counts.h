/* How many requests of each key are under way, over all workers. An entry lives while its count is
 * above zero, so there are no more of them than requests. A table in stripes, each with a lock of
 * its own, held for a few loads and stores. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Counts one more for the key (a key_hash of what it is). False: there are `max` already, or there
 * is no memory to know. */
bool key_count_take(uint64_t key, uint32_t max);
void key_count_give(uint64_t key);
