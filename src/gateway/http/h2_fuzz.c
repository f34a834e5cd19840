/* Arbitrary bytes as HTTP/2, to both of its ends in a whole worker. The first byte says how:
 *   1: to the client's end, behind a preface and SETTINGS; else to the endpoint's, in answer to
 *      requests
 *   2: in two pieces, with a turn between them
 *   4: the other side, an instance or a client, breaks off before the end
 *   8: time passes before it does */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http/h1_rig.h"

enum { TURNS = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void turns(struct rig *rig)
{
    for (int i = 0; i < TURNS; i++)
        loop_turn(rig->worker.loop, 0);
}

static void empty(int fd)
{
    static char bytes[65536];
    while (fd >= 0 && recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
}

static void say(struct rig *rig, int fd, const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN)
            return;
        at += sent > 0 ? sent : 0;
        length -= sent > 0 ? (size_t)sent : 0;
        turns(rig);
        empty(fd);
    }
    turns(rig);
}

static int origin_soon(struct rig *rig)
{
    turns(rig);
    return accept4(rig->instances[0], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

static void say_all(struct rig *rig, int fd, int flags, const uint8_t *bytes, size_t length)
{
    size_t first = flags & 2 ? length / 2 : length;
    say(rig, fd, bytes, first);
    say(rig, fd, bytes + first, length - first);
}

/* The client's end; an instance answers the first request that reaches it. */
static void to_server(struct rig *rig, int flags, const uint8_t *bytes, size_t length)
{
    static const char begin[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n";
    int client = rig_client(rig);
    say(rig, client, begin, sizeof begin - 1);
    say_all(rig, client, flags, bytes, length);
    int origin = origin_soon(rig);
    if (origin >= 0 && !(flags & 4))
        say(rig, origin, answer, sizeof answer - 1);
    if (flags & 8)
        rig_pass(rig, 31000);
    empty(origin);
    if (origin >= 0)
        close(origin);
    turns(rig);
    empty(client);
    close(client);
}

/* The endpoint's end, in answer to two requests, one of which has a body. */
static void to_client(struct rig *rig, int flags, const uint8_t *bytes, size_t length)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n";
    static const char put[] = "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "5\r\nhello\r\n";
    int one = rig_client(rig), other = rig_client(rig);
    say(rig, one, get, sizeof get - 1);
    say(rig, other, put, sizeof put - 1);
    int origin = origin_soon(rig);
    if (origin >= 0)
        say_all(rig, origin, flags, bytes, length);
    if (flags & 4)
        close(one);
    else
        say(rig, other, "0\r\n\r\n", 5);
    if (flags & 8)
        rig_pass(rig, 61000);
    empty(one);
    empty(other);
    if (origin >= 0)
        close(origin);
    turns(rig);
    if (!(flags & 4))
        close(one);
    close(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    void *state = NULL;
    if (!size)
        return 0;
    rig_begin(&state);
    struct rig *rig = state;
    rig->service.gateway.speaks = data[0] & 1 ? SPEAKS_HTTP : SPEAKS_HTTP2;
    rig->service.gateway.retry_tries = 0;
    rig->service.gateway.response_ms = rig->service.gateway.read_ms = 30000;
    rig_start(rig, 1);
    (data[0] & 1 ? to_server : to_client)(rig, data[0], data + 1, size - 1);
    turns(rig);
    rig_end(&state);
    return 0;
}
