#include "supervise/share.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "kernel/reuseport.h"
#include "supervise/sink.h"

enum {
    GROUP_FIRST_PLACES = 8,
    WEIGHT_UNIT = 60, /* an instance's weight is split evenly over its own listeners on the port */
    /* A bound UDP socket leaves its group only when the last descriptor closes. Ours closes this
     * long after the keeper was told to close its own. */
    UDP_LEAVE_DELAY_MS = 200,
};

struct share_group {
    struct share_group *next;
    struct share_address bound;
    struct share_member **members; /* in the kernel's order: members[i] has index i */
    size_t count;
    size_t places;
    bool too_long; /* the program with all own addresses, which was logged */
};

struct share {
    struct share_setup setup;
    struct share_group *groups;
    struct share_member **of_slot;    /* first of each slot's list */
    struct share_member **of_service; /* first of each service's list */
    uint32_t *slot_seen;              /* by slot: the walk that last came by one of its members */
    uint32_t *service_seen;           /* the same by service; the last entry is nobody's */
    uint32_t walk;
    uint32_t ordinal_next;
    uint32_t loopback; /* interface number */
    bool sinks;        /* are needed */
};

/* ---- addresses ------------------------------------------------------------------------------ */

static bool socket_ip6_only(int fd)
{
    int only = 0;
    socklen_t length = sizeof only;
    return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, &length) == 0 && only;
}

bool share_address_read(const struct sockaddr_storage *address, enum protocol protocol, int fd,
                        struct share_address *ret_address)
{
    struct share_address read;
    memset(&read, 0, sizeof read);
    read.protocol = (uint8_t)protocol;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        read.family = 4;
        read.port = ntohs(four->sin_port);
        memcpy(read.address, &four->sin_addr, 4);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        read.family = socket_ip6_only(fd) ? 6 : 46;
        read.port = ntohs(six->sin6_port);
        memcpy(read.address, &six->sin6_addr, 16);
    } else {
        return false;
    }
    *ret_address = read;
    return true;
}

bool share_address_equal(const struct share_address *left, const struct share_address *right)
{
    return memcmp(left, right, sizeof *left) == 0;
}

uint32_t share_address_ip4(const struct share_address *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint32_t ip4 = 0;
    if (address->family == 4)
        memcpy(&ip4, address->address, 4);
    else if (memcmp(address->address, mapped, sizeof mapped) == 0)
        memcpy(&ip4, address->address + sizeof mapped, 4);
    return ntohl(ip4);
}

bool share_address_any(const struct share_address *address)
{
    static const uint8_t zeros[16];
    return memcmp(address->address, zeros, sizeof zeros) == 0;
}

/* ---- names ---------------------------------------------------------------------------------- */

/* "listener:SERVICE.N:tcp:PORT:ADDRESS:ORDINAL", port and address as asked, the last two in hex. */
static void member_name(const struct share_member *member, char name[SHARE_NAME_BYTES])
{
    if (member->sink) {
        snprintf(name, SHARE_NAME_BYTES, "sink:%08x", member->ordinal);
        return;
    }
    const struct share_slot *slot = &member->share->setup.slots[member->slot];
    snprintf(name, SHARE_NAME_BYTES, "listener:%s.%u:%s:%u:%08x:%08x", slot->service_name,
             slot->number, member->asked.protocol == PROTOCOL_TCP ? "tcp" : "udp",
             member->asked.port, share_address_ip4(&member->asked), member->ordinal);
}

static bool member_is_kept(const struct share_member *member)
{
    return (member->slot != SHARE_NO_SLOT || member->sink) && !member->leaving;
}

static void member_keep(const struct share_member *member)
{
    if (!member_is_kept(member))
        return;
    char name[SHARE_NAME_BYTES];
    member_name(member, name);
    member->share->setup.keep(member->share->setup.owner, name, member->fd);
}

static void member_forget(const struct share_member *member)
{
    if (!member_is_kept(member))
        return;
    char name[SHARE_NAME_BYTES];
    member_name(member, name);
    member->share->setup.forget(member->share->setup.owner, name);
}

/* ---- weights -------------------------------------------------------------------------------- */

static uint32_t slot_weight(const struct share_member *member)
{
    return member->slot == SHARE_NO_SLOT ? 0 : member->share->setup.slots[member->slot].weight;
}

/* A group cannot refuse a packet, so when nobody is in rotation the next best serves:
 * what waits for its program to come back before what is being drained. */
enum tier { TIER_ROTATION, TIER_KEPT, TIER_ALIVE, TIER_ANY, TIERS };

static uint32_t tier_weight(const struct share_member *member, enum tier tier)
{
    if (member->leaving)
        return tier == TIER_ANY ? 1 : 0;
    switch (tier) {
    case TIER_ROTATION: return member->alive ? slot_weight(member) : 0;
    case TIER_KEPT: return member->alive ? 0 : member->last_weight;
    case TIER_ALIVE: return member->alive || member->claimed;
    case TIER_ANY:
    case TIERS: break;
    }
    return 1;
}

static uint32_t listeners_of_slot(const struct share_member *member, enum tier tier)
{
    if (member->slot == SHARE_NO_SLOT)
        return 1;
    uint32_t count = 0;
    const struct share_member *other = member->share->of_slot[member->slot];
    for (; other; other = other->next_of_slot)
        count += other->group == member->group && tier_weight(other, tier) > 0;
    return count;
}

static uint32_t weight_split(const struct share_member *member, enum tier tier)
{
    uint64_t weight = tier_weight(member, tier);
    if (!weight)
        return 0;
    weight = weight * WEIGHT_UNIT / listeners_of_slot(member, tier);
    if (weight > REUSEPORT_WEIGHT_MAX)
        return REUSEPORT_WEIGHT_MAX;
    return weight ? (uint32_t)weight : 1;
}

static struct reuseport_member member_choice(const struct share_member *member, size_t index,
                                             uint32_t weight)
{
    bool named = member->slot != SHARE_NO_SLOT;
    return (struct reuseport_member){
        .index = (uint32_t)index,
        .weight = weight,
        .name = named ? member->share->setup.slots[member->slot].number : UINT32_MAX};
}

/* The service's members of the group, with their weights of the first tier that has any. */
static size_t service_collect(const struct share_group *group, uint32_t service,
                              struct reuseport_member *ret_members)
{
    size_t count = 0;
    for (enum tier tier = TIER_ROTATION; tier < TIERS; tier++) {
        bool any = false;
        count = 0;
        for (size_t i = 0; i < group->count; i++) {
            const struct share_member *member = group->members[i];
            if (member->sink || member->service != service)
                continue;
            uint32_t weight = weight_split(member, tier);
            any |= weight > 0;
            ret_members[count++] = member_choice(member, i, weight);
        }
        if (any)
            break;
    }
    return count;
}

/* An instance's members of the group: those that its program has, else those that are kept. */
static size_t slot_collect(const struct share_group *group, uint32_t slot,
                           struct reuseport_member *ret_members)
{
    size_t count = 0;
    bool alive = false;
    for (size_t i = 0; i < group->count; i++) {
        const struct share_member *member = group->members[i];
        if (member->slot != slot)
            continue;
        alive |= member->alive;
        ret_members[count++] = member_choice(member, i, member->alive);
    }
    for (size_t i = 0; i < count && !alive; i++)
        ret_members[i].weight = 1;
    return count;
}

/* ---- choices -------------------------------------------------------------------------------- */

struct plan { /* the program of a group being put together */
    struct reuseport_choice *choices;
    size_t choice_count;
    struct reuseport_member *members;
    size_t member_count;
};

static enum reuseport_policy service_policy(const struct share *share,
                                            const struct share_group *group, uint32_t service)
{
    if (service < share->setup.topology->service_count &&
        share->setup.topology->services[service].balance == BALANCE_HASH)
        return REUSEPORT_CLIENT_HASH;
    /* Datagrams of one client must stay with one instance. */
    return group->bound.protocol == PROTOCOL_UDP ? REUSEPORT_FLOW_HASH : REUSEPORT_RANDOM;
}

static struct reuseport_choice *plan_add(struct plan *plan, uint32_t address,
                                         enum reuseport_policy policy,
                                         const struct reuseport_member *members, size_t count)
{
    struct reuseport_choice *choice = &plan->choices[plan->choice_count++];
    *choice = (struct reuseport_choice){
        .address = address, .policy = policy, .members = members, .count = count};
    return choice;
}

/* Is it the first of its number in this walk over a group? */
static bool first_seen(const struct share *share, uint32_t *seen)
{
    bool first = *seen != share->walk;
    *seen = share->walk;
    return first;
}

static void plan_slots(struct plan *plan, struct share *share, const struct share_group *group)
{
    share->walk++;
    for (size_t i = 0; i < group->count; i++) {
        uint32_t slot = group->members[i]->slot;
        if (slot == SHARE_NO_SLOT || !first_seen(share, &share->slot_seen[slot]))
            continue;
        struct reuseport_member *members = plan->members + plan->member_count;
        size_t count = slot_collect(group, slot, members);
        plan->member_count += count;
        plan_add(plan, share->setup.slots[slot].address, REUSEPORT_RANDOM, members, count);
    }
}

/* How much a service is the owner of the port: it is the one to whom `listen` publishes it, or who
 * publishes by itself; else the first of the topology. */
static int service_claim(const struct share *share, const struct share_group *group,
                         uint32_t service)
{
    const struct topology *topology = share->setup.topology;
    if (service >= topology->service_count)
        return 0;
    int claim = topology->services[service].publish ? 2 : 1;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->service == service && listener->port == group->bound.port &&
            (uint8_t)listener->protocol == group->bound.protocol)
            claim = 3;
    }
    return claim;
}

static bool listener_takes_all(const struct listener *listener)
{
    if (listener->address.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&listener->address)->sin_addr.s_addr == 0;
    if (listener->address.ss_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&listener->address)->sin6_addr);
    return true;
}

/* Is the service published at this port, to whomever and at any address? */
static bool service_is_open(const struct share *share, const struct share_group *group,
                            uint32_t service)
{
    const struct topology *topology = share->setup.topology;
    if (service >= topology->service_count)
        return false;
    if (topology->services[service].publish)
        return true;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->service == service && listener->port == group->bound.port &&
            (uint8_t)listener->protocol == group->bound.protocol && listener_takes_all(listener))
            return true;
    }
    return false;
}

/* `listen 10.0.0.5:80 -> a; listen 10.0.0.6:80 -> b`: one group, told apart by address. */
static void plan_published(struct plan *plan, const struct share *share,
                           const struct share_group *group, const struct reuseport_choice *service,
                           uint32_t index)
{
    const struct topology *topology = share->setup.topology;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->service != index || listener->port != group->bound.port ||
            (uint8_t)listener->protocol != group->bound.protocol ||
            listener->address.ss_family != AF_INET)
            continue;
        const struct sockaddr_in *four = (const struct sockaddr_in *)&listener->address;
        uint32_t address = ntohl(four->sin_addr.s_addr);
        if (address)
            plan_add(plan, address, service->policy, service->members, service->count)->outside =
                true;
    }
}

static void plan_services(struct plan *plan, struct share *share, const struct share_group *group)
{
    share->walk++;
    struct reuseport_choice others = {0};
    uint32_t owner = 0;
    int owner_claim = -1;
    bool told_apart = share_address_any(&group->bound) && group->bound.family != 6;
    for (size_t i = 0; i < group->count; i++) {
        uint32_t service = group->members[i]->service;
        uint32_t number = service < share->setup.topology->service_count
                              ? service
                              : (uint32_t)share->setup.topology->service_count;
        if (group->members[i]->sink || !first_seen(share, &share->service_seen[number]))
            continue;
        struct reuseport_choice choice = {.policy = service_policy(share, group, service),
                                          .members = plan->members + plan->member_count};
        choice.count = service_collect(group, service, plan->members + plan->member_count);
        plan->member_count += choice.count;
        int claim = service_claim(share, group, service);
        if (claim > owner_claim || (claim == owner_claim && service < owner)) {
            owner = service;
            owner_claim = claim;
            others = choice;
        }
        if (!told_apart || service >= share->setup.topology->service_count)
            continue;
        plan_published(plan, share, group, &choice, service);
        plan_add(plan, share->setup.homes[service], choice.policy, choice.members, choice.count);
    }
    plan_add(plan, 0, others.policy, others.members, others.count)->outside =
        service_is_open(share, group, owner);
}

static int group_program(struct share *share, const struct share_group *group,
                         bool own_addresses, struct sock_filter *ret_program)
{
    size_t most = 2 * group->count + share->setup.topology->listener_count + 1;
    struct plan plan = {.choices = calloc(most, sizeof *plan.choices),
                        .members = calloc(2 * group->count, sizeof *plan.members)};
    int length = -ENOMEM;
    if (plan.choices && plan.members) {
        if (own_addresses && share_address_any(&group->bound) && group->bound.family != 6)
            plan_slots(&plan, share, group);
        plan_services(&plan, share, group);
        assert(plan.choice_count <= most && plan.member_count <= 2 * group->count);
        struct reuseport_guard guard = {.loopback = share->loopback, .sink = 0};
        length = reuseport_build(plan.choices, plan.choice_count,
                                 group->members[0]->sink ? &guard : NULL, ret_program,
                                 REUSEPORT_INSTRUCTIONS_MAX);
    }
    free(plan.choices);
    free(plan.members);
    return length;
}

static int group_attach(struct share *share, const struct share_group *group,
                        bool own_addresses)
{
    static struct sock_filter program[REUSEPORT_INSTRUCTIONS_MAX];
    int length = group_program(share, group, own_addresses, program);
    if (length < 0)
        return length;
    return reuseport_attach(group->members[0]->fd, program, (size_t)length);
}

static bool group_has_sink(const struct share_group *group)
{
    return group->count && group->members[0]->sink;
}

static void group_changed(struct share *share, struct share_group *group)
{
    if (!group->count || (group->count == 1 && group_has_sink(group)))
        return;
    int error = group_attach(share, group, true);
    if (error == -E2BIG || error == -ENOMEM) {
        /* The program is bounded; instances' own addresses are what can best be missed. */
        error = group_attach(share, group, false);
        if (!group->too_long)
            log_warn("own-addresses-not-served", "port=%u members=%zu reason=program-too-long",
                     group->bound.port, group->count);
        group->too_long = true;
    }
    if (error)
        log_error("reuseport-program-failed", "port=%u members=%zu error=%s", group->bound.port,
                  group->count, strerrorname_np(-error));
}

/* ---- groups --------------------------------------------------------------------------------- */

static struct share_group *group_get(struct share *share, const struct share_address *bound)
{
    for (struct share_group *group = share->groups; group; group = group->next)
        if (share_address_equal(&group->bound, bound))
            return group;
    struct share_group *group = calloc(1, sizeof *group);
    if (!group)
        return NULL;
    group->bound = *bound;
    group->next = share->groups;
    share->groups = group;
    return group;
}

static void group_free_if_empty(struct share *share, struct share_group *group)
{
    if (group->count)
        return;
    for (struct share_group **at = &share->groups; *at; at = &(*at)->next)
        if (*at == group) {
            *at = group->next;
            break;
        }
    free(group->members);
    free(group);
}

static int group_reserve(struct share_group *group)
{
    if (group->count < group->places)
        return 0;
    size_t places = group->places ? group->places * 2 : GROUP_FIRST_PLACES;
    struct share_member **members = reallocarray(group->members, places, sizeof *members);
    if (!members)
        return -ENOMEM;
    group->members = members;
    group->places = places;
    return 0;
}

static size_t group_place(const struct share_group *group, const struct share_member *member)
{
    size_t place = 0;
    while (group->members[place] != member) {
        place++;
        assert(place < group->count);
    }
    return place;
}

/* As the kernel does it: the last moves into the hole. It takes over the ordinal too, so that the
 * kept names, sorted by ordinal, always tell the order. */
static void group_remove(struct share_group *group, const struct share_member *member)
{
    size_t place = group_place(group, member);
    struct share_member *last = group->members[--group->count];
    if (last == member)
        return;
    group->members[place] = last;
    member_forget(last);
    last->ordinal = member->ordinal;
    member_keep(last);
}

/* ---- members -------------------------------------------------------------------------------- */

static void member_link(struct share_member *member)
{
    struct share *share = member->share;
    if (member->slot == SHARE_NO_SLOT)
        return;
    member->next_of_slot = share->of_slot[member->slot];
    share->of_slot[member->slot] = member;
    member->next_of_service = share->of_service[member->service];
    share->of_service[member->service] = member;
}

static void member_unlink(struct share_member *member)
{
    struct share *share = member->share;
    if (member->slot == SHARE_NO_SLOT)
        return;
    struct share_member **at = &share->of_slot[member->slot];
    while (*at != member)
        at = &(*at)->next_of_slot;
    *at = member->next_of_slot;
    at = &share->of_service[member->service];
    while (*at != member)
        at = &(*at)->next_of_service;
    *at = member->next_of_service;
}

static void member_free(struct share_member *member)
{
    watch_stop(member->share->setup.loop, &member->watch);
    timer_stop(member->share->setup.loop, &member->timer);
    if (member->fd >= 0)
        close(member->fd);
    free(member);
}

/* A group in which only the sink is left ends with it; so does an empty one. */
static void group_settle(struct share *share, struct share_group *group)
{
    if (group->count == 1 && group_has_sink(group)) {
        member_forget(group->members[0]);
        shutdown(group->members[0]->fd, SHUT_RDWR);
        member_free(group->members[0]);
        group->count = 0;
    }
    group_free_if_empty(share, group);
}

/* Out of all lists; the socket is out of the kernel's group, or is about to be by our close. */
static void member_end(struct share_member *member)
{
    struct share *share = member->share;
    struct share_group *group = member->group;
    group_remove(group, member);
    member_unlink(member);
    member_free(member);
    group_changed(share, group);
    group_settle(share, group);
}

static void member_leave_due(struct timer *timer)
{
    member_end(timer->owner);
}

/* The program called shutdown(2) on its listener: the kernel has taken it out of the group. */
static void member_hung_up(struct watch *watch, unsigned events)
{
    (void)events;
    struct share_member *member = watch->owner;
    log_info("listener-shut-down", "port=%u", member->asked.port);
    member_forget(member);
    member->leaving = true;
    member_end(member);
}

static struct share_member *member_new(struct share *share, uint32_t slot, int fd,
                                       const struct share_address *asked)
{
    struct share_member *member = calloc(1, sizeof *member);
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    int protocol = 0;
    socklen_t protocol_length = sizeof protocol;
    if (!member || getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &protocol_length) < 0 ||
        !share_address_read(&address, protocol == IPPROTO_UDP ? PROTOCOL_UDP : PROTOCOL_TCP, fd,
                            &member->bound)) {
        free(member);
        return NULL;
    }
    member->share = share;
    member->slot = slot;
    member->service = slot == SHARE_NO_SLOT ? UINT32_MAX : share->setup.slots[slot].service;
    member->fd = fd;
    member->asked = asked ? *asked : member->bound;
    member->last_weight = 1;
    member->alive = true;
    socklen_t cookie_length = sizeof member->cookie;
    if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &member->cookie, &cookie_length) < 0)
        member->cookie = 0;
    return member;
}

static int member_enter(struct share_member *member, size_t place)
{
    struct share_group *group = group_get(member->share, &member->bound);
    if (!group)
        return -ENOMEM;
    int error = group_reserve(group);
    if (error) {
        group_free_if_empty(member->share, group);
        return error;
    }
    if (place > group->count)
        place = group->count;
    memmove(group->members + place + 1, group->members + place,
            (group->count - place) * sizeof *group->members);
    group->members[place] = member;
    group->count++;
    member->group = group;
    member_link(member);
    /* Only hang-up is asked for: connections that arrive do not wake us. */
    if (member->bound.protocol == PROTOCOL_TCP)
        watch_start(member->share->setup.loop, &member->watch, member->fd, 0, member_hung_up,
                    member);
    return 0;
}

/* ---- a share -------------------------------------------------------------------------------- */

struct share *share_new(const struct share_setup *setup)
{
    struct share *share = calloc(1, sizeof *share);
    if (!share)
        return NULL;
    share->setup = *setup;
    share->loopback = if_nametoindex("lo");
    share->sinks = sink_needed();
    share->of_slot = calloc(setup->slot_count + 1, sizeof(struct share_member *));
    share->of_service =
        calloc(setup->topology->service_count + 1, sizeof(struct share_member *));
    share->slot_seen = calloc(setup->slot_count + 1, sizeof *share->slot_seen);
    share->service_seen =
        calloc(setup->topology->service_count + 1, sizeof *share->service_seen);
    if (!share->of_slot || !share->of_service || !share->slot_seen || !share->service_seen) {
        share_free(share, true);
        return NULL;
    }
    return share;
}

void share_free(struct share *share, bool leave)
{
    if (!share)
        return;
    while (share->groups) {
        struct share_group *group = share->groups;
        share->groups = group->next;
        for (size_t i = 0; i < group->count; i++) {
            if (!leave) {
                member_forget(group->members[i]);
                shutdown(group->members[i]->fd, SHUT_RDWR);
            }
            member_free(group->members[i]);
        }
        free(group->members);
        free(group);
    }
    free(share->of_slot);
    free(share->of_service);
    free(share->slot_seen);
    free(share->service_seen);
    free(share);
}

static void guard_failed(const struct share_address *bound, int error)
{
    log_warn("port-not-guarded", "port=%u error=%s effect=\"reachable from other machines\"",
             bound->port, strerrorname_np(-error));
}

void share_guard(struct share *share, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    struct share_address bound;
    if (!share->sinks || getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        !share_address_read(&address, PROTOCOL_TCP, fd, &bound))
        return;
    struct share_group *group = group_get(share, &bound);
    if (group && group->count)
        return; /* it has one, or had to do without */
    int sink = group ? sink_open(&bound) : -ENOMEM;
    if (sink < 0) {
        guard_failed(&bound, sink);
        if (group)
            group_free_if_empty(share, group);
        return;
    }
    struct share_member *member = share_found_sink(share, sink, share->ordinal_next);
    if (member)
        member_keep(member);
    else
        guard_failed(&bound, -ENOMEM);
}

struct share_member *share_join(struct share *share, uint32_t slot, int fd,
                                const struct share_address *asked)
{
    assert(slot < share->setup.slot_count);
    struct share_member *member = member_new(share, slot, fd, asked);
    if (!member || member_enter(member, SIZE_MAX) < 0) {
        log_error("listener-not-shared", "reason=no-memory port=%u", asked->port);
        free(member);
        close(fd);
        return NULL;
    }
    member->ordinal = share->ordinal_next++;
    member_keep(member);
    group_changed(share, member->group);
    return member;
}

void share_revive(struct share_member *member)
{
    member->alive = true;
    member->claimed = false;
    group_changed(member->share, member->group);
}

void share_leave(struct share_member *member)
{
    if (member->leaving)
        return;
    member_forget(member);
    member->leaving = true;
    if (member->bound.protocol == PROTOCOL_TCP) {
        watch_stop(member->share->setup.loop, &member->watch);
        /* Leaves the group at once, also while the keeper still has a descriptor of it. */
        shutdown(member->fd, SHUT_RDWR);
        member_end(member);
        return;
    }
    member->alive = false;
    group_changed(member->share, member->group);
    if (timer_start(member->share->setup.loop, &member->timer, UDP_LEAVE_DELAY_MS,
                    member_leave_due, member) < 0)
        member_end(member);
}

void share_slot_gone(struct share *share, uint32_t slot, bool coming_back)
{
    struct share_member *next;
    for (struct share_member *member = share->of_slot[slot]; member; member = next) {
        next = member->next_of_slot;
        if (!coming_back) {
            share_leave(member);
            continue;
        }
        member->alive = false;
        member->claimed = false;
        group_changed(share, member->group);
    }
}

void share_service_changed(struct share *share, uint32_t service)
{
    for (struct share_group *group = share->groups; group; group = group->next) {
        bool concerned = false;
        for (size_t i = 0; i < group->count; i++) {
            struct share_member *member = group->members[i];
            if (member->service != service)
                continue;
            concerned = true;
            if (slot_weight(member))
                member->last_weight = slot_weight(member);
        }
        if (concerned)
            group_changed(share, group);
    }
}

/* ---- after the supervisor's own restart ----------------------------------------------------- */

/* At its place by the ordinal. NULL: no memory, and the member is freed. */
static struct share_member *member_restore(struct share_member *member, uint32_t ordinal)
{
    struct share *share = member->share;
    member->ordinal = ordinal;
    if (share->ordinal_next <= ordinal)
        share->ordinal_next = ordinal + 1;
    size_t place = 0;
    struct share_group *group = group_get(share, &member->bound);
    while (group && place < group->count && group->members[place]->ordinal < ordinal)
        place++;
    if (!group || member_enter(member, place) < 0) {
        member_free(member);
        return NULL;
    }
    return member;
}

struct share_member *share_found(struct share *share, uint32_t slot, int fd, uint16_t asked_port,
                                 uint32_t asked_address, uint32_t ordinal)
{
    struct share_member *member = member_new(share, slot, fd, NULL);
    if (!member) {
        close(fd);
        return NULL;
    }
    member->asked.port = asked_port;
    if (asked_address && member->asked.family == 4) {
        uint32_t wire = htonl(asked_address);
        memcpy(member->asked.address, &wire, sizeof wire);
    }
    return member_restore(member, ordinal);
}

struct share_member *share_found_sink(struct share *share, int fd, uint32_t ordinal)
{
    struct share_member *member = member_new(share, SHARE_NO_SLOT, fd, NULL);
    if (!member) {
        close(fd);
        return NULL;
    }
    member->sink = true;
    return member_restore(member, ordinal);
}

static void group_sweep(struct share *share, struct share_group *group)
{
    /* A member's leaving may free the group when it is the last, so the count is taken before. */
    for (size_t i = group->count; i-- > 0;) {
        struct share_member *member = group->members[i];
        if (member->slot != SHARE_NO_SLOT || member->sink)
            continue;
        bool last = group->count == (group_has_sink(group) ? 2 : 1);
        share_leave(member);
        if (last)
            return;
    }
    group_settle(share, group);
}

void share_sweep_found(struct share *share)
{
    struct share_group *next;
    for (struct share_group *group = share->groups; group; group = next) {
        next = group->next;
        group_sweep(share, group);
    }
}

/* ---- questions ------------------------------------------------------------------------------ */

struct share_member *share_members_of_slot(const struct share *share, uint32_t slot)
{
    return share->of_slot[slot];
}

struct share_member *share_members_of_service(const struct share *share, uint32_t service)
{
    return share->of_service[service];
}

struct share_member *share_by_cookie(const struct share *share, uint32_t slot, uint64_t cookie)
{
    struct share_member *member = share->of_slot[slot];
    while (member && member->cookie != cookie)
        member = member->next_of_slot;
    return member;
}

bool share_member_reachable(const struct share_member *member)
{
    return member->bound.protocol == PROTOCOL_TCP && member->bound.family != 6 &&
           share_address_any(&member->bound);
}
