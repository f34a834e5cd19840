#include "proc/logpipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "proc/logger.h"

#define ELSEWHERE "enginx" /* the source of what is lost beyond LOGPIPE_SOURCES_MAX */

void logpipe_init(struct logpipe *pipe, struct loop *loop, int fd, enum message_party sender)
{
    *pipe = (struct logpipe){.loop = loop, .fd = fd, .sender = sender};
    STAILQ_INIT(&pipe->losses);
}

static void loss_remove_first(struct logpipe *pipe)
{
    struct logpipe_loss *loss = STAILQ_FIRST(&pipe->losses);
    STAILQ_REMOVE_HEAD(&pipe->losses, next);
    pipe->loss_count--;
    free(loss);
}

void logpipe_done(struct logpipe *pipe)
{
    if (!pipe->loop)
        return;
    watch_stop(pipe->loop, &pipe->writable);
    while (!STAILQ_EMPTY(&pipe->losses))
        loss_remove_first(pipe);
    fd_drop(&pipe->fd);
}

static void loss_count(struct logpipe *pipe, const char *source, size_t length)
{
    struct logpipe_loss *loss;
    STAILQ_FOREACH (loss, &pipe->losses, next) {
        if (!strcmp(loss->source, source)) {
            loss->bytes += length;
            return;
        }
    }
    size_t source_bytes = strlen(source) + 1;
    loss = pipe->loss_count < LOGPIPE_SOURCES_MAX ? malloc(sizeof *loss + source_bytes) : NULL;
    if (!loss) {
        pipe->lost_elsewhere += length;
        return;
    }
    loss->bytes = length;
    memcpy(loss->source, source, source_bytes);
    STAILQ_INSERT_TAIL(&pipe->losses, loss, next);
    pipe->loss_count++;
}

static int loss_send(struct logpipe *pipe, const char *source, uint64_t bytes)
{
    struct message message;
    int error = message_init(&message, MESSAGE_LOST, source);
    message.number = bytes;
    return error ? error : message_send(pipe->fd, pipe->sender, &message);
}

/* Reports the losses in the order in which they began. 0, or -errno with the rest still there. */
static int losses_send(struct logpipe *pipe)
{
    struct logpipe_loss *loss;
    while ((loss = STAILQ_FIRST(&pipe->losses))) {
        int error = loss_send(pipe, loss->source, loss->bytes);
        if (error)
            return error;
        loss_remove_first(pipe);
    }
    int error = pipe->lost_elsewhere ? loss_send(pipe, ELSEWHERE, pipe->lost_elsewhere) : 0;
    if (!error)
        pipe->lost_elsewhere = 0;
    return error;
}

bool logpipe_behind(const struct logpipe *pipe)
{
    return !STAILQ_EMPTY(&pipe->losses) || pipe->lost_elsewhere;
}

static void logpipe_writable(struct watch *watch, unsigned events)
{
    (void)events;
    struct logpipe *pipe = watch->owner;
    /* Any error but "behind" means that the logger is gone: the owner hears of it from elsewhere.
     */
    if (losses_send(pipe) != -EAGAIN)
        watch_stop(pipe->loop, watch);
}

void logpipe_write(struct logpipe *pipe, const char *source, const char *bytes, size_t length)
{
    if (pipe->fd < 0 || !length)
        return;
    /* What is missing is told before anything that comes after the gap. */
    int error = logpipe_behind(pipe) ? losses_send(pipe) : 0;
    while (!error && length) {
        size_t part = length < LOGGER_CHUNK_BYTES_MAX ? length : LOGGER_CHUNK_BYTES_MAX;
        error = logger_send(pipe->fd, source, bytes, part);
        if (error)
            break;
        bytes += part;
        length -= part;
    }
    if (!error)
        return;
    loss_count(pipe, source, length);
    if (!pipe->writable.active && error == -EAGAIN)
        watch_start(pipe->loop, &pipe->writable, pipe->fd, WATCH_WRITE, logpipe_writable, pipe);
}
