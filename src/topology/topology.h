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
#include "topology/endpoint_role.h"
#include "topology/guard.h"

enum {
    TOPOLOGY_SERVICES_MAX = 10000,
    SERVICE_INSTANCES_MAX = 1024,
    SERVICE_ENV_MAX = 1024,
    SERVICE_PORTS_MAX = 16,
    SERVICE_USES_MAX = 256,
    SERVICE_REMOTES_MAX = 1024,
    LISTENER_NAMES_MAX = 1024,
};

struct quota { /* 0: no limit */
    uint64_t memory_bytes;
    uint64_t memory_soft_bytes; /* above it the kernel takes pages back */
    uint32_t cpu_percent;       /* 100 = one core */
    uint32_t tasks;
    uint32_t io_weight; /* 1 to 10000; 0: 100, as everybody */
};

enum protocol { PROTOCOL_TCP, PROTOCOL_UDP };

enum balance_policy {
    BALANCE_LEAST, /* the default */
    BALANCE_ROUND_ROBIN,
    BALANCE_RANDOM,
    BALANCE_WEIGHTED, /* round-robin by weights */
    BALANCE_HASH,     /* of service.hash_key */
    BALANCE_EWMA,   /* the gateway's: least of (moving average of latency × requests under way) */
    BALANCE_STICKY, /* the gateway's: by a cookie of its own; new clients by least */
};

enum hash_key {
    HASH_CLIENT, /* its address; the only one on the direct path and for relays */
    HASH_PATH,
    HASH_URI,
    HASH_HOST,
    HASH_HEADER, /* of service.hash_name */
    HASH_COOKIE,
    HASH_QUERY,
};

enum check_kind {
    CHECK_LISTEN, /* the default: it is up when it listens */
    CHECK_NOTIFY, /* sd_notify(3): READY=1 */
    CHECK_EXEC,   /* a command that exits with 0 */
    /* What follows is network input: the gateway checks (upstream/checker.h). */
    CHECK_TCP,   /* it accepts a connection */
    CHECK_HTTP,  /* GET of service.check_path is answered with a good status */
    CHECK_REDIS, /* PING is answered with +PONG */
    CHECK_UDP,   /* a datagram is answered */
    CHECK_GRPC,  /* Check of grpc.health.v1 says SERVING */
};

static inline bool check_by_gateway(enum check_kind kind)
{
    return kind >= CHECK_TCP;
}

struct remote {       /* `at HOST:PORT weight=N`, `at unix:/path`: somebody else's server */
    const char *host; /* a name or an address; NULL: unix */
    uint16_t port;
    const char *path; /* of a Unix socket; NULL: none */
    uint32_t weight;
    const char *text; /* as written, for people */
};

struct service_tls { /* `tls name=… ca=…;` in a service: TLS to its endpoints */
    bool on;
    bool verify;                  /* default: yes */
    const char *name;             /* expected, and sent as SNI; NULL: the endpoint's host */
    const char *ca_file;          /* NULL: the system's */
    const char *certificate_file; /* our own, NULL: none */
    const char *key_file;
};

struct service_role { /* `role …` in a service: who is its primary */
    enum role_check check;
    const char **argv; /* ROLE_CHECK_EXEC; templates; ends with NULL */
    uint32_t every_ms;
    uint32_t timeout_ms;
    uint32_t fall;        /* failures in a row, before what was known counts no more */
    const char *user;     /* ROLE_CHECK_POSTGRES: who asks, */
    const char *database; /* and where */
};

enum retry_methods { RETRY_SAFE, RETRY_IDEMPOTENT, RETRY_ALL };

/* `breaker …;` in a service (upstream/breaker.h). */
struct service_breaker {
    uint32_t failures;       /* so many tries failed, 0: there is none */
    uint32_t errors_percent; /* and at least this share, */
    uint32_t within_ms;      /* of those that ended in this time */
    uint32_t open_ms;
    uint32_t probes;      /* good ones that close it again */
    uint16_t status_low;  /* of HTTP: these are failures, from … */
    uint16_t status_high; /* … to */
};

/* What only the gateway does with a service. */
struct service_gateway {
    const struct remote *remotes; /* with any, the service has no instances */
    size_t remote_count;
    struct service_tls tls;
    enum service_speaks speaks;
    uint8_t proxy_protocol; /* header to send: 0 none, 1, 2 */
    enum hash_key hash_key;
    uint32_t hash_bound_percent; /* no endpoint has more than so much of the mean; 0: no bound */
    const char *hash_name;       /* of the header, cookie or query argument */
    const char *cookie_name;     /* BALANCE_STICKY */
    uint32_t slow_start_ms;      /* 0: none */
    uint32_t connections_max;    /* per endpoint; 0: no bound */
    uint32_t requests_max;       /* under way, per endpoint; 0: no bound */
    uint32_t idle_max;           /* kept alive per endpoint and thread */
    uint32_t connect_ms;
    uint32_t send_ms;              /* in which it takes nothing of a request */
    uint32_t response_ms;          /* from the request's last byte to the response's head */
    uint32_t read_ms;              /* between two reads of a response's body */
    uint32_t idle_ms;              /* a kept connection without a request */
    uint32_t tunnel_ms;            /* relays and upgrades: without a byte either way */
    uint32_t retry_tries;          /* further tries after the first */
    uint32_t retry_budget_percent; /* of requests, over ten seconds */
    enum retry_methods retry_methods;
    uint32_t hold_max; /* requests that wait while no endpoint can take them */
    uint32_t hold_ms;
    /* Passive health: so many failures in a row of real traffic eject an endpoint (0: never) for
     * so long at least; a good check (or the next try, without checks) brings it back. */
    uint32_t eject_failures;
    uint32_t eject_ms;
    struct service_breaker breaker;
    const char *check_path;     /* CHECK_HTTP; CHECK_GRPC: the service's name, NULL: all of it */
    const char *check_host;     /* Host of the check; NULL: the endpoint's */
    uint16_t check_status_low;  /* good from … */
    uint16_t check_status_high; /* … to */
    const char *check_match;    /* the body must hold this; NULL: none */
    const char *check_send;     /* CHECK_UDP */
    const char *check_expect;   /* CHECK_UDP: the answer starts with it; NULL: any */
};

enum restart_policy { RESTART_ALWAYS, RESTART_ON_FAILURE, RESTART_NEVER };

enum steering_choice { STEERING_AUTO, STEERING_BPF, STEERING_SECCOMP };

struct service_port { /* a port that the file states; without any the port is learnt */
    uint16_t port;
    enum protocol protocol;
    bool activation; /* enginx opens it and hands it over: LISTEN_FDS, sd_listen_fds(3) */
};

enum { ROLL_SURGE_BY_NUMBER = UINT32_MAX };

struct service_roll {     /* `roll …;`: how its instances are replaced when all are */
    uint32_t surge;       /* further ones meanwhile; ROLL_SURGE_BY_NUMBER: one, if it has several */
    uint32_t unavailable; /* so many of them may be out of service at a time */
    uint32_t within_ms;   /* all of it; 0: no bound */
    uint32_t pause_ms;    /* after each step */
    uint32_t watch_ms;    /* after the last */
    uint32_t errors_percent; /* of the new ones' answers, that roll it back; 0: no bound */
};

struct service_limit { /* setrlimit(2) */
    int resource;
    uint64_t value; /* RLIM_INFINITY: no limit */
};

/* `instances 1..8 cpu=70%`: what the number of instances follows; a mark of 0: no such rule. */
struct service_scale {
    uint32_t low, high;      /* high 0: the number is fixed; low 0: it may sleep */
    uint32_t cpu_percent;    /* of each instance's quota, or of one core */
    uint32_t memory_percent; /* of each instance's quota */
    uint32_t connections;    /* to each instance */
    uint32_t latency_us;     /* at the quantile */
    uint32_t latency_part;   /* 50, 95 or 99 */
    uint32_t queue;          /* requests that wait for an instance */
    uint32_t idle_ms;        /* with low 0: nothing under way for so long: it sleeps */
    uint32_t cool_down_ms;   /* fewer are wanted for so long, before some leave */
};

enum { SERVICE_STEPS_MAX = 16 };

struct service_step {  /* `before-start`, `after-stop`: a command that ends */
    const char **argv; /* ends with NULL; templates */
    const char *text;  /* for people: the command, cut */
    bool once;         /* before-start: in one instance, for all of them */
    uint32_t timeout_ms;
};

enum job_overlap { /* at its time, while the run before is not over */
                   JOB_SKIP,
                   JOB_QUEUE,
                   JOB_REPLACE,
};

enum { JOB_HISTORY_MAX = 100 };

struct service_job {   /* when a program runs that ends; neither every nor at: when somebody says so
                        */
    uint64_t every_ms; /* from start to start; 0: no */
    bool daily;        /* at this time of the day: */
    uint32_t at_second; /* since midnight, as clocks show it */
    enum job_overlap overlap;
    uint32_t timeout_ms; /* 0: a run may take as long as it likes */
    uint32_t history;    /* runs that are remembered */
};

struct spot {         /* where a word stands, for messages after the text is gone */
    const char *file; /* NULL: nowhere */
    uint32_t line;
    uint32_t column; /* in bytes, from 1 */
    uint32_t length;
};

struct service {
    uint32_t index;    /* its place in topology.services */
    const char *name;  /* unique; of the first service of a realm: "s1.logic" */
    const char *realm; /* "" outside a realm */
    bool absent;       /* it is gone, and only its index is left (place.h) */
    /* A hash of what an instance is started with: equal means that those which run may stay. How
     * many there are, how they are balanced, checked, restarted and stopped is not in it, since
     * enginx changes that without a restart. */
    uint64_t definition;
    size_t line; /* where it stands, for messages */
    const char *file;
    struct spot program_at, directory_at, user_at; /* what the machine has not */

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
    struct service_scale scale;
    uint32_t priority; /* 0 … 100; when the cluster's quota is short, lower ones shrink first */
    const struct service_port *ports;
    size_t port_count;
    bool listens; /* false: `port none` — a program that listens nowhere */
    bool publish; /* what the program listens on is reachable from other machines as it stands */
    enum balance_policy balance;
    struct service_gateway gateway;
    const uint32_t *weights; /* of instance 1, 2, …; NULL: all 1; BALANCE_WEIGHTED */
    size_t weight_count;
    const uint32_t *uses; /* indexes of services */
    size_t uses_count;

    const struct service_job *job; /* NULL: it is a service, and runs always */

    /* Its life. */
    enum check_kind check;
    const char **check_argv; /* CHECK_EXEC; templates */
    uint32_t check_every_ms;
    uint32_t check_timeout_ms;
    uint32_t check_rise;
    uint32_t check_fall;
    struct service_role role;
    const struct service_step *before_start;
    size_t before_start_count;
    const struct service_step *after_stop;
    size_t after_stop_count;
    uint32_t start_within_ms;
    enum restart_policy restart;
    uint32_t backoff_min_ms;
    uint32_t backoff_max_ms;
    uint32_t restart_tries; /* starts in a row that did not go well, before `failed`; 0: no bound */
    uint32_t restart_reset_ms; /* having been up this long, it ran well */
    int stop_signal;
    uint32_t stop_within_ms; /* from the signal to the kill */
    uint32_t stop_drain_ms;  /* for connections to end before the signal */
    struct service_roll roll;
};

/* The most instances that it may have: the end of its range. */
static inline uint32_t service_instances_most(const struct service *service)
{
    return service->scale.high ? service->scale.high : service->instances;
}

enum listener_kind {
    LISTENER_STREAM,  /* tcp or udp, to one service or by SNI */
    LISTENER_HTTP,    /* requests, by `site` */
    LISTENER_METRICS, /* `metrics ADDRESS;`: for Prometheus; service is UINT32_MAX */
};

enum listener_path { /* who moves the bytes; decided by topology (listener_path_of) */
                     LISTENER_DIRECT,       /* the kernel: no process in between */
                     LISTENER_RELAY,        /* the gateway: bytes or datagrams */
                     LISTENER_GATEWAY_HTTP, /* the gateway: requests */
};

enum udp_sticky {
    STICKY_CLIENT, /* address and port */
    STICKY_SOURCE, /* address alone */
    STICKY_TOKEN,  /* listener.token_bytes at listener.token_at of the first packets */
};

struct sni_target {           /* `sni a.example *.b.example -> service;`: TLS passed through */
    const char *const *names; /* lower case, ends with NULL; "*": all others */
    uint32_t service;
};

struct flood_rate {
    uint64_t interval_ns; /* between two in the long run; 0: no bound */
    uint32_t burst;       /* so many at once */
};

struct flood { /* `flood …;` in a listener: what more of a client gets it banned */
    struct flood_rate connections;
    struct flood_rate requests;
    uint32_t concurrent; /* connections at a time; 0: no bound */
    uint32_t ban_ms;
    const struct network *exempt;
    size_t exempt_count;
};

struct listener { /* `listen ADDRESS tcp -> service` */
    enum listener_kind kind;
    enum listener_path path;
    const char *path_why;           /* for `check --explain`: a sentence */
    const struct site *site;        /* LISTENER_HTTP */
    const struct listener_tls *tls; /* NULL: none; with it TLS ends here */
    const struct sni_target *snis;  /* LISTENER_STREAM; `service` is UINT32_MAX then */
    size_t sni_count;
    const struct network *proxies; /* peers that must send a PROXY header; none: nobody may */
    size_t proxy_count;
    const struct flood *flood;        /* NULL: none */
    const struct access_list *access; /* LISTENER_STREAM: whose connections; NULL: everybody's */
    uint32_t connections_max;         /* 0: the gateway's own cap */
    uint32_t connections_per_client;  /* 0: no bound */
    enum udp_sticky sticky;
    uint8_t token_at;                /* bytes */
    uint8_t token_bytes;             /* 1 … 16 */
    uint32_t idle_ms;                /* UDP sessions; relayed connections without a byte */
    struct sockaddr_storage address; /* port included; AF_UNSPEC family: any address, v4 and v6 */
    uint16_t port;
    enum protocol protocol;
    uint32_t service;
    enum role_wish role;  /* of `service` */
    uint16_t target_port; /* of the program; 0: its stated or first learnt one */
    const char *text;     /* as shown to people: "tcp:8080", "tcp:127.0.0.1:8080" */
    size_t line;
    const char *file;
};

struct gateway_settings {     /* `gateway threads=… connections=…;` */
    uint32_t threads;         /* 0: one per core */
    uint32_t connections_max; /* of clients, all listeners together */
};

struct cache_setting { /* `cache pages memory=64m …;` */
    const char *name;
    uint64_t memory_bytes;
    uint64_t object_bytes; /* of one */
    const char *disk;      /* absolute; the folder of its file; NULL: memory alone */
    uint64_t disk_bytes;
};

struct topology {
    struct arena *arena;
    const char *name;      /* of the cluster */
    const char *file;      /* absolute path; "" for `enginx run` */
    const char *directory; /* the file's folder, absolute */
    struct quota quota;    /* of everything together */
    enum steering_choice steering;
    struct gateway_settings gateway;
    const char *log_directory; /* NULL: the default place */
    uint64_t log_file_bytes_max;
    uint32_t log_files_max;
    struct service *services;
    size_t service_count;
    const uint32_t *start_order; /* indexes: what is used stands before what uses it */
    size_t start_count;          /* of start_order: all that are not absent */
    struct listener *listeners;
    size_t listener_count;
    const char **directories; /* absolute; of routes to files, each once */
    size_t directory_count;
    struct cache_setting *caches;
    size_t cache_count;
    const struct guard_jwt *const *tokens; /* each `auth jwt`, once */
    size_t token_count;
};

void topology_free(struct topology *topology);

/* NULL when there is none. */
const struct service *topology_service(const struct topology *topology, const char *name);

/* Does anything in it need the gateway's process: a relay, HTTP, metrics, a check by the network?
 */
bool topology_needs_gateway(const struct topology *topology);

/* Does the kernel lead this listener's connections straight to that service? */
static inline bool listener_leads(const struct listener *listener, uint32_t service)
{
    return listener->path == LISTENER_DIRECT && listener->service == service;
}

/* Is the port, at whatever address, the gateway's? Programs that ask for it get it elsewhere. */
bool topology_port_is_gated(const struct topology *topology, enum protocol protocol, uint16_t port);
/* Does the gateway relay datagrams to the service? Then its programs must answer from an instance's
 * own address. */
bool topology_udp_is_relayed(const struct topology *topology, uint32_t service);

/* The first port of that protocol that the service states; 0: none. */
uint16_t service_stated_port(const struct service *service, enum protocol protocol);
/* The port that a listener's connections go to: stated, or 0 when it must be learnt. */
uint16_t listener_target(const struct topology *topology, const struct listener *listener);
