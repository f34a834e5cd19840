/* Starting an instance's program: clone3(2) into its cgroup with a pidfd, then, in the child,
 * everything that must hold before exec, in this order: session, signals, cgroups, standard
 * descriptors, limits, umask, directory, seccomp notification, sockets to hand over, user, exec.
 * The sockets are opened before the user is changed, so that a service may have a port below 1024
 * (as systemd does it), and after the filter, so that steering sees them like any other program's.
 * The child uses only async-signal-safe calls; whatever needs memory or a look-up (user names, the
 * program's path, expanded text) was done by the caller. An error in the child comes back through a
 * pipe with the step that failed, so "no such file" is reported as what it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "kernel/cgroup.h"
#include "kernel/seccomp.h"
#include "topology/topology.h"

enum { SPAWN_GROUPS_MAX = 64 };

struct spawn_user {
    bool change; /* false: enginx is that user already and may not change it (not root) */
    uid_t uid;
    gid_t gid;
    gid_t groups[SPAWN_GROUPS_MAX];
    int group_count;
    char home[256];
    char name[64];
};

/* getpwnam, getgrnam, getgrouplist; at configuration time, they may read files. 0; -ENOENT: no such
 * user; -ESRCH: no such group. Numbers are accepted as well, also of users that have no name.
 * `user` NULL: enginx's own; `group` NULL: the user's. */
int spawn_user_find(const char *user, const char *group, struct spawn_user *ret_user);

/* Finds the program along `path` (a PATH) when its name has no slash, relative to `directory`
 * otherwise (which must be absolute). What stands in PATH without being executable is passed over,
 * as execvp(3) does. 0; -ENOENT; -EACCES: there, but not executable; -EISDIR; -ENAMETOOLONG. */
int spawn_program_find(const char *program, const char *path, const char *directory, char *ret_path,
                       size_t size);

struct spawn_plan {
    const char *program; /* absolute */
    char *const *argv;
    char *const *env; /* complete, but for LISTEN_FDS, LISTEN_FDNAMES ("tcp-3000:udp-53") and
                         LISTEN_PID (sd_listen_fds(3)), which spawn adds with `activation` */
    const char *directory;
    const struct spawn_user *user;
    int umask;                        /* -1: unchanged */
    const struct rlimit *descriptors; /* RLIMIT_NOFILE, before `limits`; NULL: as the caller's */
    const struct service_limit *limits;
    size_t limit_count;
    const struct cgroups *cgroups; /* NULL: no cgroups */
    const struct cgroup *cgroup;   /* NULL: no cgroups */
    int output_fd;                 /* becomes 1 and 2; stays the caller's; -1: as enginx's own */
    int answer_fd; /* becomes 1 in its place, so that only 2 is output; the caller's; 0: none */
    bool notify;   /* install the seccomp filter */
    struct seccomp_wants wants;
    bool privileged;
    const struct service_port
        *activation; /* ports to open and hand over from fd 3 on (LISTEN_FDS) */
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
/* "change to the directory", to follow "cannot". */
const char *spawn_step_name(enum spawn_step step);
/* A sentence for people: "/srv/x is not executable: exec format". `error` is a -errno. */
const char *spawn_error_text(const struct spawn_plan *plan, enum spawn_step step, int error,
                             char *text, size_t size);

/* An error pipe is readable when the child failed (spawn_error) or has exec'ed (end of file). */
struct spawn_result {
    pid_t pid;
    int pidfd;         /* the caller's */
    int error_fd;      /* the caller's; O_NONBLOCK */
    int notify_socket; /* the child sends its notification descriptor here (spawn_notify_receive)
                          and waits; the caller's, O_NONBLOCK; -1: no filter was asked for */
};

/* 0 or -errno with *ret_step; the child may still fail later, see error_fd. Does not wait for the
 * child. */
int spawn(const struct spawn_plan *plan, struct spawn_result *ret_result,
          enum spawn_step *ret_step);
/* Reads the child's report: 0: it exec'ed (end of file), or was killed before; -EINPROGRESS: not
 * yet; else its -errno (-EAGAIN too: no more processes may be had), and the child has ended with
 * status SPAWN_EXIT_STATUS. */
enum { SPAWN_EXIT_STATUS = 127 };
int spawn_error(int error_fd, enum spawn_step *ret_step);
/* Receives the notification descriptor and tells the child to go on. The descriptor, O_CLOEXEC, the
 * caller's; -EAGAIN: not yet; -EPIPE: the child failed before (spawn_error tells why). */
int spawn_notify_receive(int notify_socket);
