#include <errno.h>
#include <fcntl.h>

#include "gateway/http/h1_client_private.h"

static bool splice_fits(struct h1_client *client)
{
    if (client->state != CLIENT_BODY || client->body != BODY_LENGTH ||
        !stream_plain(&client->stream))
        return false;
    if (client->pipe.read_fd >= 0)
        return true;
    return client->body_left >= SPLICE_BYTES_MIN && client->calls->splices(client->owner) &&
           pipe_take(&client->worker->pipes, &client->pipe) == 0;
}

/* From the pipe to the owner. False: it takes no more now, or is gone. */
static bool pipe_empty(struct h1_client *client)
{
    while (client->pipe.held) {
        ssize_t moved =
            client->calls->splice(client->owner, client->pipe.read_fd, client->pipe.held);
        if (client->dead)
            return false;
        if (moved <= 0) {
            client->wanted = false;
            client->deadline_ms = UINT64_MAX;
            return false;
        }
        client->pipe.held -= (size_t)moved;
    }
    return true;
}

/* From the socket into the pipe. False: there is nothing now, or it failed. */
static bool pipe_fill(struct h1_client *client)
{
    if (client->stream.read_blocked)
        return stream_watch(&client->stream), false;
    size_t size = client->body_left < PIPE_BYTES ? (size_t)client->body_left : PIPE_BYTES;
    ssize_t count = splice(client->stream.fd, NULL, client->pipe.write_fd, NULL, size,
                           SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (count < 0 && errno == EAGAIN) {
        stream_read_blocks(&client->stream);
        return false;
    }
    if (count <= 0) {
        client_fail(client, false, "the endpoint broke off in the middle of the body");
        return false;
    }
    client->pipe.held += (size_t)count;
    client->body_left -= (uint64_t)count;
    client_deadline(client, client->times.read);
    return true;
}

bool client_splice(struct h1_client *client)
{
    if (!splice_fits(client))
        return false;
    for (int turns = 0; turns < CLIENT_READS_MAX; turns++) {
        if (!pipe_empty(client))
            return true;
        if (!client->body_left) {
            pipe_give(&client->worker->pipes, &client->pipe);
            client->state = CLIENT_OVER;
            client->deadline_ms = UINT64_MAX;
            client->calls->body(client->owner, "", 0, true);
            return true;
        }
        if (!pipe_fill(client))
            return true;
    }
    stream_again(&client->stream);
    return true;
}
