#include "gateway/http/cache_disk_index.h"

#include <stdlib.h>
#include <string.h>

#include "gateway/http/cache_disk.h"

struct entry {
    uint64_t hash;
    uint64_t sequence;
    uint32_t blocks; /* 0: nothing begins here */
    uint32_t next;   /* of the chain: 1 + block; 0: the last */
};

struct key_purge {
    uint64_t hash, sequence;
};

struct logged {
    uint64_t sequence;
    char *text; /* cache_purge_write's, which the slices point into */
    struct cache_purge purge;
};

struct disk_index {
    uint32_t blocks;
    uint32_t chain_mask;
    uint32_t count;
    struct entry *entries;
    uint32_t *chains;
    uint64_t floor;
    struct logged *purges; /* CACHE_DISK_PURGES_MAX */
    uint32_t purge_count;
    struct key_purge *keys; /* while the file is read */
    uint32_t key_count, key_room;
};

struct disk_index *disk_index_new(uint32_t blocks)
{
    struct disk_index *index = calloc(1, sizeof *index);
    uint32_t chains = 64;
    while (chains < blocks / 4)
        chains *= 2;
    if (!index)
        return NULL;
    index->blocks = blocks;
    index->chain_mask = chains - 1;
    index->entries = calloc(blocks + 1, sizeof *index->entries); /* untouched: no memory */
    index->chains = calloc(chains, sizeof *index->chains);
    index->purges = calloc(CACHE_DISK_PURGES_MAX, sizeof *index->purges);
    if (index->entries && index->chains && index->purges)
        return index;
    disk_index_free(index);
    return NULL;
}

void disk_index_free(struct disk_index *index)
{
    if (!index)
        return;
    for (uint32_t i = 0; i < index->purge_count; i++)
        free(index->purges[i].text);
    free(index->purges);
    free(index->keys);
    free(index->entries);
    free(index->chains);
    free(index);
}

uint32_t disk_index_blocks(const struct disk_index *index)
{
    return index->blocks;
}

uint32_t disk_index_count(const struct disk_index *index)
{
    return index->count;
}

/* ---- entries -------------------------------------------------------------------------------- */

static uint32_t *chain_of(const struct disk_index *index, uint64_t hash)
{
    return &index->chains[hash & index->chain_mask];
}

static void entry_remove(struct disk_index *index, uint32_t place)
{
    struct entry *entry = &index->entries[place];
    uint32_t *at = chain_of(index, entry->hash);
    while (*at != place + 1)
        at = &index->entries[*at - 1].next;
    *at = entry->next;
    *entry = (struct entry){0};
    index->count--;
}

void disk_index_add(struct disk_index *index, uint32_t place, uint32_t blocks, uint64_t hash,
                    uint64_t sequence)
{
    struct entry *entry = &index->entries[place];
    if (place >= index->blocks || !blocks || sequence < index->floor)
        return;
    if (entry->blocks)
        entry_remove(index, place);
    uint32_t *chain = chain_of(index, hash);
    *entry = (struct entry){.hash = hash, .sequence = sequence, .blocks = blocks, .next = *chain};
    *chain = place + 1;
    index->count++;
}

void disk_index_forget(struct disk_index *index, uint32_t place, uint32_t blocks)
{
    for (uint32_t i = place; i < place + blocks && i < index->blocks; i++)
        if (index->entries[i].blocks)
            entry_remove(index, i);
}

/* Into its place among those that were found, the newest first. */
static void found_add(struct disk_found *found, uint32_t *count, uint32_t most,
                      const struct disk_found *one)
{
    uint32_t at = *count;
    while (at > 0 && found[at - 1].sequence < one->sequence) {
        if (at < most)
            found[at] = found[at - 1];
        at--;
    }
    if (at < most)
        found[at] = *one;
    if (*count < most)
        (*count)++;
}

uint32_t disk_index_find(const struct disk_index *index, uint64_t hash, struct disk_found *found,
                         uint32_t most)
{
    uint32_t count = 0;
    for (uint32_t at = *chain_of(index, hash); at; at = index->entries[at - 1].next) {
        const struct entry *entry = &index->entries[at - 1];
        if (entry->hash == hash && entry->sequence >= index->floor)
            found_add(found, &count, most,
                      &(struct disk_found){at - 1, entry->blocks, entry->sequence});
    }
    return count;
}

bool disk_index_has(const struct disk_index *index, const struct disk_found *found)
{
    const struct entry *entry = &index->entries[found->place];
    return entry->blocks == found->blocks && entry->sequence == found->sequence &&
           entry->sequence >= index->floor;
}

/* ---- what was taken out --------------------------------------------------------------------- */

static bool older_forget(struct disk_index *index, uint64_t hash, uint64_t sequence)
{
    bool any = false;
    for (uint32_t at = *chain_of(index, hash), next; at; at = next) {
        const struct entry *entry = &index->entries[at - 1];
        next = entry->next;
        if (entry->hash != hash || entry->sequence >= sequence)
            continue;
        entry_remove(index, at - 1);
        any = true;
    }
    return any;
}

bool disk_index_key_forget(struct disk_index *index, uint64_t hash)
{
    return older_forget(index, hash, UINT64_MAX);
}

void disk_index_key_purged(struct disk_index *index, uint64_t hash, uint64_t sequence)
{
    if (index->key_count == index->key_room) {
        uint32_t room = index->key_room ? 2 * index->key_room : 64;
        struct key_purge *keys = realloc(index->keys, room * sizeof *keys);
        if (!keys) {
            disk_index_floor(index, sequence);
            return;
        }
        index->keys = keys;
        index->key_room = room;
    }
    index->keys[index->key_count++] = (struct key_purge){hash, sequence};
}

void disk_index_settle(struct disk_index *index)
{
    for (uint32_t i = 0; i < index->key_count; i++)
        older_forget(index, index->keys[i].hash, index->keys[i].sequence);
    free(index->keys);
    index->keys = NULL;
    index->key_count = index->key_room = 0;
}

void disk_index_floor(struct disk_index *index, uint64_t sequence)
{
    if (sequence > index->floor)
        index->floor = sequence;
}

/* The oldest that is remembered is forgotten, with all that it could mean. */
static void oldest_forget(struct disk_index *index)
{
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < index->purge_count; i++)
        if (index->purges[i].sequence < index->purges[oldest].sequence)
            oldest = i;
    disk_index_floor(index, index->purges[oldest].sequence);
    free(index->purges[oldest].text);
    index->purges[oldest] = index->purges[--index->purge_count];
}

void disk_index_purge(struct disk_index *index, const struct cache_purge *purge, uint64_t sequence)
{
    if (purge->kind == PURGE_ALL) {
        disk_index_floor(index, sequence);
        return;
    }
    if (index->purge_count == CACHE_DISK_PURGES_MAX)
        oldest_forget(index);
    struct logged *logged = &index->purges[index->purge_count];
    *logged = (struct logged){.sequence = sequence, .text = malloc(CACHE_PURGE_BYTES_MAX)};
    size_t length = logged->text ? cache_purge_write(purge, logged->text) : 0;
    if (length && cache_purge_read(logged->text, length, &logged->purge)) {
        char *exact = realloc(logged->text, length);
        if (exact) {
            logged->text = exact;
            cache_purge_read(exact, length, &logged->purge);
        }
        index->purge_count++;
        return;
    }
    free(logged->text);
    disk_index_floor(index, sequence);
}

bool disk_index_purged(const struct disk_index *index, const struct cache_object *object,
                       uint64_t sequence)
{
    if (sequence < index->floor)
        return true;
    for (uint32_t i = 0; i < index->purge_count; i++)
        if (sequence < index->purges[i].sequence &&
            cache_purge_matches(object, &index->purges[i].purge))
            return true;
    return false;
}
