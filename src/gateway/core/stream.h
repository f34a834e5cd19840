/* A stream: a connected socket, with TLS on it or without, as the protocols see it. Reads and
 * writes are tried first; only when the kernel says EAGAIN is the socket given to epoll, once,
 * edge-triggered, so a short connection never meets epoll_ctl(2), and a kept one meets it once in
 * its life (a second time when a write is blocked first: till then nobody is woken for room to
 * write). After that `ready` is called when something changed; whoever owns the stream then tries
 * again what it wants to do.
 *
 * Owned by its connection, in one worker. Nothing here allocates but TLS. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "event/loop.h"

struct stream;
struct tls_session;
struct tls_server;
struct tls_client;

/* Something may go on: try. `events` is for information (WATCH_…); WATCH_ERROR: the socket has an
 * error, which the next read or write returns. */
typedef void stream_ready(struct stream *stream, unsigned events);

struct stream { /* 48 bytes: each connection has two; watch.owner is the loop, at all times */
    struct watch watch;
    stream_ready *ready;
    struct tls_session *tls; /* NULL: plain */
    int fd;                  /* -1: closed */
    bool read_blocked : 1;   /* the last read took all there was, and nothing has come since */
    bool write_blocked : 1;
    bool ended : 1;  /* the other side sends no more, and all that it sent was read */
    bool shut : 1;   /* we send no more */
    bool ending : 1; /* epoll told of its end or an error: short reads prove nothing any more */
    bool wrote : 1;  /* once; from the second write on TCP_NODELAY matters */
    bool prompt : 1; /* TCP_NODELAY was set */
    bool read_crossed : 1; /* TLS: the read waits for room to write, the write for something read */
    bool write_crossed : 1;
    bool shut_blocked : 1;  /* TLS: close_notify found no room yet */
    bool unproven : 1;      /* a connect that is not known to stand */
    bool watches_write : 1; /* registered for room to write, too */
};

static inline struct loop *stream_loop(const struct stream *stream)
{
    return stream->watch.owner;
}

/* Takes the descriptor (non-blocking) over; allocates and calls nothing. */
void stream_init(struct stream *stream, struct loop *loop, int fd, stream_ready *ready);

/* A non-blocking connect. 0: connected or under way (writes give -EAGAIN until it stands, and
 * -ECONNREFUSED … when it failed); -errno: failed at once. Nothing is taken to have come
 * yet: the first read only registers. */
int stream_connect(struct stream *stream, struct loop *loop, const struct sockaddr *address,
                   socklen_t length, stream_ready *ready);
/* Is this what connecting fails by when it is we who are short of something? */
bool stream_error_ours(int error);
/* For a connect under way: 0: it stands; -EAGAIN; else what it failed with. */
int stream_connected(struct stream *stream);

/* Starts TLS on it; the handshake goes on inside of reads and writes. 0 or -ENOMEM. `name`: sent as
 * SNI and verified. */
int stream_tls_accept(struct stream *stream, struct tls_server *server);
int stream_tls_connect(struct stream *stream, struct tls_client *client, const char *name);

/* After -EAGAIN, and after a write that took less than all, the stream is registered and `ready`
 * will be called. Read until -EAGAIN, or come back to it by yourself: no edge tells of what was
 * there before. It costs no system call: after a read that returned less than `size` the next one
 * only registers the stream, if need be, and says -EAGAIN. */
/* Bytes read; 0: the end; -EAGAIN: nothing now; -errno (TLS: -EPROTO, tls_session_why tells). */
ssize_t stream_read(struct stream *stream, void *bytes, size_t size);
/* Bytes taken, maybe fewer than all; -EAGAIN: none now; -errno. Never SIGPIPE. `more`: further
 * bytes follow at once (MSG_MORE). */
ssize_t stream_write(struct stream *stream, const void *bytes, size_t length, bool more);
ssize_t stream_writev(struct stream *stream, const struct iovec *parts, int count, bool more);
/* Can be spliced from and to: no TLS, a real socket. */
static inline bool stream_plain(const struct stream *stream)
{
    return !stream->tls;
}
/* Registers with epoll, so that `ready` is called from now on also without an EAGAIN before: for a
 * stream that nobody reads just now, whose death should be seen. 0 or -errno. */
int stream_watch(struct stream *stream);

/* For who stops before -EAGAIN, so that others have their turn: `ready` is called soon. 0 or
 * -errno.
 */
int stream_again(struct stream *stream);

/* For who moves bytes past the stream (splice): -EAGAIN was seen: blocked, and registered. 0 or
 * -errno. */
int stream_read_blocks(struct stream *stream);
int stream_write_blocks(struct stream *stream);
/* Before each such write: sees to it that small pieces are not held back (TCP_NODELAY, from the
 * second write on: the first is never held back). */
void stream_prompt(struct stream *stream);
static inline void stream_writes(struct stream *stream)
{
    if (stream->wrote && !stream->prompt)
        stream_prompt(stream);
    stream->wrote = true;
}

/* No more from us: FIN (TLS: close_notify first). */
void stream_shutdown(struct stream *stream);
/* Accepts a closed one. `reset`: RST instead of FIN (SO_LINGER 0), to pass on what the other side
 * of a relay did, or to be rid of a client at once. */
void stream_close(struct stream *stream, bool reset);
/* Lets a plain stream's descriptor go, registered nowhere any more; the stream is closed after it.
 */
int stream_release(struct stream *stream);
/* Gives `to`, which is nothing yet, what `from` is, its registration included (then `ready` is
 * called soon, since nobody knows what the old owner has seen); `from` is closed after it. For
 * upgrades that hand both sides to the tunnel. */
void stream_move(struct stream *to, struct stream *from, stream_ready *ready);
