/* Which worker's socket a datagram comes to, where several share an address (SO_REUSEPORT): the
 * kernel's choice by addresses and ports does for `sticky=client`; by source or token clients must
 * meet one worker, since sessions are a worker's own. A classic BPF program chooses then. */
#pragma once

#include "topology/topology.h"

/* For the group that `fd` is in, of so many sockets. 0 or -errno. The same for all its members. */
int spread_attach(int fd, uint32_t sockets, const struct listener *listener);
/* Do both listeners choose alike? */
bool spread_same(const struct listener *one, const struct listener *other);
