#include "steering/sink.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/reuseport.h"

static socklen_t address_write(const struct share_address *from, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof *ret);
    if (from->family == 4) {
        struct sockaddr_in *four = (struct sockaddr_in *)ret;
        four->sin_family = AF_INET;
        four->sin_port = htons(from->port);
        memcpy(&four->sin_addr, from->address, 4);
        return sizeof *four;
    }
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(from->port);
    memcpy(&six->sin6_addr, from->address, 16);
    return sizeof *six;
}

static int sink_listen(const struct share_address *bound)
{
    scoped_fd int fd = socket(bound->family == 4 ? AF_INET : AF_INET6,
                              SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int on = 1;
    int only = bound->family == 6;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    if (bound->family != 4 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) < 0)
        return -errno;
    struct sockaddr_storage address;
    socklen_t length = address_write(bound, &address);
    if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 0) < 0)
        return -errno;
    return fd_take(&fd);
}

/* One connection that is never accepted fills a backlog of 0. On the loopback device it is made
 * within the call of connect, and counts also when this end is closed at once. */
static int sink_fill(int sink, const struct share_address *bound)
{
    struct share_address to = *bound;
    if (share_address_any(bound)) {
        static const uint8_t four[4] = {127, 0, 0, 1};
        static const uint8_t six[16] = {[15] = 1};
        if (bound->family == 6)
            memcpy(to.address, six, sizeof six);
        else
            memcpy(to.address, four, sizeof four);
        to.family = bound->family == 6 ? 6 : 4;
    }
    struct sockaddr_storage address;
    socklen_t length = address_write(&to, &address);
    scoped_fd int client =
        socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (client < 0)
        return -errno;
    if (connect(client, (struct sockaddr *)&address, length) < 0 && errno != EINPROGRESS)
        return -errno;
    struct tcp_info info = {0};
    socklen_t info_length = sizeof info;
    if (getsockopt(sink, IPPROTO_TCP, TCP_INFO, &info, &info_length) < 0)
        return -errno;
    return info.tcpi_unacked ? 0 : -EBUSY;
}

int sink_open(const struct share_address *bound)
{
    int fd = sink_listen(bound);
    if (fd < 0)
        return fd;
    int error = sink_fill(fd, bound);
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

bool sink_needed(void)
{
    scoped_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && reuseport_only_local(fd, 0) == -EPERM;
}
