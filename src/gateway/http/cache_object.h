/* A stored answer. Immutable once it is in a store, counted by atomic references: who sends it
 * holds one and needs no lock, and it stays whole when it is replaced, evicted or purged meanwhile.
 * Its body is counted apart, since a 304 makes a new object with new fields and the old body.
 *
 * What either takes is charged to its store from its first byte until it is freed, in whoever's
 * hands it is; a body that is still being filled too. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "gateway/http/cache_key.h"
#include "gateway/http/cache_pages.h"
#include "gateway/http/cache_policy.h"

struct cache_store;

enum {
    CACHE_BODY_FIRST_BYTES = 4 * 1024,              /* what a body begins with */
    CACHE_BODY_PAGED_BYTES = CACHE_PLACE_BYTES_MIN, /* from here on in the store's pages: they can
                                                       be sent without a copy, and what is freed
                                                       leaves the process */
    CACHE_BODY_AHEAD = 8, /* a place is at most so many times as large as the room in it, however
                             much was announced */
};

struct cache_body {
    atomic_uint refs;
    struct cache_store *store;
    char *bytes; /* to be read; cache_body_add writes */
    size_t length;
    size_t room;              /* charged */
    struct cache_place place; /* where they lie; none: in memory of their own */
    uint64_t expected;        /* bytes, when it is known; 0: not */
};

/* Zero bytes long; filled by one thread. NULL: no memory, or none of the store's is left. */
struct cache_body *cache_body_new(struct cache_store *store, uint64_t expected);
/* False: larger than the store takes, or no memory; what was in it stays. */
bool cache_body_add(struct cache_body *body, const char *bytes, size_t length);
void cache_body_trim(struct cache_body *body); /* it is complete */
void cache_body_ref(struct cache_body *body);
void cache_body_unref(struct cache_body *body);

struct cache_object {
    atomic_uint refs;
    struct cache_store *store;
    size_t bytes; /* of this block */
    struct cache_key key;
    struct slice vary_names, vary_values;
    uint16_t status; /* 0: a mark that answers to this key are not stored */
    struct slice reason;
    const struct field *fields; /* what is sent but Age and Cache-Status */
    uint32_t field_count;
    struct slice etag;     /* bytes NULL: none */
    struct slice modified; /* Last-Modified, as it came; bytes NULL: none */
    int64_t modified_s;    /* -1: none, or no date */
    struct slice tags;     /* of Cache-Tag, Surrogate-Key and xkey, with blanks between them */
    struct cache_life life;
    struct cache_body *body; /* NULL: a mark */

    /* The store's, under its locks. */
    struct cache_object *chain;
    bool in_store;
    TAILQ_ENTRY(cache_object) queue;
    atomic_bool dead; /* taken out as no longer true, not to make room */
    atomic_bool seen; /* asked for since the eviction looked at it */
};

struct cache_object_setup {
    struct cache_store *store;
    const struct cache_key *key;
    struct slice vary_names, vary_values;
    uint16_t status;
    struct slice reason;
    const struct field *fields; /* those with `dropped` are left out */
    uint32_t field_count;
    struct cache_life life;
    struct cache_body *body; /* a reference is taken */
};

/* Copies all texts. NULL: no memory, or none of the store's is left. */
struct cache_object *cache_object_new(const struct cache_object_setup *setup);
void cache_object_ref(struct cache_object *object);
void cache_object_unref(struct cache_object *object); /* accepts NULL */
/* Does one of its tags have this name? */
bool cache_object_tagged(const struct cache_object *object, struct slice tag);
