/* What tests of relays share: a worker without its generation, sockets on loopback, bytes that can
 * be told from each other. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "event/loop.h"
#include "gateway/relay/relay_worker.h"

static inline int tcp_listen(struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *ret_address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof *ret_address;
    assert_int_equal(bind(fd, (struct sockaddr *)ret_address, length), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &length), 0);
    return fd;
}

static inline int tcp_connect(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)address, sizeof *address), 0);
    return fd;
}

/* Two connected TCP sockets; the second is non-blocking (ours). */
static inline void tcp_pair(int *ret_theirs, int *ret_ours)
{
    struct sockaddr_in address;
    int listener = tcp_listen(&address);
    *ret_theirs = tcp_connect(&address);
    *ret_ours = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(*ret_ours >= 0);
    close(listener);
}

/* A byte of an endless text in which each place looks different from its neighbours. */
static inline char text_at(uint64_t place)
{
    return (char)(place * 31 + (place >> 8) * 7 + (place >> 16));
}

static inline void reset_close(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
}

static inline int fds_open(void)
{
    int count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}
