#include "steering/share_group.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "kernel/reuseport.h"

/* An instance's weight is split evenly over its own listeners on the port. */
enum { WEIGHT_UNIT = 60 };

/* ---- weights -------------------------------------------------------------------------------- */

/* A group cannot refuse a packet, so when nobody is in rotation the next best serves:
 * what waits for its program to come back before what is being drained. */
enum tier { TIER_ROTATION, TIER_KEPT, TIER_ALIVE, TIER_ANY, TIERS };

static uint32_t tier_weight(const struct share_member *member, enum tier tier)
{
    if (member->leaving)
        return tier == TIER_ANY ? 1 : 0;
    switch (tier) {
    case TIER_ROTATION:
        return member->alive ? share_member_weight(member) : 0;
    case TIER_KEPT:
        return member->alive ? 0 : member->last_weight;
    case TIER_ALIVE:
        return member->alive || member->claimed;
    case TIER_ANY:
    case TIERS:
        break;
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
    return (struct reuseport_member){.index = (uint32_t)index,
                                     .weight = weight,
                                     .name = named ? member->share->setup.slots[member->slot].number
                                                   : UINT32_MAX};
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
        if (listener_leads(listener, service) && listener->port == group->bound.port &&
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
        return IN6_IS_ADDR_UNSPECIFIED(
            &((const struct sockaddr_in6 *)&listener->address)->sin6_addr);
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
        if (listener_leads(listener, service) && listener->port == group->bound.port &&
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
        if (!listener_leads(listener, index) || listener->port != group->bound.port ||
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
        uint32_t number =
            service < share->setup.topology->service_count ? service : share->setup.services_max;
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

static int group_program(struct share *share, const struct share_group *group, bool own_addresses,
                         struct sock_filter *ret_program)
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

static int group_attach(struct share *share, const struct share_group *group, bool own_addresses)
{
    static struct sock_filter program[REUSEPORT_INSTRUCTIONS_MAX];
    int length = group_program(share, group, own_addresses, program);
    if (length < 0)
        return length;
    return reuseport_attach(group->members[0]->fd, program, (size_t)length);
}

void share_group_forget(struct share *share, struct share_group *group)
{
    struct share_group **at = &share->pending;
    while (group->pending && *at != group)
        at = &(*at)->next_pending;
    if (group->pending)
        *at = group->next_pending;
    group->pending = false;
}

void share_group_changed(struct share *share, struct share_group *group)
{
    share_group_forget(share, group);
    if (!group->count || (group->count == 1 && share_group_has_sink(group)))
        return;
    bool whole = !group->too_long || group->count < group->too_long;
    int error = group_attach(share, group, whole);
    if (whole && (error == -E2BIG || error == -ENOMEM)) {
        /* The program is bounded; instances' own addresses are what can best be missed. */
        error = group_attach(share, group, false);
        if (!group->too_long)
            log_warn("own-addresses-not-served", "port=%u members=%zu reason=program-too-long",
                     group->bound.port, group->count);
        group->too_long = group->count;
    }
    group->attached |= !error;
    if (error)
        log_error("reuseport-program-failed", "port=%u members=%zu error=%s", group->bound.port,
                  group->count, strerrorname_np(-error));
}

static void attach_due(struct deferred *deferred)
{
    struct share *share = deferred->owner;
    while (share->pending)
        share_group_changed(share, share->pending);
}

void share_group_change_later(struct share *share, struct share_group *group)
{
    if (!group->attached) {
        share_group_changed(share, group);
        return;
    }
    if (group->pending)
        return;
    group->pending = true;
    group->next_pending = share->pending;
    share->pending = group;
    deferred_start(share->setup.loop, &share->attach, attach_due, share);
}
