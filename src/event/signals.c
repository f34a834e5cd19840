#include "event/signals.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <unistd.h>

struct signals {
    struct loop *loop;
    struct watch watch;
    signals_call *call;
    void *owner;
};

static void signals_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct signals *signals = watch->owner;
    struct signalfd_siginfo info;
    while (read(watch->fd, &info, sizeof info) == (ssize_t)sizeof info)
        signals->call(signals->owner, (int)info.ssi_signo, (int)info.ssi_pid);
}

static sigset_t set_of(const int *numbers)
{
    sigset_t set;
    sigemptyset(&set);
    for (; *numbers; numbers++)
        sigaddset(&set, *numbers);
    return set;
}

void signals_block(const int *numbers)
{
    sigset_t set = set_of(numbers);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

struct signals *signals_new(struct loop *loop, const int *numbers, signals_call *call,
                            void *owner)
{
    struct signals *signals = calloc(1, sizeof *signals);
    if (!signals)
        return NULL;
    *signals = (struct signals){.loop = loop, .call = call, .owner = owner};
    sigset_t set = set_of(numbers);
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    int error = fd < 0 ? -errno : 0;
    if (!error)
        error = watch_start(loop, &signals->watch, fd, WATCH_READ, signals_ready, signals);
    if (error) {
        if (fd >= 0)
            close(fd);
        free(signals);
        errno = -error;
        return NULL;
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signals;
}

void signals_free(struct signals *signals)
{
    if (!signals)
        return;
    int fd = signals->watch.fd;
    watch_stop(signals->loop, &signals->watch);
    close(fd);
    free(signals);
}

/* The kernel's own idea of a disposition (rt_sigaction(2)); libc's differs. All zero: the default. */
struct kernel_action {
    unsigned long words[4];
};

void signals_unblock_all(void)
{
    static const struct kernel_action by_default;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* By the system call, since libc refuses to touch the two signals that it keeps for threads, and
     * whoever started us may have left them ignored. SIGKILL and SIGSTOP answer EINVAL. */
    for (int number = 1; number < NSIG; number++)
        syscall(SYS_rt_sigaction, number, &by_default, NULL, (size_t)NSIG / 8);
}
