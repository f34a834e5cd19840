/* Preloaded, it makes the wall clock of a process leap: by so many seconds as the file that
 * CHAOS_LEAP names says now. It is mapped before main, so a sandbox does not keep the leaps out, which
 * is why this is not libfaketime. The monotonic clock is left alone, as the kernel does it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *leap;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void map(void)
{
    const char *path = getenv("CHAOS_LEAP");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *leap, PROT_READ, MAP_SHARED, fd, 0);
    leap = at == MAP_FAILED ? NULL : at;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (fd >= 0)
        close(fd);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (!real)
        map();
    int result = real(clock, now);
    if (result == 0 && leap && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *leap;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    (void)zone;
    struct timespec time;
    int result = clock_gettime(CLOCK_REALTIME, &time);
    if (result == 0)
        *now = (struct timeval){time.tv_sec, time.tv_nsec / 1000};
    return result;
}

time_t time(time_t *ret_now)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (ret_now)
        *ret_now = now.tv_sec;
    return now.tv_sec;
}
