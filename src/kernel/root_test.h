/* For tests that need root's rights: a network namespace of their own, waiting with a bound, and
 * being skipped where the rights are not there. Only tests include this. */
#pragma once

#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Ends the program as a skipped test (TAP) unless it is root. */
static inline void root_test_require(void)
{
    if (geteuid() == 0)
        return;
    printf("1..0 # SKIP needs root\n");
    exit(0);
}

/* Leaves the machine's network: ports here are nobody else's. */
static inline void root_test_network(void)
{
    struct ifreq loopback = {.ifr_flags = IFF_UP | IFF_RUNNING};
    strcpy(loopback.ifr_name, "lo");
    int fd = unshare(CLONE_NEWNET) ? -1 : socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback)) {
        printf("1..0 # SKIP no network namespace can be had\n");
        exit(0);
    }
    close(fd);
}

enum { ROOT_TEST_WAIT_MS = 10000, ROOT_TEST_STEP_MS = 5 };

/* Waits until CONDITION holds; false: it did not within ROOT_TEST_WAIT_MS. */
#define ROOT_TEST_UNTIL(condition)                                                                 \
    ({                                                                                             \
        int waited_ms = 0;                                                                         \
        while (!(condition) && waited_ms < ROOT_TEST_WAIT_MS) {                                    \
            poll(NULL, 0, ROOT_TEST_STEP_MS);                                                      \
            waited_ms += ROOT_TEST_STEP_MS;                                                        \
        }                                                                                          \
        waited_ms < ROOT_TEST_WAIT_MS;                                                             \
    })
