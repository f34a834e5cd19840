#include "supervise/usage.h"

#include "kernel/process.h"
#include "supervise/supervisor.h"

enum { USAGE_PROCESSES_MAX = 256 };

static void processes_add(const struct instance *instance, struct cgroup_usage *usage)
{
    pid_t pids[USAGE_PROCESSES_MAX];
    size_t count = instance_processes(instance, pids, USAGE_PROCESSES_MAX);
    for (size_t i = 0; i < count; i++) {
        uint64_t memory_bytes = 0;
        uint64_t cpu_usec = 0;
        if (process_usage(pids[i], &memory_bytes, &cpu_usec) < 0)
            continue;
        usage->memory_bytes += memory_bytes;
        usage->cpu_usec += cpu_usec;
    }
}

void usage_of(const struct instance *instance, struct cgroup_usage *ret_usage)
{
    *ret_usage = (struct cgroup_usage){0};
    if (!lifecycle_running(instance->life.state))
        return;
    if (instance->grouped)
        cgroup_usage_read(instance->unit->supervisor->cgroups, &instance->cgroup, ret_usage);
    else
        processes_add(instance, ret_usage);
}
