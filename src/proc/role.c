#include "proc/role.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/log.h"
#include "kernel/landlock.h"
#include "kernel/syscalls.h"

enum {
    ROLE_ARGS_MAX = 16,
    ROLE_NOBODY = 65534, /* Debian's nobody and nogroup; not looked up: that reads files */
    ROLE_EXIT_USAGE = 2,
};

/* ---- starting ------------------------------------------------------------------------------- */

/* What happens to descriptors between fork and exec. */
static int actions_fill(posix_spawn_file_actions_t *actions, int fd)
{
    int error = posix_spawn_file_actions_adddup2(actions, fd, ROLE_FD);
    if (!error)
        error = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (!error)
        error = posix_spawn_file_actions_addclosefrom_np(actions, ROLE_FD + 1);
    return -error;
}

static int attributes_fill(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int error = posix_spawnattr_setsigmask(attributes, &none);
    if (!error)
        error = posix_spawnattr_setsigdefault(attributes, &all);
    if (!error)
        error = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                         POSIX_SPAWN_SETSIGDEF);
    return -error;
}

pid_t role_start(const char *exe, const char *name, const char *const *args, int fd)
{
    assert(fd > STDERR_FILENO);
    char *argv[ROLE_ARGS_MAX + 4] = {(char *)(uintptr_t) "enginx", (char *)(uintptr_t) "--role",
                                     (char *)(uintptr_t)name};
    for (int i = 0; args[i]; i++) {
        assert(i < ROLE_ARGS_MAX);
        argv[i + 3] = (char *)(uintptr_t)args[i];
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    if (posix_spawn_file_actions_init(&actions))
        return -ENOMEM;
    if (posix_spawnattr_init(&attributes)) {
        posix_spawn_file_actions_destroy(&actions);
        return -ENOMEM;
    }
    int error = actions_fill(&actions, fd);
    if (!error)
        error = attributes_fill(&attributes);
    pid_t pid = -1;
    if (!error) /* by vfork: cheap, however large the supervisor has become */
        error = -posix_spawn(&pid, exe, &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error ? error : pid;
}

int role_main(int argc, char **argv, const struct role *roles, size_t role_count)
{
    if (argc < 3 || strcmp(argv[1], "--role") != 0)
        return -1;
    for (size_t i = 0; i < role_count; i++) {
        if (strcmp(argv[2], roles[i].name) != 0)
            continue;
        prctl(PR_SET_NAME, roles[i].process_name, 0, 0, 0);
        log_setup(roles[i].name, LOG_LEVEL_INFO, NULL, NULL);
        return roles[i].main(argc, argv);
    }
    fprintf(stderr, "enginx: there is no role \"%s\"\n", argv[2]);
    return ROLE_EXIT_USAGE;
}

void role_descriptors_raise(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- giving up rights ----------------------------------------------------------------------- */

void role_detach(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0)
        return;
    dup2(null, STDOUT_FILENO);
#ifndef __SANITIZE_ADDRESS__ /* whose reports would be lost */
    dup2(null, STDERR_FILENO);
#endif
    close(null);
}

static int capabilities_keep(uint32_t kept)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &head, data) < 0)
        return -errno;
    kept &= data[0].permitted; /* a container may have taken it away before us */
    memset(data, 0, sizeof data);
    data[0].effective = data[0].permitted = kept;
    return syscall(SYS_capset, &head, data) < 0 ? -errno : 0;
}

static int user_become_nobody(void)
{
    if (setgroups(0, NULL) < 0 || setresgid(ROLE_NOBODY, ROLE_NOBODY, ROLE_NOBODY) < 0 ||
        setresuid(ROLE_NOBODY, ROLE_NOBODY, ROLE_NOBODY) < 0)
        return -errno;
    return 0;
}

int role_confine(int keep_user)
{
    if (close_range(ROLE_FD + 1, ~0u, 0) < 0)
        return -errno;
    int error = 0;
    if (geteuid() == 0)
        error = keep_user ? capabilities_keep(1u << CAP_DAC_OVERRIDE) : user_become_nobody();
    if (error)
        return error;
    struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return 0;
}

static int lock(int directory_fd, bool network, const int *calls, size_t call_count)
{
    int error = landlock_confine(directory_fd, network);
    if (error && error != -ENOSYS && error != -EOPNOTSUPP)
        return error;
#ifdef __SANITIZE_ADDRESS__ /* whose runtime makes calls of its own */
    (void)calls, (void)call_count;
    return 0;
#else
    error = syscalls_allow(calls, call_count);
    return error == -ENOTSUP || error == -ENOSYS || error == -EINVAL ? 0 : error;
#endif
}

int role_lock(int directory_fd, const int *calls, size_t call_count)
{
    return lock(directory_fd, false, calls, call_count);
}

int role_lock_network(const int *calls, size_t call_count)
{
    return lock(-1, true, calls, call_count);
}
