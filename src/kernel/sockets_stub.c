/* For the tests of the direct path until kernel/sockets.c and kernel/process.c are there. */
#include <sys/socket.h>
#include <unistd.h>

#include "kernel/sockets.h"

uint64_t sockets_netns_cookie(void)
{
    uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size);
    close(fd);
    return cookie;
}
