/* Asking a running cluster, as commands do: find it, connect, ask, show progress, print errors. */
#pragma once

#include <jansson.h>

#include "cli/cli.h"

/* The answer (a new reference), or NULL having said what is wrong. Takes `request` over. */
json_t *ask(const struct cli *cli, json_t *request);
/* The same where only the exit code matters. */
int ask_simply(const struct cli *cli, json_t *request);
