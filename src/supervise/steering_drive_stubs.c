/* What steering_drive needs of folders that are not there yet, as little as serves the tests. Weak,
 * so that the real ones win where they are linked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/process.h"
#include "kernel/sockets.h"
#include "supervise/steering.h"

#pragma weak process_open_thread
#pragma weak process_descriptor
#pragma weak sockets_connections
#pragma weak sockets_listening
#pragma weak listener_target
#pragma weak steering_bpf_new

int process_open_thread(pid_t tid)
{
    int fd = (int)syscall(SYS_pidfd_open, tid, O_EXCL); /* PIDFD_THREAD */
    return fd < 0 ? -errno : fd;
}

int process_descriptor(int pidfd, int fd)
{
    int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    return copy < 0 ? -errno : copy;
}

uint64_t sockets_connections(const pid_t *pids, size_t count, uint16_t port)
{
    (void)pids;
    (void)port;
    return count;
}

/* The whole namespace's TCP ports: the tests run in one of their own. */
size_t sockets_listening(const pid_t *pids, size_t count, uint16_t *ret_ports, size_t max)
{
    (void)pids;
    (void)count;
    FILE *file = fopen("/proc/net/tcp", "re");
    char line[256];
    size_t found = 0;
    unsigned port, state;
    while (file && found < max && fgets(line, sizeof line, file))
        if (sscanf(line, " %*u: %*x:%x %*x:%*x %x", &port, &state) == 2 && state == 10)
            ret_ports[found++] = (uint16_t)port;
    if (file)
        fclose(file);
    return found;
}

uint16_t listener_target(const struct topology *topology, const struct listener *listener)
{
    (void)topology;
    return listener->target_port;
}

int steering_bpf_new(const struct steering_setup *setup, struct steering **ret_steering,
                     bool *ret_adopted, char *why, size_t why_size)
{
    (void)setup;
    (void)ret_steering;
    (void)ret_adopted;
    snprintf(why, why_size, "not in this test");
    return -ENOTSUP;
}
