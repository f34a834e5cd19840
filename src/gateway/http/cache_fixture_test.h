/* For tests of stores: answers made of a few words. Included once by a test. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "gateway/http/cache_store.h"

/* The key of http://host/NAME at one listener; its text lies in `room`. */
static inline struct cache_key key_of(const char *name, char room[CACHE_KEY_BYTES_MAX])
{
    struct cache_key key;
    const struct cache_key_parts parts = {.listener = SLICE("tcp:80"),
                                          .route = SLICE(""),
                                          .scheme = SLICE("http"),
                                          .host = SLICE("host"),
                                          .target = {name, (uint32_t)strlen(name)}};
    assert_true(cache_key_make(&parts, room, &key));
    return key;
}

/* Of so many bytes, with the tags, for requests whose X-A is `variant` (NULL: all). NULL: there was
 * no room. The caller has a reference. */
static inline struct cache_object *object_of(struct cache_store *store, const char *name,
                                             size_t size, const char *tags, const char *variant)
{
    char room[CACHE_KEY_BYTES_MAX], values[64] = "";
    struct cache_key key = key_of(name, room);
    struct cache_body *body = cache_body_new(store, size);
    if (!body)
        return NULL;
    char *bytes = malloc(size + 1);
    memset(bytes, name[1], size);
    bool whole = cache_body_add(body, bytes, size);
    free(bytes);
    const struct field field = {.name = SLICE("Cache-Tag"),
                                .value = {tags, (uint32_t)strlen(tags)}};
    struct cache_object_setup setup = {.store = store,
                                       .key = &key,
                                       .status = 200,
                                       .fields = &field,
                                       .field_count = 1,
                                       .body = body};
    if (variant) {
        setup.vary_names = SLICE("x-a");
        setup.vary_values.length = (uint32_t)snprintf(values, sizeof values, "=%s\n", variant);
        setup.vary_values.bytes = values;
    }
    struct cache_object *object = whole ? cache_object_new(&setup) : NULL;
    cache_body_unref(body);
    return object;
}

/* The same, into the store. False: there was no room. */
static inline bool put(struct cache_store *store, const char *name, size_t size, const char *tags,
                       const char *variant)
{
    struct cache_object *object = object_of(store, name, size, tags, variant);
    if (object)
        cache_store_put(store, object);
    cache_object_unref(object);
    return object != NULL;
}

/* With a reference; NULL: not there. */
static inline struct cache_object *found(struct cache_store *store, const char *name,
                                         const char *variant)
{
    char room[CACHE_KEY_BYTES_MAX];
    struct cache_key key = key_of(name, room);
    struct field field = {.name = SLICE("X-A")};
    struct head request = {.fields = &field};
    if (variant) {
        field.value = (struct slice){variant, (uint32_t)strlen(variant)};
        request.field_count = 1;
    }
    return cache_store_find(store, &key, &request);
}

static inline bool there(struct cache_store *store, const char *name, const char *variant)
{
    struct cache_object *object = found(store, name, variant);
    cache_object_unref(object);
    return object != NULL;
}

/* Everything of it is given back. */
static inline void store_end(struct cache_store *store)
{
    struct cache_figures figures;
    cache_store_purge(store, &(struct cache_purge){.kind = PURGE_ALL});
    cache_store_figures(store, &figures);
    assert_int_equal(figures.bytes, 0);
    assert_int_equal(figures.objects, 0);
    cache_store_unref(store);
}
