/* A member's side of kernel/cgroup.h: one instance's group. */
#include "kernel/cgroup.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/cgroup_private.h"
#include "kernel/process.h"

enum {
    SIGNAL_ROUNDS_MAX = 16, /* of killing one by one, while what is killed still forks */
    USAGE_PIDS_MAX = 1024,
};

static int v2_folder_open(struct cgroups *cgroups, struct cgroup *cgroup)
{
    cgroup->fd = cgroup_folder_make(cgroups->v2.fd, cgroup->name);
    if (cgroup->fd < 0)
        return cgroup->fd;
    struct stat status;
    if (fstat(cgroup->fd, &status))
        return -errno;
    cgroup->id = status.st_ino;
    cgroup->watch_fd = openat(cgroup->fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
    return cgroup->watch_fd < 0 ? -errno : 0;
}

/* Accounting is not free for whoever is accounted, so a v1 folder is made only where there is a
 * quota to enforce. */
static void v1_folders_make(struct cgroups *cgroups, struct cgroup *cgroup,
                            const struct cgroup_quota *quota)
{
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++) {
        bool needed = cgroup_quota_has(quota, (enum cgroup_controller)controller) ||
                      cgroups->ceiling[controller];
        if (cgroups->v1[controller].fd < 0 || !needed)
            continue;
        scoped_fd int fd = cgroup_folder_make(cgroups->v1[controller].fd, cgroup->name);
        cgroup->v1[controller] = fd >= 0;
    }
}

int cgroup_open(struct cgroups *cgroups, const char *name, const struct cgroup_quota *quota,
                struct cgroup *ret_cgroup, unsigned *ret_failed)
{
    struct cgroup cgroup = {.fd = -1, .watch_fd = -1};
    if (!cgroup_name_valid(name) || strlen(name) >= sizeof cgroup.name)
        return -EINVAL;
    strcpy(cgroup.name, name);
    int error = v2_folder_open(cgroups, &cgroup);
    if (error) {
        cgroup_close(&cgroup);
        return error;
    }
    v1_folders_make(cgroups, &cgroup, quota);
    unsigned failed;
    (void)cgroup_quota_set(cgroups, &cgroup, quota, &failed);
    if (ret_failed)
        *ret_failed = failed;
    *ret_cgroup = cgroup;
    return 0;
}

/* The member's folder in a v1 hierarchy; -1: none. Async-signal-safe. */
static int v1_folder(const struct cgroups *cgroups, const struct cgroup *cgroup, int controller)
{
    if (!cgroup->v1[controller])
        return -1;
    return openat(cgroups->v1[controller].fd, cgroup->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int cgroup_quota_set(const struct cgroups *cgroups, const struct cgroup *cgroup,
                     const struct cgroup_quota *quota, unsigned *ret_failed)
{
    int v1_fds[CGROUP_CONTROLLERS];
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++)
        v1_fds[controller] = v1_folder(cgroups, cgroup, controller);
    int error = cgroup_limits_set(cgroups, cgroup->fd, v1_fds, quota, ret_failed);
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++)
        fd_drop(&v1_fds[controller]);
    return error;
}

void cgroup_close(struct cgroup *cgroup)
{
    fd_drop(&cgroup->fd);
    fd_drop(&cgroup->watch_fd);
}

int cgroup_remove(struct cgroups *cgroups, struct cgroup *cgroup)
{
    if (cgroup_populated(cgroup))
        return -EBUSY;
    int error = cgroup_folder_remove(cgroups->v2.fd, cgroup->name);
    if (error)
        return error;
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++) {
        if (!cgroup->v1[controller])
            continue;
        error = cgroup_folder_remove(cgroups->v1[controller].fd, cgroup->name);
        if (error)
            return error;
    }
    cgroup_close(cgroup);
    return 0;
}

/* The number in a file of the folder; "max" and what cannot be read give UINT64_MAX. By hand, since
 * strtoull and stdio are not async-signal-safe. */
static uint64_t number_in(int folder_fd, const char *name)
{
    char text[32];
    int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    uint64_t number = 0;
    ssize_t at = 0;
    while (at < length && text[at] >= '0' && text[at] <= '9')
        number = number * 10 + (uint64_t)(text[at++] - '0');
    return at > 0 ? number : UINT64_MAX;
}

/* More tasks than may be? The kernel asks this when a process forks, not when one joins
 * (Documentation/admin-guide/cgroup-v1/pids.rst), so whoever joins must ask. */
static bool tasks_exceeded(int folder_fd)
{
    uint64_t most = number_in(folder_fd, "pids.max");
    uint64_t now = most == UINT64_MAX ? 0 : number_in(folder_fd, "pids.current");
    return now != UINT64_MAX && now > most;
}

int cgroup_join_v1(const struct cgroups *cgroups, const struct cgroup *cgroup)
{
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++) {
        if (!cgroup->v1[controller])
            continue;
        int fd = v1_folder(cgroups, cgroup, controller);
        if (fd < 0)
            return -errno;
        int error = cgroup_file_write(fd, "cgroup.procs", "0"); /* 0: who writes */
        if (!error && controller == CGROUP_PIDS &&
            (tasks_exceeded(fd) || tasks_exceeded(cgroups->v1[controller].fd)))
            error = -EAGAIN;
        close(fd);
        if (error)
            return error;
    }
    return 0;
}

int cgroup_join(const struct cgroup *cgroup)
{
    return cgroup_file_write(cgroup->fd, "cgroup.procs", "0");
}

/* ---- its processes ------------------------------------------------------------------------------
 */

struct pid_list {
    pid_t *pids;
    size_t count;
    size_t max;
};

static int pids_read(void *owner, int parent_fd, const char *name, int folder_fd)
{
    (void)parent_fd;
    (void)name;
    struct pid_list *list = owner;
    int fd = openat(folder_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    scoped_file FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
    if (!file) {
        int error = -errno;
        fd_drop(&fd);
        return error == -ENOENT || error == -ENODEV ? 0 : error; /* removed meanwhile */
    }
    for (int pid; list->count < list->max && fscanf(file, "%d", &pid) == 1;)
        if (pid > 0) /* 0: a process that our pid namespace does not show */
            list->pids[list->count++] = pid;
    return 0;
}

int cgroup_processes(const struct cgroup *cgroup, pid_t *ret_pids, size_t max)
{
    struct pid_list list = {.pids = ret_pids, .max = max};
    int error = pids_read(&list, -1, NULL, cgroup->fd);
    if (!error)
        error = cgroup_walk(cgroup->fd, pids_read, &list);
    return error && error != -ENOENT && error != -ENODEV ? error : (int)list.count;
}

int cgroup_signal(const struct cgroup *cgroup, int signal_number)
{
    pid_t pids[USAGE_PIDS_MAX];
    int count = cgroup_processes(cgroup, pids, USAGE_PIDS_MAX);
    int first = count < 0 ? count : 0;
    for (int at = 0; at < count; at++)
        if (kill(pids[at], signal_number) && errno != ESRCH && !first)
            first = -errno;
    return first;
}

int cgroup_kill(const struct cgroup *cgroup)
{
    int error = cgroup_file_write(cgroup->fd, "cgroup.kill", "1");
    if (error != -ENOENT)
        return error == -ENODEV ? 0 : error;
    for (int round = 0; round < SIGNAL_ROUNDS_MAX && cgroup_populated(cgroup); round++) {
        error = cgroup_signal(cgroup, SIGKILL);
        if (error)
            return error;
    }
    return 0;
}

bool cgroup_populated(const struct cgroup *cgroup)
{
    /* Through watch_fd, at its beginning: reading is what takes the event back (kernfs poll). */
    char text[256];
    ssize_t length = pread(cgroup->watch_fd, text, sizeof text - 1, 0);
    if (length < 0)
        return false; /* the folder is gone */
    text[length] = 0;
    return strstr(text, "populated 1") != NULL;
}

/* ---- what it uses -------------------------------------------------------------------------------
 */

static uint64_t resident_sum(const struct cgroup *cgroup)
{
    pid_t pids[USAGE_PIDS_MAX];
    uint64_t sum = 0;
    int count = cgroup_processes(cgroup, pids, USAGE_PIDS_MAX);
    for (int at = 0; at < count; at++) {
        uint64_t memory_bytes, cpu_usec;
        if (process_usage(pids[at], &memory_bytes, &cpu_usec) == 0)
            sum += memory_bytes;
    }
    return sum;
}

void cgroup_usage_read(const struct cgroups *cgroups, const struct cgroup *cgroup,
                       struct cgroup_usage *ret_usage)
{
    *ret_usage = (struct cgroup_usage){0};
    (void)cgroup_number_read(cgroup->fd, "cpu.stat", "usage_usec", &ret_usage->cpu_usec);
    bool v2 = cgroups->v2_has[CGROUP_MEMORY];
    scoped_fd int v1_fd = v2 ? -1 : v1_folder(cgroups, cgroup, CGROUP_MEMORY);
    int error = -ENOENT;
    if (v2 || v1_fd >= 0) {
        int fd = v2 ? cgroup->fd : v1_fd;
        error = cgroup_number_read(fd, v2 ? "memory.current" : "memory.usage_in_bytes", NULL,
                                   &ret_usage->memory_bytes);
        (void)cgroup_number_read(fd, v2 ? "memory.peak" : "memory.max_usage_in_bytes", NULL,
                                 &ret_usage->memory_peak_bytes);
        (void)cgroup_number_read(fd, v2 ? "memory.events" : "memory.oom_control", "oom_kill",
                                 &ret_usage->oom_kills);
    }
    if (error)
        ret_usage->memory_bytes = resident_sum(cgroup);
}
