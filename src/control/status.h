/* What `enginx status --json` shows, built from the supervisor's state. Field names are stable:
 * they are documented in docs/status.md, and are added to, never renamed. */
#pragma once

#include <jansson.h>

struct supervisor;

/* A new reference; NULL: no memory. */
json_t *status_build(struct supervisor *supervisor);
