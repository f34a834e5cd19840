/* Steering with BPF (kernel/steer.h): the kernel hands each new connection to the listener of one
 * instance. What remains for user space: telling the kernel who is who, learning ports from what
 * the kernel reports (steering_ports.h), turning members and weights into rotations, and keeping
 * the listener of a service that has one instance only.
 *
 * A kept listener: when such an instance listens, we fetch a duplicate of its socket. It dies, and
 * connections go on queueing in the duplicate, which the kernel still finds as the instance's. It
 * is started again and listens beside the old socket, in one SO_REUSEPORT group; we close the old
 * one, and what waits in it migrates to the new (tcp_migrate_req). With more instances nothing is
 * kept, since a duplicate would hinder the migration to a sibling. A program with several listeners
 * on a port may close one of them and live on (workers that are replaced): then ours must go as
 * well, or connections would wait in it for nobody, so those are looked at now and then. */
#include "steering/bpf_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/table.h"

/* ---- rotation
 * ------------------------------------------------------------------------------------- */

/* Have some of them another share of what comes? */
static bool shares_differ(const struct rotation_member *members, size_t count)
{
    uint32_t weight = 0;
    for (size_t i = 0; i < count; i++) {
        if (weight && members[i].weight && members[i].weight != weight)
            return true;
        weight = members[i].weight ? members[i].weight : weight;
    }
    return false;
}

static size_t rotation_build(const struct bpf_steering *steering, uint32_t service,
                             const struct rotation_member *members, const uint32_t *numbers,
                             size_t count, uint32_t *ret_slots, enum steer_policy *ret_policy)
{
    const struct service *of_service = service_of(steering, service);
    uint64_t names[SERVICE_INSTANCES_MAX];
    uint64_t seed = hash_bytes(of_service->name, strlen(of_service->name), hash_seed());
    enum balance_policy balance = of_service->balance;
    if (balance != BALANCE_HASH && shares_differ(members, count))
        balance = BALANCE_WEIGHTED; /* a canary is out */
    switch (balance) {
    case BALANCE_ROUND_ROBIN:
        *ret_policy = STEER_CYCLE;
        return rotation_cycle(members, count, ret_slots);
    case BALANCE_RANDOM:
        *ret_policy = STEER_RANDOM;
        return rotation_cycle(members, count, ret_slots);
    case BALANCE_WEIGHTED:
        *ret_policy = STEER_CYCLE;
        return rotation_weighted(members, count, ret_slots);
    case BALANCE_HASH:
        *ret_policy = STEER_CLIENT_HASH;
        for (size_t i = 0; i < count; i++)
            names[i] = hash_bytes(&numbers[i], sizeof numbers[i], seed);
        return rotation_hash(members, names, count, ret_slots);
    case BALANCE_LEAST:
    case BALANCE_EWMA:
    case BALANCE_STICKY: /* the gateway's; who comes directly is balanced by least */
        break;
    }
    *ret_policy = STEER_LEAST;
    return rotation_cycle(members, count, ret_slots);
}

/* Nobody is in rotation: then those serve whose kept listener lets connections wait, or whose
 * program is on its way out or in, in listeners that nobody accepts from (bpf_waiting.c). */
static void members_bridge(const struct bpf_steering *steering, struct rotation_member *members,
                           size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (members[i].weight > 0)
            return;
    for (size_t i = 0; i < count; i++) {
        const struct slot *slot = steering->slots[members[i].slot];
        if (!slot || !slot->served || !slot->kept)
            continue;
        members[i].weight = 1;
        if (bpf_slot_waits(steering, slot))
            members[i].slot |= STEER_WAITING;
    }
}

int bpf_rotation_apply(struct bpf_steering *steering, uint32_t service)
{
    const struct rotated *rotated = &steering->rotated[service];
    struct rotation_member members[SERVICE_INSTANCES_MAX];
    uint32_t slots[ROTATION_MAX];
    enum steer_policy policy;
    if (rotated->count)
        memcpy(members, rotated->members, rotated->count * sizeof *members);
    members_bridge(steering, members, rotated->count);
    size_t length = rotation_build(steering, service, members, rotated->numbers, rotated->count,
                                   slots, &policy);
    return steer_rotation_set(steering->steer, service, policy, slots, (uint32_t)length);
}

static int bpf_rotate(struct steering *base, uint32_t service,
                      const struct rotation_member *members, const uint32_t *numbers, size_t count)
{
    struct bpf_steering *steering = of(base);
    struct rotated *rotated = &steering->rotated[service];
    if (count > SERVICE_INSTANCES_MAX)
        return -E2BIG;
    if (count > rotated->count) {
        struct rotation_member *more = realloc(rotated->members, count * sizeof *more);
        if (!more)
            return -ENOMEM;
        rotated->members = more;
        uint32_t *more_numbers = realloc(rotated->numbers, count * sizeof *more_numbers);
        if (!more_numbers)
            return -ENOMEM;
        rotated->numbers = more_numbers;
    }
    for (size_t i = 0; i < count; i++) {
        assert(members[i].slot < steering->setup.slots_max);
        rotated->members[i] = members[i];
        rotated->numbers[i] = numbers[i];
        struct slot *slot = steering->slots[members[i].slot];
        if (slot && members[i].weight > 0) {
            slot->served = true;
            bpf_slot_hurry(steering, slot);
        }
    }
    rotated->count = count;
    int error = bpf_rotation_apply(steering, service);
    for (size_t i = 0; i < count && !error; i++)
        if (members[i].weight > 0 && steering->slots[members[i].slot])
            bpf_kept_close_waiting(steering, steering->slots[members[i].slot]);
    return error;
}

/* ---- what instances do
 * ------------------------------------------------------------------------------ */

static enum protocol protocol_of(uint8_t wire)
{
    return wire == STEER_UDP ? PROTOCOL_UDP : PROTOCOL_TCP;
}

static struct steering_listen listen_of(const struct slot *slot, const struct heard *socket,
                                        uint32_t address)
{
    return (struct steering_listen){.slot = slot->instance.slot,
                                    .epoch = slot->instance.epoch,
                                    .protocol = protocol_of(socket->protocol),
                                    .port = socket->port,
                                    .address = address == STEER_ADDRESS_IPV6 ? 0 : address};
}

static void heard_add(struct slot *slot, const struct heard *socket)
{
    if (slot->heard_count < HEARD_MAX)
        slot->heard[slot->heard_count++] = *socket;
}

static void tcp_listens(struct bpf_steering *steering, struct slot *slot,
                        const struct heard *socket)
{
    if (bpf_wanted_of(steering, slot) == 1)
        bpf_listener_keep(steering, slot, socket);
    bpf_wait_for_check(steering, slot);
    /* What waits in the old ones comes over to the new, once nobody is led to them any more. */
    if (slot->kept)
        bpf_rotation_apply(steering, slot->instance.service);
    bpf_kept_close(steering, slot, slot->instance.epoch, socket);
    bpf_slot_watch_crowd(steering, slot);
}

static void udp_bound(struct bpf_steering *steering, struct slot *slot, const struct heard *socket)
{
    slot->datagrams = true;
    scoped_fd int fd = bpf_socket_fetch(steering, slot, socket->cookie);
    int error = fd < 0 ? fd : 0;
    if (!error && socket->family != 6)
        error = steer_udp_add(steering->steer, slot->instance.slot, socket->port, 4, fd);
    if (!error && socket->family != 4)
        error = steer_udp_add(steering->steer, slot->instance.slot, socket->port, 6, fd);
    if (error)
        log_warn("socket-not-steered", "service=%s protocol=udp port=%u error=\"%s\"",
                 service_of(steering, slot->instance.service)->name, socket->port,
                 strerror(-error));
}

void bpf_event_handle(void *owner, const struct steer_event *event)
{
    struct bpf_steering *steering = owner;
    const struct steering_callbacks *callbacks = steering->setup.callbacks;
    struct slot *slot =
        event->slot < steering->setup.slots_max ? steering->slots[event->slot] : NULL;
    if (!slot || !slot->present || slot->instance.epoch != event->epoch)
        return; /* of an incarnation that is gone */
    struct heard socket = {.cookie = event->cookie,
                           .port = event->port,
                           .protocol = event->protocol,
                           .family = event->family};
    struct steering_listen listen = listen_of(slot, &socket, event->address);
    switch ((enum steer_event_kind)event->kind) {
    case STEER_EVENT_BIND:
        callbacks->binds(steering->setup.owner, &listen);
        return;
    case STEER_EVENT_OPEN:
        bpf_slot_opens(steering, slot);
        if (callbacks->opens)
            callbacks->opens(steering->setup.owner, &listen);
        return;
    case STEER_EVENT_FAILED:
        log_error("socket-not-steered", "service=%s port=%u error=\"%s\"",
                  service_of(steering, slot->instance.service)->name, event->port,
                  strerror(-event->error));
        return;
    case STEER_EVENT_LISTEN:
    case STEER_EVENT_UDP:
        break;
    }
    steering_ports_learn(&steering->ports, slot->instance.service, listen.protocol, event->port,
                         event->address);
    heard_add(slot, &socket);
    if (event->kind == STEER_EVENT_LISTEN)
        tcp_listens(steering, slot, &socket);
    else
        udp_bound(steering, slot, &socket);
    callbacks->listens(steering->setup.owner, &listen);
}

static void events_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct bpf_steering *steering = watch->owner;
    steer_events_take(steering->steer, bpf_event_handle, steering);
    bpf_missed_find(steering);
}

/* ---- finding again what an earlier supervisor had
 * ----------------------------------------------------- */

static void socket_recall(void *owner, const struct steer_socket_key *key, uint64_t cookie)
{
    struct bpf_steering *steering = owner;
    struct slot *slot = key->slot < steering->setup.slots_max ? steering->slots[key->slot] : NULL;
    if (!slot || !slot->recall || bpf_kept_is_former(slot, cookie))
        return;
    for (size_t i = 0; i < slot->heard_count; i++) {
        if (slot->heard[i].cookie != cookie)
            continue;
        if (slot->heard[i].family != key->family)
            slot->heard[i].family = 46; /* it stands under both */
        return;
    }
    heard_add(slot, &(struct heard){.cookie = cookie,
                                    .port = key->port,
                                    .protocol = key->protocol,
                                    .family = key->family});
}

static void slot_recalled(struct bpf_steering *steering, struct slot *slot)
{
    slot->recall = false;
    for (size_t i = 0; i < slot->heard_count; i++) {
        const struct heard *socket = &slot->heard[i];
        struct steering_listen listen = listen_of(slot, socket, 0);
        steering_ports_recall(&steering->ports, slot->instance.service, listen.protocol,
                              listen.port);
        if (socket->protocol == STEER_TCP && bpf_wanted_of(steering, slot) == 1)
            bpf_listener_keep(steering, slot, socket);
        slot->datagrams |= socket->protocol == STEER_UDP;
        steering->setup.callbacks->listens(steering->setup.owner, &listen);
    }
    bpf_wait_recall(steering, slot);
    bpf_slot_watch_crowd(steering, slot);
}

static void recall(struct deferred *deferred)
{
    struct bpf_steering *steering = deferred->owner;
    /* Events first: they tell more. */
    steer_events_take(steering->steer, bpf_event_handle, steering);
    steer_sockets_each(steering->steer, socket_recall, steering);
    for (uint32_t i = 0; i < steering->setup.slots_max; i++)
        if (steering->slots[i] && steering->slots[i]->recall)
            slot_recalled(steering, steering->slots[i]);
}

static bool bpf_found(struct steering *base, const char *name, int fd)
{
    struct bpf_steering *steering = of(base);
    unsigned number;
    unsigned port;
    unsigned family;
    uint64_t cookie;
    if (strncmp(name, "reserve:", 8) == 0)
        return steering_ports_found(&steering->ports, name, fd);
    if (sscanf(name, "listener:%u:%u:%u:%" SCNx64 ":", &number, &port, &family, &cookie) != 4 ||
        number >= steering->setup.slots_max || port == 0 || port > UINT16_MAX || family > 46)
        return false;
    struct slot *slot = steering->slots[number];
    if (!slot || !slot->present || bpf_wanted_of(steering, slot) != 1)
        return false;
    struct heard socket = {
        .cookie = cookie, .port = (uint16_t)port, .protocol = STEER_TCP, .family = (uint8_t)family};
    return bpf_kept_add(slot, &socket, fd) != NULL;
}

/* ---- an instance's life
 * -------------------------------------------------------------------------------- */

static bool users_differ(const struct service *one, const struct service *other)
{
    const char *a = one->user ? one->user : "";
    const char *b = other->user ? other->user : "";
    return strcmp(a, b) != 0;
}

static bool ports_may_meet(const struct service *one, const struct service *other)
{
    if (one->port_count == 0 || other->port_count == 0)
        return true;
    for (size_t i = 0; i < one->port_count; i++)
        for (size_t k = 0; k < other->port_count; k++)
            if (one->ports[i].port == other->ports[k].port)
                return true;
    return false;
}

static bool users_are_mixed(const struct topology *topology)
{
    const struct service *first = NULL;
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service *service = &topology->services[i];
        if (service->absent)
            continue;
        if (first && users_differ(first, service))
            return true;
        first = service;
    }
    return false;
}

/* Programs of two users cannot both have a port at all addresses, so each goes to its home from the
 * start. */
static bool must_be_at_home(const struct bpf_steering *steering, uint32_t service)
{
    const struct topology *topology = steering->setup.topology;
    const struct service *own = service_of(steering, service);
    if (!steering->users_mixed)
        return false;
    for (size_t i = 0; i < topology->service_count; i++)
        if (!topology->services[i].absent && users_differ(own, &topology->services[i]) &&
            ports_may_meet(own, &topology->services[i]))
            return true;
    return false;
}

static uint32_t member_flags(const struct bpf_steering *steering, uint32_t service)
{
    return (must_be_at_home(steering, service) ? (uint32_t)STEER_MEMBER_AT_HOME : 0) |
           (topology_udp_is_relayed(steering->setup.topology, service)
                ? (uint32_t)STEER_MEMBER_OWN_UDP
                : 0);
}

static void guest_end(struct bpf_steering *steering, struct slot *slot)
{
    if (slot->guest)
        (void)steer_guest_remove(steering->steer, slot->guest);
    slot->guest = 0;
}

/* The slot goes on being what the program before was. */
static int guest_prepare(struct bpf_steering *steering, struct slot *slot,
                         const struct steering_instance *instance)
{
    int error = steer_guest_set(steering->steer, instance->cgroup_id, instance->service);
    if (error)
        return error;
    slot->guest = instance->cgroup_id;
    if (!slot->present) {
        slot->instance = *instance;
        slot->present = true;
        steering->rotated[instance->service].wanted = instance->wanted;
    }
    return 0;
}

static int bpf_prepare(struct steering *base, const struct steering_instance *instance)
{
    struct bpf_steering *steering = of(base);
    assert(instance->slot < steering->setup.slots_max);
    if (instance->cgroup_id == 0)
        return -EINVAL;
    struct slot *slot = steering->slots[instance->slot];
    if (!slot)
        slot = steering->slots[instance->slot] = calloc(1, sizeof *slot);
    if (!slot)
        return -ENOMEM;
    guest_end(steering, slot);
    if (instance->guest)
        return guest_prepare(steering, slot, instance);
    struct steer_member member = {.slot = instance->slot,
                                  .service = instance->service,
                                  .address = instance->address,
                                  .home = steering->ports.services[instance->service].home,
                                  .epoch = instance->epoch,
                                  .flags = member_flags(steering, instance->service) |
                                           (slot->kept ? STEER_MEMBER_CONTINUES : 0u)};
    int error = steer_member_set(steering->steer, instance->cgroup_id, &member);
    if (error)
        return error;
    slot->instance = *instance;
    slot->present = true;
    slot->opens = false;
    slot->heard_count = 0;
    steering->rotated[instance->service].wanted = instance->wanted;
    return 0;
}

static bool bpf_wants(struct steering *base, uint32_t slot, struct seccomp_wants *ret_wants)
{
    (void)base;
    (void)slot;
    (void)ret_wants;
    return false;
}

static int bpf_started(struct steering *base, uint32_t number, int notify_fd)
{
    struct bpf_steering *steering = of(base);
    struct slot *slot = steering->slots[number];
    assert(slot);
    fd_drop(&notify_fd);
    if (steering->adopted && slot->heard_count == 0 && !slot->guest) {
        slot->recall = true;
        deferred_start(steering->setup.loop, &steering->recall, recall, steering);
    }
    return 0;
}

static void bpf_gone(struct steering *base, uint32_t number, bool coming_back)
{
    struct bpf_steering *steering = of(base);
    struct slot *slot = steering->slots[number];
    if (!slot || !slot->present)
        return;
    uint32_t service = slot->instance.service;
    guest_end(steering, slot);
    bool listened = slot->heard_count > 0;
    slot->heard_count = 0;
    slot->recall = false;
    if (!coming_back || bpf_wanted_of(steering, slot) != 1)
        bpf_kept_close_all(steering, slot);
    else if (listened) /* else its end came before it could come for any */
        bpf_kept_close(steering, slot, slot->instance.epoch, NULL);
    if (!coming_back) {
        slot->served = false;
        steer_member_remove(steering->steer, slot->instance.cgroup_id, slot->instance.address);
        slot->present = false;
    }
    int error = bpf_rotation_apply(steering, service);
    if (error)
        log_error("rotation-not-set", "service=%s error=\"%s\"",
                  service_of(steering, service)->name, strerror(-error));
}

static bool bpf_counts(struct steering *base, uint32_t slot, int64_t *ret_live, uint64_t *ret_total)
{
    steer_counts(of(base)->steer, slot, ret_live, ret_total);
    return true;
}

/* ---- addresses
 * ------------------------------------------------------------------------------------------ */

static bool block_is_out(const struct bpf_steering *steering, uint32_t block)
{
    return steering->blocks[block / 8] & 1u << block % 8;
}

/* Claims the adjoining blocks, or none. A claim that the cluster has from earlier counts as free.
 */
static int blocks_claim(struct bpf_steering *steering, uint32_t first, uint32_t count)
{
    uint32_t owner = steer_cluster_number(steering->steer);
    for (uint32_t i = 0; i < count; i++) {
        int error = block_is_out(steering, first + i)
                        ? -EEXIST
                        : steer_claim(steering->steer, STEER_CLAIM_BLOCK, first + i, owner, NULL);
        if (!error)
            continue;
        while (i-- > 0)
            steer_release(steering->steer, STEER_CLAIM_BLOCK, first + i);
        return error;
    }
    for (uint32_t i = 0; i < count; i++)
        steering->blocks[(first + i) / 8] |= (uint8_t)(1u << (first + i) % 8);
    return 0;
}

/* Claimed in an earlier life and not asked for yet: some service may prefer it, so others pass. */
static bool block_is_remembered(const struct bpf_steering *steering, uint32_t first, uint32_t count)
{
    struct steer_claim claim;
    for (uint32_t i = 0; i < count; i++)
        if (steer_claim_find(steering->steer, STEER_CLAIM_BLOCK, first + i, &claim))
            return true;
    return false;
}

static int bpf_block(struct steering *base, uint32_t count, uint32_t preferred, uint32_t *ret_block)
{
    struct bpf_steering *steering = of(base);
    if (count == 0 || count > BLOCK_COUNT)
        return -EINVAL;
    if (preferred <= BLOCK_COUNT - count && blocks_claim(steering, preferred, count) == 0) {
        *ret_block = preferred;
        return 0;
    }
    /* What is claimed stays so for as long as we live, but for what another cluster gives back:
     * then addresses that could be had go unused until the next start. */
    while (steering->blocks_passed < BLOCK_COUNT &&
           block_is_remembered(steering, steering->blocks_passed, 1))
        steering->blocks_passed++;
    for (uint32_t first = steering->blocks_passed; first + count <= BLOCK_COUNT; first++) {
        if (block_is_remembered(steering, first, count))
            continue;
        int error = blocks_claim(steering, first, count);
        if (error == 0)
            *ret_block = first;
        if (error != -EEXIST)
            return error;
    }
    return -ENOSPC;
}

static void bpf_unblock(struct steering *base, uint32_t block, uint32_t count)
{
    struct bpf_steering *steering = of(base);
    for (uint32_t i = block; i < block + count && i < BLOCK_COUNT; i++) {
        steering->blocks[i / 8] &= (uint8_t) ~(1u << i % 8);
        steer_release(steering->steer, STEER_CLAIM_BLOCK, i);
    }
    if (steering->blocks_passed > block)
        steering->blocks_passed = block;
}

static uint32_t bpf_home(struct steering *base, uint32_t service)
{
    return of(base)->ports.services[service].home;
}

static int bpf_open(struct steering *base, const struct topology *next, const uint32_t *homes,
                    char *why, size_t why_size)
{
    return steering_ports_open(&of(base)->ports, next, homes, false, why, why_size);
}

static void bpf_use(struct steering *base, const struct topology *next)
{
    struct bpf_steering *steering = of(base);
    steering->setup.topology = next;
    steering->users_mixed = users_are_mixed(next);
    steering_ports_use(&steering->ports, next);
}

static void bpf_abandon(struct steering *base, const struct topology *next)
{
    steering_ports_abandon(&of(base)->ports, next);
}

static void bpf_forget(struct steering *base, uint32_t service)
{
    struct bpf_steering *steering = of(base);
    struct rotated *rotated = &steering->rotated[service];
    free(rotated->members);
    free(rotated->numbers);
    *rotated = (struct rotated){0};
    steer_rotation_set(steering->steer, service, STEER_LEAST, NULL, 0);
    steering_ports_forget(&steering->ports, service);
}

static int bpf_gate(struct steering *base, const struct listener *listener, int fd)
{
    return steering_ports_gate(&of(base)->ports, listener, fd);
}

/* ---- life
 * -------------------------------------------------------------------------------------------------
 */

static void bpf_free(struct bpf_steering *steering)
{
    watch_stop(steering->setup.loop, &steering->events);
    deferred_stop(steering->setup.loop, &steering->recall);
    timer_stop(steering->setup.loop, &steering->sweep);
    timer_stop(steering->setup.loop, &steering->settle);
    steering_ports_done(&steering->ports);
    for (uint32_t i = 0; steering->slots && i < steering->setup.slots_max; i++)
        free(steering->slots[i]);
    for (size_t i = 0; steering->rotated && i < steering->setup.services_max; i++) {
        free(steering->rotated[i].members);
        free(steering->rotated[i].numbers);
    }
    free(steering->slots);
    free(steering->rotated);
    free(steering);
}

/* What a crash would do to them: closed here, and the keeper has its own. */
static void kept_leave(struct slot *slot)
{
    while (slot->kept) {
        struct kept *kept = slot->kept;
        slot->kept = kept->next;
        close(kept->fd);
        free(kept);
    }
}

static void bpf_end(struct steering *base, bool leave)
{
    struct bpf_steering *steering = of(base);
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        if (!steering->slots[i])
            continue;
        if (leave)
            kept_leave(steering->slots[i]);
        else
            bpf_kept_close_all(steering, steering->slots[i]);
    }
    if (leave) {
        steer_close(steering->steer);
    } else {
        bool restored = false;
        steer_migrate_disable(steering->steer, &restored);
        if (restored)
            log_info("sysctl-restored", "name=net.ipv4.tcp_migrate_req value=0");
        steer_destroy(steering->steer);
    }
    bpf_free(steering);
}

static const struct steering_operations bpf_operations = {
    .name = "bpf",
    .end = bpf_end,
    .prepare = bpf_prepare,
    .wants = bpf_wants,
    .started = bpf_started,
    .gone = bpf_gone,
    .rotate = bpf_rotate,
    .wanted = bpf_wanted,
    .hold = bpf_hold,
    .kept = bpf_kept,
    .counts = bpf_counts,
    .found = bpf_found,
    .block = bpf_block,
    .unblock = bpf_unblock,
    .home = bpf_home,
    .gate = bpf_gate,
    .open = bpf_open,
    .use = bpf_use,
    .abandon = bpf_abandon,
    .forget = bpf_forget,
};

static uint32_t room_for(uint32_t count, uint32_t least)
{
    uint32_t room = least;
    while (room < count)
        room *= 2;
    return room;
}

static void migrate_begin(struct bpf_steering *steering)
{
    bool changed = false;
    int error = steer_migrate_enable(steering->steer, &changed);
    if (error)
        log_warn("sysctl-not-set",
                 "name=net.ipv4.tcp_migrate_req error=\"%s\" effect=\"connections that wait for an "
                 "instance that dies are reset\"",
                 strerror(-error));
    else if (changed)
        log_info("sysctl-set", "name=net.ipv4.tcp_migrate_req value=1 was=0");
}

int steering_bpf_new(const struct steering_setup *setup, struct steering **ret_steering,
                     bool *ret_adopted, char *why, size_t why_size)
{
    assert(setup->slots_max > 0 && setup->cgroup_path);
    struct bpf_steering *steering = calloc(1, sizeof *steering);
    if (!steering)
        return -ENOMEM;
    steering->steering.operations = &bpf_operations;
    steering->setup = *setup;
    steering->setup.services_max = steering_services_room(setup);
    steering->users_mixed = users_are_mixed(setup->topology);
    steering->slots = calloc(setup->slots_max, sizeof *steering->slots);
    steering->rotated = calloc(steering->setup.services_max + 1, sizeof *steering->rotated);
    if (!steering->slots || !steering->rotated) {
        bpf_free(steering);
        snprintf(why, why_size, "%s", strerror(ENOMEM));
        return -ENOMEM;
    }
    struct steer_options options = {.cluster = setup->topology->name,
                                    .bpf_mount = setup->bpf_mount,
                                    .cgroup_path = setup->cgroup_path,
                                    .slots_max = room_for(setup->slots_max, SLOTS_MIN),
                                    .services_max =
                                        room_for(steering->setup.services_max, SERVICES_MIN)};
    int error = steer_open(&options, &steering->steer, ret_adopted, why, why_size);
    if (error) {
        bpf_free(steering);
        return error;
    }
    steering->adopted = *ret_adopted;
    steering->events_lost = steer_events_lost(steering->steer);
    struct steering_ports_setup ports = {.steer = steering->steer,
                                         .topology = setup->topology,
                                         .homes = setup->homes,
                                         .services_max = steering->setup.services_max,
                                         .adopted = *ret_adopted,
                                         .keep = setup->callbacks->keep,
                                         .forget = setup->callbacks->forget,
                                         .owner = setup->owner};
    error = steering_ports_init(&steering->ports, &ports, why, why_size);
    if (!error) {
        error = watch_start(setup->loop, &steering->events, steer_events_fd(steering->steer),
                            WATCH_READ, events_ready, steering);
        if (error)
            snprintf(why, why_size, "watching for events: %s", strerror(-error));
    }
    if (error) {
        /* Instances that were adopted go on as they are. */
        if (*ret_adopted)
            steer_close(steering->steer);
        else
            steer_destroy(steering->steer);
        bpf_free(steering);
        return error;
    }
    migrate_begin(steering);
    bpf_settle_begin(steering, why, why_size);
    *ret_steering = &steering->steering;
    return 0;
}
