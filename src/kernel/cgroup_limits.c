/* Limits of control groups on v2 and v1; see cgroup_private.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/cgroup_private.h"

enum {
    CPU_PERIOD_USEC = 100000,                 /* the kernel's own default */
    CPU_PERCENT_USEC = CPU_PERIOD_USEC / 100, /* quota for one percent of a core */
    CPU_QUOTA_MIN_USEC = 1000,                /* less is refused by the kernel */
    BFQ_WEIGHT_MAX = 1000,                    /* Documentation/block/bfq-iosched.rst */
    LIMIT_TEXT_BYTES = 64,
};

const char *const cgroup_controller_names[CGROUP_CONTROLLERS] = {
    [CGROUP_MEMORY] = "memory",
    [CGROUP_CPU] = "cpu",
    [CGROUP_PIDS] = "pids",
    [CGROUP_IO] = "io",
};

static uint64_t quota_value(const struct cgroup_quota *quota, enum cgroup_controller controller)
{
    switch (controller) {
    case CGROUP_MEMORY:
        return quota->memory_bytes;
    case CGROUP_CPU:
        return quota->cpu_percent;
    case CGROUP_PIDS:
        return quota->tasks;
    case CGROUP_IO:
        return quota->io_weight;
    case CGROUP_CONTROLLERS:
        break;
    }
    assert(controller < CGROUP_CONTROLLERS);
    return 0;
}

bool cgroup_quota_has(const struct cgroup_quota *quota, enum cgroup_controller controller)
{
    return quota_value(quota, controller) ||
           (controller == CGROUP_MEMORY && quota->memory_soft_bytes);
}

/* ---- cpu on v1 ----------------------------------------------------------------------------------
 */

/* Our period's microseconds that the folder grants; false: no limit, or no such file. */
static bool cpu_v1_granted(int fd, uint64_t *ret_usec)
{
    uint64_t quota, period;
    if (cgroup_number_read(fd, "cpu.cfs_quota_us", NULL, &quota) ||
        cgroup_number_read(fd, "cpu.cfs_period_us", NULL, &period) || !period)
        return false; /* "-1" is no number: no limit */
    *ret_usec = quota * CPU_PERIOD_USEC / period;
    return true;
}

/* The least that any folder above grants; `usec` when none grants less. */
static uint64_t cpu_v1_ceiling(int folder_fd, uint64_t usec)
{
    scoped_fd int fd = openat(folder_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while (fd >= 0 && faccessat(fd, "cpu.cfs_quota_us", F_OK, 0) == 0) {
        uint64_t granted;
        if (cpu_v1_granted(fd, &granted) && granted < usec)
            usec = granted;
        int above = openat(fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        close(fd);
        fd = above;
    }
    return usec;
}

static int cpu_v1_write(int fd, uint64_t usec)
{
    char text[LIMIT_TEXT_BYTES];
    snprintf(text, sizeof text, "%" PRIu64, usec);
    return cgroup_file_write(fd, "cpu.cfs_quota_us", text);
}

/* No folder may have more than the one above it, so what lies below is lowered first. */
static int cpu_v1_lower(void *owner, int parent_fd, const char *name, int fd)
{
    (void)parent_fd;
    (void)name;
    const uint64_t *usec = owner;
    uint64_t granted;
    if (cpu_v1_granted(fd, &granted) && granted > *usec)
        cpu_v1_write(fd, *usec);
    return 0;
}

static int cpu_v1_set(int fd, uint64_t percent)
{
    if (!percent)
        return cgroup_file_write(fd, "cpu.cfs_quota_us", "-1");
    char period[LIMIT_TEXT_BYTES];
    snprintf(period, sizeof period, "%d", CPU_PERIOD_USEC);
    uint64_t usec = cpu_v1_ceiling(fd, percent * CPU_PERCENT_USEC);
    if (usec < CPU_QUOTA_MIN_USEC)
        usec = CPU_QUOTA_MIN_USEC;
    cgroup_walk(fd, cpu_v1_lower, &usec);
    int error = cgroup_file_write(fd, "cpu.cfs_period_us", period);
    return error ? error : cpu_v1_write(fd, usec);
}

/* ---- io -----------------------------------------------------------------------------------------
 */

/* BFQ knows 1 to 1000; what is everybody's weight stays that (as systemd's IOWeight= does it). */
static uint64_t weight_for_bfq(uint64_t weight)
{
    if (weight <= CGROUP_IO_WEIGHT)
        return weight;
    return CGROUP_IO_WEIGHT + (weight - CGROUP_IO_WEIGHT) * (BFQ_WEIGHT_MAX - CGROUP_IO_WEIGHT) /
                                  (CGROUP_IO_WEIGHT_MAX - CGROUP_IO_WEIGHT);
}

/* A kernel has one file for each of its ways to share a disk, perhaps none. */
static int io_weight_set(int fd, bool v2, uint64_t value)
{
    uint64_t weight = value ? value : CGROUP_IO_WEIGHT;
    char text[LIMIT_TEXT_BYTES];
    snprintf(text, sizeof text, "%" PRIu64, weight_for_bfq(weight));
    int error = cgroup_file_write(fd, v2 ? "io.bfq.weight" : "blkio.bfq.weight", text);
    if (v2) {
        snprintf(text, sizeof text, "default %" PRIu64, weight);
        int other = cgroup_file_write(fd, "io.weight", text);
        error = error == -ENOENT || !other ? other : error;
    }
    return error == -ENOENT && !value ? 0 : error;
}

/* ---- one limit ----------------------------------------------------------------------------------
 */

static int limit_set_v1(int fd, enum cgroup_controller controller, uint64_t value)
{
    if (controller == CGROUP_CPU)
        return cpu_v1_set(fd, value);
    if (controller == CGROUP_IO)
        return io_weight_set(fd, false, value);
    bool memory = controller == CGROUP_MEMORY;
    char text[LIMIT_TEXT_BYTES];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return cgroup_file_write(fd, memory ? "memory.limit_in_bytes" : "pids.max",
                             value    ? text
                             : memory ? "-1"
                                      : "max");
}

static int limit_set_v2(int fd, enum cgroup_controller controller, uint64_t value)
{
    static const char *const files[CGROUP_CONTROLLERS] = {
        [CGROUP_MEMORY] = "memory.max", [CGROUP_CPU] = "cpu.max", [CGROUP_PIDS] = "pids.max"};
    if (controller == CGROUP_IO)
        return io_weight_set(fd, true, value);
    char text[LIMIT_TEXT_BYTES];
    if (!value)
        snprintf(text, sizeof text, "max");
    else if (controller == CGROUP_CPU)
        snprintf(text, sizeof text, "%" PRIu64 " %d", value * CPU_PERCENT_USEC, CPU_PERIOD_USEC);
    else
        snprintf(text, sizeof text, "%" PRIu64, value);
    return cgroup_file_write(fd, files[controller], text);
}

/* The kernel takes pages back above it, and ends nobody. */
static int memory_soft_set(int fd, bool v2, uint64_t value)
{
    char text[LIMIT_TEXT_BYTES];
    snprintf(text, sizeof text, "%" PRIu64, value);
    int error = cgroup_file_write(fd, v2 ? "memory.high" : "memory.soft_limit_in_bytes",
                                  value ? text
                                  : v2  ? "max"
                                        : "-1");
    return error == -ENOENT && !value ? 0 : error;
}

int cgroup_limits_set(const struct cgroups *cgroups, int v2_fd,
                      const int v1_fds[CGROUP_CONTROLLERS], const struct cgroup_quota *quota,
                      unsigned *ret_failed)
{
    int first = 0;
    unsigned failed = 0;
    for (enum cgroup_controller controller = 0; controller < CGROUP_CONTROLLERS; controller++) {
        uint64_t value = quota_value(quota, controller);
        /* Nobody enforces it: only a real limit can fail. */
        int error = cgroup_quota_has(quota, controller) ? -ENOTSUP : 0;
        if (cgroups->v2_has[controller])
            error = limit_set_v2(v2_fd, controller, value);
        else if (v1_fds[controller] >= 0)
            error = limit_set_v1(v1_fds[controller], controller, value);
        if (!error && controller == CGROUP_MEMORY &&
            (cgroups->v2_has[controller] || v1_fds[controller] >= 0))
            error = memory_soft_set(cgroups->v2_has[controller] ? v2_fd : v1_fds[controller],
                                    cgroups->v2_has[controller], quota->memory_soft_bytes);
        if (error)
            failed |= 1u << controller;
        if (error && !first)
            first = error;
    }
    if (ret_failed)
        *ret_failed = failed;
    return first;
}
