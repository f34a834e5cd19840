#include "upstream/check_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "tls/session.h"

static uint64_t now_ms = 7000000;

uint64_t __wrap_clock_monotonic_ms(void);
uint64_t __wrap_clock_monotonic_ms(void)
{
    return now_ms;
}

uint64_t rig_now(void)
{
    return now_ms;
}

void rig_pass(struct loop *loop, uint64_t ms)
{
    now_ms += ms;
    for (int i = 0; i < 40;
         i++) /* connect, accept, ask, answer: a turn each, and loopback waits for nobody */
        assert_int_equal(loop_turn(loop, 0), 0);
}

struct rig_connection {
    LIST_ENTRY(rig_connection) next;
    struct rig_server *server;
    struct watch watch;
    struct tls_session *tls;
    int fd;
};

static void connection_end(struct rig_connection *connection)
{
    watch_stop(connection->server->loop, &connection->watch);
    tls_session_free(connection->tls);
    close(connection->fd);
    connection->server->open--;
    LIST_REMOVE(connection, next);
    free(connection);
}

static ssize_t connection_read(struct rig_connection *connection, char *bytes, size_t size)
{
    bool wants_write;
    if (connection->tls)
        return tls_session_read(connection->tls, bytes, size, &wants_write);
    return recv(connection->fd, bytes, size, MSG_DONTWAIT);
}

static void connection_write(struct rig_connection *connection, const char *text)
{
    bool wants_write;
    if (connection->tls)
        (void)tls_session_write(connection->tls, text, strlen(text), &wants_write);
    else
        (void)send(connection->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void connection_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct rig_connection *connection = watch->owner;
    struct rig_server *server = connection->server;
    char bytes[sizeof server->asked] = "";
    ssize_t count = connection_read(connection, bytes, sizeof bytes - 1);
    if (count == -EAGAIN)
        return;
    if (count <= 0) {
        connection_end(connection);
        return;
    }
    snprintf(server->asked, sizeof server->asked, "%s", bytes);
    for (int i = 0; server->answer && i < (server->endless ? 10000 : 1); i++)
        connection_write(connection, server->answer);
    if (server->closes)
        connection_end(connection);
}

static void server_accepts(struct watch *watch, unsigned events)
{
    (void)events;
    struct rig_server *server = watch->owner;
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(fd >= 0);
    server->accepted++;
    if (server->closes && !server->answer) {
        close(fd);
        return;
    }
    struct rig_connection *connection = calloc(1, sizeof *connection);
    connection->server = server;
    connection->fd = fd;
    if (server->tls)
        connection->tls = tls_session_accept(server->tls, fd);
    LIST_INSERT_HEAD(&server->connections, connection, next);
    server->open++;
    if (!server->silent)
        assert_int_equal(watch_start(server->loop, &connection->watch, fd, WATCH_READ,
                                     connection_ready, connection),
                         0);
}

static void server_receives(struct watch *watch, unsigned events)
{
    (void)events;
    struct rig_server *server = watch->owner;
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t count =
        recvfrom(server->fd, server->asked, sizeof server->asked - 1, 0, (void *)&from, &length);
    assert_true(count >= 0);
    server->asked[count] = '\0';
    server->accepted++;
    if (server->answer)
        sendto(server->fd, server->answer, strlen(server->answer), 0, (void *)&from, length);
}

void rig_server_start(struct rig_server *server, struct loop *loop, bool datagram)
{
    socklen_t length = sizeof server->address;
    *server = (struct rig_server){.loop = loop, .datagram = datagram};
    server->address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    server->fd = socket(AF_INET, (datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(server->fd, (void *)&server->address, length), 0);
    assert_int_equal(getsockname(server->fd, (void *)&server->address, &length), 0);
    if (!datagram)
        assert_int_equal(listen(server->fd, 1024), 0);
    assert_int_equal(watch_start(loop, &server->watch, server->fd, WATCH_READ,
                                 datagram ? server_receives : server_accepts, server),
                     0);
}

void rig_server_deafen(struct rig_server *server)
{
    watch_stop(server->loop, &server->watch);
    fd_drop(&server->fd);
}

void rig_server_stop(struct rig_server *server)
{
    rig_server_deafen(server);
    while (!LIST_EMPTY(&server->connections))
        connection_end(LIST_FIRST(&server->connections));
}
