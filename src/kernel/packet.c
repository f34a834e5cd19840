#include "kernel/packet.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DESCRIPTORS_MAX = 2 }; /* what finds room below; one more than any packet may have */

union control { /* the union aligns the bytes for a cmsghdr */
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int) * DESCRIPTORS_MAX)];
};

static void control_put(struct msghdr *packet, union control *control, int fd)
{
    memset(control, 0, sizeof *control);
    packet->msg_control = control->bytes;
    packet->msg_controllen = CMSG_SPACE(sizeof fd);
    struct cmsghdr *part = CMSG_FIRSTHDR(packet);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(part), &fd, sizeof fd);
}

int packet_send(int socket, const struct iovec *parts, size_t count, int flags, int fd)
{
    struct msghdr packet = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count};
    union control control;
    if (fd >= 0)
        control_put(&packet, &control, fd);
    ssize_t sent;
    do
        sent = sendmsg(socket, &packet, flags | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static void control_take(struct msghdr *packet, struct packet_descriptors *descriptors)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(packet); part; part = CMSG_NXTHDR(packet, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (descriptors->count++ == 0)
                descriptors->fd = fd;
            else
                close(fd);
        }
    }
}

ssize_t packet_receive(int socket, void *bytes, size_t size, int flags,
                       struct packet_descriptors *ret_descriptors)
{
    struct iovec part = {bytes, size};
    union control control;
    struct msghdr packet = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    *ret_descriptors = (struct packet_descriptors){.fd = -1};
    ssize_t length;
    do
        length = recvmsg(socket, &packet, flags | MSG_CMSG_CLOEXEC);
    while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;
    control_take(&packet, ret_descriptors);
    ret_descriptors->lost = !ret_descriptors->count && packet.msg_flags & MSG_CTRUNC;
    if (!(packet.msg_flags & MSG_TRUNC))
        return length;
    if (ret_descriptors->fd >= 0)
        close(ret_descriptors->fd);
    ret_descriptors->fd = -1;
    return -EMSGSIZE;
}
