/* Where in a cache's file which answers stand: an entry for each block that a record begins at, so
 * memory is bounded by the file's size, and chains by the key's hash. And what was taken out since:
 * a record that is older than a purge that means it is not to be used. No locks: cache_disk.c's. */
#pragma once

#include "gateway/http/cache_store.h"

struct disk_index;

struct disk_found {
    uint32_t place; /* block */
    uint32_t blocks;
    uint64_t sequence;
};

struct disk_index *disk_index_new(uint32_t blocks);
void disk_index_free(struct disk_index *index);
uint32_t disk_index_blocks(const struct disk_index *index);
uint32_t disk_index_count(const struct disk_index *index); /* of answers */

void disk_index_add(struct disk_index *index, uint32_t place, uint32_t blocks, uint64_t hash,
                    uint64_t sequence);
/* What begins in these blocks. */
void disk_index_forget(struct disk_index *index, uint32_t place, uint32_t blocks);
/* Those of a key, the newest first; at most so many. */
uint32_t disk_index_find(const struct disk_index *index, uint64_t hash, struct disk_found *found,
                         uint32_t most);
bool disk_index_has(const struct disk_index *index, const struct disk_found *found);

/* All of a key; false: there is none. */
bool disk_index_key_forget(struct disk_index *index, uint64_t hash);
/* The same while the file is read, in whatever order: of those that are older; done by settle. */
void disk_index_key_purged(struct disk_index *index, uint64_t hash, uint64_t sequence);
void disk_index_settle(struct disk_index *index);
/* What is older and meant is not to be used. */
void disk_index_purge(struct disk_index *index, const struct cache_purge *purge, uint64_t sequence);
/* Nothing that is older is to be used. */
void disk_index_floor(struct disk_index *index, uint64_t sequence);
bool disk_index_purged(const struct disk_index *index, const struct cache_object *object,
                       uint64_t sequence);
