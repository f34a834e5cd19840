/* Control groups: the folder in which each instance lives, its quota, and the end of everything in
 * it. cgroup v2 for membership, killing and limits (cgroups(7), Documentation/admin-guide/
 * cgroup-v2.rst); where the memory, cpu, pids and io controllers are bound to v1 hierarchies
 * (hybrid machines), the limits go there, in folders of the same name.
 *
 * A `struct cgroups` is the cluster's: BASE/NAME in every hierarchy that is used. Its members are
 * BASE/NAME/SERVICE.N. A member may have groups of its own below it (a program that makes some);
 * they count as part of it. Functions return 0 or -errno; nothing blocks. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct cgroups;

struct cgroup_quota { /* 0: no limit */
    uint64_t memory_bytes;
    uint64_t memory_soft_bytes; /* v2 memory.high, v1 memory.soft_limit_in_bytes */
    uint32_t cpu_percent;       /* 100 = one core */
    uint32_t tasks;
    /* Its share of a busy disk, 1 to CGROUP_IO_WEIGHT_MAX, among those in the same folder; 0: as
     * everybody, CGROUP_IO_WEIGHT. v2 io.weight (Linux's iocost) and io.bfq.weight, v1
     * blkio.bfq.weight; which disks heed it is the machine's matter. */
    uint32_t io_weight;
};

enum { CGROUP_IO_WEIGHT = 100, CGROUP_IO_WEIGHT_MAX = 10000 };

enum cgroup_controller { CGROUP_MEMORY, CGROUP_CPU, CGROUP_PIDS, CGROUP_IO, CGROUP_CONTROLLERS };

/* `base`: the folder below each hierarchy's root, or below enginx's own cgroup when the root is not
 * ours ("enginx" by default; tests give another). Makes the cluster's folders, finds out which
 * controller can be had where, and enables them on v2 (when processes in the way forbid that, and
 * only enginx itself is in the way, it moves itself into a leaf). Never fails for a missing
 * controller: cgroups_backend tells. -EACCES, -EROFS, -ENOENT: no v2 folder can be had at all; the
 * caller goes on without cgroups (`why` says what was tried). */
int cgroups_open(const char *base, const char *cluster, struct cgroups **ret_cgroups, char *why,
                 size_t why_size);
/* The same on a machine that is described by texts: what /proc/self/mountinfo and /proc/self/cgroup
 * say there. cgroups_open reads those files and calls this; tests point it at a tree of their own.
 */
struct cgroup_machine {
    const char *mountinfo;
    const char *own_groups;
    bool root; /* try the hierarchies' roots before our own group */
};
int cgroups_open_on(const struct cgroup_machine *machine, const char *base, const char *cluster,
                    struct cgroups **ret_cgroups, char *why, size_t why_size);
void cgroups_close(struct cgroups *cgroups); /* forgets; folders stay; accepts NULL */
/* Removes the cluster's folders, and BASE when it was the last cluster there. -EBUSY, and nothing
 * is removed, while a process is in them. cgroups_close must still be called. */
int cgroups_destroy(struct cgroups *cgroups);

/* The cluster's v2 directory, absolute. */
const char *cgroups_path(const struct cgroups *cgroups);
/* "v2", "v1" or NULL: nobody enforces it here. */
const char *cgroups_backend(const struct cgroups *cgroups, enum cgroup_controller controller);
/* Why nobody does, for the user; "" where somebody does. */
const char *cgroups_lack(const struct cgroups *cgroups, enum cgroup_controller controller);
/* The cluster's own quota: a ceiling for everything below. Swap is not counted. `ret_failed` (may
 * be NULL) gets a set of 1 << controller for what could not be set; the return value is 0, or the
 * first failure. On v1 no member may have more cpu than the ceiling, so a lowered ceiling lowers
 * members with it, and a member's quota above it is set to the ceiling; after raising one, set the
 * members' again (cgroup_quota_set). */
int cgroups_quota_set(struct cgroups *cgroups, const struct cgroup_quota *quota,
                      unsigned *ret_failed);

/* ---- an instance's group ----------------------------------------------------------------------
 */

struct cgroup {
    char name[160]; /* "api.1" */
    uint64_t id;    /* what bpf_get_current_cgroup_id gives: the folder's inode */
    int fd;         /* the v2 folder, O_PATH-like for CLONE_INTO_CGROUP; owned; -1: none */
    int watch_fd;   /* cgroup.events: WATCH_PRIORITY (and WATCH_ERROR) are reported when it changes,
                       until cgroup_populated reads it; owned */
    bool v1[CGROUP_CONTROLLERS]; /* a v1 folder exists: the child must join it (cgroup_join_v1) */
};

/* Makes the folder or finds the one that is there, and sets the quota; a quota that cannot be set
 * is told by `ret_failed` alone (may be NULL). -EINVAL: no name for a folder. */
int cgroup_open(struct cgroups *cgroups, const char *name, const struct cgroup_quota *quota,
                struct cgroup *ret_cgroup, unsigned *ret_failed);
int cgroup_quota_set(const struct cgroups *cgroups, const struct cgroup *cgroup,
                     const struct cgroup_quota *quota, unsigned *ret_failed);
void cgroup_close(struct cgroup *cgroup); /* accepts a zeroed one with fds of -1 */
/* Removes the folders and closes; -EBUSY while a process is in them, and it stays open. */
int cgroup_remove(struct cgroups *cgroups, struct cgroup *cgroup);
/* In the child, before exec: moves the calling process into the v1 folders. Async-signal-safe.
 * -EAGAIN: with it there are more tasks than the member's quota or the cluster's allows; it has
 * joined all the same, and must end. */
int cgroup_join_v1(const struct cgroups *cgroups, const struct cgroup *cgroup);
/* The same for the v2 folder, where clone3 could not put it there. Async-signal-safe. */
int cgroup_join(const struct cgroup *cgroup);

/* SIGKILL for everything in it (cgroup.kill, Linux 5.14; else one by one). */
int cgroup_kill(const struct cgroup *cgroup);
/* Sends the signal to each process in it. 0, also when none is there. */
int cgroup_signal(const struct cgroup *cgroup, int signal_number);
/* Is a process in it? (cgroup.events: populated) */
bool cgroup_populated(const struct cgroup *cgroup);
/* Its processes, at most `max`; how many were stored, or -errno. */
int cgroup_processes(const struct cgroup *cgroup, pid_t *ret_pids, size_t max);

struct cgroup_usage {
    uint64_t cpu_usec;          /* since the group was made */
    uint64_t memory_bytes;      /* now */
    uint64_t memory_peak_bytes; /* the most since the group was made; 0: unknown (v2: Linux 5.19) */
    uint64_t oom_kills;         /* since the group was made; 0 where nobody counts */
};
/* cpu from v2's cpu.stat (always there; cpuacct is not needed); memory from whichever controller
 * holds it, else the sum of the processes' resident memory. */
void cgroup_usage_read(const struct cgroups *cgroups, const struct cgroup *cgroup,
                       struct cgroup_usage *ret_usage);

/* The names of the groups that exist below the cluster (for adoption and for clearing up): calls
 * for each. */
int cgroups_each(struct cgroups *cgroups, void (*call)(void *owner, const char *name), void *owner);
