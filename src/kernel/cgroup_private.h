/* What the cluster's side (cgroups.c) and the members' side (cgroup.c) of kernel/cgroup.h share:
 * where the folders are, and how their files are read and written. Folders are named by descriptor,
 * so nothing goes astray when a mount appears over a path. */
#pragma once

#include "kernel/cgroup.h"
#include "kernel/hierarchy.h"

enum {
    CGROUP_DEPTH_MAX = 16, /* of groups below a member; deeper ones are left alone */
    CGROUP_WHY_BYTES = 512,
};

struct cgroup_folder {
    char path[HIERARCHY_PATH_BYTES]; /* "" : none */
    int fd;                          /* -1: none */
};

struct cgroups {
    struct cgroup_folder v2;
    struct cgroup_folder v1[CGROUP_CONTROLLERS];
    bool v2_has[CGROUP_CONTROLLERS];
    bool ceiling[CGROUP_CONTROLLERS]; /* the cluster has a quota of this kind */
    char lack[CGROUP_CONTROLLERS]
             [CGROUP_WHY_BYTES]; /* why nobody enforces it; "" : somebody does */
};

/* As v2 names them; v1 calls io blkio. */
extern const char *const cgroup_controller_names[CGROUP_CONTROLLERS];

/* ---- files ---- */

/* 0 or -errno. Async-signal-safe. */
int cgroup_file_write(int folder_fd, const char *name, const char *text);
/* Reads up to size - 1 bytes and ends them with 0. 0 or -errno. */
int cgroup_file_read(int folder_fd, const char *name, char *text, size_t size);
/* The number behind `key` ("usage_usec 17"), or the file's only number with key NULL. */
int cgroup_number_read(int folder_fd, const char *name, const char *key, uint64_t *ret_number);
/* Is `word` among the words in it? */
bool cgroup_file_has(int folder_fd, const char *name, const char *word);

/* ---- folders ---- */

bool cgroup_name_valid(const char *name);
/* Makes it if it is not there. A descriptor or -errno. */
int cgroup_folder_make(int parent_fd, const char *name);
/* Calls for each folder below this one, what lies deeper first, with the descriptor of the folder
 * that it lies in and its own. Stops at the first answer that is not 0, and gives it. */
typedef int cgroup_walk_call(void *owner, int parent_fd, const char *name, int fd);
int cgroup_walk(int folder_fd, cgroup_walk_call *call, void *owner);
/* Removes `name` in the folder and all below it. -ENOENT is 0. */
int cgroup_folder_remove(int parent_fd, const char *name);

/* ---- limits ---- */

/* Does the controller have anything to enforce for it? */
bool cgroup_quota_has(const struct cgroup_quota *quota, enum cgroup_controller controller);
/* Sets the quota in one folder of each hierarchy (-1: there is none); ret_failed as in cgroup.h. */
int cgroup_limits_set(const struct cgroups *cgroups, int v2_fd,
                      const int v1_fds[CGROUP_CONTROLLERS], const struct cgroup_quota *quota,
                      unsigned *ret_failed);
