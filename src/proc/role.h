/* Roles: enginx's processes are the same executable, started again with `--role NAME`. A role's
 * process has only the descriptors that it was given (0, 1, 2 and ROLE_FD), a name that ps shows,
 * and as few rights as its work allows. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

enum { ROLE_FD = 3 }; /* its socket to whoever started it */

/* Starts `exe --role NAME args…` with `fd` as its ROLE_FD, in a session of its own, so that Ctrl-C
 * and a supervisor's death do not reach it; standard input is /dev/null. `args` ends with NULL.
 * `fd` (more than 2) stays the caller's. The pid (a child, which the caller reaps), or -errno, also
 * when it cannot be executed. */
pid_t role_start(const char *exe, const char *name, const char *const *args, int fd);

struct role {
    const char *name;
    const char *process_name; /* 15 bytes at most (PR_SET_NAME) */
    int (*main)(int argc, char **argv);
};

/* When argv asks for a role, runs it and gives its exit code; else -1. The table is main.c's, since
 * roles live in folders that this one may not know. */
int role_main(int argc, char **argv, const struct role *roles, size_t role_count);

/* In a role that holds many descriptors: as many as its hard limit allows. Roles are started with
 * the limits of the supervisor, which has raised its own (supervisor.c). */
void role_descriptors_raise(void);

/* In a role: points standard output and error at /dev/null. For roles that outlive the supervisor:
 * whoever reads its output through a pipe would else wait for them as well. */
void role_detach(void);

/* In a role: closes all descriptors but 0, 1, 2 and ROLE_FD; no core dumps, and no other process of
 * the same user may look into it (PR_SET_DUMPABLE); no_new_privs. When root: without `keep_user`
 * becomes the nobody user; with it stays root, out of the reach of every other user's signals, and
 * gives up all capabilities but CAP_DAC_OVERRIDE (writing where root may write). 0 or -errno. */
int role_confine(int keep_user);

/* In a role, after role_confine, and when all is open that needs more than this: from now on it can
 * use no file (landlock(7)) but what stands below the directory (-1: none) and what it holds, and
 * no system call (seccomp(2)) beyond the given numbers and what every process needs. Goes on where
 * the kernel has no such thing. 0 or -errno. */
int role_lock(int directory_fd, const int *calls, size_t call_count);
/* The same without any file, for a role that speaks with the network. */
int role_lock_network(const int *calls, size_t call_count);
