#include "supervise/quota.h"

const char *const quota_words[CGROUP_CONTROLLERS] = {
    [CGROUP_MEMORY] = "memory",
    [CGROUP_CPU] = "cpu",
    [CGROUP_PIDS] = "tasks",
    [CGROUP_IO] = "io-weight",
};

struct cgroup_quota quota_limits(const struct quota *quota)
{
    return (struct cgroup_quota){.memory_bytes = quota->memory_bytes,
                                 .memory_soft_bytes = quota->memory_soft_bytes,
                                 .cpu_percent = quota->cpu_percent,
                                 .tasks = quota->tasks,
                                 .io_weight = quota->io_weight};
}
