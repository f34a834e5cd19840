/* Roles: enginx's processes are the same executable, started again with `--role NAME`. A role's
 * process has only the descriptors that it was given (0, 1, 2 and ROLE_FD), a name that ps shows, and
 * as few rights as its work allows. */
#pragma once

#include <sys/types.h>

enum { ROLE_FD = 3 }; /* its socket to whoever started it */

/* Starts `exe --role NAME args…` with `fd` as its ROLE_FD, in a session of its own, so that Ctrl-C
 * and a supervisor's death do not reach it; standard input is /dev/null. `args` ends with NULL.
 * The pid (a child), or -errno. */
pid_t role_start(const char *exe, const char *name, const char *const *args, int fd);

/* When argv asks for a role, runs it and gives its exit code; else -1. */
int role_main(int argc, char **argv);

/* In a role: closes all descriptors but 0, 1, 2 and ROLE_FD; drops to the nobody user when root and
 * `keep_user` is not set; no_new_privs; no core dumps. */
int role_confine(int keep_user);
