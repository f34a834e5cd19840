/* Sets of addresses (topology/site.h: struct network): is a peer in one of them? Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "topology/access.h"

/* IPv4 peers, also as ::ffff:a.b.c.d, are in IPv4 networks; Unix peers in none. */
bool networks_contain(const struct network *networks, size_t count, const struct sockaddr *peer);
/* May this client? Who has no address — a Unix peer — is spoken of by `all` only, whose answer is
 * that of the address ::. */
bool networks_allow(const struct access_list *access, const struct sockaddr *peer);
