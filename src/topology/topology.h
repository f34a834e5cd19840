/* The topology: what one generation of a configuration says, as values that the rest of enginx
 * works with. Built by topology_build from a checked tree; immutable; everything in it lives in
 * one arena that the topology owns, and is freed whole.
 *
 * Text fields marked "template" may hold `$variables` that differ from instance to instance and are
 * expanded by template_expand when an instance starts; all others are final. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

enum {
    TOPOLOGY_SERVICES_MAX = 10000,
    SERVICE_INSTANCES_MAX = 1024,
    SERVICE_ENV_MAX = 1024,
    SERVICE_PORTS_MAX = 16,
    SERVICE_USES_MAX = 256,
};

struct quota { /* 0: no limit */
    uint64_t memory_bytes;
    uint32_t cpu_percent; /* 100 = one core */
    uint32_t tasks;
};

enum protocol { PROTOCOL_TCP, PROTOCOL_UDP };

enum balance_policy {
    BALANCE_LEAST, /* the default */
    BALANCE_ROUND_ROBIN,
    BALANCE_RANDOM,
    BALANCE_WEIGHTED, /* round-robin by weights */
    BALANCE_HASH,     /* of the client's address */
};

enum check_kind {
    CHECK_LISTEN, /* the default: it is up when it listens */
    CHECK_NOTIFY, /* sd_notify(3): READY=1 */
    CHECK_EXEC,   /* a command that exits with 0 */
};

enum restart_policy { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };

enum steering_choice { STEERING_AUTO, STEERING_BPF, STEERING_SECCOMP };

struct service_port { /* a port that the file states; without any the port is learnt */
    uint16_t port;
    enum protocol protocol;
    bool activation; /* enginx opens it and hands it over: LISTEN_FDS, sd_listen_fds(3) */
};

struct service_limit { /* setrlimit(2) */
    int resource;
    uint64_t value; /* RLIM_INFINITY: no limit */
};

struct service {
    uint32_t index;    /* its place in topology.services */
    const char *name;  /* unique; of the first service of a realm: "s1.logic" */
    const char *realm; /* "" outside a realm */
    /* A hash of what an instance is started with: equal means that those which run may stay. How
     * many there are, how they are balanced, checked, restarted and stopped is not in it, since
     * enginx changes that without a restart. */
    uint64_t definition;
    size_t line; /* where it stands, for messages */
    const char *file;

    /* The program. */
    const char **argv; /* ends with NULL; templates */
    size_t argc;
    bool shell;            /* argv is {"/bin/sh", "-c", text} */
    const char *directory; /* template; NULL: the configuration file's folder */
    const char *user;      /* NULL: as enginx itself */
    const char *group;     /* NULL: the user's own */
    const char **env;      /* "NAME=value", ends with NULL; templates; on top of enginx's own */
    size_t env_count;
    bool env_clear; /* start from an empty environment (PATH and HOME are set) */
    int umask;      /* -1: as enginx */
    const struct service_limit *limits;
    size_t limit_count;
    struct quota quota; /* each instance */

    /* How many, and where. */
    uint32_t instances; /* wanted at the start */
    const struct service_port *ports;
    size_t port_count;
    bool listens; /* false: `port none` — a program that listens nowhere */
    bool publish; /* what the program listens on is reachable from other machines as it stands */
    enum balance_policy balance;
    const uint32_t *weights; /* of instance 1, 2, …; NULL: all 1; BALANCE_WEIGHTED */
    size_t weight_count;
    const uint32_t *uses; /* indexes of services */
    size_t uses_count;

    /* Its life. */
    enum check_kind check;
    const char **check_argv; /* CHECK_EXEC; templates */
    uint32_t check_every_ms;
    uint32_t check_timeout_ms;
    uint32_t check_rise;
    uint32_t check_fall;
    uint32_t start_within_ms;
    enum restart_policy restart;
    uint32_t backoff_min_ms;
    uint32_t backoff_max_ms;
    uint32_t restart_tries; /* starts in a row that did not go well, before `failed`; 0: no bound */
    uint32_t restart_reset_ms; /* having been up this long, it ran well */
    int stop_signal;
    uint32_t stop_within_ms; /* from the signal to the kill */
    uint32_t stop_drain_ms;  /* for connections to end before the signal */
};

struct listener {                    /* `listen ADDRESS tcp -> service` */
    struct sockaddr_storage address; /* port included; AF_UNSPEC family: any address, v4 and v6 */
    uint16_t port;
    enum protocol protocol;
    uint32_t service;
    uint16_t target_port; /* of the program; 0: its stated or first learnt one */
    const char *text;     /* as shown to people: "tcp:8080", "tcp:127.0.0.1:8080" */
    size_t line;
    const char *file;
};

struct topology {
    struct arena *arena;
    const char *name;      /* of the cluster */
    const char *file;      /* absolute path; "" for `enginx run` */
    const char *directory; /* the file's folder, absolute */
    struct quota quota;    /* of everything together */
    enum steering_choice steering;
    const char *log_directory; /* NULL: the default place */
    uint64_t log_file_bytes_max;
    uint32_t log_files_max;
    struct service *services;
    size_t service_count;
    const uint32_t *start_order; /* indexes: what is used stands before what uses it */
    struct listener *listeners;
    size_t listener_count;
};

void topology_free(struct topology *topology);

/* NULL when there is none. */
const struct service *topology_service(const struct topology *topology, const char *name);

/* The port that a listener's connections go to: stated, or 0 when it must be learnt. */
uint16_t listener_target(const struct topology *topology, const struct listener *listener);
