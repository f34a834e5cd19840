#include "kernel/process.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scoped.h"

enum {
    PROC_PATH_BYTES = 64,
    STAT_BYTES = 1024, /* 52 numbers and a name of at most 64 bytes */
};

/* <linux/pidfd.h> of Linux 6.15, which is newer than the headers that we build with. */
#define PIDFD_THREAD_FLAG O_EXCL
enum { PIDFD_WANT_EXIT = 1 << 3 };
struct pidfd_report {
    uint64_t mask;
    uint64_t cgroup_id;
    uint32_t ids[11]; /* pid tgid ppid, then ruid rgid euid egid suid sgid fsuid fsgid */
    int32_t exit_status;
};
#define PIDFD_GET_REPORT _IOWR(0xFF, 11, struct pidfd_report)
_Static_assert(sizeof(struct pidfd_report) == 64, "PIDFD_INFO_SIZE_VER0");

/* ---- descriptors --------------------------------------------------------------------------------
 */

int process_open(pid_t pid)
{
    int fd = pidfd_open(pid, 0);
    return fd < 0 ? -errno : fd;
}

/* The number in the line that begins with `key`; 0: there is none. */
static int number_behind(const char *path, const char *key)
{
    char line[256];
    scoped_file FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            return atoi(line + strlen(key));
    return 0;
}

/* The process that a thread belongs to; 0: gone. */
static pid_t thread_leader(pid_t tid)
{
    char path[PROC_PATH_BYTES];
    snprintf(path, sizeof path, "/proc/%d/status", tid);
    return number_behind(path, "Tgid:");
}

pid_t process_of(int pidfd)
{
    char path[PROC_PATH_BYTES];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    int pid = number_behind(path, "Pid:");
    return pid > 0 ? pid : 0;
}

int process_open_thread(pid_t tid)
{
    int fd = pidfd_open(tid, PIDFD_THREAD_FLAG);
    if (fd >= 0)
        return fd;
    if (errno != EINVAL)
        return -errno;
    pid_t leader = thread_leader(tid);
    return leader ? process_open(leader) : -ESRCH;
}

int process_descriptor(int pidfd, int fd)
{
    int copy = pidfd_getfd(pidfd, fd, 0);
    return copy < 0 ? -errno : copy;
}

int process_exit_status(int pidfd, int *ret_status)
{
    struct pidfd_report report = {.mask = PIDFD_WANT_EXIT};
    if (ioctl(pidfd, PIDFD_GET_REPORT, &report) == 0) {
        if (!(report.mask & PIDFD_WANT_EXIT))
            return -EAGAIN;
        *ret_status = report.exit_status;
        return 0;
    }
    /* Before 6.13 there is no such ioctl; before 6.15 one that knows nothing of the dead. */
    return errno == ENOTTY || errno == EINVAL || errno == ESRCH ? -ENOTSUP : -errno;
}

/* ---- /proc/PID/stat -----------------------------------------------------------------------------
 */

struct stat_fields {
    char state; /* 'R', 'S', … 'Z': ended, and not reaped */
    pid_t parent;
    uint64_t user_ticks, system_ticks, start_ticks;
    uint64_t resident_pages;
};

static int stat_text_read(pid_t pid, char text[STAT_BYTES])
{
    char path[PROC_PATH_BYTES];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t length = read(fd, text, STAT_BYTES - 1);
    if (length < 0)
        return -errno;
    text[length] = 0;
    return 0;
}

static int stat_read(pid_t pid, struct stat_fields *ret_fields)
{
    char text[STAT_BYTES];
    int error = stat_text_read(pid, text);
    if (error)
        return error;
    /* The name, field 2, is in parentheses and may hold any byte, parentheses too: skip to the
     * last. */
    const char *at = strrchr(text, ')');
    if (!at)
        return -EBADMSG;
    struct stat_fields fields;
    int found = sscanf(at + 1,
                       " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                       " %*d %*d %*d %*d %*d %*d %" SCNu64 " %*u %" SCNu64,
                       &fields.state, &fields.parent, &fields.user_ticks, &fields.system_ticks,
                       &fields.start_ticks, &fields.resident_pages);
    if (found != 6)
        return -EBADMSG;
    *ret_fields = fields;
    return 0;
}

uint64_t process_start_ticks(pid_t pid)
{
    struct stat_fields fields;
    return stat_read(pid, &fields) ? 0 : fields.start_ticks;
}

bool process_runs(pid_t pid)
{
    struct stat_fields fields;
    return stat_read(pid, &fields) == 0 && fields.state != 'Z' && fields.state != 'X';
}

int process_zombie_status(pid_t pid, uint64_t start_ticks, int *ret_status)
{
    struct stat_fields fields;
    char text[STAT_BYTES], path[PROC_PATH_BYTES], target[1];
    int error = stat_read(pid, &fields);
    if (error)
        return error;
    if (fields.start_ticks != start_ticks || fields.state != 'Z')
        return fields.start_ticks != start_ticks ? -ESRCH : -EAGAIN;
    /* To those who may not look into it the kernel says 0, which would be a lie; a link of the same
     * process tells whether we may. */
    snprintf(path, sizeof path, "/proc/%d/exe", pid);
    if (readlink(path, target, sizeof target) < 0 && errno == EACCES)
        return -EACCES;
    error = stat_text_read(pid, text);
    const char *last = error ? NULL : strrchr(text, ' ');
    if (!last)
        return error ? error : -EBADMSG;
    *ret_status = (int)strtol(last + 1, NULL, 10);
    return 0;
}

pid_t process_parent(pid_t pid)
{
    struct stat_fields fields;
    return stat_read(pid, &fields) ? 0 : fields.parent;
}

int process_usage(pid_t pid, uint64_t *ret_memory_bytes, uint64_t *ret_cpu_usec)
{
    struct stat_fields fields;
    int error = stat_read(pid, &fields);
    if (error)
        return error;
    uint64_t ticks_per_second = (uint64_t)sysconf(_SC_CLK_TCK);
    *ret_memory_bytes = fields.resident_pages * (uint64_t)sysconf(_SC_PAGESIZE);
    *ret_cpu_usec = (fields.user_ticks + fields.system_ticks) * 1000000 / ticks_per_second;
    return 0;
}

const char *process_name(pid_t pid, char name[PROCESS_NAME_BYTES])
{
    char path[PROC_PATH_BYTES];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    scoped_file FILE *file = fopen(path, "re");
    if (!file || !fgets(name, PROCESS_NAME_BYTES, file))
        strcpy(name, "?");
    name[strcspn(name, "\n")] = 0;
    return name;
}

/* ---- looking through /proc ----------------------------------------------------------------------
 */

int processes_each(process_call *call, void *owner)
{
    scoped_dir DIR *directory = opendir("/proc");
    if (!directory)
        return -errno;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (isdigit((unsigned char)entry->d_name[0]) &&
            !call(owner, (pid_t)strtol(entry->d_name, NULL, 10)))
            break;
    return 0;
}

int process_sockets_each(pid_t pid, process_socket_call *call, void *owner)
{
    char path[PROC_PATH_BYTES];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    scoped_dir DIR *directory = opendir(path);
    if (!directory)
        return -errno;
    for (struct dirent *entry; (entry = readdir(directory));) {
        char target[PROC_PATH_BYTES];
        ssize_t length = readlinkat(dirfd(directory), entry->d_name, target, sizeof target - 1);
        if (length <= 0)
            continue; /* closed meanwhile, or no link: "." and ".." */
        target[length] = 0;
        uint64_t inode;
        if (sscanf(target, "socket:[%" SCNu64 "]", &inode) == 1 &&
            !call(owner, pid, (int)strtol(entry->d_name, NULL, 10), inode))
            break;
    }
    return 0;
}

struct cookie_search {
    uint64_t cookie;
    int pidfd;
    int found; /* the duplicate; -errno */
};

static bool cookie_compare(void *owner, pid_t pid, int fd, uint64_t inode)
{
    (void)pid;
    (void)inode;
    struct cookie_search *search = owner;
    scoped_fd int copy = process_descriptor(search->pidfd, fd);
    if (copy == -EPERM)
        search->found = -EPERM;
    if (copy < 0)
        return copy != -EPERM; /* none of this process's can be had then */
    uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    if (getsockopt(copy, SOL_SOCKET, SO_COOKIE, &cookie, &length) || cookie != search->cookie)
        return true;
    search->found = fd_take(&copy);
    return false;
}

int process_socket_find(const pid_t *pids, size_t count, uint64_t cookie)
{
    struct cookie_search search = {.cookie = cookie, .found = -ENOENT};
    for (size_t at = 0; at < count && search.found < 0; at++) {
        scoped_fd int pidfd = process_open(pids[at]);
        if (pidfd < 0)
            continue;
        search.pidfd = pidfd;
        if (process_sockets_each(pids[at], cookie_compare, &search) == -EACCES)
            search.found = -EPERM;
    }
    return search.found;
}

struct value_search {
    const char *variable;
    size_t length;
    process_value_call *call;
    void *owner;
    char *entry; /* a buffer for all */
    size_t size; /* the kernel bounds an environment, and so each entry */
};

static bool value_look(void *owner, pid_t pid)
{
    struct value_search *search = owner;
    char path[PROC_PATH_BYTES];
    snprintf(path, sizeof path, "/proc/%d/environ", pid);
    scoped_file FILE *file = fopen(path, "re");
    while (file && getdelim(&search->entry, &search->size, 0, file) > 0) {
        if (strncmp(search->entry, search->variable, search->length) != 0 ||
            search->entry[search->length] != '=')
            continue;
        search->call(search->owner, pid, search->entry + search->length + 1);
        break;
    }
    return true;
}

int processes_value_each(const char *variable, process_value_call *call, void *owner)
{
    struct value_search search = {
        .variable = variable, .length = strlen(variable), .call = call, .owner = owner};
    int error = processes_each(value_look, &search);
    free(search.entry);
    return error;
}
