/* Starting an instance's program: clone3(2) into its cgroup with a pidfd, then, in the child,
 * everything that must hold before exec, in this order: session, signals, v1 cgroups, standard
 * descriptors, limits, umask, directory, seccomp notification, user, sockets to hand over, exec.
 * The child uses only async-signal-safe calls; whatever needs memory or a look-up (user names, the
 * program's path, expanded text) was done by the caller. An error in the child comes back through a
 * pipe with the step that failed, so "no such file" is reported as what it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kernel/cgroup.h"
#include "kernel/seccomp.h"
#include "topology/topology.h"

enum { SPAWN_GROUPS_MAX = 64 };

struct spawn_user {
    bool change;
    uid_t uid;
    gid_t gid;
    gid_t groups[SPAWN_GROUPS_MAX];
    int group_count;
    char home[256];
    char name[64];
};

/* getpwnam, getgrnam, getgrouplist; at configuration time, they may read files. 0; -ENOENT: no such
 * user; -ESRCH: no such group. Numbers are accepted as well. */
int spawn_user_find(const char *user, const char *group, struct spawn_user *ret_user);

/* Finds the program along `path` (a PATH) when its name has no slash, relative to `directory`
 * otherwise. 0; -ENOENT; -EACCES: there, but not executable; -EISDIR. */
int spawn_program_find(const char *program, const char *path, const char *directory,
                       char *ret_path, size_t size);

struct spawn_plan {
    const char *program; /* absolute */
    char *const *argv;
    char *const *env;    /* complete; LISTEN_PID is filled in by the child */
    const char *directory;
    const struct spawn_user *user;
    int umask; /* -1: unchanged */
    const struct service_limit *limits;
    size_t limit_count;
    const struct cgroups *cgroups; /* NULL: no cgroups */
    const struct cgroup *cgroup;   /* NULL: no cgroups */
    int output_fd;                 /* becomes 1 and 2; stays the caller's */
    bool notify;                   /* install the seccomp filter */
    struct seccomp_wants wants;
    bool privileged;
    const struct service_port *activation; /* ports to open and hand over from fd 3 on (LISTEN_FDS) */
    size_t activation_count;
};

enum spawn_step {
    SPAWN_CLONE,
    SPAWN_CGROUP,
    SPAWN_OUTPUT,
    SPAWN_LIMITS,
    SPAWN_DIRECTORY,
    SPAWN_NOTIFY,
    SPAWN_USER,
    SPAWN_ACTIVATION,
    SPAWN_EXEC,
};
const char *spawn_step_name(enum spawn_step step);

/* An error pipe is readable when the child failed (spawn_error) or has exec'ed (end of file). */
struct spawn_result {
    pid_t pid;
    int pidfd;     /* the caller's */
    int error_fd;  /* the caller's; O_NONBLOCK */
    int notify_fd; /* the caller's, or -1: wait for it on notify_socket */
    int notify_socket; /* the child sends its notification descriptor here; the caller's; or -1 */
};

/* 0 or -errno with *ret_step; the child may still fail later, see error_fd. Does not wait for the
 * child. */
int spawn(const struct spawn_plan *plan, struct spawn_result *ret_result,
          enum spawn_step *ret_step);
/* Reads the child's report: 0: it exec'ed (end of file); -EAGAIN: not yet; else its -errno. */
int spawn_error(int error_fd, enum spawn_step *ret_step);
/* Receives the notification descriptor and tells the child to go on: -EAGAIN: not yet; else the
 * descriptor. */
int spawn_notify_receive(int notify_socket);
