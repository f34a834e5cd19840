/* What the kernel tells about sockets: who holds a port, and connections of a listener
 * (sock_diag(7), proc(5)). All of it is about this thread's network namespace. A listing is a
 * snapshot; sockets that come and go meanwhile may be missed. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct port_holder {
    pid_t pid;     /* 0: a socket is there, and no process that we may see has it */
    char name[64]; /* of the process */
    uint32_t uid;  /* of the socket */
};

/* An option that is a number (socket(7), ip(7), ipv6(7)); 0: it cannot be had. */
int socket_option(int fd, int level, int option);
/* SO_COOKIE: another for each socket since the machine started; 0: it cannot be had. */
uint64_t socket_cookie(int fd);

/* Who listens on (TCP) or is bound to (UDP) the port, on any address and family. Processes in `own`
 * are passed over, with the sockets that they hold. 0: found; -ENOENT: nobody; other: the kernel
 * could not be asked. */
int sockets_port_holder(bool udp, uint16_t port, const pid_t *own, size_t own_count,
                        struct port_holder *ret_holder);

/* TCP ports on which any of the processes listens, sorted, each once; the number stored. */
size_t sockets_listening(const pid_t *pids, size_t count, uint16_t *ret_ports, size_t max);

/* How many of those that listen on the TCP port in the same family began before the socket with
 * this inode number, as far as the kernel's table tells: it has those with SO_REUSEPORT for IPv6 in
 * that order, and others in the opposite one. 0 or -errno (-ENOENT: it does not listen). */
int sockets_listening_before(uint16_t port, uint64_t inode, uint32_t *ret_count);

/* Calls for each established TCP connection with its local port and its socket's inode number (0:
 * no process has it yet). `port` 0: all ports. Each listing costs a walk over the kernel's table of
 * all connections, whatever the port. 0 or -errno. */
typedef void sockets_established_call(void *owner, uint16_t port, uint64_t inode);
int sockets_established(uint16_t port, sockets_established_call *call, void *owner);

/* May this process bind the port (ip_unprivileged_port_start of ip(7))? Nothing listens there for
 * it, and a port that is taken is one that it may have. What to do where not, in words. */
bool sockets_port_allowed(uint16_t port);
#define SOCKETS_PORT_HINT                                                                          \
    "start enginx as root or with CAP_NET_BIND_SERVICE, or lower "                                 \
    "net.ipv4.ip_unprivileged_port_start"

/* SO_NETNS_COOKIE of this thread's network namespace; 0 where the kernel cannot tell. */
uint64_t sockets_netns_cookie(void);
