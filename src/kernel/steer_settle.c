/* Listeners that open: bpf/steer_listen.h says why they are not given connections at once. */
#include <bpf/bpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/steer_private.h"

bool steer_listeners_answer(const struct steer *steer, char *why, size_t why_size)
{
    if (steer->unmended)
        snprintf(why, why_size, "no BPF program can be at security_socket_recvmsg (%s)",
                 strerror(-steer->unmended));
    return steer->unmended == 0;
}

/* The kernel takes a socket out of a SOCKHASH when its last descriptor is closed, so this one says
 * that we live. Any kind will do. */
int steer_attend(struct steer *steer)
{
    struct steer_socket_key key = {.slot = STEER_SLOT_ATTENDANT};
    if (steer->attendant[0] >= 0)
        return 0;
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, steer->attendant) != 0)
        return -errno;
    uint64_t value = (uint64_t)steer->attendant[0];
    int error = steer_map_set(steer, MAP_SOCKETS, &key, &value);
    if (error) {
        fd_drop(&steer->attendant[0]);
        fd_drop(&steer->attendant[1]);
    }
    return error;
}

void steer_settle_slot(struct steer *steer, uint32_t slot)
{
    __atomic_store_n(&steer->slots[slot].hurry, 1, __ATOMIC_SEQ_CST);
    steer_settle(steer);
    __atomic_store_n(&steer->slots[slot].hurry, 0, __ATOMIC_SEQ_CST);
}

bool steer_settle(struct steer *steer)
{
    scoped_fd int walk = bpf_iter_create(steer->settle);
    char left[256];
    ssize_t got;
    bool some = false;
    while (walk >= 0 && (got = read(walk, left, sizeof left)) != 0) {
        if (got < 0 && errno != EINTR && errno != EAGAIN)
            break;
        some = some || got > 0;
    }
    return some;
}
