#include "kernel/syscalls.h"

#include <assert.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0
#endif

static const int basic[] = {
    SYS_read,           SYS_write,        SYS_close,
    SYS_exit,           SYS_exit_group,   SYS_brk,
    SYS_mmap,           SYS_munmap,       SYS_mremap,
    SYS_madvise,        SYS_futex,        SYS_getrandom,
    SYS_clock_gettime,  SYS_gettimeofday, SYS_rt_sigreturn,
    SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_getpid,
    SYS_gettid,         SYS_tgkill,       SYS_restart_syscall,
};

enum { BASIC_COUNT = sizeof basic / sizeof *basic };

int syscalls_allow(const int *numbers, size_t count)
{
    if (!ARCHITECTURE)
        return -ENOTSUP;
    assert(count + BASIC_COUNT <= SYSCALLS_MAX);
    const uint32_t refuse = SECCOMP_RET_ERRNO | ENOSYS;
    struct sock_filter code[SYSCALLS_MAX * 2 + 8];
    unsigned short length = 0;
#define ADD(...) (code[length++] = (struct sock_filter)__VA_ARGS__)
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)));
    ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0));
    ADD(BPF_STMT(BPF_RET | BPF_K, refuse)); /* the numbers below mean something else there */
    ADD(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
    for (size_t i = 0; i < BASIC_COUNT + count; i++) {
        int number = i < BASIC_COUNT ? basic[i] : numbers[i - BASIC_COUNT];
        ADD(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1));
        ADD(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    ADD(BPF_STMT(BPF_RET | BPF_K, refuse));
#undef ADD
    struct sock_fprog program = {.len = length, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return -errno;
    return 0;
}
