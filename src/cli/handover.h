/* Handing over to another executable of enginx (`enginx upgrade`): the process executes it in its
 * place, so process id, children, terminal and lock stay. What the new one must know goes along as
 * JSON in a memfd that an environment variable names; the format has a version of its own.
 *
 * A guard watches the first seconds: a child of the old executable, which holds the lock, too. When
 * the new one does not say in time that it is well, or dies, the guard executes the old one again,
 * which adopts everything as after a crash. One that fails in order goes back itself. */
#pragma once

#include <stdbool.h>

#include "event/loop.h"

enum {
    HANDOVER_FORMAT = 1,
    HANDOVER_WATCH_MS = 2000,  /* so long the new one must live */
    HANDOVER_GUARD_MS = 20000, /* in so long it must have said so */
};

struct handover {              /* what this process was handed; zeros and NULLs: nothing */
    bool taken;                /* it was executed in another's place */
    int lock_fd;               /* of the state directory; -1 */
    int control_fd;            /* the control socket: who connects meanwhile waits; -1 */
    int guard_fd;              /* a byte: all is well; -1 */
    int old_fd;                /* the old executable; -1 */
    unsigned count;            /* upgrades that were tried since the cluster was started */
    char *from;                /* the version before */
    char *file;                /* the configuration in use; NULL: the command line says it */
    char *failed;              /* why the new executable was given up for us; NULL: it was not */
    unsigned long descriptors; /* the soft limit that the cluster was started with; 0: unknown */
};

/* Reads it, once, at the beginning of the process, which keeps its argv for handing over. */
void handover_begin(char **argv);
struct handover *handover_of(void);

struct handover_to {
    const char *executable;
    const char *file; /* "": none */
    int lock_fd;
    int control_fd;
    unsigned count;
    unsigned long descriptors;
};
/* Executes it, with a guard; when it cannot be executed, this one again, which is told so. Returns
 * only when not even that is possible: -errno. */
int handover_execute(const struct handover_to *to);
/* Goes back to the executable before, when this one cannot serve. Returns when it was not executed
 * in another's place, or that cannot be executed any more. */
void handover_back(const char *why, int control_fd);
/* The first seconds went well: the guard ends. */
void handover_trust(void);
