/* Outgoing connections of a notified program that are led elsewhere: connect(2) is made on a
 * duplicate of the program's socket, and the program gets the result. A blocking socket is made
 * non-blocking meanwhile (the flag is the program's too: it waits in connect and cannot look), so
 * that the supervisor never waits. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "event/loop.h"

enum { CONNECTS_PENDING_MAX = 1024 };

struct redirects;

struct redirects *redirects_new(struct loop *loop); /* NULL: no memory */
/* Programs that still wait get EINTR, which says that the connection goes on being made. */
void redirects_free(struct redirects *redirects);

/* Connects `fd` (taken over on success) and answers request `id` of `notify_fd`, now or later.
 * -EBUSY: too many wait; the caller lets the program connect by itself. */
int redirect_start(struct redirects *redirects, uint32_t slot, int notify_fd, uint64_t id, int fd,
                   const struct sockaddr *address, socklen_t length);
/* The slot's programs are gone, or its notification descriptor will be closed. */
void redirects_cancel(struct redirects *redirects, uint32_t slot);
