/* Steering without privileges: each instance runs under a seccomp filter that asks us before bind,
 * listen, connect (and getsockname where a socket is moved). See share.h for how instances share a
 * port, redirect.h for outgoing connections.
 *
 * The life of a listener: the program binds; its socket gets SO_REUSEPORT and, where the place must
 * be another (published under another port, or bound to 127.0.0.1 only), is bound there by us. It
 * listens; we call listen(2) on a duplicate, which joins the kernel's group in a known order, and
 * keep the duplicate. It dies; connections go on queueing in the duplicate. It is started again and
 * binds the same place; its new socket is replaced by the old one, queue and all.
 *
 * The notification descriptor must always have a holder: without any, notified calls answer ENOSYS.
 * The keeper holds one, so calls made while the supervisor restarts wait for the new one. A call
 * that the dead supervisor had already received is lost, and its thread waits until it is killed.
 *
 * Limits that follow from the kernel: classic BPF cannot read counts, so `least` and `round-robin`
 * become random; a socket has one port, so of several published ports only the first is served;
 * sockets of other ABIs (i386) and io_uring are not seen (io_uring answers ENOSYS); where Yama
 * restricts ptrace to descendants, programs adopted from an earlier supervisor cannot be looked into,
 * and what they bind from then on is not shared; sockets of different users cannot share a port.
 * What waits in the queue of an instance that goes for good is reset: drain it before. */
#include <assert.h>
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
#include "kernel/process.h"
#include "kernel/reuseport.h"
#include "kernel/seccomp.h"
#include "kernel/sockets.h"
#include "supervise/redirect.h"
#include "supervise/share.h"
#include "supervise/steering.h"
#include "supervise/steering_blocks.h"

enum {
    REQUESTS_PER_TURN_MAX = 32,
    BINDINGS_MAX = 32,     /* sockets of an instance between bind and listen */
    PROCESSES_MAX = 1024,  /* of an instance, that are looked through */
    SWEEP_EVERY_MS = 1000, /* looking for listeners that their programs have closed */
};

struct binding { /* what became of a bind, remembered until listen */
    uint64_t cookie;
    struct share_address asked;
    bool only_local;
    uint32_t admitted; /* IPv4 address that is served to others all the same; 0: none */
};

struct slot {
    struct seccomp_steering *steering;
    struct steering_instance instance;
    struct binding bindings[BINDINGS_MAX];
    uint32_t binding_next; /* a ring: the oldest is overwritten */
    int notify_fd;         /* -1: none */
    struct watch watch;
    struct deferred adopted; /* tells of what was found, after `started` has returned */
    bool denied;             /* was logged */
    bool reached;            /* `prepare` was called and the slot is not free */
};

struct seccomp_steering {
    struct steering steering;
    struct steering_setup setup;
    uint32_t *homes;
    struct slot **slots; /* by slot; NULL: never used */
    struct share_slot *share_slots;
    struct share *share;
    struct redirects *redirects;
    struct steering_blocks blocks;
    uint16_t (*learnt)[2]; /* by service and protocol: the port first asked for */
    struct timer sweep;
    struct deferred sweep_found;
};

static struct seccomp_steering *of(struct steering *steering)
{
    return (struct seccomp_steering *)steering;
}

static const struct service *slot_service(const struct slot *slot)
{
    return &slot->steering->setup.topology->services[slot->instance.service];
}

static struct steering_listen slot_event(const struct slot *slot,
                                         const struct share_address *asked)
{
    return (struct steering_listen){.slot = slot->instance.slot,
                                    .epoch = slot->instance.epoch,
                                    .protocol = (enum protocol)asked->protocol,
                                    .port = asked->port,
                                    .address = share_address_ip4(asked)};
}

static void tell_binds(struct slot *slot, const struct share_address *asked)
{
    struct steering_listen event = slot_event(slot, asked);
    slot->steering->setup.callbacks->binds(slot->steering->setup.owner, &event);
}

static void tell_listens(struct slot *slot, const struct share_address *asked)
{
    struct steering_listen event = slot_event(slot, asked);
    slot->steering->setup.callbacks->listens(slot->steering->setup.owner, &event);
}

/* ---- sockets of the program ------------------------------------------------------------------ */

/* A duplicate of the request's socket; -1: let the program do as it likes. */
static int slot_descriptor(struct slot *slot, const struct seccomp_request *request)
{
    int fd = seccomp_descriptor(slot->notify_fd, request);
    if ((fd == -EPERM || fd == -EACCES) && !slot->denied) {
        slot->denied = true;
        log_warn("socket-not-reachable",
                 "instance=%s.%u reason=ptrace-denied effect=not-shared "
                 "hint=\"the program made itself undumpable, or kernel.yama.ptrace_scope forbids\"",
                 slot_service(slot)->name, slot->instance.number);
    }
    return fd < 0 ? -1 : fd;
}

static int socket_option(int fd, int level, int option)
{
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, option, &value, &length) < 0 ? 0 : value;
}

static uint64_t socket_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0 ? 0 : cookie;
}

/* False: a kind of socket that is not shared. */
static bool socket_protocol(int fd, enum protocol *ret_protocol)
{
    int family = socket_option(fd, SOL_SOCKET, SO_DOMAIN);
    if (family != AF_INET && family != AF_INET6)
        return false;
    switch (socket_option(fd, SOL_SOCKET, SO_PROTOCOL)) {
    case IPPROTO_TCP: *ret_protocol = PROTOCOL_TCP; return true;
    case IPPROTO_UDP: *ret_protocol = PROTOCOL_UDP; return true;
    default: return false;
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

/* Does a process of the instance still have the member's socket? */
static bool member_is_held(struct slot *slot, const struct share_member *member)
{
    static pid_t pids[PROCESSES_MAX];
    const struct steering_setup *setup = &slot->steering->setup;
    size_t count =
        setup->callbacks->processes(setup->owner, slot->instance.slot, pids, PROCESSES_MAX);
    if (count == 0 || count == PROCESSES_MAX)
        return true; /* unknown */
    for (size_t i = 0; i < count; i++)
        if (socket_is_held(member->fd, pids[i]))
            return true;
    return false;
}

/* ---- where a socket is bound ------------------------------------------------------------------ */

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
static const struct listener *listener_find(struct slot *slot, const struct share_address *asked)
{
    const struct topology *topology = slot->steering->setup.topology;
    uint16_t *learnt = &slot->steering->learnt[slot->instance.service][asked->protocol];
    const struct listener *first = NULL;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->service != slot->instance.service ||
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

static void place_choose(struct slot *slot, const struct share_address *asked,
                         const struct sockaddr_storage *address, socklen_t length,
                         struct place *ret_place)
{
    *ret_place = (struct place){.address = *address, .length = length};
    const struct listener *listener = listener_find(slot, asked);
    uint32_t ip4 = share_address_ip4(asked);
    bool own_address = ip4 && (ip4 & 0xffc00000u) == 0x7f400000u;
    if (listener && !own_address) {
        place_published(ret_place, listener);
    } else if (!slot_service(slot)->publish) {
        ret_place->only_local = true;
        /* At 127.0.0.1 alone it could be reached neither at its home nor at its own address. */
        if (asked->family == 4 && is_common_loopback(ip4))
            address_set_any(&ret_place->address, asked->port);
    }
    ret_place->moved = memcmp(&ret_place->address, address, sizeof *address) != 0;
}

static int place_bind(struct slot *slot, int fd, const struct place *place,
                      const struct share_address *asked)
{
    if (bind(fd, (const struct sockaddr *)&place->address, place->length) == 0)
        return 0;
    int error = errno;
    struct share_address bound;
    share_address_read(&place->address, (enum protocol)asked->protocol, fd, &bound);
    if (error == EACCES)
        log_warn("port-privileged",
                 "instance=%s.%u port=%u effect=refused hint=\"run enginx as root, or lower "
                 "net.ipv4.ip_unprivileged_port_start\"",
                 slot_service(slot)->name, slot->instance.number, bound.port);
    return error;
}

/* ---- bind ----------------------------------------------------------------------------------- */

static struct binding *binding_find(struct slot *slot, uint64_t cookie)
{
    for (size_t i = 0; i < BINDINGS_MAX; i++)
        if (cookie && slot->bindings[i].cookie == cookie)
            return &slot->bindings[i];
    return NULL;
}

static void binding_note(struct slot *slot, int fd, const struct share_address *asked,
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
 * only at listen, so that getsockname tells the truth in between and options set in between hold. */
static bool bind_from_kept(struct slot *slot, const struct seccomp_request *request, int fresh,
                           const struct share_address *asked)
{
    struct share_member *member = share_members_of_slot(slot->steering->share, slot->instance.slot);
    while (member && (member->alive || member->claimed || member->leaving ||
                      !share_address_equal(&member->asked, asked)))
        member = member->next_of_slot;
    if (!member)
        return false;
    socket_take_after(member->fd, fresh);
    bool close_on_exec = descriptor_closes_on_exec(request->tid, (int)request->args[0]);
    int error = seccomp_replace_descriptor(slot->notify_fd, request, member->fd, close_on_exec);
    if (error) {
        log_warn("kept-listener-not-returned", "instance=%s.%u port=%u error=%s",
                 slot_service(slot)->name, slot->instance.number, asked->port,
                 strerrorname_np(-error));
        return false;
    }
    member->claimed = true;
    seccomp_answer(slot->notify_fd, request->id, 0, 0);
    tell_binds(slot, asked);
    if (asked->protocol == PROTOCOL_UDP) {
        share_revive(member);
        tell_listens(slot, asked);
    }
    return true;
}

/* Sharing makes a second bind of the same place succeed; without us it would be EADDRINUSE, and
 * programs look for a free port, or for a second copy of themselves, in this way. */
static bool bind_collides(struct slot *slot, int fd, const struct share_address *asked)
{
    if (socket_option(fd, SOL_SOCKET, SO_REUSEPORT))
        return false;
    if (asked->protocol == PROTOCOL_UDP && socket_option(fd, SOL_SOCKET, SO_REUSEADDR))
        return false;
    struct share_member *next;
    struct share_member *member = share_members_of_slot(slot->steering->share, slot->instance.slot);
    for (; member; member = next) {
        next = member->next_of_slot;
        if (!member->alive || !share_address_equal(&member->asked, asked))
            continue;
        if (member_is_held(slot, member))
            return true;
        share_leave(member); /* closed by the program, which now opens it anew */
    }
    return false;
}

/* UDP joins its group at bind, so it is always we who bind. */
static void bind_udp(struct slot *slot, const struct seccomp_request *request, int fd,
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
    if (share_join(slot->steering->share, slot->instance.slot, fd, asked))
        tell_listens(slot, asked);
}

/* TCP is bound by the program itself wherever it asked for the right place, so that its own rights
 * count. */
static void bind_tcp(struct slot *slot, const struct seccomp_request *request, int fd,
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
static bool on_bind(struct slot *slot, const struct seccomp_request *request)
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
    if (!socket_protocol(fd, &protocol) ||
        !share_address_read(&address, protocol, fd, &asked) || !asked.port) {
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
static void listen_binding(struct slot *slot, int fd, struct binding *ret_binding)
{
    struct binding *noted = binding_find(slot, socket_cookie(fd));
    if (noted) {
        *ret_binding = *noted;
        noted->cookie = 0;
        return;
    }
    *ret_binding = (struct binding){.only_local = !slot_service(slot)->publish};
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
static void listen_hide(struct slot *slot, int fd, const struct binding *binding, bool shareable)
{
    int error = binding->only_local ? reuseport_only_local(fd, binding->admitted) : 0;
    if (shareable)
        share_guard(slot->steering->share, fd);
    else if (error && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", sizeof "lo") < 0)
        log_warn("port-not-guarded", "port=%u error=%s effect=\"reachable from other machines\"",
                 binding->asked.port, strerrorname_np(errno));
}

/* listen(2) again, on a restarted program's kept socket or only for another backlog. */
static void listen_again(struct slot *slot, const struct seccomp_request *request,
                         struct share_member *member)
{
    int error = listen(member->fd, (int)request->args[1]) < 0 ? errno : 0;
    seccomp_answer(slot->notify_fd, request->id, 0, error);
    if (error || member->alive)
        return;
    share_revive(member);
    tell_listens(slot, &member->asked);
}

static bool on_listen(struct slot *slot, const struct seccomp_request *request)
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
    /* One that is not shared has a port of the kernel's choice: it is reported and not kept. */
    if (!error && binding.asked.port)
        tell_listens(slot, &binding.asked);
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

/* An instance that connects to its own port means itself; to a port of what it `uses`, that
 * service, wherever it is. */
static bool connect_target(const struct slot *slot, uint16_t port, uint32_t *ret_ip4,
                           uint16_t *ret_port)
{
    const struct seccomp_steering *steering = slot->steering;
    const struct share_member *member =
        share_members_of_slot(steering->share, slot->instance.slot);
    for (; member; member = member->next_of_slot)
        if (member->asked.port == port && share_member_reachable(member)) {
            *ret_ip4 = slot->instance.address;
            *ret_port = member->bound.port;
            return true;
        }
    const struct service *service = slot_service(slot);
    for (size_t i = 0; i < service->uses_count; i++) {
        member = share_members_of_service(steering->share, service->uses[i]);
        for (; member; member = member->next_of_service)
            if (member->asked.port == port && share_member_reachable(member)) {
                *ret_ip4 = steering->homes[service->uses[i]];
                *ret_port = member->bound.port;
                return true;
            }
    }
    return false;
}

static bool on_connect(struct slot *slot, const struct seccomp_request *request)
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
    bool redirected = socket_protocol(fd, &protocol) && protocol == PROTOCOL_TCP &&
                      (address.ss_family == AF_INET ||
                       !socket_option(fd, IPPROTO_IPV6, IPV6_V6ONLY));
    if (redirected) {
        address_set_ip4(&address, ip4, port);
        redirected = redirect_start(slot->steering->redirects, slot->instance.slot,
                                    slot->notify_fd, request->id, fd,
                                    (struct sockaddr *)&address, length) == 0;
    }
    if (!redirected)
        close(fd);
    return redirected;
}

/* ---- getsockname ----------------------------------------------------------------------------- */

/* What the program asked for, when the socket is one that was moved, or was accepted by one. */
static bool name_asked(const struct slot *slot, int fd, struct sockaddr_storage *address)
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

static bool on_getsockname(struct slot *slot, const struct seccomp_request *request)
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

static bool request_serve(struct slot *slot, const struct seccomp_request *request)
{
    switch (request->call) {
    case SECCOMP_CALL_BIND: return on_bind(slot, request);
    case SECCOMP_CALL_LISTEN: return on_listen(slot, request);
    case SECCOMP_CALL_CONNECT: return on_connect(slot, request);
    case SECCOMP_CALL_GETSOCKNAME: return on_getsockname(slot, request);
    case SECCOMP_CALL_OTHER: break;
    }
    return false;
}

static void notify_name(const struct slot *slot, char name[SHARE_NAME_BYTES])
{
    snprintf(name, SHARE_NAME_BYTES, "notify:%s.%u", slot_service(slot)->name,
             slot->instance.number);
}

/* The last process under the filter is gone, or a new start brings a new filter. */
static void notify_end(struct slot *slot, bool forget)
{
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

static void notify_ready(struct watch *watch, unsigned events)
{
    struct slot *slot = watch->owner;
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
        if (!request_serve(slot, &request) && slot->notify_fd >= 0)
            seccomp_continue(slot->notify_fd, request.id);
    }
}

/* ---- listeners that their program has closed --------------------------------------------------- */

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

static void slot_sweep(struct slot *slot)
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
        if (!waited || !member->queued || member_is_held(slot, member))
            continue;
        log_warn("listener-closed", "instance=%s.%u port=%u effect=reset",
                 slot_service(slot)->name, slot->instance.number, member->asked.port);
        share_leave(member);
    }
}

static void sweep_due(struct timer *timer)
{
    struct seccomp_steering *steering = timer->owner;
    bool any = false;
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        struct slot *slot = steering->slots[i];
        if (!slot || slot->notify_fd < 0)
            continue;
        any = true;
        slot_sweep(slot);
    }
    if (any)
        timer_start(steering->setup.loop, &steering->sweep, SWEEP_EVERY_MS, sweep_due, steering);
}

/* ---- operations ------------------------------------------------------------------------------- */

static void seccomp_end(struct steering *base, bool leave)
{
    struct seccomp_steering *steering = of(base);
    for (uint32_t i = 0; steering->slots && i < steering->setup.slots_max; i++) {
        struct slot *slot = steering->slots[i];
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
    struct slot *slot = steering->slots[instance->slot];
    if (!slot) {
        slot = calloc(1, sizeof *slot);
        if (!slot)
            return -ENOMEM;
        slot->steering = steering;
        slot->notify_fd = -1;
        steering->slots[instance->slot] = slot;
    }
    notify_end(slot, true);
    memset(slot->bindings, 0, sizeof slot->bindings);
    slot->instance = *instance;
    slot->denied = false;
    struct share_slot *share_slot = &steering->share_slots[instance->slot];
    uint32_t weight = slot->reached ? share_slot->weight : 0;
    *share_slot = (struct share_slot){.service_name = slot_service(slot)->name,
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
        if (topology->listeners[i].service == service &&
            listener_target(topology, &topology->listeners[i]) != topology->listeners[i].port)
            return true;
    return false;
}

static bool seccomp_wants_of(struct steering *base, uint32_t slot_number,
                             struct seccomp_wants *ret_wants)
{
    struct slot *slot = of(base)->slots[slot_number];
    assert(slot);
    *ret_wants = (struct seccomp_wants){
        .connect = true,
        .getsockname = service_may_move(of(base)->setup.topology, slot->instance.service)};
    return true;
}

static void adopted_tell(struct deferred *deferred)
{
    struct slot *slot = deferred->owner;
    struct share_member *next;
    struct share_member *member = share_members_of_slot(slot->steering->share, slot->instance.slot);
    for (; member; member = next) {
        next = member->next_of_slot;
        if (member->alive)
            tell_listens(slot, &member->asked);
    }
}

static int seccomp_started(struct steering *base, uint32_t slot_number, int notify_fd)
{
    struct seccomp_steering *steering = of(base);
    struct slot *slot = steering->slots[slot_number];
    assert(slot);
    if (notify_fd >= 0) {
        notify_end(slot, false); /* keeping the new one replaces the name */
        slot->notify_fd = notify_fd;
        /* A new start: what was found of an earlier one waits for this one to bind. */
        share_slot_gone(steering->share, slot_number, true);
    }
    if (share_members_of_slot(steering->share, slot_number))
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
    struct slot *slot = steering->slots[slot_number];
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
            live += sockets_connections(pids, count, member->bound.port);
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

/* ---- after the supervisor's own restart ---------------------------------------------------------- */

/* "SERVICE.N" */
static struct slot *slot_by_name(const struct seccomp_steering *steering, const char *text,
                                 size_t length)
{
    for (uint32_t i = 0; i < steering->setup.slots_max; i++) {
        struct slot *slot = steering->slots[i];
        if (!slot || !slot->reached)
            continue;
        char name[SHARE_NAME_BYTES];
        int written = snprintf(name, sizeof name, "%s.%u", slot_service(slot)->name,
                               slot->instance.number);
        if (written == (int)length && memcmp(name, text, length) == 0)
            return slot;
    }
    return NULL;
}

static void sweep_found_due(struct deferred *deferred)
{
    struct seccomp_steering *steering = deferred->owner;
    share_sweep_found(steering->share);
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
    struct slot *slot = slot_by_name(steering, instance, length);
    if (!slot) {
        /* It still has its place in the kernel's group until it leaves, in order. */
        share_found(steering->share, SHARE_NO_SLOT, fd, (uint16_t)port, address, ordinal);
        steering->setup.callbacks->forget(steering->setup.owner, name);
        deferred_start(steering->setup.loop, &steering->sweep_found, sweep_found_due, steering);
        return true;
    }
    struct share_member *member = share_found(steering->share, slot->instance.slot, fd,
                                              (uint16_t)port, address, ordinal);
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
    if (strncmp(name, "notify:", strlen("notify:")) != 0)
        return false;
    const char *instance = name + strlen("notify:");
    struct slot *slot = slot_by_name(steering, instance, strlen(instance));
    if (!slot)
        return false;
    fd_drop(&slot->notify_fd);
    slot->notify_fd = fd; /* watched from `started` on */
    return true;
}

/* ---- new ---------------------------------------------------------------------------------------- */

static const struct steering_operations operations = {
    .name = "seccomp",
    .end = seccomp_end,
    .prepare = seccomp_prepare,
    .wants = seccomp_wants_of,
    .started = seccomp_started,
    .gone = seccomp_gone,
    .rotate = seccomp_rotate,
    .wanted = seccomp_wanted,
    .counts = seccomp_counts,
    .found = seccomp_found,
    .block = seccomp_block,
};

/* Of several ports under which one port of a service is published only the first can be served. */
static void listeners_check(const struct topology *topology)
{
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *later = &topology->listeners[i];
        for (size_t k = 0; k < i; k++) {
            const struct listener *first = &topology->listeners[k];
            if (first->service == later->service && first->protocol == later->protocol &&
                first->port != later->port &&
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
        return error;
    }
    struct seccomp_steering *steering = calloc(1, sizeof *steering);
    if (!steering)
        return -ENOMEM;
    size_t services = setup->topology->service_count;
    steering->steering.operations = &operations;
    steering->setup = *setup;
    steering->homes = calloc(services + 1, sizeof *steering->homes);
    steering->learnt = calloc(services + 1, sizeof *steering->learnt);
    steering->slots = calloc(setup->slots_max + 1, sizeof(struct slot *));
    steering->share_slots = calloc(setup->slots_max + 1, sizeof *steering->share_slots);
    steering->redirects = redirects_new(setup->loop);
    if (steering->homes && steering->learnt && steering->slots && steering->share_slots) {
        memcpy(steering->homes, setup->homes, services * sizeof *steering->homes);
        steering->share = share_new(&(struct share_setup){.loop = setup->loop,
                                                          .topology = setup->topology,
                                                          .homes = steering->homes,
                                                          .slots = steering->share_slots,
                                                          .slot_count = setup->slots_max,
                                                          .keep = setup->callbacks->keep,
                                                          .forget = setup->callbacks->forget,
                                                          .owner = setup->owner});
    }
    if (!steering->share || !steering->redirects) {
        seccomp_end(&steering->steering, true);
        snprintf(why, why_size, "no memory");
        return -ENOMEM;
    }
    listeners_check(setup->topology);
    snprintf(why, why_size, "%s", "");
    *ret_steering = &steering->steering;
    return 0;
}
