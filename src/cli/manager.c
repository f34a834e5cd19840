#include "cli/manager.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"

enum { MESSAGE_BYTES_MAX = 512 };

static struct {
    enum manager_phase phase;
    uint32_t generation;
} told;

/* A datagram to a socket of the file system, or to an abstract one ("@…"). Who does not take it is
 * not waited for. */
static void message_send(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = path ? strlen(path) : 0;
    if (length < 2 || length >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, length);
    if (path[0] == '@')
        address.sun_path[0] = 0;
    scoped_fd int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
}

static void phase_send(enum manager_phase phase, const char *status)
{
    char text[MESSAGE_BYTES_MAX];
    switch (phase) {
    case MANAGER_STARTING:
        snprintf(text, sizeof text, "STATUS=%s", status);
        break;
    case MANAGER_READY:
        snprintf(text, sizeof text, "READY=1\nSTATUS=%s", status);
        break;
    case MANAGER_RELOADING:
        snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=%s",
                 (unsigned long long)(clock_monotonic_ns() / 1000), status);
        break;
    case MANAGER_STOPPING:
        snprintf(text, sizeof text, "STOPPING=1\nSTATUS=%s", status);
        break;
    }
    message_send(text);
}

void manager_phase(enum manager_phase phase, uint32_t generation, const char *status)
{
    bool reloaded =
        phase == MANAGER_READY && told.phase == MANAGER_READY && generation != told.generation;
    if (phase == told.phase && !reloaded)
        return;
    if (reloaded)
        phase_send(MANAGER_RELOADING, "reloading");
    phase_send(phase, status);
    told.phase = phase;
    told.generation = generation;
}

/* ---- the watchdog ----------------------------------------------------------------------------
 */

static struct timer watchdog;

/* Half of the time after which it takes us for hung; 0: it does not. */
static uint64_t watchdog_period_ms(void)
{
    const char *period = getenv("WATCHDOG_USEC");
    const char *whose = getenv("WATCHDOG_PID");
    if (!period || (whose && strtoll(whose, NULL, 10) != getpid()))
        return 0;
    return strtoull(period, NULL, 10) / 1000 / 2;
}

static void watchdog_due(struct timer *timer)
{
    message_send("WATCHDOG=1");
    manager_watchdog(timer->owner);
}

void manager_watchdog(struct loop *loop)
{
    uint64_t period_ms = watchdog_period_ms();
    if (period_ms)
        (void)timer_start(loop, &watchdog, period_ms, watchdog_due, loop);
}

void manager_watchdog_end(struct loop *loop)
{
    timer_stop(loop, &watchdog);
}

void manager_watchdog_take(void)
{
    char pid[16];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    if (getenv("WATCHDOG_PID"))
        (void)setenv("WATCHDOG_PID", pid, 1);
}

void manager_main_process(pid_t pid)
{
    char text[MESSAGE_BYTES_MAX];
    snprintf(text, sizeof text, "MAINPID=%d", pid);
    message_send(text);
}
