/* Pipes for splice(2): a worker keeps a few that are empty, since making one costs two descriptors
 * and more time than a small body. */
#pragma once

#include <stddef.h>

enum { PIPES_KEPT_MAX = 32, PIPE_BYTES = 256 * 1024 };

struct pipe_pair {
    int read_fd;
    int write_fd;
    size_t held; /* bytes that are in it */
};

struct pipes {
    struct pipe_pair kept[PIPES_KEPT_MAX];
    unsigned count;
};

/* 0 or -errno: no descriptor left; copy instead. */
int pipe_take(struct pipes *pipes, struct pipe_pair *ret_pair);
/* An empty one is kept, any other closed. Accepts one that is not there (read_fd -1). */
void pipe_give(struct pipes *pipes, struct pipe_pair *pair);
void pipes_done(struct pipes *pipes);
