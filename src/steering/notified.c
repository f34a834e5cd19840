#include "steering/notified.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "kernel/reuseport.h"
#include "kernel/sockets.h"

const struct service *notified_service(const struct notified *slot)
{
    return &slot->steering->setup.topology->services[slot->instance.service];
}

static struct steering_listen slot_event(const struct notified *slot,
                                         const struct share_address *asked)
{
    return (struct steering_listen){.slot = slot->instance.slot,
                                    .epoch = slot->instance.epoch,
                                    .protocol = (enum protocol)asked->protocol,
                                    .port = asked->port,
                                    .address = share_address_ip4(asked)};
}

static void tell_binds(struct notified *slot, const struct share_address *asked)
{
    struct steering_listen event = slot_event(slot, asked);
    slot->steering->setup.callbacks->binds(slot->steering->setup.owner, &event);
}

void notified_tell_listens(struct notified *slot, const struct share_member *member)
{
    struct steering_listen event = slot_event(slot, &member->asked);
    if (member->bound.port != member->asked.port)
        event.bound_port = member->bound.port;
    slot->steering->setup.callbacks->listens(slot->steering->setup.owner, &event);
}

/* ---- sockets of the program ------------------------------------------------------------------ */

/* A duplicate of the request's socket; -1: let the program do as it likes. */
static int slot_descriptor(struct notified *slot, const struct seccomp_request *request)
{
    int fd = seccomp_descriptor(slot->notify_fd, request);
    if ((fd == -EPERM || fd == -EACCES) && !slot->denied) {
        slot->denied = true;
        log_warn("socket-not-reachable",
                 "instance=%s.%u reason=ptrace-denied effect=not-shared "
                 "hint=\"the program made itself undumpable, or kernel.yama.ptrace_scope forbids\"",
                 notified_service(slot)->name, slot->instance.number);
    }
    return fd < 0 ? -1 : fd;
}

/* False: a kind of socket that is not shared. */
static bool socket_protocol(int fd, enum protocol *ret_protocol)
{
    int family = socket_option(fd, SOL_SOCKET, SO_DOMAIN);
    if (family != AF_INET && family != AF_INET6)
        return false;
    switch (socket_option(fd, SOL_SOCKET, SO_PROTOCOL)) {
    case IPPROTO_TCP:
        *ret_protocol = PROTOCOL_TCP;
        return true;
    case IPPROTO_UDP:
        *ret_protocol = PROTOCOL_UDP;
        return true;
    default:
        return false;
    }
}

static void socket_set(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

/* SO_REUSEADDR as well for TCP: connections of the last run in TIME_WAIT must not hinder the next.
 * Not for UDP, where it would let anybody in. */
static void socket_make_shareable(int fd, enum protocol protocol)
{
    socket_set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (protocol == PROTOCOL_TCP)
        socket_set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
}

static bool socket_is_held(int fd, pid_t pid)
{
    struct stat ours;
    if (fstat(fd, &ours) < 0)
        return true;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    scoped_dir DIR *directory = opendir(path);
    if (!directory)
        return errno != ENOENT; /* not allowed to look: suppose that it holds it */
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        struct stat theirs;
        if (entry->d_name[0] != '.' && fstatat(dirfd(directory), entry->d_name, &theirs, 0) == 0 &&
            theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev)
            return true;
    }
    return false;
}

enum holding { HOLDS, HOLDS_NOT, HOLDING_UNKNOWN };

static enum holding holding_of(struct notified *slot, const struct share_member *member)
{
    static pid_t pids[PROCESSES_MAX];
    const struct steering_setup *setup = &slot->steering->setup;
    size_t count =
        setup->callbacks->processes(setup->owner, slot->instance.slot, pids, PROCESSES_MAX);
    if (count == 0 || count == PROCESSES_MAX)
        return HOLDING_UNKNOWN;
    for (size_t i = 0; i < count; i++)
        if (socket_is_held(member->fd, pids[i]))
            return HOLDS;
    return HOLDS_NOT;
}

bool notified_holds(struct notified *slot, const struct share_member *member)
{
    const struct steering_setup *setup = &slot->steering->setup;
    if (holding_of(slot, member) == HOLDS)
        return true;
    if (setup->callbacks->processes_anew) /* a daemon may have forked this moment */
        setup->callbacks->processes_anew(setup->owner);
    return holding_of(slot, member) != HOLDS_NOT;
}

/* ---- where a socket is bound ------------------------------------------------------------------
 */

struct place {
    struct sockaddr_storage address;
    socklen_t length;
    bool moved;     /* not where the program asked */
    bool published; /* moved because of `listen`, not only widened */
    bool only_local;
    uint32_t admitted;
};

/* The `listen` entry that publishes this port of the service: one that keeps the port, else the
 * first; or NULL. */
static const struct listener *listener_find(struct notified *slot,
                                            const struct share_address *asked)
{
    const struct topology *topology = slot->steering->setup.topology;
    uint16_t *learnt = &slot->steering->learnt[slot->instance.service][asked->protocol];
    const struct listener *first = NULL;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (!listener_leads(listener, slot->instance.service) ||
            (uint8_t)listener->protocol != asked->protocol)
            continue;
        uint16_t target = listener_target(topology, listener);
        if (!target && !*learnt)
            *learnt = asked->port;
        if ((target ? target : *learnt) != asked->port)
            continue;
        if (listener->port == asked->port)
            return listener;
        if (!first)
            first = listener;
    }
    return first;
}

static void address_set_any(struct sockaddr_storage *address, uint16_t port)
{
    if (address->ss_family == AF_INET) {
        struct sockaddr_in *four = (struct sockaddr_in *)address;
        four->sin_addr.s_addr = htonl(INADDR_ANY);
        four->sin_port = htons(port);
    } else {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
        six->sin6_addr = in6addr_any;
        six->sin6_port = htons(port);
    }
}

static void address_set_ip4(struct sockaddr_storage *address, uint32_t ip4, uint16_t port)
{
    uint32_t wire = htonl(ip4);
    if (address->ss_family == AF_INET) {
        struct sockaddr_in *four = (struct sockaddr_in *)address;
        four->sin_addr.s_addr = wire;
        four->sin_port = htons(port);
        return;
    }
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
    six->sin6_addr = (struct in6_addr){.s6_addr = {[10] = 0xff, [11] = 0xff}};
    memcpy(six->sin6_addr.s6_addr + 12, &wire, sizeof wire);
    six->sin6_port = htons(port);
}

/* 127.0.0.0/8 without what enginx gives out itself (127.64.0.0/10). */
static bool is_common_loopback(uint32_t ip4)
{
    return ip4 >> 24 == 127 && (ip4 & 0xffc00000u) != 0x7f400000u;
}

/* A published socket listens on any address, so that it can be reached at its home and own address
 * as well; a filter keeps others out when `listen` names an address. */
static void place_published(struct place *place, const struct listener *listener)
{
    address_set_any(&place->address, listener->port);
    if (listener->address.ss_family == AF_INET) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)&listener->address;
        uint32_t address = ntohl(four->sin_addr.s_addr);
        place->only_local = address != 0;
        place->admitted = address >> 24 == 127 ? 0 : address;
    } else if (listener->address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&listener->address;
        bool any = IN6_IS_ADDR_UNSPECIFIED(&six->sin6_addr);
        if (place->address.ss_family == AF_INET6)
            ((struct sockaddr_in6 *)&place->address)->sin6_addr = six->sin6_addr;
        else
            place->only_local = !any;
    }
    place->published = true;
}

/* Is the place the gateway's, or must the program answer from its instance's own address? */
static bool place_is_gated(const struct notified *slot, const struct share_address *asked)
{
    const struct topology *topology = slot->steering->setup.topology;
    enum protocol protocol = (enum protocol)asked->protocol;
    return topology_port_is_gated(topology, protocol, asked->port) ||
           (protocol == PROTOCOL_UDP && topology_udp_is_relayed(topology, slot->instance.service));
}

/* The same port at the instance's own address, where the gateway finds it. A socket for IPv6 only
 * has no such place, and goes where nobody comes. */
static void place_own(struct place *place, const struct share_address *asked, uint32_t ip4)
{
    place->published = true;
    if (asked->family != 6) {
        address_set_ip4(&place->address, ip4, asked->port);
        return;
    }
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&place->address;
    six->sin6_addr = in6addr_loopback;
    six->sin6_port = 0;
}

static void place_choose(struct notified *slot, const struct share_address *asked,
                         const struct sockaddr_storage *address, socklen_t length,
                         struct place *ret_place)
{
    *ret_place = (struct place){.address = *address, .length = length};
    const struct listener *listener = listener_find(slot, asked);
    uint32_t ip4 = share_address_ip4(asked);
    bool own_address = ip4 && (ip4 & 0xffc00000u) == 0x7f400000u;
    if (!own_address && place_is_gated(slot, asked)) {
        place_own(ret_place, asked, slot->instance.address);
    } else if (listener && !own_address) {
        place_published(ret_place, listener);
    } else if (!notified_service(slot)->publish) {
        ret_place->only_local = true;
        /* At 127.0.0.1 alone it could be reached neither at its home nor at its own address. */
        if (asked->family == 4 && is_common_loopback(ip4))
            address_set_any(&ret_place->address, asked->port);
    }
    ret_place->moved = memcmp(&ret_place->address, address, sizeof *address) != 0;
}

static int place_bind(struct notified *slot, int fd, const struct place *place,
                      const struct share_address *asked)
{
    if (bind(fd, (const struct sockaddr *)&place->address, place->length) == 0)
        return 0;
    int error = errno;
    struct share_address bound;
    share_address_read(&place->address, (enum protocol)asked->protocol, fd, &bound);
    if (error == EACCES)
        log_warn("port-privileged",
                 "instance=%s.%u port=%u effect=refused hint=\"" SOCKETS_PORT_HINT "\"",
                 notified_service(slot)->name, slot->instance.number, bound.port);
    return error;
}

/* ---- bind ----------------------------------------------------------------------------------- */

static struct binding *binding_find(struct notified *slot, uint64_t cookie)
{
    for (size_t i = 0; i < BINDINGS_MAX; i++)
        if (cookie && slot->bindings[i].cookie == cookie)
            return &slot->bindings[i];
    return NULL;
}

static void binding_note(struct notified *slot, int fd, const struct share_address *asked,
                         const struct place *place)
{
    uint64_t cookie = socket_cookie(fd);
    struct binding *binding = binding_find(slot, cookie);
    if (!binding)
        binding = &slot->bindings[slot->binding_next++ % BINDINGS_MAX];
    *binding = (struct binding){.cookie = cookie,
                                .asked = *asked,
                                .only_local = place->only_local,
                                .admitted = place->admitted};
}

/* The flags of the program's new socket, and the options that programs set before bind. */
static void socket_take_after(int kept, int fresh)
{
    static const struct {
        int level;
        int option;
    } options[] = {{SOL_SOCKET, SO_KEEPALIVE},
                   {IPPROTO_TCP, TCP_NODELAY},
                   {IPPROTO_TCP, TCP_DEFER_ACCEPT},
                   {IPPROTO_TCP, TCP_FASTOPEN}};
    fcntl(kept, F_SETFL, fcntl(fresh, F_GETFL));
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        int value = 0;
        socklen_t length = sizeof value;
        if (getsockopt(fresh, options[i].level, options[i].option, &value, &length) == 0)
            setsockopt(kept, options[i].level, options[i].option, &value, length);
    }
}

static bool descriptor_closes_on_exec(pid_t tid, int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", tid, fd);
    scoped_file FILE *file = fopen(path, "re");
    char line[128];
    unsigned flags;
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "flags: %o", &flags) == 1)
            return flags & O_CLOEXEC;
    return true;
}

/* Gives the kept socket to the restarted program in place of its new one. Already at bind and not
 * only at listen, so that getsockname tells the truth in between and options set in between hold.
 */
static bool bind_from_kept(struct notified *slot, const struct seccomp_request *request, int fresh,
                           const struct share_address *asked)
{
    struct share_member *member = share_members_of_slot(slot->steering->share, slot->instance.slot);
    while (member && (member->alive || member->claimed || member->leaving ||
                      !share_member_is_asked(member, asked)))
        member = member->next_of_slot;
    if (!member)
        return false;
    socket_take_after(member->fd, fresh);
    bool close_on_exec = descriptor_closes_on_exec(request->tid, (int)request->args[0]);
    int error = seccomp_replace_descriptor(slot->notify_fd, request, member->fd, close_on_exec);
    if (error) {
        log_warn("kept-listener-not-returned", "instance=%s.%u port=%u error=%s",
                 notified_service(slot)->name, slot->instance.number, asked->port,
                 strerrorname_np(-error));
        return false;
    }
    member->claimed = true;
    share_member_asked(member, asked);
    seccomp_answer(slot->notify_fd, request->id, 0, 0);
    tell_binds(slot, asked);
    if (asked->protocol == PROTOCOL_UDP) {
        share_revive(member);
        notified_tell_listens(slot, member);
    }
    return true;
}

/* Sharing makes a second bind of the same place succeed; without us it would be EADDRINUSE, and
 * programs look for a free port, or for a second copy of themselves, in this way. */
static bool bind_collides(struct notified *slot, int fd, const struct share_address *asked)
{
    if (socket_option(fd, SOL_SOCKET, SO_REUSEPORT))
        return false;
    if (asked->protocol == PROTOCOL_UDP && socket_option(fd, SOL_SOCKET, SO_REUSEADDR))
        return false;
    struct share_member *next;
    struct share_member *member = share_members_of_slot(slot->steering->share, slot->instance.slot);
    for (; member; member = next) {
        next = member->next_of_slot;
        if (!member->alive || !share_member_is_asked(member, asked))
            continue;
        if (notified_holds(slot, member))
            return true;
        share_leave(member); /* closed by the program, which now opens it anew */
    }
    return false;
}

/* UDP joins its group at bind, so it is always we who bind. */
static void bind_udp(struct notified *slot, const struct seccomp_request *request, int fd,
                     const struct share_address *asked, const struct place *place)
{
    if (place->only_local)
        reuseport_only_local(fd, place->admitted);
    int error = place_bind(slot, fd, place, asked);
    seccomp_answer(slot->notify_fd, request->id, 0, error);
    if (error) {
        close(fd);
        return;
    }
    struct share_member *member = share_join(slot->steering->share, slot->instance.slot, fd, asked);
    if (member)
        notified_tell_listens(slot, member);
}

/* TCP is bound by the program itself wherever it asked for the right place, so that its own rights
 * count. */
static void bind_tcp(struct notified *slot, const struct seccomp_request *request, int fd,
                     const struct share_address *asked, const struct place *place)
{
    binding_note(slot, fd, asked, place);
    int error = place->moved ? place_bind(slot, fd, place, asked) : 0;
    if (!place->moved || (error && !place->published))
        seccomp_continue(slot->notify_fd, request->id);
    else
        seccomp_answer(slot->notify_fd, request->id, 0, error);
    close(fd);
}

/* Binds to a port of the kernel's choice, to Unix sockets and so on go on untouched. */
static bool on_bind(struct notified *slot, const struct seccomp_request *request)
{
    struct sockaddr_storage address;
    socklen_t length;
    if (seccomp_address(slot->notify_fd, request, &address, &length) < 0)
        return false;
    if ((address.ss_family != AF_INET || length < sizeof(struct sockaddr_in)) &&
        (address.ss_family != AF_INET6 || length < sizeof(struct sockaddr_in6)))
        return false;
    int fd = slot_descriptor(slot, request);
    if (fd < 0)
        return false;
    enum protocol protocol;
    struct share_address asked;
    if (!socket_protocol(fd, &protocol) || !share_address_read(&address, protocol, fd, &asked) ||
        !asked.port) {
        close(fd);
        return false;
    }
    if (bind_from_kept(slot, request, fd, &asked)) {
        close(fd);
        return true;
    }
    if (bind_collides(slot, fd, &asked)) {
        seccomp_answer(slot->notify_fd, request->id, 0, EADDRINUSE);
        close(fd);
        return true;
    }
    struct place place;
    place_choose(slot, &asked, &address, length, &place);
    socket_make_shareable(fd, protocol);
    tell_binds(slot, &asked);
    if (protocol == PROTOCOL_UDP)
        bind_udp(slot, request, fd, &asked, &place);
    else
        bind_tcp(slot, request, fd, &asked, &place);
    return true;
}

/* ---- listen --------------------------------------------------------------------------------- */

/* What was noted at bind; for a socket of unknown origin, what its address tells. */
static void listen_binding(struct notified *slot, int fd, struct binding *ret_binding)
{
    struct binding *noted = binding_find(slot, socket_cookie(fd));
    if (noted) {
        *ret_binding = *noted;
        noted->cookie = 0;
        return;
    }
    *ret_binding = (struct binding){.only_local = !notified_service(slot)->publish};
    bool shareable = socket_option(fd, SOL_SOCKET, SO_REUSEPORT) != 0;
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &length) < 0 ||
        !share_address_read(&address, PROTOCOL_TCP, fd, &ret_binding->asked) || !shareable)
        return; /* a port of the kernel's choice, which nothing publishes */
    struct place place;
    place_choose(slot, &ret_binding->asked, &address, length, &place);
    ret_binding->only_local = place.only_local;
    ret_binding->admitted = place.admitted;
}

/* Keeps other machines' packets out, as far as nothing publishes the port. Where the socket cannot
 * have a filter, the group's guard does it; one that is in no group is bound to the loopback
 * device (SO_BINDTODEVICE, unprivileged since Linux 5.7). */
static void listen_hide(struct notified *slot, int fd, const struct binding *binding,
                        bool shareable)
{
    int error = binding->only_local ? reuseport_only_local(fd, binding->admitted) : 0;
    if (shareable)
        share_guard(slot->steering->share, fd);
    else if (error && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo") < 0)
        log_warn("port-not-guarded", "port=%u error=%s effect=\"reachable from other machines\"",
                 binding->asked.port, strerrorname_np(errno));
}

/* listen(2) again, on a restarted program's kept socket or only for another backlog. */
static void listen_again(struct notified *slot, const struct seccomp_request *request,
                         struct share_member *member)
{
    int error = listen(member->fd, (int)request->args[1]) < 0 ? errno : 0;
    seccomp_answer(slot->notify_fd, request->id, 0, error);
    if (error || member->alive)
        return;
    share_revive(member);
    notified_tell_listens(slot, member);
}

/* Was it shut down by its program, which now listens anew? The loop may tell of that only after
 * this call, when it listens again, at another place of the group. */
static bool is_shut_down(const struct share_member *member)
{
    struct tcp_info info = {.tcpi_state = TCP_LISTEN};
    socklen_t length = sizeof info;
    return member->alive && getsockopt(member->fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 &&
           info.tcpi_state != TCP_LISTEN;
}

static bool on_listen(struct notified *slot, const struct seccomp_request *request)
{
    int fd = slot_descriptor(slot, request);
    if (fd < 0)
        return false;
    enum protocol protocol;
    if (!socket_protocol(fd, &protocol) || protocol != PROTOCOL_TCP) {
        close(fd);
        return false;
    }
    struct share_member *member =
        share_by_cookie(slot->steering->share, slot->instance.slot, socket_cookie(fd));
    if (member && is_shut_down(member)) {
        share_shut_down(member);
        member = NULL;
    }
    if (member) {
        close(fd);
        listen_again(slot, request, member);
        return true;
    }
    struct binding binding;
    listen_binding(slot, fd, &binding);
    bool shareable = socket_option(fd, SOL_SOCKET, SO_REUSEPORT) && binding.asked.port;
    listen_hide(slot, fd, &binding, shareable);
    int error = listen(fd, (int)request->args[1]) < 0 ? errno : 0;
    if (error)
        share_sweep_found(slot->steering->share); /* the guard, if it guards nobody */
    bool shared = !error && shareable;
    /* Before the program runs on, so that nothing is given to it that is not its turn. */
    if (shared)
        member = share_join(slot->steering->share, slot->instance.slot, fd, &binding.asked);
    seccomp_answer(slot->notify_fd, request->id, 0, error);
    if (!shared)
        close(fd);
    /* One that is not shared is where its program bound it: it is reported and not kept. */
    struct share_member alone = {.asked = binding.asked, .bound = binding.asked};
    if (!error && binding.asked.port)
        notified_tell_listens(slot, member ? member : &alone);
    return true;
}

/* ---- connect -------------------------------------------------------------------------------- */

/* The port of a loopback destination that may be meant for one of ours; 0: not. */
static uint16_t connect_port(const struct sockaddr_storage *address, socklen_t length)
{
    if (address->ss_family == AF_INET && length >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *four = (const struct sockaddr_in *)address;
        return is_common_loopback(ntohl(four->sin_addr.s_addr)) ? ntohs(four->sin_port) : 0;
    }
    if (address->ss_family == AF_INET6 && length >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
        uint32_t last;
        memcpy(&last, six->sin6_addr.s6_addr + 12, sizeof last);
        bool ours = IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
                    (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && is_common_loopback(ntohl(last)));
        return ours ? ntohs(six->sin6_port) : 0;
    }
    return 0;
}

/* Where the member's instance is reached by its own address; 0: nowhere. */
static uint32_t member_own(const struct seccomp_steering *steering,
                           const struct share_member *member)
{
    uint32_t own = steering->share_slots[member->slot].address;
    bool there = share_member_reachable(member) || (member->bound.protocol == PROTOCOL_TCP &&
                                                    share_address_ip4(&member->bound) == own);
    return there ? own : 0;
}

/* The service at that port: its home, where its members take turns; or, where each has only its own
 * address, the next of them that is in rotation. */
static bool service_target(struct seccomp_steering *steering, uint32_t service, uint16_t port,
                           uint32_t *ret_ip4, uint16_t *ret_port)
{
    uint32_t turn = steering->turn++;
    for (uint32_t pass = 0, count = 0; pass < 2; pass++) {
        const struct share_member *member = share_members_of_service(steering->share, service);
        for (; member; member = member->next_of_service) {
            bool home = share_member_reachable(member);
            if (member->asked.port != port || !member_own(steering, member))
                continue;
            if (!home && (!member->alive || !steering->share_slots[member->slot].weight))
                continue;
            *ret_ip4 = home ? steering->homes[service] : member_own(steering, member);
            *ret_port = member->bound.port;
            if (home || (pass == 1 && turn-- == 0))
                return true;
            count += pass == 0;
        }
        if (!count)
            return false;
        turn %= count;
    }
    return false;
}

/* An instance that connects to its own port means itself; to a port of what it `uses`, that
 * service, wherever it is. */
static bool connect_target(const struct notified *slot, uint16_t port, uint32_t *ret_ip4,
                           uint16_t *ret_port)
{
    struct seccomp_steering *steering = slot->steering;
    const struct share_member *member = share_members_of_slot(steering->share, slot->instance.slot);
    for (; member; member = member->next_of_slot)
        if (member->asked.port == port && member_own(steering, member)) {
            *ret_ip4 = slot->instance.address;
            *ret_port = member->bound.port;
            return true;
        }
    const struct service *service = notified_service(slot);
    for (size_t i = 0; i < service->uses_count; i++)
        if (service_target(steering, service->uses[i], port, ret_ip4, ret_port))
            return true;
    return false;
}

static bool on_connect(struct notified *slot, const struct seccomp_request *request)
{
    struct sockaddr_storage address;
    socklen_t length;
    if (seccomp_address(slot->notify_fd, request, &address, &length) < 0)
        return false;
    uint16_t port = connect_port(&address, length);
    uint32_t ip4;
    if (!port || !connect_target(slot, port, &ip4, &port))
        return false;
    int fd = slot_descriptor(slot, request);
    if (fd < 0)
        return false;
    enum protocol protocol;
    bool redirected =
        socket_protocol(fd, &protocol) && protocol == PROTOCOL_TCP &&
        (address.ss_family == AF_INET || !socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY));
    if (redirected) {
        address_set_ip4(&address, ip4, port);
        redirected = redirect_start(slot->steering->redirects, slot->instance.slot, slot->notify_fd,
                                    request->id, fd, (struct sockaddr *)&address, length) == 0;
    }
    if (!redirected)
        close(fd);
    return redirected;
}

/* ---- getsockname ----------------------------------------------------------------------------- */

/* What the program asked for, when the socket is one that was moved, or was accepted by one. */
static bool name_asked(const struct notified *slot, int fd, struct sockaddr_storage *address)
{
    uint64_t cookie = socket_cookie(fd);
    struct share_address bound;
    enum protocol protocol;
    if (!socket_protocol(fd, &protocol) || !share_address_read(address, protocol, fd, &bound))
        return false;
    uint16_t asked = 0;
    for (size_t i = 0; i < BINDINGS_MAX; i++)
        if (cookie && slot->bindings[i].cookie == cookie)
            asked = slot->bindings[i].asked.port;
    const struct share_member *member =
        share_members_of_slot(slot->steering->share, slot->instance.slot);
    for (; member && !asked; member = member->next_of_slot)
        if (member->bound.port == bound.port && member->bound.protocol == bound.protocol)
            asked = member->asked.port;
    if (!asked || asked == bound.port)
        return false;
    if (address->ss_family == AF_INET)
        ((struct sockaddr_in *)address)->sin_port = htons(asked);
    else
        ((struct sockaddr_in6 *)address)->sin6_port = htons(asked);
    return true;
}

static bool on_getsockname(struct notified *slot, const struct seccomp_request *request)
{
    int fd = slot_descriptor(slot, request);
    if (fd < 0)
        return false;
    struct sockaddr_storage address = {0};
    socklen_t length = sizeof address;
    bool changed = getsockname(fd, (struct sockaddr *)&address, &length) == 0 &&
                   name_asked(slot, fd, &address) &&
                   seccomp_still_waits(slot->notify_fd, request->id) &&
                   seccomp_write_name(request, (struct sockaddr *)&address, length) == 0;
    close(fd);
    if (changed)
        seccomp_answer(slot->notify_fd, request->id, 0, 0);
    return changed;
}

/* ---- requests -------------------------------------------------------------------------------- */

bool notified_serve(struct notified *slot, const struct seccomp_request *request)
{
    if (slot->instance.guest && request->call != SECCOMP_CALL_CONNECT)
        return false; /* what it binds is its own affair */
    switch (request->call) {
    case SECCOMP_CALL_BIND:
        return on_bind(slot, request);
    case SECCOMP_CALL_LISTEN:
        return on_listen(slot, request);
    case SECCOMP_CALL_CONNECT:
        return on_connect(slot, request);
    case SECCOMP_CALL_GETSOCKNAME:
        return on_getsockname(slot, request);
    case SECCOMP_CALL_OTHER:
        break;
    }
    return false;
}
