/* An only instance drains, and will be started again. Its program goes on accepting whatever is put
 * into its listeners, so the kept duplicates are of no use yet; new connections are led to
 * listeners of ours instead, bound as the program's are, in their SO_REUSEPORT group (which asks
 * for the same user: a socket's is changed by fchown). Nobody accepts there. From then on they are
 * kept as the program's own are: when the next start listens they are closed, and what waits
 * migrates to it.
 *
 * Where a service has a check, that is not enough: PostgreSQL listens before it has recovered, and
 * refuses who comes. Then connections go on waiting where they are, in the listeners that earlier
 * starts left, until the check was good; checks come to the instance's own address.
 *
 * Such connections count for nobody while they live, as their listener was made in no instance's
 * cgroup. Datagrams cannot wait, so services that have UDP sockets are left alone. */
#include "steering/bpf_private.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"

static const struct {
    int level, name;
} inherited[] = {/* what a connection has from its listener, and programs set there */
                 {SOL_SOCKET, SO_KEEPALIVE},     {SOL_SOCKET, SO_OOBINLINE},
                 {IPPROTO_TCP, TCP_NODELAY},     {IPPROTO_TCP, TCP_KEEPIDLE},
                 {IPPROTO_TCP, TCP_KEEPINTVL},   {IPPROTO_TCP, TCP_KEEPCNT},
                 {IPPROTO_TCP, TCP_USER_TIMEOUT}};

static void options_copy(int from, int to)
{
    for (size_t i = 0; i < sizeof inherited / sizeof inherited[0]; i++) {
        int value;
        socklen_t size = sizeof value;
        if (getsockopt(from, inherited[i].level, inherited[i].name, &value, &size) == 0)
            setsockopt(to, inherited[i].level, inherited[i].name, &value, size);
    }
}

/* The two may share the port: same user, same family, both of one SO_REUSEPORT group. */
static int kinship_make(int like, int fd, sa_family_t family)
{
    struct stat stat;
    int on = 1, v6only = 0;
    socklen_t size = sizeof v6only;
    if (fstat(like, &stat) < 0 || fchown(fd, stat.st_uid, stat.st_gid) < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0)
        return -errno;
    if (family == AF_INET6 &&
        (getsockopt(like, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &size) < 0 ||
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, sizeof v6only) < 0))
        return -errno;
    return 0;
}

/* A listener where `like` listens, or -errno. */
static int listen_beside(int like)
{
    struct sockaddr_storage at;
    socklen_t length = sizeof at;
    if (getsockname(like, (struct sockaddr *)&at, &length) < 0)
        return -errno;
    scoped_fd int fd = socket(at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int error = kinship_make(like, fd, at.ss_family);
    if (error)
        return error;
    options_copy(like, fd);
    if (bind(fd, (struct sockaddr *)&at, length) < 0 || listen(fd, SOMAXCONN) < 0)
        return -errno;
    return fd_take(&fd);
}

static int waiting_lead(struct bpf_steering *steering, const struct slot *slot,
                        const struct heard *socket, int fd)
{
    uint32_t number = slot->instance.slot;
    int error = 0;
    if (socket->family != 6)
        error = steer_waiting_set(steering->steer, number, socket->port, 4, fd);
    if (!error && socket->family != 4)
        error = steer_waiting_set(steering->steer, number, socket->port, 6, fd);
    return error;
}

static int waiting_add(struct bpf_steering *steering, struct slot *slot, const struct kept *like)
{
    struct heard socket = like->socket;
    socklen_t size = sizeof socket.cookie;
    scoped_fd int fd = listen_beside(like->fd);
    if (fd < 0)
        return fd;
    if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &socket.cookie, &size) < 0)
        return -errno;
    int error = waiting_lead(steering, slot, &socket, fd);
    struct kept *kept = error ? NULL : bpf_kept_add(slot, &socket, fd_take(&fd));
    if (!kept)
        return error ? error : -ENOMEM;
    kept->waiting = true;
    bpf_kept_tell(steering, slot, kept);
    return 0;
}

static bool waiting_has(const struct slot *slot, const struct heard *socket)
{
    for (const struct kept *kept = slot->kept; kept; kept = kept->next)
        if (kept->waiting && kept_same_port(&kept->socket, socket))
            return true;
    return false;
}

bool bpf_slot_waits(const struct bpf_steering *steering, const struct slot *slot)
{
    if (bpf_wanted_of(steering, slot) != 1)
        return false;
    for (const struct kept *kept = slot->kept; kept; kept = kept->next)
        if (kept->waiting && kept->epoch == slot->instance.epoch)
            return true;
    return false;
}

void bpf_hold(struct steering *base, uint32_t number)
{
    struct bpf_steering *steering = of(base);
    struct slot *slot = steering->slots[number];
    int error = 0;
    if (!slot || !slot->present || bpf_wanted_of(steering, slot) != 1 || slot->datagrams)
        return;
    /* New ones come before those that are walked. */
    for (const struct kept *kept = slot->kept; kept && !error; kept = kept->next)
        if (!kept->waiting && !waiting_has(slot, &kept->socket))
            error = waiting_add(steering, slot, kept);
    if (!error)
        return;
    bpf_kept_close_waiting(steering, slot);
    log_warn("connections-not-held",
             "service=%s error=\"%s\" instead=\"it gets new ones until it is stopped\"",
             service_of(steering, slot->instance.service)->name, strerror(-error));
}

/* ---- until its check is good ------------------------------------------------------------------
 */

static bool slot_in_rotation(const struct bpf_steering *steering, const struct slot *slot)
{
    const struct rotated *rotated = &steering->rotated[slot->instance.service];
    for (size_t i = 0; i < rotated->count; i++)
        if (rotated->members[i].slot == slot->instance.slot)
            return rotated->members[i].weight > 0;
    return false;
}

void bpf_wait_for_check(struct bpf_steering *steering, struct slot *slot)
{
    uint32_t epoch = slot->instance.epoch;
    if (service_of(steering, slot->instance.service)->check == CHECK_LISTEN || slot->datagrams ||
        bpf_wanted_of(steering, slot) != 1 || slot_in_rotation(steering, slot))
        return;
    for (const struct kept *kept = slot->kept; kept; kept = kept->next)
        if (kept->epoch < epoch && waiting_lead(steering, slot, &kept->socket, kept->fd) < 0)
            return;
    for (struct kept *kept = slot->kept; kept; kept = kept->next) {
        if (kept->epoch < epoch) {
            kept->waiting = true;
            steer_listener_remove(steering->steer, slot->instance.slot, kept->socket.port,
                                  kept->socket.cookie);
        }
        kept->epoch = epoch;
    }
}

static bool heard_has(const struct slot *slot, uint64_t cookie)
{
    for (size_t i = 0; i < slot->heard_count; i++)
        if (slot->heard[i].cookie == cookie)
            return true;
    return false;
}

void bpf_wait_recall(struct bpf_steering *steering, struct slot *slot)
{
    bool waits = false;
    for (struct kept *kept = slot->kept; kept && slot->heard_count > 0; kept = kept->next)
        if (!heard_has(slot, kept->socket.cookie) &&
            waiting_lead(steering, slot, &kept->socket, kept->fd) == 0)
            waits = kept->waiting = true;
    if (waits && slot_in_rotation(steering, slot))
        bpf_kept_close_waiting(steering, slot);
    else if (waits)
        bpf_rotation_apply(steering, slot->instance.service);
}
