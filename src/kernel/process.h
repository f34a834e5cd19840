/* Processes: pidfds, what /proc tells, and descriptors fetched from others (pidfd_open(2),
 * pidfd_getfd(2), proc(5)). Thin; each function does one thing and returns 0 or -errno unless it
 * says otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A pidfd, O_CLOEXEC; or -errno. Of a thread id too (PIDFD_THREAD, Linux 6.9; else the leader's).
 */
int process_open(pid_t pid);
int process_open_thread(pid_t tid);
pid_t process_of(int pidfd); /* 0: it is gone, or that is no pidfd */
/* Field 22 (start time, in clock ticks since boot) of /proc/PID/stat: with the pid, it names a
 * process for good. 0: there is none. */
uint64_t process_start_ticks(pid_t pid);
/* "node"; "?" when it is gone. */
enum { PROCESS_NAME_BYTES = 64 };
const char *process_name(pid_t pid, char name[PROCESS_NAME_BYTES]);
pid_t process_parent(pid_t pid); /* 0: gone */
/* There, and not a zombie. */
bool process_runs(pid_t pid);
/* The exit status of a zombie, which need not be our child, from field 52 of /proc/PID/stat: for
 * kernels and moments in which process_exit_status cannot tell. 0 or -errno (-EAGAIN: it has not
 * ended; -ESRCH: another process has that pid by now; -EACCES: it may not be looked into). */
int process_zombie_status(pid_t pid, uint64_t start_ticks, int *ret_status);
/* Resident memory and CPU time of one process. */
int process_usage(pid_t pid, uint64_t *ret_memory_bytes, uint64_t *ret_cpu_usec);
/* The exit status of a process that need not be a child, from its pidfd, which must have been
 * opened while it lived: PIDFD_GET_INFO with PIDFD_INFO_EXIT (Linux 6.15). A wait(2) status.
 * -EAGAIN: it has not been reaped yet by its parent (the pidfd reports a hangup when it is);
 * -ENOTSUP where the kernel cannot tell. */
int process_exit_status(int pidfd, int *ret_status);

/* A duplicate of descriptor `fd` of the process; or -errno. */
int process_descriptor(int pidfd, int fd);
/* A duplicate of the socket with this SO_COOKIE, looked for in the given processes; or -errno
 * (-ENOENT: none has it; -EPERM: not found, and some may not be looked into). */
int process_socket_find(const pid_t *pids, size_t count, uint64_t cookie);

/* Calls for each process whose environment has the variable (readable ones), with its value, which
 * is valid during the call: how instances are found where there are no cgroups. 0 or -errno. */
typedef void process_value_call(void *owner, pid_t pid, const char *value);
int processes_value_each(const char *variable, process_value_call *call, void *owner);

/* Calls for each socket that the process holds, with its descriptor there and the socket's inode
 * number, until the answer is false. 0 or -errno (-EACCES: it may not be looked into). */
typedef bool process_socket_call(void *owner, pid_t pid, int fd, uint64_t inode);
int process_sockets_each(pid_t pid, process_socket_call *call, void *owner);
/* Calls for each process of the machine that our pid namespace shows, until the answer is false. */
typedef bool process_call(void *owner, pid_t pid);
int processes_each(process_call *call, void *owner);
