/* The cgroup hierarchies that are mounted, and this process's own group in each: what
 * /proc/self/mountinfo (proc(5)) and /proc/self/cgroup (cgroups(7)) say, as text in, paths out.
 * Pure: no file is read here. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { HIERARCHY_PATH_BYTES = 4096 };

struct hierarchy {
    char mount[HIERARCHY_PATH_BYTES]; /* the mount point */
    char own[HIERARCHY_PATH_BYTES];   /* our own group's folder, below the mount point; "" when the
                                         mount does not show it (bind mounts, namespaces) */
};

/* Finds the v1 hierarchy that `controller` ("memory", "cpu", "pids") is bound to, or, with NULL,
 * the v2 hierarchy. When it is mounted several times, a mount that shows our own group is
 * preferred. False: it is not mounted, or its paths are longer than a path may be. */
bool hierarchy_find(const char *mountinfo, const char *own_groups, const char *controller,
                    struct hierarchy *ret_hierarchy);
