#include "gateway/core/acknowledged.h"

/* <netinet/tcp.h> has an older tcp_info, and the two cannot be had together. */
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

static bool tcp_info_get(int fd, struct tcp_info *info)
{
    socklen_t size = sizeof *info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &size) == 0;
}

/* Memory of what was sent and not read yet. */
static uint32_t local_held(int fd)
{
    uint32_t memory[SK_MEMINFO_VARS] = {0};
    socklen_t size = sizeof memory;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &size) < 0)
        return 0;
    return memory[SK_MEMINFO_WMEM_ALLOC];
}

uint64_t acknowledged_bytes(int fd)
{
    struct tcp_info info = {0};
    return tcp_info_get(fd, &info) ? info.tcpi_bytes_acked : UINT32_MAX - local_held(fd);
}

bool acknowledged_all(int fd)
{
    struct tcp_info info = {0};
    return !tcp_info_get(fd, &info) || (!info.tcpi_unacked && !info.tcpi_notsent_bytes);
}

void taking_note(struct taking *taking, int fd, uint64_t now_ms)
{
    taking->bytes = acknowledged_bytes(fd);
    taking->last_ms = now_ms;
}

void taking_look(struct taking *taking, int fd, uint64_t now_ms)
{
    uint64_t bytes = acknowledged_bytes(fd);
    if (bytes > taking->bytes)
        taking->last_ms = now_ms;
    taking->bytes = bytes;
}

bool taking_stopped(struct taking *taking, int fd, uint64_t now_ms, uint32_t limit_ms)
{
    taking_look(taking, fd, now_ms);
    return now_ms - taking->last_ms >= limit_ms;
}

uint32_t taking_pause_ms(uint32_t limit_ms)
{
    return (limit_ms + TAKING_LOOKS - 1) / TAKING_LOOKS;
}
