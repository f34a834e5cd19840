#include "steering/bpf_private.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/process.h"

/* "listener:SLOT:PORT:FAMILY:COOKIE:SERVICE": the service's name is for people. */
static const char *kept_name(const struct bpf_steering *steering, const struct slot *slot,
                             const struct kept *kept, char name[KEPT_NAME_BYTES])
{
    snprintf(name, KEPT_NAME_BYTES, "listener:%u:%u:%u:%" PRIx64 ":%.160s", slot->instance.slot,
             kept->socket.port, kept->socket.family, kept->socket.cookie,
             service_of(steering, slot->instance.service)->name);
    return name;
}

/* Takes it out of the list that `place` belongs to, and closes it. */
static void kept_drop(struct bpf_steering *steering, struct slot *slot, struct kept **place)
{
    struct kept *kept = *place;
    char name[KEPT_NAME_BYTES];
    *place = kept->next;
    steering->setup.callbacks->forget(steering->setup.owner, kept_name(steering, slot, kept, name));
    close(kept->fd);
    free(kept);
}

/* Closes those of epochs before `epoch`; with `replacement`, only those that it replaces. */
void bpf_kept_close(struct bpf_steering *steering, struct slot *slot, uint32_t epoch,
                    const struct heard *replacement)
{
    struct kept **place = &slot->kept;
    while (*place) {
        struct kept *kept = *place;
        if (kept->epoch < epoch && (!replacement || kept_same_port(&kept->socket, replacement)))
            kept_drop(steering, slot, place);
        else
            place = &kept->next;
    }
}

void bpf_kept_close_waiting(struct bpf_steering *steering, struct slot *slot)
{
    struct kept **place = &slot->kept;
    while (*place)
        if ((*place)->waiting)
            kept_drop(steering, slot, place);
        else
            place = &(*place)->next;
}

void bpf_kept_close_all(struct bpf_steering *steering, struct slot *slot)
{
    bpf_kept_close(steering, slot, UINT32_MAX, NULL);
}

/* `fd` is taken over. */
struct kept *bpf_kept_add(struct slot *slot, const struct heard *socket, int fd)
{
    struct kept *kept = calloc(1, sizeof *kept);
    if (!kept) {
        close(fd);
        return NULL;
    }
    *kept = (struct kept){
        .next = slot->kept, .fd = fd, .epoch = slot->instance.epoch, .socket = *socket};
    slot->kept = kept;
    return kept;
}

static bool kept_has(const struct slot *slot, uint64_t cookie)
{
    for (const struct kept *kept = slot->kept; kept; kept = kept->next)
        if (kept->socket.cookie == cookie)
            return true;
    return false;
}

bool bpf_kept_is_former(const struct slot *slot, uint64_t cookie)
{
    for (const struct kept *kept = slot->kept; kept; kept = kept->next)
        if (kept->socket.cookie == cookie && kept->epoch < slot->instance.epoch)
            return true;
    return false;
}

/* A duplicate of the instance's socket, or -errno. */
int bpf_socket_fetch(struct bpf_steering *steering, const struct slot *slot, uint64_t cookie)
{
    static pid_t pids[PROCESSES_MAX];
    size_t count = steering->setup.callbacks->processes(steering->setup.owner, slot->instance.slot,
                                                        pids, PROCESSES_MAX);
    return process_socket_find(pids, count, cookie);
}

void bpf_kept_tell(struct bpf_steering *steering, const struct slot *slot, const struct kept *kept)
{
    char name[KEPT_NAME_BYTES];
    steering->setup.callbacks->keep(steering->setup.owner, kept_name(steering, slot, kept, name),
                                    kept->fd);
}

void bpf_listener_keep(struct bpf_steering *steering, struct slot *slot, const struct heard *socket)
{
    if (kept_has(slot, socket->cookie))
        return;
    int fd = bpf_socket_fetch(steering, slot, socket->cookie);
    struct kept *kept = fd < 0 ? NULL : bpf_kept_add(slot, socket, fd);
    if (!kept) {
        log_warn("listener-not-kept",
                 "service=%s port=%u error=\"%s\" instead=\"connections are refused while it "
                 "restarts\"",
                 service_of(steering, slot->instance.service)->name, socket->port,
                 strerror(fd < 0 ? -fd : ENOMEM));
        return;
    }
    bpf_kept_tell(steering, slot, kept);
}

size_t bpf_kept(struct steering *base, uint32_t number, int *ret_fds, size_t max)
{
    const struct slot *slot = of(base)->slots[number];
    size_t count = 0;
    for (const struct kept *kept = slot ? slot->kept : NULL; kept && count < max; kept = kept->next)
        ret_fds[count++] = kept->fd;
    return count;
}

/* Do connections wait in a listener? (Of a listening socket, tcpi_unacked is the length of the
 * queue: tcp_get_info in net/ipv4/tcp.c.) */
static bool listener_has_queue(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0 && info.tcpi_unacked > 0;
}

/* Closes what the program itself has closed; what waits in it migrates to another of the port. */
static void slot_sweep(struct bpf_steering *steering, struct slot *slot)
{
    struct kept **place = &slot->kept;
    while (*place) {
        struct kept *kept = *place;
        bool looked = !kept->waiting && listener_has_queue(kept->fd);
        int found = looked ? bpf_socket_fetch(steering, slot, kept->socket.cookie) : -EAGAIN;
        if (found == -ENOENT) {
            kept_drop(steering, slot, place);
            continue;
        }
        fd_drop(&found);
        place = &kept->next;
    }
}

static void sweep_due(struct timer *timer)
{
    struct bpf_steering *steering = timer->owner;
    bool crowded = false;
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        struct slot *slot = steering->slots[i];
        /* Of an instance that is down all are the program's no more, and wanted all the same. */
        if (!slot || !slot->crowded)
            continue;
        crowded = true;
        if (slot->heard_count > 0)
            slot_sweep(steering, slot);
    }
    if (crowded)
        timer_start(steering->setup.loop, timer, SWEEP_EVERY_MS, sweep_due, steering);
}

static bool slot_is_crowded(const struct slot *slot)
{
    for (const struct kept *one = slot->kept; one; one = one->next)
        for (const struct kept *other = one->next; other; other = other->next)
            if (kept_same_port(&one->socket, &other->socket))
                return true;
    return false;
}

void bpf_slot_watch_crowd(struct bpf_steering *steering, struct slot *slot)
{
    slot->crowded = slot_is_crowded(slot);
    if (slot->crowded && !timer_active(&steering->sweep))
        timer_start(steering->setup.loop, &steering->sweep, SWEEP_EVERY_MS, sweep_due, steering);
}

uint32_t bpf_wanted_of(const struct bpf_steering *steering, const struct slot *slot)
{
    return steering->rotated[slot->instance.service].wanted;
}

void bpf_wanted(struct steering *base, uint32_t service, uint32_t wanted)
{
    struct bpf_steering *steering = of(base);
    steering->rotated[service].wanted = wanted;
    if (wanted != 1)
        bpf_rotation_apply(steering, service); /* nobody is led to what closes now */
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        struct slot *slot = steering->slots[i];
        if (!slot || !slot->present || slot->instance.service != service)
            continue;
        if (wanted != 1)
            bpf_kept_close_all(steering, slot);
        for (size_t k = 0; wanted == 1 && k < slot->heard_count; k++)
            if (slot->heard[k].protocol == STEER_TCP)
                bpf_listener_keep(steering, slot, &slot->heard[k]);
        bpf_slot_watch_crowd(steering, slot);
    }
    bpf_rotation_apply(steering, service);
}
