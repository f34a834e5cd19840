#include "kernel/sockets.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/process.h"

enum {
    DUMP_BYTES = 32768,         /* the kernel fills at most this much at a time */
    HELD_SOCKETS_MAX = 1 << 20, /* of the processes asked about; more are not counted */
    PORT_SOCKETS_MAX = 1024,    /* on one port; SO_REUSEPORT groups are not larger here */
};

#define INADDR_PROBED 0x7ffffffeu /* 127.255.255.254 */

/* linux/net/tcp_states.h names states by number; a request has a bit for each. */
enum {
    STATES_LISTENING = 1 << TCP_LISTEN,
    STATES_ESTABLISHED = 1 << TCP_ESTABLISHED,
    STATES_ALL = 0xfff,
};

/* ---- asking the kernel (sock_diag(7)) -----------------------------------------------------------
 */

struct dump {
    int family;
    int protocol;
    unsigned states;
    uint16_t port; /* 0: any */
};
typedef void dump_call(void *owner, const struct inet_diag_msg *socket);

static int dump_ask(int fd, const struct dump *dump)
{
    struct {
        struct nlmsghdr header;
        struct inet_diag_req_v2 body;
    } request = {
        .header = {.nlmsg_len = sizeof request,
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
        .body = {.sdiag_family = (uint8_t)dump->family,
                 .sdiag_protocol = (uint8_t)dump->protocol,
                 .idiag_states = dump->states,
                 .id.idiag_sport = htons(dump->port)},
    };
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t sent =
        sendto(fd, &request, sizeof request, 0, (const struct sockaddr *)&kernel, sizeof kernel);
    return sent < 0 ? -errno : 0;
}

/* One datagram of the answer: 1: more follow; 0: it was the last; -errno. */
static int dump_datagram(const char *bytes, size_t length, dump_call *call, void *owner)
{
    struct nlmsghdr header;
    for (size_t at = 0; at + sizeof header <= length; at += NLMSG_ALIGN(header.nlmsg_len)) {
        memcpy(&header, bytes + at, sizeof header);
        if (header.nlmsg_len < sizeof header || header.nlmsg_len > length - at)
            return -EBADMSG;
        const char *body = bytes + at + NLMSG_HDRLEN;
        size_t body_length = header.nlmsg_len - NLMSG_HDRLEN;
        if (header.nlmsg_type == NLMSG_DONE)
            return 0;
        if (header.nlmsg_type == NLMSG_ERROR) {
            int error = -EBADMSG;
            if (body_length >= sizeof error)
                memcpy(&error, body, sizeof error);
            return error;
        }
        struct inet_diag_msg socket;
        if (header.nlmsg_type != SOCK_DIAG_BY_FAMILY || body_length < sizeof socket)
            continue;
        memcpy(&socket, body, sizeof socket);
        call(owner, &socket);
    }
    return 1;
}

static int dump_run(const struct dump *dump, dump_call *call, void *owner)
{
    scoped_fd int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    scoped_memory char *bytes = malloc(DUMP_BYTES);
    if (fd < 0 || !bytes)
        return -errno;
    int answer = dump_ask(fd, dump);
    if (answer)
        return answer;
    do {
        ssize_t length = recv(fd, bytes, DUMP_BYTES, 0);
        if (length < 0 && errno == EINTR)
            answer = 1;
        else if (length < 0)
            answer = -errno;
        else
            answer = dump_datagram(bytes, (size_t)length, call, owner);
    } while (answer > 0);
    return answer;
}

/* Both families; the first failure, but a family that the kernel has not is none. */
static int dump_families(struct dump dump, dump_call *call, void *owner)
{
    static const int families[] = {AF_INET, AF_INET6};
    int first = 0;
    for (size_t at = 0; at < sizeof families / sizeof *families; at++) {
        dump.family = families[at];
        int error = dump_run(&dump, call, owner);
        if (error && error != -ENOENT && error != -EAFNOSUPPORT && !first)
            first = error;
    }
    return first;
}

/* ---- who holds a port ---------------------------------------------------------------------------
 */

struct port_socket {
    uint64_t inode;
    uint32_t uid;
    bool own;
    pid_t holder; /* the first one that is not ours; 0: none seen */
};

struct port_search {
    struct port_socket *sockets;
    size_t count;
    const pid_t *own;
    size_t own_count;
};

static void port_socket_add(void *owner, const struct inet_diag_msg *socket)
{
    struct port_search *search = owner;
    if (search->count < PORT_SOCKETS_MAX)
        search->sockets[search->count++] =
            (struct port_socket){.inode = socket->idiag_inode, .uid = socket->idiag_uid};
}

static bool port_holder_note(void *owner, pid_t pid, int fd, uint64_t inode)
{
    (void)fd;
    struct port_search *search = owner;
    bool own = false;
    for (size_t at = 0; at < search->own_count; at++)
        own = own || search->own[at] == pid;
    for (size_t at = 0; at < search->count; at++) {
        struct port_socket *socket = &search->sockets[at];
        if (socket->inode != inode)
            continue;
        socket->own = socket->own || own;
        if (!own && !socket->holder)
            socket->holder = pid;
    }
    return true;
}

static bool port_holder_look(void *owner, pid_t pid)
{
    (void)process_sockets_each(pid, port_holder_note, owner);
    return true;
}

int sockets_port_holder(bool udp, uint16_t port, const pid_t *own, size_t own_count,
                        struct port_holder *ret_holder)
{
    scoped_memory struct port_socket *sockets = calloc(PORT_SOCKETS_MAX, sizeof *sockets);
    if (!sockets)
        return -ENOMEM;
    struct port_search search = {.sockets = sockets, .own = own, .own_count = own_count};
    struct dump dump = {.protocol = udp ? IPPROTO_UDP : IPPROTO_TCP,
                        .states = udp ? STATES_ALL : STATES_LISTENING,
                        .port = port};
    int error = dump_families(dump, port_socket_add, &search);
    if (!search.count)
        return error ? error : -ENOENT;
    (void)processes_each(port_holder_look, &search);
    const struct port_socket *best = NULL;
    for (size_t at = 0; at < search.count; at++)
        if (!sockets[at].own && (!best || (!best->holder && sockets[at].holder)))
            best = &sockets[at];
    if (!best)
        return -ENOENT;
    *ret_holder = (struct port_holder){.pid = best->holder, .uid = best->uid};
    if (best->holder)
        process_name(best->holder, ret_holder->name);
    return 0;
}

/* ---- sockets of given processes -----------------------------------------------------------------
 */

struct held { /* inode numbers of the sockets that processes hold; sorted by held_collect */
    uint64_t *inodes;
    size_t count, capacity;
};

static bool held_add(void *owner, pid_t pid, int fd, uint64_t inode)
{
    (void)pid;
    (void)fd;
    struct held *held = owner;
    if (held->count == held->capacity) {
        size_t capacity = held->capacity ? held->capacity * 2 : 64;
        uint64_t *inodes =
            capacity > HELD_SOCKETS_MAX ? NULL : realloc(held->inodes, capacity * sizeof *inodes);
        if (!inodes)
            return false;
        held->inodes = inodes;
        held->capacity = capacity;
    }
    held->inodes[held->count++] = inode;
    return true;
}

static int inode_compare(const void *left, const void *right)
{
    const uint64_t *a = left, *b = right;
    return (*a > *b) - (*a < *b);
}

static void held_collect(struct held *held, const pid_t *pids, size_t count)
{
    for (size_t at = 0; at < count; at++)
        (void)process_sockets_each(pids[at], held_add, held);
    if (held->count)
        qsort(held->inodes, held->count, sizeof *held->inodes, inode_compare);
}

static bool held_has(const struct held *held, uint64_t inode)
{
    return bsearch(&inode, held->inodes, held->count, sizeof inode, inode_compare) != NULL;
}

struct listening_search {
    struct held held;
    uint16_t *ports;
    size_t count, max;
};

/* Puts the port into its place, so that the list is sorted and has each once. */
static void listening_add(void *owner, const struct inet_diag_msg *socket)
{
    struct listening_search *search = owner;
    uint16_t port = ntohs(socket->id.idiag_sport);
    if (!held_has(&search->held, socket->idiag_inode))
        return;
    size_t place = 0;
    while (place < search->count && search->ports[place] < port)
        place++;
    bool there = place < search->count && search->ports[place] == port;
    if (there || search->count == search->max)
        return;
    memmove(search->ports + place + 1, search->ports + place,
            (search->count - place) * sizeof *search->ports);
    search->ports[place] = port;
    search->count++;
}

size_t sockets_listening(const pid_t *pids, size_t count, uint16_t *ret_ports, size_t max)
{
    struct listening_search search = {.ports = ret_ports, .max = max};
    held_collect(&search.held, pids, count);
    struct dump dump = {.protocol = IPPROTO_TCP, .states = STATES_LISTENING};
    if (search.held.count)
        (void)dump_families(dump, listening_add, &search);
    free(search.held.inodes);
    return search.count;
}

struct place_search {
    uint64_t inode;
    bool found, ip6;
    uint32_t before[2], after[2]; /* in the table; IPv4, IPv6 */
};

static void place_count(void *owner, const struct inet_diag_msg *socket)
{
    struct place_search *search = owner;
    bool ip6 = socket->idiag_family == AF_INET6;
    if (socket->idiag_inode == search->inode) {
        search->found = true;
        search->ip6 = ip6;
    } else if (search->found && search->ip6 == ip6) {
        search->after[ip6]++;
    } else {
        search->before[ip6]++;
    }
}

int sockets_listening_before(uint16_t port, uint64_t inode, uint32_t *ret_count)
{
    struct place_search search = {.inode = inode};
    struct dump dump = {.protocol = IPPROTO_TCP, .states = STATES_LISTENING, .port = port};
    int error = dump_families(dump, place_count, &search);
    if (error)
        return error;
    if (!search.found)
        return -ENOENT;
    *ret_count = search.ip6 ? search.before[1] : search.after[0];
    return 0;
}

/* ---- connections ------------------------------------------------------------------------------
 */

struct established_listing {
    sockets_established_call *call;
    void *owner;
};

static void established_tell(void *owner, const struct inet_diag_msg *socket)
{
    const struct established_listing *listing = owner;
    listing->call(listing->owner, ntohs(socket->id.idiag_sport), socket->idiag_inode);
}

int sockets_established(uint16_t port, sockets_established_call *call, void *owner)
{
    struct established_listing listing = {.call = call, .owner = owner};
    struct dump dump = {.protocol = IPPROTO_TCP, .states = STATES_ESTABLISHED, .port = port};
    return dump_families(dump, established_tell, &listing);
}

bool sockets_port_allowed(uint16_t port)
{
    /* The kernel looks at the right before it looks who has the port, so the address, which nobody
     * uses, makes no difference to the answer. */
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_PROBED)};
    scoped_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 ||
           errno != EACCES;
}

uint64_t sockets_netns_cookie(void)
{
#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* asm-generic/socket.h */
#endif
    scoped_fd int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length))
        return 0;
    return cookie;
}

/* ---- one socket ------------------------------------------------------------------------------ */

int socket_option(int fd, int level, int option)
{
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(fd, level, option, &value, &length) < 0 ? 0 : value;
}

uint64_t socket_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    return getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) < 0 ? 0 : cookie;
}
