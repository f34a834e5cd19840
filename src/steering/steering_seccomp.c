/* Steering without privileges: each instance runs under a seccomp filter that asks us before bind,
 * listen, connect (and getsockname where a socket is moved). See notified.h for what is done then,
 * share.h for how instances share a port, redirect.h for outgoing connections.
 *
 * The life of a listener: the program binds; its socket gets SO_REUSEPORT and, where the place must
 * be another (published under another port, or bound to 127.0.0.1 only), is bound there by us. It
 * listens; we call listen(2) on a duplicate, which joins the kernel's group in a known order, and
 * keep the duplicate. It dies; connections go on queueing in the duplicate. It is started again and
 * binds the same place; its new socket is replaced by the old one, queue and all.
 *
 * The notification descriptor must always have a holder: without any, notified calls answer ENOSYS.
 * The keeper holds one, so calls made while the supervisor restarts wait for the new one; when none
 * comes soon, the keeper lets connect and getsockname go on, and keeps the others (proc/keeper.h).
 * A call that the dead supervisor had already received is lost, and its thread waits until it is
 * killed.
 *
 * Limits that follow from the kernel: classic BPF cannot read counts, so `least` and `round-robin`
 * become random; a socket has one port, so of several published ports only the first is served;
 * sockets of other ABIs (i386) and io_uring are not seen (io_uring answers ENOSYS); where Yama
 * restricts ptrace to descendants, programs adopted from an earlier supervisor cannot be looked
 * into, and what they bind from then on is not shared; sockets of different users cannot share a
 * port. What waits in the queue of an instance that goes for good is reset: drain it before. */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/sockets.h"
#include "proc/keeper.h"
#include "steering/notified.h"
#include "topology/mark.h"

enum {
    REQUESTS_PER_TURN_MAX = 32,
    SWEEP_EVERY_MS = 1000, /* looking for listeners that their programs have closed */
};

static struct seccomp_steering *of(struct steering *steering)
{
    return (struct seccomp_steering *)steering;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void notify_name(const struct notified *slot, char name[SHARE_NAME_BYTES])
{
    snprintf(name, SHARE_NAME_BYTES, KEEPER_NOTIFY_PREFIX "%s.%u", notified_service(slot)->name,
             slot->instance.number);
}

/* "notify:web.1" and "calls:web.1" (proc/keeper.h) are of one start of the instance. */
static void calls_name(const struct notified *slot, char name[SHARE_NAME_BYTES])
{
    snprintf(name, SHARE_NAME_BYTES, KEEPER_CALLS_PREFIX "%s.%u", notified_service(slot)->name,
             slot->instance.number);
}

static void calls_forget(struct notified *slot)
{
    if (slot->calls_fd < 0)
        return;
    fd_drop(&slot->calls_fd);
    char name[SHARE_NAME_BYTES];
    calls_name(slot, name);
    slot->steering->setup.callbacks->forget(slot->steering->setup.owner, name);
}

/* The last process under the filter is gone, or a new start brings a new filter. */
static void notify_end(struct notified *slot, bool forget)
{
    if (forget)
        calls_forget(slot);
    else
        fd_drop(&slot->calls_fd);
    if (slot->notify_fd < 0)
        return;
    redirects_cancel(slot->steering->redirects, slot->instance.slot);
    watch_stop(slot->steering->setup.loop, &slot->watch);
    fd_drop(&slot->notify_fd);
    if (!forget)
        return;
    char name[SHARE_NAME_BYTES];
    notify_name(slot, name);
    slot->steering->setup.callbacks->forget(slot->steering->setup.owner, name);
}

static void request_serve(struct notified *slot, const struct seccomp_request *request)
{
    if (!notified_serve(slot, request) && slot->notify_fd >= 0)
        seccomp_continue(slot->notify_fd, request->id);
}

/* The keeper took them off the descriptor, so nobody else will answer them. Those of threads that
 * are gone are found so when they are looked at. */
static void calls_serve(struct notified *slot)
{
    struct seccomp_request request;
    off_t place = 0;
    while (slot->notify_fd >= 0 && slot->calls_fd >= 0 &&
           pread(slot->calls_fd, &request, sizeof request, place) == (ssize_t)sizeof request) {
        request_serve(slot, &request);
        place += (off_t)sizeof request;
    }
    if (place)
        log_info("calls-taken-over", "instance=%s.%u count=%u", notified_service(slot)->name,
                 slot->instance.number, (unsigned)((size_t)place / sizeof request));
    calls_forget(slot);
}

static void notify_ready(struct watch *watch, unsigned events)
{
    struct notified *slot = watch->owner;
    if (!(events & WATCH_READ)) {
        notify_end(slot, true);
        return;
    }
    for (int i = 0; i < REQUESTS_PER_TURN_MAX && slot->notify_fd >= 0; i++) {
        struct seccomp_request request;
        int error = seccomp_receive(slot->notify_fd, &request);
        if (error == -ENOENT)
            continue;
        if (error)
            return; /* -EAGAIN; a hang-up is reported by the loop */
        request_serve(slot, &request);
    }
}

/* ---- listeners that their program has closed ---------------------------------------------------
 */

/* We hold a duplicate, so a listener that its program closes without dying stays open, and what is
 * given to it waits for nobody. The sign is a queue that does not empty. */
static bool queue_waits(const struct share_member *member)
{
    struct tcp_info info;
    socklen_t length = sizeof info;
    memset(&info, 0, sizeof info);
    /* For a listener tcpi_unacked is the number of connections not accepted yet (tcp_get_info). */
    return getsockopt(member->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
           info.tcpi_unacked > 0;
}

static void slot_sweep(struct notified *slot)
{
    struct share_member *next;
    struct share_member *member = share_members_of_slot(slot->steering->share, slot->instance.slot);
    for (; member; member = next) {
        next = member->next_of_slot;
        /* In one that is out of rotation and about to stop, they wait for the next start. */
        if (!member->alive || member->bound.protocol != PROTOCOL_TCP ||
            !slot->steering->share_slots[slot->instance.slot].weight)
            continue;
        bool waited = member->queued;
        member->queued = queue_waits(member);
        if (!waited || !member->queued || notified_holds(slot, member))
            continue;
        log_warn("listener-closed", "instance=%s.%u port=%u effect=reset",
                 notified_service(slot)->name, slot->instance.number, member->asked.port);
        share_leave(member);
    }
}

static void sweep_due(struct timer *timer)
{
    struct seccomp_steering *steering = timer->owner;
    bool any = false;
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        struct notified *slot = steering->slots[i];
        if (!slot || slot->notify_fd < 0)
            continue;
        any = true;
        slot_sweep(slot);
    }
    if (any)
        timer_start(steering->setup.loop, &steering->sweep, SWEEP_EVERY_MS, sweep_due, steering);
}

/* ---- operations -------------------------------------------------------------------------------
 */

static void seccomp_end(struct steering *base, bool leave)
{
    struct seccomp_steering *steering = of(base);
    for (uint32_t i = 0; steering->slots && i < steering->setup.slots_max; i++) {
        struct notified *slot = steering->slots[i];
        if (!slot)
            continue;
        notify_end(slot, !leave);
        deferred_stop(steering->setup.loop, &slot->adopted);
        free(slot);
    }
    timer_stop(steering->setup.loop, &steering->sweep);
    deferred_stop(steering->setup.loop, &steering->sweep_found);
    share_free(steering->share, leave);
    redirects_free(steering->redirects);
    connections_free(steering->connections);
    free(steering->slots);
    free(steering->share_slots);
    free(steering->homes);
    free(steering->learnt);
    free(steering);
}

static int seccomp_prepare(struct steering *base, const struct steering_instance *instance)
{
    struct seccomp_steering *steering = of(base);
    assert(instance->slot < steering->setup.slots_max);
    struct notified *slot = steering->slots[instance->slot];
    if (!slot) {
        slot = calloc(1, sizeof *slot);
        if (!slot)
            return -ENOMEM;
        slot->steering = steering;
        slot->notify_fd = slot->calls_fd = -1;
        steering->slots[instance->slot] = slot;
    }
    notify_end(slot, true);
    memset(slot->bindings, 0, sizeof slot->bindings);
    slot->instance = *instance;
    slot->denied = false;
    struct share_slot *share_slot = &steering->share_slots[instance->slot];
    uint32_t weight = slot->reached ? share_slot->weight : 0;
    *share_slot = (struct share_slot){.service_name = notified_service(slot)->name,
                                      .service = instance->service,
                                      .number = instance->number,
                                      .address = instance->address,
                                      .weight = weight};
    slot->reached = true;
    return 0;
}

/* May one of the service's sockets be moved to another port, so that getsockname must answer with
 * the port that the program asked for? */
static bool service_may_move(const struct topology *topology, uint32_t service)
{
    for (size_t i = 0; i < topology->listener_count; i++)
        if (listener_leads(&topology->listeners[i], service) &&
            listener_target(topology, &topology->listeners[i]) != topology->listeners[i].port)
            return true;
    return false;
}

static bool seccomp_wants_of(struct steering *base, uint32_t slot_number,
                             struct seccomp_wants *ret_wants)
{
    struct notified *slot = of(base)->slots[slot_number];
    assert(slot);
    *ret_wants = (struct seccomp_wants){
        .connect = true,
        .getsockname = service_may_move(of(base)->setup.topology, slot->instance.service)};
    return true;
}

static void adopted_tell(struct deferred *deferred)
{
    struct notified *slot = deferred->owner;
    struct share_member *next;
    calls_serve(slot);
    struct share_member *member = share_members_of_slot(slot->steering->share, slot->instance.slot);
    for (; member; member = next) {
        next = member->next_of_slot;
        if (member->alive)
            notified_tell_listens(slot, member);
    }
}

/* One that started when the supervisor died may not have come to its bind. */
static void found_look(struct notified *slot)
{
    struct share_member *member = share_members_of_slot(slot->steering->share, slot->instance.slot);
    for (; member; member = member->next_of_slot)
        if (!notified_holds(slot, member))
            share_member_waits(member);
}

static void sweep_found_due(struct deferred *deferred)
{
    struct seccomp_steering *steering = deferred->owner;
    share_recall_settle(steering->share);
    share_sweep_found(steering->share);
}

static int seccomp_started(struct steering *base, uint32_t slot_number, int notify_fd)
{
    struct seccomp_steering *steering = of(base);
    struct notified *slot = steering->slots[slot_number];
    assert(slot);
    if (notify_fd >= 0) {
        notify_end(slot, false); /* keeping the new one replaces the name */
        slot->notify_fd = notify_fd;
        /* A new start: what was found of an earlier one waits for this one to bind. */
        share_slot_gone(steering->share, slot_number, true);
    }
    if (notify_fd < 0)
        found_look(slot);
    if (slot->notify_fd < 0 && !share_members_of_slot(steering->share, slot_number)) {
        notified_recall(slot);
        deferred_start(steering->setup.loop, &steering->sweep_found, sweep_found_due, steering);
    }
    if (share_members_of_slot(steering->share, slot_number) || slot->calls_fd >= 0)
        deferred_start(steering->setup.loop, &slot->adopted, adopted_tell, slot);
    if (slot->notify_fd < 0)
        return 0; /* an adopted one that has no filter, or whose filter's users are gone */
    seccomp_tune(slot->notify_fd);
    if (!timer_active(&steering->sweep))
        timer_start(steering->setup.loop, &steering->sweep, SWEEP_EVERY_MS, sweep_due, steering);
    char name[SHARE_NAME_BYTES];
    notify_name(slot, name);
    steering->setup.callbacks->keep(steering->setup.owner, name, slot->notify_fd);
    return watch_start(steering->setup.loop, &slot->watch, slot->notify_fd, WATCH_READ,
                       notify_ready, slot);
}

static void seccomp_gone(struct steering *base, uint32_t slot_number, bool coming_back)
{
    struct seccomp_steering *steering = of(base);
    struct notified *slot = steering->slots[slot_number];
    if (!slot)
        return;
    notify_end(slot, true);
    deferred_stop(steering->setup.loop, &slot->adopted);
    share_slot_gone(steering->share, slot_number, coming_back);
    if (coming_back)
        return;
    steering->share_slots[slot_number].weight = 0;
    slot->reached = false;
}

static int seccomp_rotate(struct steering *base, uint32_t service,
                          const struct rotation_member *members, const uint32_t *numbers,
                          size_t count)
{
    (void)numbers; /* known from `prepare` */
    struct seccomp_steering *steering = of(base);
    for (uint32_t i = 0; i < steering->setup.slots_max; i++)
        if (steering->slots[i] && steering->slots[i]->instance.service == service)
            steering->share_slots[i].weight = 0;
    for (size_t i = 0; i < count; i++) {
        assert(members[i].slot < steering->setup.slots_max);
        steering->share_slots[members[i].slot].weight = members[i].weight;
    }
    share_service_changed(steering->share, service);
    return 0;
}

static void seccomp_wanted(struct steering *base, uint32_t service, uint32_t wanted)
{
    /* Listeners are kept for every instance: without tcp_migrate_req, which needs root, a closed
     * one would reset what waits in it. */
    (void)base;
    (void)service;
    (void)wanted;
}

static size_t seccomp_kept(struct steering *base, uint32_t slot, int *ret_fds, size_t max)
{
    size_t count = 0;
    for (const struct share_member *member = share_members_of_slot(of(base)->share, slot);
         member && count < max; member = member->next_of_slot)
        if (member->asked.protocol == PROTOCOL_TCP && !member->leaving)
            ret_fds[count++] = member->fd;
    return count;
}

static bool seccomp_counts(struct steering *base, uint32_t slot_number, int64_t *ret_live,
                           uint64_t *ret_total)
{
    struct seccomp_steering *steering = of(base);
    static pid_t pids[PROCESSES_MAX];
    size_t count = steering->setup.callbacks->processes(steering->setup.owner, slot_number, pids,
                                                        PROCESSES_MAX);
    uint64_t live = 0;
    const struct share_member *first = share_members_of_slot(steering->share, slot_number);
    for (const struct share_member *member = first; member; member = member->next_of_slot) {
        const struct share_member *same = first;
        while (same != member && same->bound.port != member->bound.port)
            same = same->next_of_slot;
        if (same == member && member->bound.protocol == PROTOCOL_TCP)
            live += connections_held(steering->connections, pids, count, member->bound.port);
    }
    *ret_live = (int64_t)live;
    *ret_total = STEERING_TOTAL_UNKNOWN;
    return true;
}

static int seccomp_block(struct steering *base, uint32_t count, uint32_t preferred,
                         uint32_t *ret_block)
{
    return steering_blocks_take(&of(base)->blocks, count, preferred, ret_block);
}

static void seccomp_unblock(struct steering *base, uint32_t block, uint32_t count)
{
    steering_blocks_give(&of(base)->blocks, block, count);
}

/* ---- after the supervisor's own restart
 * ---------------------------------------------------------- */

/* "SERVICE.N" */
static struct notified *slot_by_name(const struct seccomp_steering *steering, const char *text,
                                     size_t length)
{
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        struct notified *slot = steering->slots[i];
        if (!slot || !slot->reached)
            continue;
        char name[SHARE_NAME_BYTES];
        int written = snprintf(name, sizeof name, "%s.%u", notified_service(slot)->name,
                               slot->instance.number);
        if (written == (int)length && memcmp(name, text, length) == 0)
            return slot;
    }
    return NULL;
}

static bool found_sink(struct seccomp_steering *steering, const char *name, int fd)
{
    unsigned ordinal;
    if (sscanf(name, "sink:%x", &ordinal) != 1)
        return false;
    share_found_sink(steering->share, fd, ordinal);
    /* If nothing else is found for its group, it goes with the others that are nobody's. */
    deferred_start(steering->setup.loop, &steering->sweep_found, sweep_found_due, steering);
    return true;
}

static bool found_listener(struct seccomp_steering *steering, const char *name, int fd)
{
    const char *instance = name + strlen("listener:");
    size_t length = strcspn(instance, ":");
    unsigned port, address, ordinal;
    char protocol[4];
    if (sscanf(instance + length, ":%3[a-z]:%u:%x:%x", protocol, &port, &address, &ordinal) != 4)
        return false;
    struct notified *slot = slot_by_name(steering, instance, length);
    if (!slot) {
        /* It still has its place in the kernel's group until it leaves, in order. */
        share_found(steering->share, SHARE_NO_SLOT, fd, (uint16_t)port, address, ordinal, false);
        steering->setup.callbacks->forget(steering->setup.owner, name);
        deferred_start(steering->setup.loop, &steering->sweep_found, sweep_found_due, steering);
        return true;
    }
    bool guessed = strcmp(name + strlen(name) - strlen(SHARE_GUESSED), SHARE_GUESSED) == 0;
    struct share_member *member = share_found(steering->share, slot->instance.slot, fd,
                                              (uint16_t)port, address, ordinal, guessed);
    if (member) {
        uint16_t *learnt = &steering->learnt[slot->instance.service][member->asked.protocol];
        if (!*learnt)
            *learnt = (uint16_t)port;
    }
    return true;
}

static bool seccomp_found(struct steering *base, const char *name, int fd)
{
    struct seccomp_steering *steering = of(base);
    if (strncmp(name, "listener:", strlen("listener:")) == 0)
        return found_listener(steering, name, fd);
    if (strncmp(name, "sink:", strlen("sink:")) == 0)
        return found_sink(steering, name, fd);
    const char *instance = strchr(name, ':');
    bool notify = strncmp(name, KEEPER_NOTIFY_PREFIX, strlen(KEEPER_NOTIFY_PREFIX)) == 0;
    if (!notify && strncmp(name, KEEPER_CALLS_PREFIX, strlen(KEEPER_CALLS_PREFIX)) != 0)
        return false;
    struct notified *slot = slot_by_name(steering, instance + 1, strlen(instance + 1));
    if (!slot)
        return false;
    int *place = notify ? &slot->notify_fd : &slot->calls_fd;
    fd_drop(place);
    *place = fd; /* watched, or served, from `started` on */
    return true;
}

/* ---- new ----------------------------------------------------------------------------------------
 */

/* ---- another topology
 * ---------------------------------------------------------------------------- */

/* A port that nobody of us may bind would be refused to each program that asks, at each of its
 * tries. */
static int ports_check(const struct topology *topology, char *why, size_t why_size)
{
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->path != LISTENER_DIRECT || sockets_port_allowed(listener->port))
            continue;
        snprintf(why, why_size, "listen %s: that port needs a right: %s", listener->text,
                 SOCKETS_PORT_HINT);
        return -EACCES;
    }
    return 0;
}

/* Nothing to be got beforehand: programs themselves open what is published. */
static int seccomp_open(struct steering *base, const struct topology *next, const uint32_t *homes,
                        char *why, size_t why_size)
{
    struct seccomp_steering *steering = of(base);
    int error = ports_check(next, why, why_size);
    if (error)
        return error;
    assert(next->service_count <= steering->setup.services_max);
    for (size_t i = 0; i < next->service_count; i++)
        if (!next->services[i].absent && !steering->homes[i])
            steering->homes[i] = homes[i];
    return 0;
}

/* What the listeners that lead to a service say, and whether it publishes by itself. */
static uint64_t publication_of(const struct topology *topology, uint32_t service)
{
    if (service >= topology->service_count)
        return 0;
    uint64_t sum = topology->services[service].publish;
    for (size_t i = 0; i < topology->listener_count; i++)
        if (listener_leads(&topology->listeners[i], service))
            sum += listener_mark(topology, &topology->listeners[i]);
    return sum;
}

static bool is_gated(const struct topology *topology, const struct share_member *member)
{
    enum protocol protocol = (enum protocol)member->asked.protocol;
    return topology_port_is_gated(topology, protocol, member->asked.port) ||
           (protocol == PROTOCOL_UDP && topology_udp_is_relayed(topology, member->service));
}

/* Sockets that would be bound elsewhere, or be open to others, by the next topology are good for as
 * long as their program lives, and no longer. */
static void members_judge(struct seccomp_steering *steering, const struct topology *next)
{
    const struct topology *now = steering->setup.topology;
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        struct share_member *member = share_members_of_slot(steering->share, i);
        if (!member)
            continue;
        bool moves = publication_of(now, member->service) != publication_of(next, member->service);
        for (; member; member = member->next_of_slot)
            member->stale |= moves || is_gated(now, member) != is_gated(next, member);
    }
}

static void seccomp_use(struct steering *base, const struct topology *next)
{
    struct seccomp_steering *steering = of(base);
    members_judge(steering, next);
    steering->setup.topology = next;
    for (uint32_t i = 0; i < steering->setup.slots_max; i++)
        if (steering->slots[i] && steering->slots[i]->reached)
            steering->share_slots[i].service_name = notified_service(steering->slots[i])->name;
    share_topology_set(steering->share, next);
}

static void seccomp_forget(struct steering *base, uint32_t service)
{
    struct seccomp_steering *steering = of(base);
    steering->homes[service] = 0;
    memset(steering->learnt[service], 0, sizeof steering->learnt[service]);
}

static void seccomp_abandon(struct steering *base, const struct topology *next)
{
    const struct topology *now = of(base)->setup.topology;
    for (uint32_t i = 0; i < next->service_count; i++)
        if (!next->services[i].absent && (i >= now->service_count || now->services[i].absent))
            seccomp_forget(base, i);
}

static const struct steering_operations operations = {
    .name = "seccomp",
    .open = seccomp_open,
    .use = seccomp_use,
    .abandon = seccomp_abandon,
    .forget = seccomp_forget,
    .end = seccomp_end,
    .prepare = seccomp_prepare,
    .wants = seccomp_wants_of,
    .started = seccomp_started,
    .gone = seccomp_gone,
    .rotate = seccomp_rotate,
    .wanted = seccomp_wanted,
    .kept = seccomp_kept,
    .counts = seccomp_counts,
    .found = seccomp_found,
    .block = seccomp_block,
    .unblock = seccomp_unblock,
};

/* Of several ports under which one port of a service is published only the first can be served. */
static void listeners_check(const struct topology *topology)
{
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *later = &topology->listeners[i];
        for (size_t k = 0; k < i; k++) {
            const struct listener *first = &topology->listeners[k];
            if (later->path == LISTENER_DIRECT && listener_leads(first, later->service) &&
                first->protocol == later->protocol && first->port != later->port &&
                listener_target(topology, first) == listener_target(topology, later)) {
                log_warn("listener-not-served",
                         "listener=%s service=%s reason=\"without BPF a socket has one port\" "
                         "served=%s",
                         later->text, topology->services[later->service].name, first->text);
                break;
            }
        }
    }
}

int steering_seccomp_new(const struct steering_setup *setup, struct steering **ret_steering,
                         char *why, size_t why_size)
{
    int error = seccomp_probe();
    if (error) {
        snprintf(why, why_size, "seccomp notification cannot be had (%s)%s",
                 strerrorname_np(-error),
                 error == -EBUSY ? ": enginx itself runs below another such filter" : "");
        return error == -EACCES ? -EPERM : error; /* that is a port's */
    }
    error = ports_check(setup->topology, why, why_size);
    if (error)
        return error;
    struct seccomp_steering *steering = calloc(1, sizeof *steering);
    if (!steering)
        return -ENOMEM;
    size_t services = steering_services_room(setup);
    steering->steering.operations = &operations;
    steering->setup = *setup;
    steering->setup.services_max = (uint32_t)services;
    steering->homes = calloc(services + 1, sizeof *steering->homes);
    steering->learnt = calloc(services + 1, sizeof *steering->learnt);
    steering->slots = calloc(setup->slots_max + 1, sizeof(struct notified *));
    steering->share_slots = calloc(setup->slots_max + 1, sizeof *steering->share_slots);
    steering->redirects = redirects_new(setup->loop);
    steering->connections = connections_new(setup->loop);
    if (steering->homes && steering->learnt && steering->slots && steering->share_slots) {
        memcpy(steering->homes, setup->homes,
               setup->topology->service_count * sizeof *steering->homes);
        steering->share = share_new(&(struct share_setup){.loop = setup->loop,
                                                          .topology = setup->topology,
                                                          .services_max = (uint32_t)services,
                                                          .homes = steering->homes,
                                                          .slots = steering->share_slots,
                                                          .slot_count = setup->slots_max,
                                                          .keep = setup->callbacks->keep,
                                                          .forget = setup->callbacks->forget,
                                                          .owner = setup->owner});
    }
    if (!steering->share || !steering->redirects || !steering->connections) {
        seccomp_end(&steering->steering, true);
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    listeners_check(setup->topology);
    snprintf(why, why_size, "%s", "");
    *ret_steering = &steering->steering;
    return 0;
}
