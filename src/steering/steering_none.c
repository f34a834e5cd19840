/* No steering: neither BPF nor seccomp notification can be had. Programs run as they would without
 * enginx, so a second instance of one that has a fixed port fails with EADDRINUSE. What instances
 * listen on is found by looking: often while one has just started, then less often, and not at all
 * once each has been seen to listen. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "kernel/sockets.h"
#include "steering/connections.h"
#include "steering/steering.h"
#include "steering/steering_blocks.h"

enum {
    LOOK_EVERY_MS = 100,
    LOOK_SELDOM_MS = 1000,
    LOOK_OFTEN_FOR_MS = 60 * 1000, /* after its start; then seldom */
    PROCESSES_MAX = 1024,
};

struct slot {
    struct steering_instance instance;
    bool awaited; /* started, and not seen to listen yet */
    bool used;
    uint64_t started_ms;
    uint16_t ports[SERVICE_PORTS_MAX]; /* seen */
    size_t port_count;
};

struct none_steering {
    struct steering steering;
    struct steering_setup setup;
    struct slot *slots;
    struct connections *connections;
    struct steering_blocks blocks;
    struct timer timer;
};

static struct none_steering *of(struct steering *steering)
{
    return (struct none_steering *)steering;
}

/* ---- looking --------------------------------------------------------------------------------- */

static bool slot_has_seen(const struct slot *slot, uint16_t port)
{
    for (size_t i = 0; i < slot->port_count; i++)
        if (slot->ports[i] == port)
            return true;
    return false;
}

/* All stated TCP ports; without any, at least one. */
static bool slot_has_all(const struct none_steering *steering, const struct slot *slot)
{
    const struct service *service = &steering->setup.topology->services[slot->instance.service];
    for (size_t i = 0; i < service->port_count; i++)
        if (service->ports[i].protocol == PROTOCOL_TCP &&
            !slot_has_seen(slot, service->ports[i].port))
            return false;
    return slot->port_count > 0;
}

static void slot_look(struct none_steering *steering, struct slot *slot)
{
    static pid_t pids[PROCESSES_MAX];
    uint16_t ports[SERVICE_PORTS_MAX];
    const struct steering_setup *setup = &steering->setup;
    uint32_t number = slot->instance.slot;
    size_t count = setup->callbacks->processes(setup->owner, number, pids, PROCESSES_MAX);
    size_t found = sockets_listening(pids, count, ports, SERVICE_PORTS_MAX);
    for (size_t i = 0; i < found && slot->port_count < SERVICE_PORTS_MAX; i++) {
        if (slot_has_seen(slot, ports[i]))
            continue;
        slot->ports[slot->port_count++] = ports[i];
        struct steering_listen event = {.slot = number,
                                        .epoch = slot->instance.epoch,
                                        .protocol = PROTOCOL_TCP,
                                        .port = ports[i]};
        setup->callbacks->listens(setup->owner, &event);
    }
    slot->awaited = !slot_has_all(steering, slot);
}

static void look_due(struct timer *timer)
{
    struct none_steering *steering = timer->owner;
    uint64_t now_ms = loop_now(steering->setup.loop);
    bool often = false;
    bool any = false;
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        struct slot *slot = &steering->slots[i];
        if (slot->used && slot->awaited)
            slot_look(steering, slot);
        if (!slot->used || !slot->awaited)
            continue;
        any = true;
        often |= now_ms - slot->started_ms < LOOK_OFTEN_FOR_MS;
    }
    if (any)
        timer_start(steering->setup.loop, &steering->timer, often ? LOOK_EVERY_MS : LOOK_SELDOM_MS,
                    look_due, steering);
}

/* ---- operations ------------------------------------------------------------------------------ */

static void none_end(struct steering *base, bool leave)
{
    (void)leave;
    struct none_steering *steering = of(base);
    timer_stop(steering->setup.loop, &steering->timer);
    free(steering->slots);
    connections_free(steering->connections);
    free(steering);
}

static int none_prepare(struct steering *base, const struct steering_instance *instance)
{
    assert(instance->slot < of(base)->setup.slots_max);
    of(base)->slots[instance->slot] = (struct slot){.instance = *instance, .used = true};
    return 0;
}

static bool none_wants(struct steering *base, uint32_t slot, struct seccomp_wants *ret_wants)
{
    (void)base;
    (void)slot;
    (void)ret_wants;
    return false;
}

static int none_started(struct steering *base, uint32_t slot_number, int notify_fd)
{
    struct none_steering *steering = of(base);
    struct slot *slot = &steering->slots[slot_number];
    assert(slot->used && notify_fd < 0);
    slot->started_ms = loop_now(steering->setup.loop);
    slot->awaited =
        steering->setup.topology->services[slot->instance.service].listens && !slot->instance.guest;
    if (!slot->awaited)
        return 0;
    return timer_start(steering->setup.loop, &steering->timer, LOOK_EVERY_MS, look_due, steering);
}

static void none_gone(struct steering *base, uint32_t slot, bool coming_back)
{
    (void)coming_back;
    of(base)->slots[slot].used = false;
}

static int none_rotate(struct steering *base, uint32_t service,
                       const struct rotation_member *members, const uint32_t *numbers, size_t count)
{
    (void)base;
    (void)service;
    (void)members;
    (void)numbers;
    (void)count;
    return 0;
}

static void none_wanted(struct steering *base, uint32_t service, uint32_t wanted)
{
    (void)base;
    (void)service;
    (void)wanted;
}

static bool none_counts(struct steering *base, uint32_t slot_number, int64_t *ret_live,
                        uint64_t *ret_total)
{
    struct none_steering *steering = of(base);
    const struct slot *slot = &steering->slots[slot_number];
    static pid_t pids[PROCESSES_MAX];
    size_t count = steering->setup.callbacks->processes(steering->setup.owner, slot_number, pids,
                                                        PROCESSES_MAX);
    uint64_t live = 0;
    for (size_t i = 0; i < slot->port_count; i++)
        live += connections_held(steering->connections, pids, count, slot->ports[i]);
    *ret_live = (int64_t)live;
    *ret_total = STEERING_TOTAL_UNKNOWN;
    return true;
}

static bool none_found(struct steering *base, const char *name, int fd)
{
    (void)base;
    (void)name;
    (void)fd;
    return false;
}

static int none_block(struct steering *base, uint32_t count, uint32_t preferred,
                      uint32_t *ret_block)
{
    return steering_blocks_take(&of(base)->blocks, count, preferred, ret_block);
}

static void none_unblock(struct steering *base, uint32_t block, uint32_t count)
{
    steering_blocks_give(&of(base)->blocks, block, count);
}

static int none_open(struct steering *base, const struct topology *next, const uint32_t *homes,
                     char *why, size_t why_size)
{
    (void)base, (void)next, (void)homes, (void)why, (void)why_size;
    return 0;
}

static void none_use(struct steering *base, const struct topology *next)
{
    of(base)->setup.topology = next;
}

static void none_abandon(struct steering *base, const struct topology *next)
{
    (void)base, (void)next;
}

static void none_forget(struct steering *base, uint32_t service)
{
    (void)base, (void)service;
}

static const struct steering_operations operations = {
    .name = "none",
    .open = none_open,
    .use = none_use,
    .abandon = none_abandon,
    .forget = none_forget,
    .end = none_end,
    .prepare = none_prepare,
    .wants = none_wants,
    .started = none_started,
    .gone = none_gone,
    .rotate = none_rotate,
    .wanted = none_wanted,
    .counts = none_counts,
    .found = none_found,
    .block = none_block,
    .unblock = none_unblock,
};

int steering_none_new(const struct steering_setup *setup, struct steering **ret_steering)
{
    struct none_steering *steering = calloc(1, sizeof *steering);
    if (!steering)
        return -ENOMEM;
    steering->steering.operations = &operations;
    steering->setup = *setup;
    steering->slots = calloc(setup->slots_max + 1, sizeof *steering->slots);
    steering->connections = connections_new(setup->loop);
    if (!steering->slots || !steering->connections) {
        none_end(&steering->steering, true);
        return -ENOMEM;
    }
    *ret_steering = &steering->steering;
    return 0;
}
