/* The service manager that started enginx, systemd for one: it is told how the cluster is, as
 * sd_notify(3) describes, when NOTIFY_SOCKET says where. Without it everything here does nothing.
 * Programs do not get the variable (supervise/launch.c); another executable of enginx does. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/loop.h"

enum manager_phase {
    MANAGER_STARTING,
    MANAGER_READY,
    MANAGER_RELOADING,
    MANAGER_STOPPING,
};

/* Tells a phase when it is another than before. A ready one of another `generation` has been
 * reloaded in between, and that is told, too. */
void manager_phase(enum manager_phase phase, uint32_t generation, const char *status);
/* Whose end is the service's end: the process that has to do with the manager's signals. */
void manager_main_process(pid_t pid);
/* Says from now on that the loop turns, as often as WATCHDOG_USEC asks for; nothing without it. */
void manager_watchdog(struct loop *loop);
void manager_watchdog_end(struct loop *loop);
/* This process goes on in the place of the one that was to say so. */
void manager_watchdog_take(void);
