/* A packet of a Unix socket that a descriptor may come with (unix(7): SCM_RIGHTS). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Sends these parts as one packet, with a descriptor that stays the caller's (-1: none); `flags` as
 * sendmsg's; no SIGPIPE. 0 or -errno. */
int packet_send(int socket, const struct iovec *parts, size_t count, int flags, int fd);

struct packet_descriptors {
    int fd;         /* the first, close-on-exec, the caller's; -1: none */
    unsigned count; /* that came; all but the first were closed */
    bool lost;      /* one was sent that could not be installed here */
};

/* The packet's length; 0: the other end is gone; -EMSGSIZE: there was more than `size`; -errno.
 * With an error no descriptor is left to the caller. */
ssize_t packet_receive(int socket, void *bytes, size_t size, int flags,
                       struct packet_descriptors *ret_descriptors);
