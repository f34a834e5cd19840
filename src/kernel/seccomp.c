#include "kernel/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/process.h"

/* Debian 12's headers are of Linux 6.1; these came with 6.6. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#endif
#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1UL
#endif

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE AUDIT_ARCH_RISCV64
#else
#error "seccomp.c: name this machine's AUDIT_ARCH"
#endif

enum { FILTER_INSTRUCTIONS_MAX = 24 };

/* ---- in the child --------------------------------------------------------------------------- */

struct filter {
    struct sock_filter code[FILTER_INSTRUCTIONS_MAX];
    unsigned short length;
};

static void filter_add(struct filter *filter, struct sock_filter instruction)
{
    filter->code[filter->length++] = instruction;
}

static void filter_load(struct filter *filter, size_t offset)
{
    filter_add(filter, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset));
}

/* `number` answers with `action`. */
static void filter_call(struct filter *filter, long number, uint32_t action)
{
    filter_add(filter,
               (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1));
    filter_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* System calls of other ABIs (i386 and x32 on x86-64) have other numbers and pass untouched: such a
 * program runs, but is not shared. */
static void filter_build(struct filter *filter, const struct seccomp_wants *wants)
{
    filter->length = 0;
    filter_load(filter, offsetof(struct seccomp_data, arch));
    filter_add(filter, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
    filter_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    filter_load(filter, offsetof(struct seccomp_data, nr));
    filter_call(filter, SYS_bind, SECCOMP_RET_USER_NOTIF);
    filter_call(filter, SYS_listen, SECCOMP_RET_USER_NOTIF);
    if (wants->connect)
        filter_call(filter, SYS_connect, SECCOMP_RET_USER_NOTIF);
    if (wants->getsockname)
        filter_call(filter, SYS_getsockname, SECCOMP_RET_USER_NOTIF);
    /* A ring's BIND, LISTEN and CONNECT would go past the filter; programs that try io_uring fall
     * back to epoll when the kernel says that it has none. */
    filter_call(filter, SYS_io_uring_setup, SECCOMP_RET_ERRNO | ENOSYS);
    filter_add(filter, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
}

static int filter_install(const struct filter *filter)
{
    struct sock_fprog program = {.len = filter->length,
                                 .filter = (struct sock_filter *)(uintptr_t)filter->code};
    /* Without WAIT_KILLABLE_RECV a signal that arrives while we work interrupts the call, and with
     * SA_RESTART the program and we can go on like this for ever. */
    unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    long fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    return fd < 0 ? -errno : (int)fd;
}

int seccomp_install(const struct seccomp_wants *wants, bool privileged)
{
    struct filter filter;
    filter_build(&filter, wants);
    if (privileged) { /* sudo and setuid programs go on working inside the instance */
        int fd = filter_install(&filter);
        if (fd != -EACCES)
            return fd;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return filter_install(&filter);
}

int seccomp_probe(void)
{
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0) {
        static const struct seccomp_wants all = {.connect = true, .getsockname = true};
        int fd = seccomp_install(&all, false);
        _exit(fd < 0 ? -fd : 0);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ENOSYS;
}

/* ---- in the supervisor ---------------------------------------------------------------------- */

void seccomp_tune(int notify_fd)
{
    /* The flags are passed by value; -EINVAL before Linux 6.6, which is only slower. */
    (void)ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
}

static enum seccomp_call call_of(int number)
{
    switch (number) {
    case SYS_bind:
        return SECCOMP_CALL_BIND;
    case SYS_listen:
        return SECCOMP_CALL_LISTEN;
    case SYS_connect:
        return SECCOMP_CALL_CONNECT;
    case SYS_getsockname:
        return SECCOMP_CALL_GETSOCKNAME;
    default:
        return SECCOMP_CALL_OTHER;
    }
}

int seccomp_receive(int notify_fd, struct seccomp_request *ret_request)
{
    /* RECV waits when nothing is there, so ask first. It cannot wait after POLLIN: the kernel
     * counts requests that came, not those that are left, and says ENOENT for one that went away.
     */
    struct pollfd state = {.fd = notify_fd, .events = POLLIN};
    if (poll(&state, 1, 0) < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (!(state.revents & POLLIN))
        return state.revents ? -EPIPE : -EAGAIN;
    struct seccomp_notif request;
    memset(&request, 0, sizeof request); /* EINVAL unless it is zero */
    if (ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_RECV, &request) < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    *ret_request = (struct seccomp_request){
        .id = request.id, .tid = (pid_t)request.pid, .call = call_of(request.data.nr)};
    for (size_t i = 0; i < 6; i++)
        ret_request->args[i] = request.data.args[i];
    return 0;
}

bool seccomp_still_waits(int notify_fd, uint64_t id)
{
    return ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
}

static int response_send(int notify_fd, struct seccomp_notif_resp *response)
{
    return ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_SEND, response) < 0 ? -errno : 0;
}

int seccomp_answer(int notify_fd, uint64_t id, int64_t value, int error)
{
    struct seccomp_notif_resp response = {
        .id = id, .val = error ? 0 : value, .error = error > 0 ? -error : error};
    return response_send(notify_fd, &response);
}

int seccomp_continue(int notify_fd, uint64_t id)
{
    struct seccomp_notif_resp response = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
    return response_send(notify_fd, &response);
}

int seccomp_descriptor(int notify_fd, const struct seccomp_request *request)
{
    int pidfd = process_open_thread(request->tid);
    if (pidfd < 0)
        return pidfd;
    int fd = process_descriptor(pidfd, (int)request->args[0]);
    close(pidfd);
    if (fd >= 0 && !seccomp_still_waits(notify_fd, request->id)) {
        close(fd); /* the thread is gone, and its number may be another's by now */
        return -ENOENT;
    }
    return fd;
}

int seccomp_address(int notify_fd, const struct seccomp_request *request,
                    struct sockaddr_storage *ret_address, socklen_t *ret_length)
{
    uint64_t length = (uint32_t)request->args[2];
    if (length < sizeof(sa_family_t) || length > sizeof *ret_address)
        return -EINVAL;
    struct sockaddr_storage address;
    memset(&address, 0, sizeof address);
    struct iovec here = {.iov_base = &address, .iov_len = length};
    struct iovec there = {.iov_base = (void *)(uintptr_t)request->args[1], .iov_len = length};
    ssize_t got = process_vm_readv(request->tid, &here, 1, &there, 1, 0);
    if (got < 0)
        return -errno;
    if ((uint64_t)got != length)
        return -EFAULT;
    if (!seccomp_still_waits(notify_fd, request->id))
        return -ENOENT;
    *ret_address = address;
    *ret_length = (socklen_t)length;
    return 0;
}

int seccomp_replace_descriptor(int notify_fd, const struct seccomp_request *request, int fd,
                               bool close_on_exec)
{
    struct seccomp_notif_addfd replacement = {.id = request->id,
                                              .flags = SECCOMP_ADDFD_FLAG_SETFD,
                                              .srcfd = (uint32_t)fd,
                                              .newfd = (uint32_t)request->args[0],
                                              .newfd_flags = close_on_exec ? O_CLOEXEC : 0};
    return ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &replacement) < 0 ? -errno : 0;
}

static int memory_write(pid_t tid, uint64_t place, const void *bytes, size_t length)
{
    struct iovec here = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    struct iovec there = {.iov_base = (void *)(uintptr_t)place, .iov_len = length};
    ssize_t put = process_vm_writev(tid, &here, 1, &there, 1, 0);
    if (put < 0)
        return -errno;
    return (size_t)put == length ? 0 : -EFAULT;
}

int seccomp_write_name(const struct seccomp_request *request, const struct sockaddr *address,
                       socklen_t length)
{
    socklen_t room;
    struct iovec here = {.iov_base = &room, .iov_len = sizeof room};
    struct iovec there = {.iov_base = (void *)(uintptr_t)request->args[2], .iov_len = sizeof room};
    if (process_vm_readv(request->tid, &here, 1, &there, 1, 0) != (ssize_t)sizeof room)
        return -EFAULT;
    if (room > INT32_MAX)
        return -EINVAL;
    /* getsockname(2): the address is cut to the room, the length is the whole one. */
    int error =
        memory_write(request->tid, request->args[1], address, room < length ? room : length);
    return error ? error : memory_write(request->tid, request->args[2], &length, sizeof length);
}
