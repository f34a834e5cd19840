/* How much of what was sent the other side has taken: the kernel's buffer of a connection is large,
 * and whoever reads slowly makes no room in it for a long time. */
#pragma once

#include <stdint.h>

/* Bytes that were acknowledged since the connection began; 0 where the kernel does not count them
 * (Unix sockets). */
uint64_t acknowledged_bytes(int fd);
