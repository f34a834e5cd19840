/* A rig for tests of the direct path: a network namespace, a BPF file system and a cgroup directory
 * of its own, and instances that are tiny servers in forked processes. For tests only; failures of
 * the rig itself abort.
 *
 * An instance answers each connection with its number in one byte and then echoes, unless the bytes
 * begin with one of RIG_BYTE_…; to a datagram it replies with its number. It also does what it is
 * told: connects somewhere and says who answered, tells what getsockname says. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum rig_listen {
    RIG_NONE,
    RIG_V4,          /* 0.0.0.0 */
    RIG_V4_LOOPBACK, /* 127.0.0.1 */
    RIG_V6ONLY,      /* [::] with IPV6_V6ONLY */
    RIG_DUAL,        /* [::] */
    RIG_UDP,         /* 0.0.0.0 */
};
enum { RIG_LISTENERS_MAX = 8 };
enum {
    RIG_BYTE_SHUTDOWN = '!', /* it sends no more, and goes on reading */
    RIG_BYTE_CLOSE = '#',    /* it closes */
};

struct rig_server {
    enum rig_listen kind;
    uint16_t port;
    uint32_t workers;       /* listeners on the port, by the program's own SO_REUSEPORT; 0: one */
    enum rig_listen second; /* another listener on the same port */
    uint32_t binds_before;  /* sockets that it binds at 127.0.0.9 and closes, before it listens */
    uid_t uid;
    bool is_late;         /* listens, and waits for connections only when it is told to serve */
    bool in_child_cgroup; /* makes a cgroup below its own and goes there */
};

struct rig_instance {
    pid_t pid;
    int control; /* a socket pair */
    uint64_t cgroup_id;
    char cgroup[256];
    int error; /* of its first bind or listen that failed: -errno */
};

struct rig {
    char cgroup[200]; /* the cluster's directory */
    char bpf_mount[64];
};

/* Runs `tests` in a child with all of this, and clears up after it, whatever became of it. Returns
 * the exit status for main: the tests', or 77 (skip) without root or a cgroup2 mount. */
int rig_run(int (*tests)(struct rig *rig));

/* Makes its cgroup (before the process: the caller tells steer about it), then starts it. */
void rig_instance_cgroup(struct rig *rig, struct rig_instance *instance, uint32_t number);
void rig_instance_start(struct rig_instance *instance, const struct rig_server *server,
                        uint32_t number);
void rig_instance_kill(struct rig_instance *instance);   /* SIGKILL, waits */
void rig_instance_remove(struct rig_instance *instance); /* kills, and removes the cgroup */

/* What the instance is told to do. */
int rig_instance_connects(struct rig_instance *instance, const char *address, uint16_t port);
int rig_instance_sends(struct rig_instance *instance, const char *address, uint16_t port);
void rig_instance_closes(struct rig_instance *instance);  /* its first listener */
int rig_instance_receives(struct rig_instance *instance); /* -errno of recv on that */
void rig_instance_serves(struct rig_instance *instance);
/* getsockname of its first listener. */
struct sockaddr_in6 rig_instance_sockname(struct rig_instance *instance);

/* The test's own clients. The number of who answered, or -errno. *ret_fd (may be NULL): the
 * connection stays open. */
int rig_connect(const char *address, uint16_t port, int *ret_fd);
/* Sends a datagram from `fd` (or, -1, from a new socket) and waits for the reply, which must come
 * from the address and port asked. */
int rig_ask(int fd, const char *address, uint16_t port);
/* Connects to the address (that of a device of this namespace, which it makes) from another network
 * namespace. */
int rig_connect_from_outside(uint16_t port);
