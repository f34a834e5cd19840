/* Where a cluster lives: its state directory, its log directory, and which cluster a command means.
 *
 * State: /run/enginx/NAME as root, else $XDG_RUNTIME_DIR/enginx/NAME, else /tmp/enginx-UID/NAME;
 * --state DIR moves it. Logs: /var/log/enginx/NAME as root, else $XDG_STATE_HOME/enginx/NAME (else
 * ~/.local/state/…); STATE/log with --state. */
#pragma once

#include <stddef.h>

#include "cli/cli.h"

enum { PLACE_BYTES = 512 };

/* 0 or -errno. */
int place_state(const struct cli *cli, const char *cluster, char path[PLACE_BYTES]);
int place_log(const struct cli *cli, const char *state, const char *cluster,
              char path[PLACE_BYTES]);
/* Where the last good configuration of that file is kept: STATE/last-good with --state; else, for
 * it has to outlive the machine's restart, and the file that is broken does not say its cluster's
 * name: below /var/lib/enginx as root, else $XDG_STATE_HOME or ~/.local/state, by a hash of the
 * file's path. Its folder is made. 0 or -errno. */
int place_last_good(const struct cli *cli, const char *file, char path[PLACE_BYTES]);
/* Makes the folder and those above it that are missing (0755), the last one 0711. 0 or -errno. */
int place_make(const char *path);

/* The state directory of the cluster that a command means: -c, --state, ./enginx.conf, the only one
 * that runs. 0; else CLI_FAILED, having said why. */
int place_find(const struct cli *cli, char state[PLACE_BYTES]);

/* Calls for each cluster of this user that runs. */
void place_each(void (*call)(void *owner, const char *name), void *owner);
