/* A hash table from text to pointer, for configuration time: names to services, paths to files.
 * Open addressing, grows by doubling; it copies neither keys nor values, so both must outlive it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table;

struct table *table_new(void); /* NULL: no memory */
void table_free(struct table *table);

/* 0; -EEXIST with *ret_other (if not NULL) the value that stands there; -ENOMEM. */
int table_add(struct table *table, const char *key, void *value, void **ret_other);
/* NULL when there is none. */
void *table_get(const struct table *table, const char *key);
size_t table_count(const struct table *table);

/* FNV-1a, 64 bits: for tables and for addresses that must be the same on every machine. */
uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed);
static inline uint64_t hash_seed(void)
{
    return 0xcbf29ce484222325ull;
}
