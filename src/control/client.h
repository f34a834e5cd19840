/* The other end of control: what commands use to ask a running cluster. Blocking; for the command's
 * own process. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Called for each {"progress": TEXT}. */
typedef void control_progress(void *owner, const char *text);

/* Connects to STATE/control. A descriptor; or -errno (-ENOENT, -ECONNREFUSED: nobody is there). */
int control_connect(const char *state_directory);
/* The same with a descriptor that never blocks; -EAGAIN: too many others wait there. */
int control_connect_at_once(const char *state_directory);
/* Called for each line that comes, an object that stays the caller's; false: enough. */
typedef bool control_take(void *owner, const json_t *object);

/* Sends the request (taken over) and gives each line of what comes to `take`, until nothing more
 * comes or it has enough. 0 or -errno. Closes fd. */
int control_follow(int fd, json_t *request, control_take *take, void *owner);
/* Sends the request (taken over) and waits for the last line. NULL: `why` says what went wrong;
 * else a new reference: {"ok": …} or {"error": …}. Closes fd. */
json_t *control_ask(int fd, json_t *request, control_progress *progress, void *owner, char *why,
                    size_t why_size);
