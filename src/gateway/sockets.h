/* The listening sockets that the supervisor has given, by the listener's text ("tcp:443"); for UDP
 * several, one for each worker. Owned by the main thread; generations copy the numbers. */
#pragma once

#include <stdint.h>

#include "gateway/core/generation.h"

struct sockets;

struct sockets *sockets_new(void); /* NULL: no memory */
/* Takes the descriptor; `number`: its place among those of this name. One that was there is closed.
 * 0, -ENOMEM, -ERANGE (then the descriptor is closed). */
int sockets_put(struct sockets *sockets, const char *name, uint64_t number, int fd);
/* Closes them; no worker may watch them any more. */
void sockets_drop(struct sockets *sockets, const char *name);
/* The descriptors of a name; *ret_count 0: none. Valid until the next put or drop. */
const int *sockets_find(const struct sockets *sockets, const char *name, uint32_t *ret_count);
