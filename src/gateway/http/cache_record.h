/* A stored answer, or what takes answers out, as bytes in a cache's file: a fixed head with sums
 * over itself and over all, then texts and the body. In the machine's own byte order: the file is
 * of this machine. Whatever is in the file, reading is strict and stays within the bytes. Pure. */
#pragma once

#include "gateway/http/cache_object.h"

enum {
    RECORD_BLOCK_BYTES = 4096, /* records begin at multiples of it */
    RECORD_TEXTS_BYTES_MAX = 512 * 1024,
    RECORD_FIELDS_MAX = HEAD_FIELDS_MAX + 1,
};

enum record_kind { RECORD_ANSWER = 1, RECORD_PURGE, RECORD_KEY, RECORD_FILLER };

struct record {
    char magic[8];
    uint64_t head_sum; /* of what follows in this struct */
    uint64_t sum;      /* of what follows behind this struct */
    uint64_t sequence;
    uint64_t bytes; /* all of it, this included */
    uint32_t kind;  /* enum record_kind */
    uint32_t status;
    uint64_t hash; /* of the key; RECORD_KEY: what is taken out */
    uint32_t key_length, key_url;
    uint32_t vary_names, vary_values, reason, field_count;
    uint64_t stored_ms, age_ms, lifetime_ms, refresh_ms, stale_ms;
    uint64_t strict;
    uint64_t texts_bytes, body_bytes;
};

/* An answer's head and texts; its body follows. *ret_length bytes from malloc; NULL: no memory, or
 * too large. */
char *record_write(const struct cache_object *object, uint64_t sequence, size_t *ret_length);
/* One of another kind, with a text. */
char *record_write_text(enum record_kind kind, uint64_t hash, uint64_t sequence, const char *text,
                        size_t length, size_t *ret_length);
/* Is this a record's head? */
bool record_head_good(const struct record *record);
/* Is the rest what its head says? */
bool record_good(const struct record *record, const char *rest);

struct record_answer {               /* slices point into the record */
    struct cache_object_setup setup; /* without store and body */
    struct cache_key key;
    struct field fields[RECORD_FIELDS_MAX];
    struct slice body;
};
/* `rest`: what follows the head, record->bytes - sizeof *record. False: it is none. */
bool record_read(const struct record *record, const char *rest, struct record_answer *ret_answer);
