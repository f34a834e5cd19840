/* The kernel's events stand in a ring, which is full when the supervisor was away for long or an
 * instance binds without end. Listeners are in the map all the same, and what their event would
 * have told is asked of the socket itself. UDP sockets are not: they wait for the next bind. */
#include "steering/bpf_private.h"

#include <inttypes.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/log.h"
#include "base/scoped.h"

static bool slot_has_heard(const struct slot *slot, uint64_t cookie)
{
    for (size_t i = 0; i < slot->heard_count; i++)
        if (slot->heard[i].cookie == cookie)
            return true;
    return false;
}

static uint32_t address_of4(const struct sockaddr_in *at)
{
    return ntohl(at->sin_addr.s_addr);
}

static uint32_t address_of6(const struct sockaddr_in6 *at)
{
    uint32_t last;
    memcpy(&last, &at->sin6_addr.s6_addr[12], sizeof last);
    if (IN6_IS_ADDR_UNSPECIFIED(&at->sin6_addr) || IN6_IS_ADDR_V4MAPPED(&at->sin6_addr))
        return ntohl(last);
    return IN6_IS_ADDR_LOOPBACK(&at->sin6_addr) ? INADDR_LOOPBACK : STEER_ADDRESS_IPV6;
}

/* Sets the family and the address that the program asked for (a moved socket tells that, too). */
static bool socket_describe(int fd, struct steer_event *event)
{
    struct sockaddr_storage at;
    socklen_t length = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &length) != 0)
        return false;
    if (at.ss_family == AF_INET) {
        event->family = 4;
        event->address = address_of4((const struct sockaddr_in *)&at);
        return true;
    }
    int v6only = 0;
    socklen_t size = sizeof v6only;
    if (getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6only, &size) != 0)
        return false;
    event->family = v6only ? 6 : 46;
    event->address = address_of6((const struct sockaddr_in6 *)&at);
    return true;
}

static void socket_missed(void *owner, const struct steer_socket_key *key, uint64_t cookie)
{
    struct bpf_steering *steering = owner;
    struct slot *slot = key->slot < steering->setup.slots_max ? steering->slots[key->slot] : NULL;
    if (!slot || !slot->present || key->protocol != STEER_TCP || slot_has_heard(slot, cookie))
        return;
    scoped_fd int fd = bpf_socket_fetch(steering, slot, cookie);
    struct steer_event event = {.kind = STEER_EVENT_LISTEN,
                                .slot = key->slot,
                                .epoch = slot->instance.epoch,
                                .port = key->port,
                                .protocol = key->protocol,
                                .cookie = cookie};
    if (fd >= 0 && socket_describe(fd, &event)) /* else it is kept from an earlier start */
        bpf_event_handle(steering, &event);
}

void bpf_missed_find(struct bpf_steering *steering)
{
    uint64_t lost = steer_events_lost(steering->steer);
    if (lost == steering->events_lost)
        return;
    log_warn("events-lost", "count=%" PRIu64 " instead=\"listeners are looked for\"",
             lost - steering->events_lost);
    steering->events_lost = lost;
    bpf_settle_soon(steering);
    steer_sockets_each(steering->steer, socket_missed, steering);
}
