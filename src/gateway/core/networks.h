/* Sets of addresses (topology/site.h: struct network): is a peer in one of them? Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "topology/site.h"

/* IPv4 peers, also as ::ffff:a.b.c.d, are in IPv4 networks; Unix peers in none. */
bool networks_contain(const struct network *networks, size_t count, const struct sockaddr *peer);
