#include "gateway/core/acknowledged.h"

/* <netinet/tcp.h> has an older tcp_info, and the two cannot be had together. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

uint64_t acknowledged_bytes(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return 0;
    return info.tcpi_bytes_acked;
}
