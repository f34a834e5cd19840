/* How many connections each client address has to a listener (`bounds per-client=N`), over all
 * workers. The one place where workers share something that they write, so it is touched only where
 * a listener has such a bound: a table in stripes, each with a lock of its own, held for a few
 * loads and stores. An IPv6 client is its /64. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Counts one more for (listener's row, address). False: it has `max` already, or there is no
 * memory to know. */
bool client_caps_take(uint32_t row, const struct sockaddr *peer, uint32_t max);
void client_caps_give(uint32_t row, const struct sockaddr *peer);
