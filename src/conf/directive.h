/* The directive table: every directive of the language, one row each. The checker, `enginx help`,
 * docs/reference.md and the shell completion know the language from these rows only; a new
 * directive is a new row, and a case where the topology is built. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "conf/value.h"

enum {
    DIRECTIVE_ARGUMENTS_MAX = 5,
    DIRECTIVE_OPTIONS_MAX = 18,
    /* Bounds that the topology has as well; it asserts that they are the same. */
    DIRECTIVE_INSTANCES_MAX = 1024,
    DIRECTIVE_WEIGHT_MAX = 1000,
};

enum directive_id {
    DIRECTIVE_PLANNED, /* recognised, explained, refused */
    DIRECTIVE_INCLUDE,
    DIRECTIVE_CLUSTER,
    DIRECTIVE_QUOTA,
    DIRECTIVE_STEERING,
    DIRECTIVE_LOG,
    DIRECTIVE_SERVICE,
    DIRECTIVE_LISTEN,
    DIRECTIVE_REALM,
    DIRECTIVE_JOB,
    DIRECTIVE_JOB_EVERY,
    DIRECTIVE_JOB_AT,
    DIRECTIVE_JOB_OVERLAP,
    DIRECTIVE_JOB_TIMEOUT,
    DIRECTIVE_JOB_HISTORY,
    DIRECTIVE_RUN,
    DIRECTIVE_SHELL,
    DIRECTIVE_DIRECTORY,
    DIRECTIVE_USER,
    DIRECTIVE_ENV,
    DIRECTIVE_ENVIRONMENT,
    DIRECTIVE_UMASK,
    DIRECTIVE_LIMIT,
    DIRECTIVE_INSTANCES,
    DIRECTIVE_PORT,
    DIRECTIVE_PUBLISH,
    DIRECTIVE_BALANCE,
    DIRECTIVE_WEIGHT,
    DIRECTIVE_CHECK,
    DIRECTIVE_ROLE,
    DIRECTIVE_PRIORITY,
    DIRECTIVE_START,
    DIRECTIVE_BEFORE_START,
    DIRECTIVE_AFTER_STOP,
    DIRECTIVE_RESTART,
    DIRECTIVE_STOP,
    DIRECTIVE_ROLL,
    DIRECTIVE_USES,
    /* The gateway: at the top level, */
    DIRECTIVE_GATEWAY,
    DIRECTIVE_METRICS,
    DIRECTIVE_ACCESS_LOG,
    DIRECTIVE_CACHE,
    /* of a service, */
    DIRECTIVE_AT,
    DIRECTIVE_SPEAKS,
    DIRECTIVE_SERVICE_TLS,
    DIRECTIVE_SERVICE_PROXY,
    DIRECTIVE_SLOW_START,
    DIRECTIVE_CAPACITY,
    DIRECTIVE_SERVICE_TIMEOUT,
    DIRECTIVE_RETRY,
    DIRECTIVE_HOLD,
    DIRECTIVE_EJECT,
    DIRECTIVE_BREAKER,
    /* in the blocks of listen, host and route. */
    DIRECTIVE_CERTIFICATE,
    DIRECTIVE_LISTEN_TLS,
    DIRECTIVE_LISTEN_PROXY,
    DIRECTIVE_TRUST,
    DIRECTIVE_HTTP2,
    DIRECTIVE_LISTEN_TIMEOUT,
    DIRECTIVE_BOUNDS,
    DIRECTIVE_SNI,
    DIRECTIVE_HOST,
    DIRECTIVE_ROUTE,
    DIRECTIVE_REDIRECT,
    DIRECTIVE_RESPOND,
    DIRECTIVE_REWRITE,
    DIRECTIVE_HEADER,
    DIRECTIVE_ROUTE_CACHE,
    DIRECTIVE_ROUTE_TIMEOUT,
    DIRECTIVE_ROUTE_BOUNDS,
    DIRECTIVE_COMPRESS,
    DIRECTIVE_INTERNAL,
    DIRECTIVE_ACCEL_REDIRECT,
    DIRECTIVE_SENDFILE,
    DIRECTIVE_ALLOW,
    DIRECTIVE_DENY,
    DIRECTIVE_GUARD_LIMIT,
    DIRECTIVE_FLOOD,
    DIRECTIVE_AUTH,
    DIRECTIVE_CORS,
    DIRECTIVE_SECURITY_HEADERS,
    DIRECTIVE_COUNT
};

enum context { /* bits: where a directive is allowed */
               CONTEXT_TOP = 1 << 0,
               CONTEXT_SERVICE = 1 << 1,
               CONTEXT_REALM = 1 << 2,
               CONTEXT_LISTEN = 1 << 3,
               CONTEXT_HOST = 1 << 4,
               CONTEXT_ROUTE = 1 << 5,
               CONTEXT_DNS = 1 << 6,
               CONTEXT_VPN = 1 << 7,
               CONTEXT_JOB = 1 << 8,
               CONTEXT_LAST = CONTEXT_JOB,
};

struct directive {
    const char *name;
    enum directive_id id;
    unsigned contexts;
    unsigned block; /* the context of its block; 0: it has none and ends with `;` */
    bool block_optional;
    bool many;         /* may stand several times in a block */
    bool needs_option; /* says nothing without one */
    struct value_spec arguments[DIRECTIVE_ARGUMENTS_MAX];
    struct value_spec options[DIRECTIVE_OPTIONS_MAX];
    const char *syntax; /* where it cannot be made from arguments and options; planned rows */
    const char *help;   /* a sentence or two */
    const char *example;
};

/* The rows, in the order of the manual; NULL behind the last. They stand in five files: the top
 * level, services, jobs, the blocks of listeners, and what guards them. */
const struct directive *directive_nth(size_t number);
/* The row for `name` in a context; NULL: none. */
const struct directive *directive_find(const char *name, unsigned contexts);
const struct directive *directive_by_id(enum directive_id id);
/* "at the top level", "in `service`". */
const char *context_place(enum context context);
/* How it is written: "restart always|on-failure|never [backoff=A..B] …;". */
void directive_syntax(const struct directive *directive, FILE *out);
