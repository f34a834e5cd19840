#include "gateway/relay/will.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/scoped.h"

union control { /* room for one descriptor */
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

int will_send(int socket, const struct will *will, int fd)
{
    union control control = {.bytes = {0}};
    struct iovec part = {(void *)(uintptr_t)will, sizeof *will};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&header);
    *cmsg = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(cmsg), &fd, sizeof fd);
    ssize_t sent = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
        return 0;
    return errno == ETOOMANYREFS ? -EAGAIN : -errno;
}

/* The descriptor of the packet; -1: none. */
static int descriptor_of(struct msghdr *header)
{
    int fd = -1;
    const struct cmsghdr *cmsg = CMSG_FIRSTHDR(header);
    if (cmsg && cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS &&
        cmsg->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(&fd, CMSG_DATA(cmsg), sizeof fd);
    return fd;
}

static bool will_good(const struct will *will)
{
    return will->format == WILL_FORMAT && will->key.length <= KEY_BYTES_MAX &&
           memchr(will->listener, 0, sizeof will->listener) &&
           memchr(will->endpoint, 0, sizeof will->endpoint);
}

int will_receive(int socket, struct will *ret_will, int *ret_fd)
{
    union control control;
    struct will will;
    struct iovec part = {&will, sizeof will};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t received = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    scoped_fd int fd = descriptor_of(&header);
    if (received == 0 && fd < 0)
        return -EPIPE;
    if (received != sizeof will || header.msg_flags & MSG_TRUNC || fd < 0 || !will_good(&will))
        return -EPROTO;
    *ret_will = will;
    *ret_fd = fd_take(&fd);
    return 0;
}
