#include "gateway/core/pipes.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int pipe_take(struct pipes *pipes, struct pipe_pair *ret_pair)
{
    if (pipes->count) {
        *ret_pair = pipes->kept[--pipes->count];
        return 0;
    }
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES); /* over the user's allowance it stays smaller */
    *ret_pair = (struct pipe_pair){.read_fd = ends[0], .write_fd = ends[1]};
    return 0;
}

static void pipe_close(struct pipe_pair *pair)
{
    close(pair->read_fd);
    close(pair->write_fd);
}

void pipe_give(struct pipes *pipes, struct pipe_pair *pair)
{
    if (pair->read_fd < 0)
        return;
    if (pair->held == 0 && pipes->count < PIPES_KEPT_MAX)
        pipes->kept[pipes->count++] = *pair;
    else
        pipe_close(pair);
    *pair = (struct pipe_pair){.read_fd = -1, .write_fd = -1};
}

void pipes_done(struct pipes *pipes)
{
    while (pipes->count)
        pipe_close(&pipes->kept[--pipes->count]);
}
