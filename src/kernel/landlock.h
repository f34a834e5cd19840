/* Landlock, thinly (landlock(7)): a process gives up rights for itself, without any privilege.
 * Where the kernel has none (before 5.13, or switched off) the process goes on without. */
#pragma once

#include <stdbool.h>

/* From now on this process (and its children) can use no file but those that are open already or
 * stand below the directory, which it may write, create, rename and remove in; directory_fd -1:
 * none at all. Without `network` no TCP socket can be bound or connected (ABI 4); no signal sent
 * out and no foreign abstract socket be used (ABI 6). Sets no_new_privs. 0, -ENOSYS or -EOPNOTSUPP:
 * the kernel cannot; -errno. */
int landlock_confine(int directory_fd, bool network);
/* From now on this process can read what it could, files and folders, but change, make, remove or
 * execute nothing. Else as above; without network. */
int landlock_confine_reading(void);
