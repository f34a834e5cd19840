#include "gateway/core/stream.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include "tls/session.h"

enum {
    FAILED = WATCH_ERROR | WATCH_HANGUP,
    EVENTS_OF_READ = WATCH_READ | WATCH_PEER_ENDED | FAILED,
    EVENTS_OF_WRITE = WATCH_WRITE | FAILED,
};

void stream_init(struct stream *stream, struct loop *loop, int fd, stream_ready *ready)
{
    *stream = (struct stream){.watch = {.owner = loop}, .ready = ready, .fd = fd};
}

/* ---- connecting ----------------------------------------------------------------------------- */

int stream_connect(struct stream *stream, struct loop *loop, const struct sockaddr *address,
                   socklen_t length, stream_ready *ready)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, address, length) < 0 && errno != EINPROGRESS) {
        int error = errno == EAGAIN ? -ECONNREFUSED : -errno; /* AF_UNIX: its queue is full */
        close(fd);
        return error;
    }
    stream_init(stream, loop, fd, ready);
    /* Nothing can have come yet: the first read may as well begin with the registration. */
    stream->read_blocked = stream->unproven = true;
    return 0;
}

bool stream_error_ours(int error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM ||
           error == -EADDRNOTAVAIL;
}

/* A write of nothing waits for the connection as any other does, and tells its error: one call, and
 * nothing is sent. */
int stream_connected(struct stream *stream)
{
    if (!stream->unproven)
        return 0;
    if (send(stream->fd, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        return -errno;
    stream->unproven = false;
    return 0;
}

int stream_tls_accept(struct stream *stream, struct tls_server *server)
{
    assert(!stream->tls);
    stream->tls = tls_session_accept(server, stream->fd);
    stream->read_blocked = stream->write_blocked = false;
    return stream->tls ? 0 : -ENOMEM;
}

int stream_tls_connect(struct stream *stream, struct tls_client *client, const char *name)
{
    assert(!stream->tls);
    stream->tls = tls_session_connect(client, stream->fd, name);
    stream->read_blocked = stream->write_blocked = false;
    return stream->tls ? 0 : -ENOMEM;
}

/* ---- waiting -------------------------------------------------------------------------------- */

static void stream_event(struct watch *watch, unsigned events);

static unsigned events_of(const struct stream *stream)
{
    return WATCH_READ | WATCH_PEER_ENDED | (unsigned)WATCH_EDGE |
           (stream->watches_write ? WATCH_WRITE : 0);
}

/* Registered, and for room to write if that is asked for now. A change tells anew what there is. */
static int watch_for(struct stream *stream, bool write)
{
    if (stream->watch.active && (stream->watches_write || !write))
        return 0;
    stream->watches_write = stream->watches_write || write;
    if (stream->watch.active)
        return watch_change(stream_loop(stream), &stream->watch, events_of(stream));
    return watch_start(stream_loop(stream), &stream->watch, stream->fd, events_of(stream),
                       stream_event, stream_loop(stream));
}

/* close_notify, then FIN; what finds no room is tried again when there is some. */
static void shutdown_try(struct stream *stream)
{
    stream->shut_blocked = stream->tls && tls_session_shutdown(stream->tls) == -EAGAIN;
    if (!stream->shut_blocked)
        shutdown(stream->fd, SHUT_WR);
    else
        (void)watch_for(stream, true);
}

static void stream_event(struct watch *watch, unsigned events)
{
    struct stream *stream = (struct stream *)((char *)watch - offsetof(struct stream, watch));
    bool readable = events & EVENTS_OF_READ;
    bool writable = events & EVENTS_OF_WRITE;
    if (readable || (writable && stream->read_crossed))
        stream->read_blocked = stream->read_crossed = false;
    if (writable || (readable && stream->write_crossed))
        stream->write_blocked = stream->write_crossed = false;
    if (events & (WATCH_PEER_ENDED | FAILED))
        stream->ending = true;
    if (stream->shut_blocked)
        shutdown_try(stream);
    stream->ready(stream, events);
}

int stream_watch(struct stream *stream)
{
    return watch_for(stream, stream->write_blocked || stream->read_crossed || stream->unproven);
}

int stream_again(struct stream *stream)
{
    if (!stream->watch.active)
        return stream_watch(stream);
    return watch_change(stream_loop(stream), &stream->watch,
                        WATCH_READ | WATCH_WRITE | WATCH_PEER_ENDED | (unsigned)WATCH_EDGE);
}

int stream_read_blocks(struct stream *stream)
{
    stream->read_blocked = true;
    return stream_watch(stream);
}

int stream_write_blocks(struct stream *stream)
{
    stream->write_blocked = true;
    return watch_for(stream, true);
}

/* -EAGAIN, once it is certain that `ready` will be called. */
static ssize_t blocks(int error)
{
    return error ? error : -EAGAIN;
}

/* ---- reading -------------------------------------------------------------------------------- */

static ssize_t tls_read_some(struct stream *stream, void *bytes, size_t size)
{
    bool wants_write = false;
    ssize_t count = tls_session_read(stream->tls, bytes, size, &wants_write);
    stream->read_crossed = count == -EAGAIN && wants_write;
    if (count > 0 && !stream->ending && tls_session_drained(stream->tls))
        stream->read_blocked = true; /* as below */
    return count;
}

static ssize_t plain_read_some(struct stream *stream, void *bytes, size_t size)
{
    ssize_t count = recv(stream->fd, bytes, size, 0);
    if (count < 0)
        return -errno;
    /* All that was there; what comes later is an edge. An end that was announced is still to be
     * read, and before the socket is registered nothing is announced: stream_watch finds it. */
    if (count > 0 && (size_t)count < size && !stream->ending)
        stream->read_blocked = true;
    return count;
}

ssize_t stream_read(struct stream *stream, void *bytes, size_t size)
{
    assert(size > 0);
    if (stream->ended)
        return 0;
    if (stream->read_blocked)
        return blocks(stream_watch(stream));
    ssize_t count =
        stream->tls ? tls_read_some(stream, bytes, size) : plain_read_some(stream, bytes, size);
    if (count == -EAGAIN)
        return blocks(stream_read_blocks(stream));
    stream->ended = count == 0;
    return count;
}

/* ---- writing -------------------------------------------------------------------------------- */

void stream_prompt(struct stream *stream)
{
    stream->prompt = true;
    /* Fails harmlessly on what is not TCP. */
    setsockopt(stream->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

static ssize_t tls_write_some(struct stream *stream, const void *bytes, size_t length)
{
    bool wants_write = true;
    ssize_t count = tls_session_write(stream->tls, bytes, length, &wants_write);
    stream->write_crossed = count == -EAGAIN && !wants_write;
    return count;
}

/* What a write came to; `length` was to be written. */
static ssize_t written(struct stream *stream, ssize_t count, size_t length)
{
    stream->unproven = stream->unproven && count < 0;
    if (count == -EAGAIN)
        return blocks(stream_write_blocks(stream));
    if (count < 0 || (size_t)count == length || stream->tls)
        return count;
    int error = stream_write_blocks(stream);
    return error ? error : count;
}

ssize_t stream_write(struct stream *stream, const void *bytes, size_t length, bool more)
{
    assert(!stream->shut);
    if (stream->write_blocked)
        return blocks(stream_watch(stream));
    stream_writes(stream);
    ssize_t count;
    if (stream->tls)
        count = tls_write_some(stream, bytes, length);
    else
        count = send(stream->fd, bytes, length, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    return written(stream, count < 0 && !stream->tls ? -errno : count, length);
}

static ssize_t tls_writev(struct stream *stream, const struct iovec *parts, int count)
{
    size_t done = 0;
    for (int i = 0; i < count; i++) {
        if (!parts[i].iov_len)
            continue;
        ssize_t part = stream_write(stream, parts[i].iov_base, parts[i].iov_len, false);
        if (part < 0)
            return done ? (ssize_t)done : part;
        done += (size_t)part;
        if ((size_t)part < parts[i].iov_len)
            break;
    }
    return (ssize_t)done;
}

ssize_t stream_writev(struct stream *stream, const struct iovec *parts, int count, bool more)
{
    assert(!stream->shut);
    if (stream->tls)
        return tls_writev(stream, parts, count);
    if (stream->write_blocked)
        return blocks(stream_watch(stream));
    stream_writes(stream);
    size_t length = 0;
    for (int i = 0; i < count; i++)
        length += parts[i].iov_len;
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts,
                                   .msg_iovlen = (size_t)count};
    ssize_t taken = sendmsg(stream->fd, &message, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
    return written(stream, taken < 0 ? -errno : taken, length);
}

/* ---- ending --------------------------------------------------------------------------------- */

void stream_shutdown(struct stream *stream)
{
    if (stream->shut || stream->fd < 0)
        return;
    stream->shut = true;
    shutdown_try(stream);
}

void stream_close(struct stream *stream, bool reset)
{
    if (stream->fd < 0)
        return;
    if (stream->tls && !reset && !stream->shut)
        tls_session_shutdown(stream->tls);
    tls_session_free(stream->tls);
    stream->tls = NULL;
    if (reset)
        setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
    watch_forget(stream_loop(stream), &stream->watch);
    close(stream->fd);
    stream->fd = -1;
}

int stream_release(struct stream *stream)
{
    assert(stream->fd >= 0 && !stream->tls);
    int fd = stream->fd;
    watch_stop(stream_loop(stream), &stream->watch);
    stream->fd = -1;
    return fd;
}

void stream_move(struct stream *to, struct stream *from, stream_ready *ready)
{
    struct loop *loop = stream_loop(from);
    *to = *from;
    to->watch = (struct watch){.owner = loop};
    to->ready = ready;
    if (from->watch.active &&
        watch_move(loop, &to->watch, &from->watch, events_of(to), stream_event, loop) < 0)
        watch_stop(loop, &from->watch); /* the next read or write registers anew */
    from->fd = -1;
    from->tls = NULL;
}
