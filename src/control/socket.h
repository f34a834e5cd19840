/* The control socket itself: where it is, and who may. */
#pragma once

#include <stdbool.h>

/* Listens at this path, in the place of what a supervisor that was killed left there; mode 0600.
 * The descriptor, or -errno. */
int socket_open(const char *path, int waiting_max);
/* May the other end of a connection give orders? root, and the user that we are (SO_PEERCRED). */
bool socket_peer_may(int fd);
