/* The other end of control: what commands use to ask a running cluster. Blocking; for the command's
 * own process. */
#pragma once

#include <jansson.h>
#include <stddef.h>

/* Called for each {"progress": TEXT}. */
typedef void control_progress(void *owner, const char *text);

/* Connects to STATE/control. A descriptor; or -errno (-ENOENT, -ECONNREFUSED: nobody is there). */
int control_connect(const char *state_directory);
/* Sends the request (taken over) and waits for the last line. NULL: `why` says what went wrong;
 * else a new reference: {"ok": …} or {"error": …}. Closes fd. */
json_t *control_ask(int fd, json_t *request, control_progress *progress, void *owner, char *why,
                    size_t why_size);
