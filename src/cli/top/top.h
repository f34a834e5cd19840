/* `enginx top`: the cluster as it is now, again and again. */
#pragma once

#include "cli/top/arrange.h"

struct top_options {
    const char *state; /* folder of the cluster's control socket */
    uint64_t interval_ms;
    uint64_t times;                 /* looks to print, of top_batch; 0: without end */
    struct arrangement arrangement; /* how it begins */
    bool colours;
};

/* On the terminal, until the user has enough or a signal ends it; the terminal is then as it was.
 * 0; a signal's number; -1: it could not begin, and `why` says so. */
int top_run(const struct top_options *options, char *why, size_t why_size);
/* As text on standard output. 0; -1: the last look failed, and `why` says so. */
int top_batch(const struct top_options *options, char *why, size_t why_size);
