/* The upgrade of enginx itself, as far as it is the supervisor's: another executable is tried, and
 * when it could take over, the supervisor asks whoever runs it (cli/serve.c) to execute it in its
 * place, with the same process id. Instances, their traffic, keeper and logger go on meanwhile; the
 * new supervisor finds them as one does after a crash, starts a gateway of its own on the same
 * sockets, and lets the old one drain (front_elder.c).
 *
 * The supervisor's thread; nothing blocks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct supervisor;

enum { UPGRADE_TRIAL_MS = 15000, UPGRADE_WHY_BYTES = 4096 };

/* What became of the last one; a value of the supervisor's options. */
struct upgrade_past {
    unsigned count;     /* of tries, since the cluster was started */
    const char *from;   /* the version that ran before; NULL: there was no upgrade */
    const char *failed; /* why it was rolled back; NULL: it was not */
    bool watched;       /* it has to prove itself still: upgrade_trust */
};

/* 0: it can take over, and supervisor->upgrade_to is set; else -errno, with why. */
typedef void upgrade_tried(void *owner, int error, const char *why);

/* Tries the executable; `done` is called once, not before this returns. 0, or -errno with why: it
 * cannot even be tried. One at a time. */
int upgrade_begin(struct supervisor *supervisor, const char *executable, upgrade_tried *done,
                  void *owner, char why[UPGRADE_WHY_BYTES]);
/* Whoever waits is not to be told any more. */
void upgrade_disown(struct supervisor *supervisor, const void *owner);
/* Who is to be replaced may go: nothing is on its way any more that would be lost by executing
 * another program, or ending, now. */
bool upgrade_ready(const struct supervisor *supervisor);
void upgrade_end(struct supervisor *supervisor);
