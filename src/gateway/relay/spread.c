#include "gateway/relay/spread.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

#include "kernel/reuseport.h"
#include "upstream/tally.h"

enum { INSTRUCTIONS_MAX = 2048 };

static int by_source(int fd, uint32_t sockets)
{
    struct reuseport_member members[TALLY_THREADS_MAX];
    struct sock_filter program[INSTRUCTIONS_MAX];
    for (uint32_t i = 0; i < sockets; i++)
        members[i] = (struct reuseport_member){.index = i, .weight = 1, .name = i};
    const struct reuseport_choice choice = {
        .policy = REUSEPORT_CLIENT_HASH, .members = members, .count = sockets};
    int count = reuseport_build(&choice, 1, NULL, program, INSTRUCTIONS_MAX);
    return count < 0 ? count : reuseport_attach(fd, program, (size_t)count);
}

/* The token's last bytes, up to four. A datagram that is too short for it goes to the first. */
static int by_token(int fd, uint32_t sockets, const struct listener *listener)
{
    const uint32_t end = (uint32_t)listener->token_at + listener->token_bytes;
    const uint32_t width = listener->token_bytes >= 4 ? 4 : listener->token_bytes >= 2 ? 2 : 1;
    const uint16_t size = width == 4 ? BPF_W : width == 2 ? BPF_H : BPF_B;
    const struct sock_filter program[] = {
        BPF_STMT((uint16_t)(BPF_LD | BPF_ABS | size), end - width),
        BPF_STMT(BPF_ALU | BPF_MUL | BPF_K, 0x9e3779b1), /* so that all bits count */
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 16),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, sockets),
        BPF_STMT(BPF_RET | BPF_A, 0),
    };
    return reuseport_attach(fd, program, sizeof program / sizeof program[0]);
}

/* The sockets outlive the process that attached something. */
static int by_client(int fd)
{
    int nothing = 0;
    if (setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &nothing, sizeof nothing) == 0)
        return 0;
    return errno == ENOENT ? 0 : -errno;
}

int spread_attach(int fd, uint32_t sockets, const struct listener *listener)
{
    if (sockets < 2)
        return 0;
    if (sockets > TALLY_THREADS_MAX)
        return -E2BIG;
    switch (listener->sticky) {
    case STICKY_SOURCE:
        return by_source(fd, sockets);
    case STICKY_TOKEN:
        return by_token(fd, sockets, listener);
    case STICKY_CLIENT:
        break;
    }
    return by_client(fd);
}

bool spread_same(const struct listener *one, const struct listener *other)
{
    return one->sticky == other->sticky && one->token_at == other->token_at &&
           one->token_bytes == other->token_bytes;
}
