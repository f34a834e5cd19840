/* A store's second place: a file of fixed size, whose descriptor the supervisor gave, since the
 * gateway may open none. Records (cache_record.h) are appended in a ring, so the oldest are
 * overwritten: bounded by construction, no free space to be managed, and what a crash tears is seen
 * by its sum. What was taken out is recorded in the ring, too, and so holds for all that is older.
 *
 * A thread of its own does all reading and writing: no worker ever waits for a disk. A worker asks
 * whether a key may be there (an index in memory, rebuilt when the file is opened) and gives
 * answers to be written; while it is read the request waits in the key's flight, as for
 * another's fetch. When the disk is behind, answers are not written; when it fails, that is told
 * once, and after CACHE_DISK_FAILURES_MAX in a row it is left alone until the gateway starts anew.
 */
#pragma once

#include "gateway/http/cache_store.h"

enum {
    CACHE_DISK_QUEUE_BYTES = 32 * 1024 * 1024, /* that wait to be written, held in memory */
    CACHE_DISK_QUEUE_MAX = 4096,               /* jobs */
    CACHE_DISK_FAILURES_MAX = 16,
    CACHE_DISK_PURGES_MAX = 4096, /* remembered; beyond that all that is older is forgotten */
    CACHE_DISK_WAIT_MS = 2000,    /* a request waits so long for the disk, then asks the service */
    CACHE_DISK_VARIANTS_MAX = 16, /* of a key that are read */
    CACHE_DISK_LOCK_MS = 100,     /* another gateway has the file: tried again */
};

struct cache_disk;

/* The descriptor is taken, also on failure. NULL with errno. */
struct cache_disk *cache_disk_new(struct cache_store *store, int fd, uint64_t bytes);
/* No work is waiting any more: its thread ends, and frees it. Does not wait. Accepts NULL. */
void cache_disk_free(struct cache_disk *disk);

/* ---- by any thread ---- */

void cache_disk_write(struct cache_disk *disk, struct cache_object *object);
bool cache_disk_has(struct cache_disk *disk, const struct cache_key *key);
/* Reads all of the key's into the store, then ends the flight. False: it cannot; the flight is the
 * caller's. */
bool cache_disk_load(struct cache_disk *disk, const struct cache_key *key,
                     struct cache_flight *flight);
void cache_disk_invalidate(struct cache_disk *disk, const struct cache_key *key);
void cache_disk_purge(struct cache_disk *disk, const struct cache_purge *purge);

void cache_disk_figures(struct cache_disk *disk, struct cache_figures *figures);
