/* A process gives up system calls that its work does not need (seccomp(2), filter mode); without
 * any privilege, for life, for its children too. A call outside the list fails with ENOSYS instead
 * of killing: the C library has a way around for many a new call, and a role that lives on in a
 * corner that nobody thought of serves its user better than a dead one. */
#pragma once

#include <stddef.h>

enum { SYSCALLS_MAX = 96 };

/* `numbers`: SYS_… of what stays allowed beside what every process needs (memory, time, locks,
 * exit, signal return, reading and writing and closing what is open). Sets no_new_privs. 0 or
 * -errno; -ENOTSUP: not known for this architecture. */
int syscalls_allow(const int *numbers, size_t count);
