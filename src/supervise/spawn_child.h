/* The child's half of spawn: what is done between clone and exec, with async-signal-safe calls
 * only. Private to spawn.c, which prepares all of it. */
#pragma once

#include "supervise/spawn.h"

enum {
    /* Sockets that are handed over begin here (sd_listen_fds(3): SD_LISTEN_FDS_START). */
    SPAWN_HANDED_FIRST = 3,
    /* Descriptors that the child itself needs are moved up to here, out of their way. */
    SPAWN_OWN_FIRST = SPAWN_HANDED_FIRST + SERVICE_PORTS_MAX,
};

struct spawn_report { /* through the error pipe */
    int step;
    int error; /* -errno */
};

struct spawn_child {
    const struct spawn_plan *plan;
    char *const *env;
    char *listen_pid; /* where in env the digits of LISTEN_PID go; NULL: no activation */
    int error_fd;
    int notify_socket; /* -1: no filter */
    bool join_v2;      /* clone could not put it into the cgroup */
};

/* Room for the digits of a pid and the closing 0. */
enum { SPAWN_PID_BYTES = 12 };

_Noreturn void spawn_child_run(struct spawn_child *child);
