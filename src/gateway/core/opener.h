/* The opener: a small process beside the gateway's that opens files for it, since the gateway
 * itself may open none. It is forked before anything is read from the network, lives as long as the
 * gateway, and is as confined: nobody, reading only (landlock), a handful of calls (seccomp). It
 * knows no folder: each request brings the descriptor of one, which the supervisor gave, and a path
 * that the kernel must resolve beneath it (openat2(2), RESOLVE_BENEATH and RESOLVE_NO_MAGICLINKS):
 * neither `..` nor a symbolic link leads out. So a gateway that was taken over reads no more than
 * what it was given to serve.
 *
 * Each worker has a socket to it and a thread in it, and waits for the answer: an open blocks a
 * worker as long as a disk does, and OPENER_WAIT_MS at most. */
#pragma once

#include <limits.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OPENER_WAIT_MS = 2000,
    OPENER_PATH_BYTES = PATH_MAX,
    OPENER_THREADS_MAX = 256, /* those of workers, and some that hang on a dead disk */
};

/* Forks it; before the sandbox, and before there are threads. The descriptor of its control socket,
 * which says when it is gone; or -errno. One in a process. */
int opener_start(void);

struct opener { /* a worker's; zero-initialised is not yet connected */
    int fd;     /* 0: none */
    uint32_t sequence;
};

/* Opens a file for reading (or a folder, then for listing it), which need not be a regular one: see
 * fstat. `path`: below the directory; "": itself. 0 with *ret_fd, or -errno as openat2 says it
 * (-EXDEV: it leads out); -ETIMEDOUT: it took too long; -EMFILE. */
int opener_open(struct opener *opener, int directory_fd, const char *path, int *ret_fd);
void opener_done(struct opener *opener);
