#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/nearest.h"
#include "topology/builder.h"

/* Options of the table, by their place in its rows. */
enum { STORE_MEMORY, STORE_OBJECT, STORE_DISK, STORE_SIZE };
enum {
    OPTION_TTL,
    OPTION_STATUSES,
    OPTION_KEY,
    OPTION_BYPASS,
    OPTION_STALE,
    OPTION_REFRESH,
    OPTION_LOCK,
    OPTION_CLIENTS,
    OPTION_PURGE,
};
enum { HINT_BYTES = 128 };

/* ---- `cache NAME memory=…` of the top level ---------------------------------------------------
 */

static const struct cache_setting *store_find(const struct topology *topology, const char *name)
{
    for (size_t i = 0; i < topology->cache_count; i++)
        if (strcmp(topology->caches[i].name, name) == 0)
            return &topology->caches[i];
    return NULL;
}

/* False: reported. The gateway, which reads no disk, is given a descriptor. */
static bool folder_there(struct builder *builder, const struct value *value)
{
    struct stat status;
    if (!builder->reads_files || builder->sources.bundle)
        return true;
    const char *path = builder_path(builder, value->text, false);
    if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return true;
    value_refuse(builder, value, NULL, "`%s` is not a folder", path);
    return false;
}

void cache_add(struct builder *builder, const struct statement *statement)
{
    struct topology *topology = builder->topology;
    const struct value *name = &statement->arguments[0];
    const struct value *options = statement->options;
    if (strcmp(name->text, "off") == 0) {
        value_refuse(builder, name, NULL, "no cache is called `off`: that turns caching off");
        return;
    }
    if (store_find(topology, name->text)) {
        value_refuse(builder, name, NULL, "there are two caches called `%s`", name->text);
        return;
    }
    if (options[STORE_OBJECT].number > options[STORE_MEMORY].number) {
        value_refuse(builder, &options[STORE_OBJECT], "object=8m memory=64m",
                     "one answer may not be larger than the cache");
        return;
    }
    if (topology->cache_count == CACHES_MAX) {
        statement_refuse(builder, statement, NULL, "too many caches: at most %d", CACHES_MAX);
        return;
    }
    if (options[STORE_DISK].given && !folder_there(builder, &options[STORE_DISK]))
        return;
    if (options[STORE_DISK].given &&
        options[STORE_SIZE].number / 8 < options[STORE_OBJECT].number) {
        statement_refuse(builder, statement, "object=8m size=1g",
                         "the file must have room for eight of the largest answers");
        return;
    }
    if (!topology->caches)
        topology->caches = arena_array(builder->arena, CACHES_MAX, sizeof *topology->caches);
    topology->caches[topology->cache_count++] = (struct cache_setting){
        .name = builder_text(builder, name->text),
        .memory_bytes = options[STORE_MEMORY].number,
        .object_bytes = options[STORE_OBJECT].number,
        .disk = options[STORE_DISK].given ? builder_path(builder, options[STORE_DISK].text, false)
                                          : NULL,
        .disk_bytes = options[STORE_SIZE].number,
    };
}

/* ---- `cache NAME …` of a route ------------------------------------------------------------------
 */

static const struct cache_setting *store_named(struct builder *builder, const struct value *name)
{
    const struct topology *topology = builder->topology;
    const struct cache_setting *store = store_find(topology, name->text);
    if (store)
        return store;
    char hint[HINT_BYTES];
    struct nearest nearest = {.word = name->text};
    for (size_t i = 0; i < topology->cache_count; i++)
        nearest_try(&nearest, topology->caches[i].name);
    if (nearest.best)
        snprintf(hint, sizeof hint, "did you mean `%.60s`?", nearest.best);
    else
        snprintf(hint, sizeof hint, "at the top level: cache %.60s memory=64m;", name->text);
    value_refuse(builder, name, hint, "there is no cache called `%.60s`", name->text);
    return NULL;
}

/* 206 and 304 are parts of an exchange, not answers of their own. */
static bool status_storable(unsigned long status)
{
    return status >= 200 && status <= 599 && status != 206 && status != 304;
}

static const uint16_t *statuses_take(struct builder *builder, const struct value *value)
{
    uint16_t *statuses = arena_array(builder->arena, CACHE_STATUSES_MAX + 1, sizeof *statuses);
    size_t count = 0;
    for (const char *at = value->text; *at;) {
        char *end;
        unsigned long status = isdigit((unsigned char)*at) ? strtoul(at, &end, 10) : 0;
        size_t length = strcspn(at, ",");
        if (!status_storable(status) || end != at + length || count == CACHE_STATUSES_MAX) {
            value_refuse(builder, value, "statuses=200,301,404",
                         "`%.*s` is no status of an answer that can be kept", (int)length, at);
            break;
        }
        statuses[count++] = (uint16_t)status;
        at += length + (at[length] == ',');
    }
    statuses[count] = 0;
    return statuses;
}

static const char *const *bypass_take(struct builder *builder, const struct value *first,
                                      uint32_t captures)
{
    const char **patterns = arena_array(builder->arena, CACHE_BYPASS_MAX + 1, sizeof *patterns);
    size_t count = 0;
    for (const struct value *at = first; at && at->given; at = at->next) {
        if (count == CACHE_BYPASS_MAX) {
            value_refuse(builder, at, NULL, "too many of `bypass=`: at most %d", CACHE_BYPASS_MAX);
            break;
        }
        captures_check(builder, at, captures);
        patterns[count++] = builder_text(builder, at->text);
    }
    return patterns;
}

static void purgers_take(struct builder *builder, const struct value *first,
                         struct route_cache *cache)
{
    size_t count = 0;
    for (const struct value *at = first; at && at->given; at = at->next)
        count++;
    if (!count)
        return;
    struct network *networks = arena_array(builder->arena, count, sizeof *networks);
    for (const struct value *at = first; at; at = at->next) {
        struct network *network = &networks[cache->purger_count++];
        if (at->choice == 0) /* all */
            continue;
        memcpy(network->address, at->network.address, sizeof network->address);
        network->length = at->network.length;
    }
    cache->purgers = networks;
}

const struct route_cache *route_cache_build(struct builder *builder,
                                            const struct statement *statement, uint32_t captures)
{
    const struct value *options = statement->options;
    if (strcmp(statement->arguments[0].text, "off") == 0)
        return NULL;
    const struct cache_setting *store = store_named(builder, &statement->arguments[0]);
    if (!store)
        return NULL;
    struct route_cache *cache = arena_alloc(builder->arena, sizeof *cache);
    *cache = (struct route_cache){
        .store = (uint32_t)(store - builder->topology->caches),
        .ttl_ms = options[OPTION_TTL].number,
        .statuses = statuses_take(builder, &options[OPTION_STATUSES]),
        .bypass = bypass_take(builder, &options[OPTION_BYPASS], captures),
        .stale_ms = options[OPTION_STALE].number,
        .refresh_ms = options[OPTION_REFRESH].number,
        .lock_ms = option_number(statement, OPTION_LOCK),
        .obey = options[OPTION_CLIENTS].choice == 1,
    };
    if (options[OPTION_KEY].given) {
        captures_check(builder, &options[OPTION_KEY], captures);
        cache->key = builder_text(builder, options[OPTION_KEY].text);
    }
    purgers_take(builder, &options[OPTION_PURGE], cache);
    return cache;
}
