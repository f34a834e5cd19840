/* seccomp user notification, thinly (seccomp_unotify(2)): the unprivileged way to stand between an
 * instance and bind, listen, connect and getsockname. Facts and pitfalls: WAIT_KILLABLE_RECV always
 * (Linux 5.19); io_uring_setup answers ENOSYS, since a ring would bypass the filter; foreign ABIs
 * pass untouched. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* ---- in the child, before exec (async-signal-safe) ---- */

struct seccomp_wants {
    bool connect;
    bool getsockname;
};
/* Sets no_new_privs unless the caller may do without (CAP_SYS_ADMIN), installs the filter and gives
 * the notification descriptor (O_CLOEXEC); or -errno: -EBUSY: nested below another listener. */
int seccomp_install(const struct seccomp_wants *wants, bool privileged);
/* Can this machine do it? Tries in a short-lived child. 0 or -errno. */
int seccomp_probe(void);

/* ---- in the supervisor ---- */

enum seccomp_call {
    SECCOMP_CALL_BIND,
    SECCOMP_CALL_LISTEN,
    SECCOMP_CALL_CONNECT,
    SECCOMP_CALL_GETSOCKNAME,
    SECCOMP_CALL_OTHER,
};

/* Also as it is handed from one version of enginx to the next (proc/keeper.h): it does not change.
 */
struct seccomp_request {
    uint64_t id;
    pid_t tid;
    enum seccomp_call call;
    uint64_t args[6];
};

/* Makes the descriptor wake its waiter synchronously where the kernel can (6.6): five times faster.
 */
void seccomp_tune(int notify_fd);
/* 0; -EAGAIN: none waits; -ENOENT: it went away; other: the descriptor is of no use any more. */
int seccomp_receive(int notify_fd, struct seccomp_request *ret_request);
bool seccomp_still_waits(int notify_fd, uint64_t id);
int seccomp_answer(int notify_fd, uint64_t id, int64_t value, int error);
int seccomp_continue(int notify_fd, uint64_t id);
/* A duplicate of the request's descriptor argument 0; or -errno. */
int seccomp_descriptor(int notify_fd, const struct seccomp_request *request);
/* Copies the sockaddr of bind or connect. -EINVAL for a length that no address has. */
int seccomp_address(int notify_fd, const struct seccomp_request *request,
                    struct sockaddr_storage *ret_address, socklen_t *ret_length);
/* Replaces the program's descriptor argument 0 by ours (SECCOMP_ADDFD_FLAG_SETFD). */
int seccomp_replace_descriptor(int notify_fd, const struct seccomp_request *request, int fd,
                               bool close_on_exec);
/* Writes the answer of getsockname into the program's memory. */
int seccomp_write_name(const struct seccomp_request *request, const struct sockaddr *address,
                       socklen_t length);
