/* A launch: everything that starting an instance's program needs, prepared — expanded arguments and
 * environment, the program's path, directory, user. Made for one start (or one probe), then freed.
 *
 * The environment: what enginx itself was given (or PATH, HOME, LANG alone with `environment
 * clear`), HOME, USER and LOGNAME of the instance's user, the ENGINX_ variables below, what the
 * service's `env` says, and room for LISTEN_FDS and NOTIFY_SOCKET. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "supervise/instance.h"
#include "supervise/spawn.h"

/* Marks the processes of an instance where there are no cgroups: ENGINX_INSTANCE=cluster/api.1 */
#define LAUNCH_MARK "ENGINX_INSTANCE"

/* PATH where the program gets none of enginx's own. */
#define LAUNCH_PATH_DEFAULT "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

struct launch {
    struct spawn_plan plan; /* points into the launch */
    char **argv;
    char **env;
    size_t env_count;
    size_t env_room;
    char *directory;
    char program[4096];
};

/* Prepares to run `command` (templates, ends with NULL) for the instance. 0, or -errno with `why`
 * in words; launch_done in any case. plan.output_fd, notify and activation are left to the caller.
 */
int launch_prepare(struct launch *launch, const struct instance *instance,
                   const char *const *command, char *why, size_t why_size);
/* Adds a variable, in place of one of that name. 0 or -ENOMEM. */
int launch_env_set(struct launch *launch, const char *name, const char *value);
void launch_done(struct launch *launch);

/* "ENGINX_INSTANCE=shop/api.1" */
void launch_mark(const struct instance *instance, char *text, size_t size);
