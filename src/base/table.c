#include "base/table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { TABLE_FIRST_SLOTS = 16 };

struct entry {
    const char *key;
    void *value;
};

struct table {
    struct entry *entries;
    size_t slots; /* a power of two */
    size_t count;
};

uint64_t hash_bytes(const void *bytes, size_t length, uint64_t seed)
{
    const unsigned char *byte = bytes;
    uint64_t hash = seed;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3ull;
    return hash;
}

struct table *table_new(void)
{
    struct table *table = calloc(1, sizeof *table);
    if (!table)
        return NULL;
    table->entries = calloc(TABLE_FIRST_SLOTS, sizeof *table->entries);
    if (!table->entries) {
        free(table);
        return NULL;
    }
    table->slots = TABLE_FIRST_SLOTS;
    return table;
}

void table_free(struct table *table)
{
    if (!table)
        return;
    free(table->entries);
    free(table);
}

/* The entry of `key`, or the free one where it belongs. */
static struct entry *entry_find(struct entry *entries, size_t slots, const char *key)
{
    size_t at = hash_bytes(key, strlen(key), hash_seed()) & (slots - 1);
    while (entries[at].key && strcmp(entries[at].key, key) != 0)
        at = (at + 1) & (slots - 1);
    return &entries[at];
}

static int table_grow(struct table *table)
{
    size_t slots = table->slots * 2;
    struct entry *entries = calloc(slots, sizeof *entries);
    if (!entries)
        return -ENOMEM;
    for (size_t i = 0; i < table->slots; i++)
        if (table->entries[i].key)
            *entry_find(entries, slots, table->entries[i].key) = table->entries[i];
    free(table->entries);
    table->entries = entries;
    table->slots = slots;
    return 0;
}

int table_add(struct table *table, const char *key, void *value, void **ret_other)
{
    if ((table->count + 1) * 2 > table->slots) {
        int error = table_grow(table);
        if (error)
            return error;
    }
    struct entry *entry = entry_find(table->entries, table->slots, key);
    if (entry->key) {
        if (ret_other)
            *ret_other = entry->value;
        return -EEXIST;
    }
    *entry = (struct entry){.key = key, .value = value};
    table->count++;
    return 0;
}

void *table_get(const struct table *table, const char *key)
{
    return entry_find(table->entries, table->slots, key)->value;
}

size_t table_count(const struct table *table)
{
    return table->count;
}
