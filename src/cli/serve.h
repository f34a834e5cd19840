/* Serving: what `up` and `run` have in common once there is a topology — state directory, lock,
 * going to the background, the supervisor, its control socket, signals, and the end. */
#pragma once

#include "cli/cli.h"
#include "topology/topology.h"

struct serve_options {
    bool detach;
    bool end_when_idle;    /* `run`: nothing runs and nothing will: exit */
    const char *last_good; /* where to keep the last good configuration; NULL: nowhere */
    int bundle_fd;         /* what the topology was read from; the supervisor's from `serve` on */
};

/* Takes the topology over. The exit code. */
int serve(const struct cli *cli, struct topology *topology, const struct serve_options *options);
