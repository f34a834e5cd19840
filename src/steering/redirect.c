#include "steering/redirect.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernel/seccomp.h"

struct pending {
    struct redirects *redirects;
    struct pending *next_free;
    uint32_t slot;
    int notify_fd;
    uint64_t id;
    int fd;    /* -1: not in use */
    int flags; /* of the socket before */
    struct watch watch;
};

struct redirects {
    struct loop *loop;
    struct pending *free;
    struct pending pending[CONNECTS_PENDING_MAX];
};

struct redirects *redirects_new(struct loop *loop)
{
    struct redirects *redirects = calloc(1, sizeof *redirects);
    if (!redirects)
        return NULL;
    redirects->loop = loop;
    for (size_t i = CONNECTS_PENDING_MAX; i-- > 0;) {
        redirects->pending[i] =
            (struct pending){.redirects = redirects, .next_free = redirects->free, .fd = -1};
        redirects->free = &redirects->pending[i];
    }
    return redirects;
}

/* The blocking mode first: the program runs on as soon as it has the answer. An answer that fails
 * (ENOENT) means that the program was killed meanwhile. */
static void pending_end(struct pending *pending, int error)
{
    watch_stop(pending->redirects->loop, &pending->watch);
    fcntl(pending->fd, F_SETFL, pending->flags);
    seccomp_answer(pending->notify_fd, pending->id, 0, error);
    close(pending->fd);
    pending->fd = -1;
    pending->next_free = pending->redirects->free;
    pending->redirects->free = pending;
}

static void pending_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct pending *pending = watch->owner;
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(pending->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    pending_end(pending, error);
}

void redirects_free(struct redirects *redirects)
{
    if (!redirects)
        return;
    for (size_t i = 0; i < CONNECTS_PENDING_MAX; i++)
        if (redirects->pending[i].fd >= 0)
            pending_end(&redirects->pending[i], EINTR);
    free(redirects);
}

void redirects_cancel(struct redirects *redirects, uint32_t slot)
{
    for (size_t i = 0; i < CONNECTS_PENDING_MAX; i++)
        if (redirects->pending[i].fd >= 0 && redirects->pending[i].slot == slot)
            pending_end(&redirects->pending[i], EINTR);
}

/* A program that is non-blocking itself gets EINPROGRESS as connect gave it. */
static void connect_at_once(int notify_fd, uint64_t id, int fd, const struct sockaddr *address,
                            socklen_t length)
{
    int error = connect(fd, address, length) < 0 ? errno : 0;
    seccomp_answer(notify_fd, id, 0, error);
    close(fd);
}

int redirect_start(struct redirects *redirects, uint32_t slot, int notify_fd, uint64_t id, int fd,
                   const struct sockaddr *address, socklen_t length)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (flags & O_NONBLOCK) {
        connect_at_once(notify_fd, id, fd, address, length);
        return 0;
    }
    struct pending *pending = redirects->free;
    if (!pending)
        return -EBUSY;
    if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    redirects->free = pending->next_free;
    pending->slot = slot;
    pending->notify_fd = notify_fd;
    pending->id = id;
    pending->fd = fd;
    pending->flags = flags;
    int error = connect(fd, address, length) < 0 ? errno : 0;
    if (error == EINPROGRESS) {
        error = -watch_start(redirects->loop, &pending->watch, fd, WATCH_WRITE, pending_ready,
                             pending);
        if (!error)
            return 0;
    }
    pending_end(pending, error);
    return 0;
}
