/* A bump arena for one exchange: chunks are recycled per worker, so a request allocates nothing in
 * the steady state; has a cap, at which bump_alloc gives NULL and the request is answered 503. */
#pragma once

#include <stddef.h>

struct bump;
struct bump_store; /* of a worker: chunks not in use */

struct bump_store *bump_store_new(size_t chunks_kept_max);
void bump_store_free(struct bump_store *store);

struct bump *bump_new(struct bump_store *store, size_t bytes_max); /* NULL: no memory */
void bump_free(struct bump *bump);
/* Aligned for any type, not zeroed; NULL: at the cap, or no memory. */
void *bump_alloc(struct bump *bump, size_t size);
char *bump_copy(struct bump *bump, const char *bytes, size_t length);
