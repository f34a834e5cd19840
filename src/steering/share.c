#include "steering/share.h"

#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "steering/share_group.h"
#include "steering/sink.h"

enum {
    GROUP_FIRST_PLACES = 8,
    /* A bound UDP socket leaves its group only when the last descriptor closes. Ours closes this
     * long after the keeper was told to close its own. */
    UDP_LEAVE_DELAY_MS = 200,
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
    snprintf(name, SHARE_NAME_BYTES, "listener:%s.%u:%s:%u:%08x:%08x%s", slot->service_name,
             slot->number, member->asked.protocol == PROTOCOL_TCP ? "tcp" : "udp",
             member->asked.port, share_address_ip4(&member->asked), member->ordinal,
             member->guessed ? SHARE_GUESSED : "");
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
    share_group_forget(share, group);
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
    if (group->count == 1 && share_group_has_sink(group)) {
        member_forget(group->members[0]);
        shutdown(group->members[0]->fd, SHUT_RDWR);
        member_free(group->members[0]);
        group->count = 0;
    }
    group_free_if_empty(share, group);
}

/* Out of all lists; the socket is out of the kernel's group, or is about to be by our close. Its
 * group needs another program, and may be empty. */
static struct share_group *member_take_out(struct share_member *member)
{
    struct share_group *group = member->group;
    group_remove(group, member);
    member_unlink(member);
    member_free(member);
    return group;
}

static void member_end(struct share_member *member)
{
    struct share *share = member->share;
    struct share_group *group = member_take_out(member);
    share_group_changed(share, group);
    group_settle(share, group);
}

/* Listeners that leave in one turn leave together at its end, so that their group gets one new
 * program and not one for each: a thousand that stop are a few programs of a thousand members. */
static void leave_due(struct deferred *deferred)
{
    struct share *share = deferred->owner;
    struct share_group *next;
    while (share->leaving) {
        struct share_member *member = share->leaving;
        share->leaving = member->next_leaving;
        /* Leaves the group at once, also while the keeper still has a descriptor of it. */
        shutdown(member->fd, SHUT_RDWR);
        member_take_out(member)->concerned = true;
    }
    for (struct share_group *group = share->groups; group; group = next) {
        next = group->next;
        if (!group->concerned)
            continue;
        group->concerned = false;
        share_group_changed(share, group);
        group_settle(share, group);
    }
}

static void member_leave_due(struct timer *timer)
{
    member_end(timer->owner);
}

/* The program called shutdown(2) on its listener: the kernel has taken it out of the group. */
void share_shut_down(struct share_member *member)
{
    log_info("listener-shut-down", "port=%u", member->asked.port);
    member_forget(member);
    member->leaving = true;
    member_end(member);
}

static void member_hung_up(struct watch *watch, unsigned events)
{
    (void)events;
    share_shut_down(watch->owner);
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
    share->of_service = calloc(setup->services_max + 1, sizeof(struct share_member *));
    share->slot_seen = calloc(setup->slot_count + 1, sizeof *share->slot_seen);
    share->service_seen = calloc(setup->services_max + 1, sizeof *share->service_seen);
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
    deferred_stop(share->setup.loop, &share->attach);
    deferred_stop(share->setup.loop, &share->leave);
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
        !share_address_read(&address, PROTOCOL_TCP, fd, &bound) ||
        share_address_ip4(&bound) >> 24 == 127) /* nobody from elsewhere comes there */
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
    share_group_change_later(share, member->group); /* until then nothing is given to it */
    return member;
}

void share_revive(struct share_member *member)
{
    member->alive = true;
    member->claimed = false;
    share_group_change_later(member->share, member->group);
}

void share_leave(struct share_member *member)
{
    if (member->leaving)
        return;
    member_forget(member);
    member->leaving = true;
    if (member->bound.protocol == PROTOCOL_TCP) {
        watch_stop(member->share->setup.loop, &member->watch);
        member->alive = false;
        member->next_leaving = member->share->leaving;
        member->share->leaving = member;
        deferred_start(member->share->setup.loop, &member->share->leave, leave_due, member->share);
        return;
    }
    member->alive = false;
    share_group_changed(member->share, member->group);
    if (timer_start(member->share->setup.loop, &member->timer, UDP_LEAVE_DELAY_MS, member_leave_due,
                    member) < 0)
        member_end(member);
}

void share_member_waits(struct share_member *member)
{
    member->alive = false;
    member->claimed = false;
    share_group_changed(member->share, member->group);
}

void share_slot_gone(struct share *share, uint32_t slot, bool coming_back)
{
    struct share_member *next;
    for (struct share_member *member = share->of_slot[slot]; member; member = next) {
        next = member->next_of_slot;
        if (!coming_back || member->stale) {
            share_leave(member);
            continue;
        }
        share_member_waits(member);
    }
}

void share_topology_set(struct share *share, const struct topology *topology)
{
    share->setup.topology = topology;
    for (struct share_group *group = share->groups; group; group = group->next)
        share_group_change_later(share, group);
}

void share_service_changed(struct share *share, uint32_t service)
{
    struct share_member *member = share->of_service[service];
    for (; member; member = member->next_of_service) {
        if (share_member_weight(member))
            member->last_weight = share_member_weight(member);
        member->group->concerned = true;
    }
    /* At once, as whoever drains an instance relies on it; but one that has just joined is put into
     * rotation in the same turn, and its group's program is on its way already. */
    for (member = share->of_service[service]; member; member = member->next_of_service) {
        if (member->group->concerned && !member->group->pending)
            share_group_changed(share, member->group);
        member->group->concerned = false;
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

/* `ip4`: of the name, 0 for any address and for those of IPv6. A socket at an IPv4 address whose
 * program asked for any was moved to it. Wrong here is fatal later: the next start of the program
 * would not be recognized as the owner, and two sockets would share what comes. */
static void asked_restore(struct share_address *asked, uint32_t ip4)
{
    if (!ip4 && !share_address_ip4(asked))
        return;
    const uint32_t wire = htonl(ip4);
    memset(asked->address, 0, sizeof asked->address);
    if (asked->family == 4) {
        memcpy(asked->address, &wire, sizeof wire);
    } else if (ip4) {
        memset(asked->address + 10, 0xff, 2);
        memcpy(asked->address + 12, &wire, sizeof wire);
    }
}

struct share_member *share_found(struct share *share, uint32_t slot, int fd, uint16_t asked_port,
                                 uint32_t asked_address, uint32_t ordinal, bool guessed)
{
    struct share_member *member = member_new(share, slot, fd, NULL);
    if (!member) {
        close(fd);
        return NULL;
    }
    member->asked.port = asked_port;
    asked_restore(&member->asked, asked_address);
    member->guessed = guessed;
    return member_restore(member, ordinal);
}

struct share_member *share_recall(struct share *share, uint32_t slot, int fd, uint16_t asked_port,
                                  uint32_t age)
{
    struct share_member *member = share_found(share, slot, fd, asked_port, 0, age, true);
    if (!member)
        return NULL;
    member->group->recalled = true;
    member_keep(member);
    return member;
}

/* A sink was the first of its group. When it went, the last took its place. */
static void recalled_settle(struct share *share, struct share_group *group)
{
    group->recalled = false;
    bool had_sink = share->sinks && group->bound.protocol == PROTOCOL_TCP &&
                    share_address_ip4(&group->bound) >> 24 != 127;
    if (!had_sink || group->count < 2)
        return;
    struct share_member *last = group->members[group->count - 1];
    memmove(group->members + 1, group->members, (group->count - 1) * sizeof(group->members[0]));
    group->members[0] = last;
    member_forget(last);
    last->ordinal = 0;
    member_keep(last);
    share_group_change_later(share, group);
}

void share_recall_settle(struct share *share)
{
    for (struct share_group *group = share->groups; group; group = group->next)
        if (group->recalled)
            recalled_settle(share, group);
}

void share_member_asked(struct share_member *member, const struct share_address *asked)
{
    if (!member->guessed)
        return;
    member_forget(member);
    member->asked = *asked;
    member->guessed = false;
    member_keep(member);
}

bool share_member_is_asked(const struct share_member *member, const struct share_address *asked)
{
    if (!member->guessed)
        return share_address_equal(&member->asked, asked);
    return member->asked.protocol == asked->protocol && member->asked.family == asked->family &&
           member->asked.port == asked->port;
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
        bool last = group->count == (share_group_has_sink(group) ? 2 : 1);
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
