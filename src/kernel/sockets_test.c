#include "kernel/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernel/process.h"

/* A socket on 127.0.0.1 with a port that the kernel chose; TCP ones listen. */
static int socket_make(int type, uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void we_hold_our_own_port(void **state)
{
    (void)state;
    pid_t own = getpid();
    for (int udp = 0; udp < 2; udp++) {
        uint16_t port;
        char name[PROCESS_NAME_BYTES];
        struct port_holder holder;
        int fd = socket_make(udp ? SOCK_DGRAM : SOCK_STREAM, &port);
        assert_int_equal(sockets_port_holder(udp, port, NULL, 0, &holder), 0);
        assert_int_equal(holder.pid, own);
        assert_int_equal(holder.uid, geteuid());
        assert_string_equal(holder.name, process_name(own, name));
        assert_int_equal(sockets_port_holder(udp, port, &own, 1, &holder), -ENOENT);
        close(fd);
        assert_int_equal(sockets_port_holder(udp, port, NULL, 0, &holder), -ENOENT);
    }
}

static void a_python_listener_is_named(void **state)
{
    (void)state;
    static const char program[] = "import socket, sys, time\n"
                                  "s = socket.socket(socket.AF_INET6)\n"
                                  "s.bind(('::', 0)); s.listen()\n"
                                  "print(s.getsockname()[1], flush=True); time.sleep(30)\n";
    int output[2];
    char line[32] = "";
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(output[1], STDOUT_FILENO);
        execlp("python3", "python3", "-c", program, NULL);
        _exit(127);
    }
    close(output[1]);
    if (read(output[0], line, sizeof line - 1) <= 0) {
        print_message("no python3 or no IPv6 here\n");
        waitpid(pid, NULL, 0);
        close(output[0]);
        return;
    }
    int port = 0;
    assert_int_equal(sscanf(line, "%d", &port), 1);
    struct port_holder holder;
    uint16_t ports[4];
    assert_int_equal(sockets_port_holder(false, (uint16_t)port, NULL, 0, &holder), 0);
    assert_int_equal(holder.pid, pid);
    assert_string_equal(holder.name, "python3");
    assert_int_equal(sockets_listening(&pid, 1, ports, 4), 1);
    assert_int_equal(ports[0], port);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(output[0]);
}

static void listening_ports_are_sorted_and_each_once(void **state)
{
    (void)state;
    uint16_t ports[8], found[8];
    int fds[3];
    pid_t pids[2] = {getpid(), getpid()};
    for (int at = 0; at < 3; at++)
        fds[at] = socket_make(SOCK_STREAM, &ports[at]);
    assert_int_equal(sockets_listening(pids, 2, found, 8), 3);
    assert_true(found[0] < found[1] && found[1] < found[2]);
    assert_int_equal(sockets_listening(pids, 2, found, 2), 2);
    /* A second socket on one of the ports, as workers have it. */
    struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons(ports[0]), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int second = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (second >= 0) {
        assert_int_equal(bind(second, (struct sockaddr *)&six, sizeof six) | listen(second, 1), 0);
        assert_int_equal(sockets_listening(pids, 2, found, 8), 3);
        close(second);
    }
    for (int at = 0; at < 3; at++)
        close(fds[at]);
    assert_int_equal(sockets_listening(pids, 2, found, 8), 0);
    assert_int_equal(sockets_listening(pids, 0, found, 8), 0);
}

/* Four that share a port listen in another order than they were made in. */
static void shared_listeners_in_their_order(int family)
{
    static const int order[] = {2, 0, 3, 1};
    struct sockaddr_storage any = {.ss_family = (sa_family_t)family};
    socklen_t length = family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fds[4], one = 1;
    struct stat status;
    uint32_t before = 0;
    for (int at = 0; at < 4; at++) {
        fds[at] = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        setsockopt(fds[at], SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
        assert_int_equal(bind(fds[at], (struct sockaddr *)&any, length), 0);
        assert_int_equal(getsockname(fds[at], (struct sockaddr *)&any, &length), 0);
    }
    for (int at = 0; at < 4; at++)
        assert_int_equal(listen(fds[order[at]], 1), 0);
    uint16_t port = ntohs(((struct sockaddr_in *)&any)->sin_port);
    for (uint32_t at = 0; at < 4; at++) {
        assert_int_equal(fstat(fds[order[at]], &status), 0);
        assert_int_equal(sockets_listening_before(port, status.st_ino, &before), 0);
        assert_int_equal(before, at);
    }
    close(fds[0]);
    assert_int_equal(sockets_listening_before(port, status.st_ino, &before), 0);
    assert_int_equal(before, 2);
    for (int at = 1; at < 4; at++)
        close(fds[at]);
    assert_int_equal(sockets_listening_before(port, status.st_ino, &before), -ENOENT);
}

static void shared_listeners_are_in_order(void **state)
{
    (void)state;
    shared_listeners_in_their_order(AF_INET);
    int six = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (six >= 0)
        shared_listeners_in_their_order(AF_INET6);
    close(six);
}

struct connections_seen {
    ino_t inode;
    uint16_t port;
    int count; /* at the port */
    bool seen; /* the one of that inode, at the port */
};

static void connection_see(void *owner, uint16_t port, uint64_t inode)
{
    struct connections_seen *seen = owner;
    seen->count += port == seen->port;
    seen->seen |= port == seen->port && inode == seen->inode;
}

static void connections_are_listed(void **state)
{
    (void)state;
    struct connections_seen at_port = {0};
    struct stat status;
    int clients[3], accepted[3];
    int listener = socket_make(SOCK_STREAM, &at_port.port);
    for (int at = 0; at < 3; at++) {
        clients[at] = connect_to(at_port.port);
        accepted[at] = accept(listener, NULL, NULL);
    }
    assert_int_equal(fstat(accepted[1], &status), 0);
    at_port.inode = status.st_ino;
    struct connections_seen all = at_port;
    struct connections_seen elsewhere = at_port;
    elsewhere.port = 0;
    assert_int_equal(sockets_established(at_port.port, connection_see, &at_port), 0);
    assert_int_equal(at_port.count, 3);
    assert_true(at_port.seen);
    assert_int_equal(sockets_established(0, connection_see, &all), 0);
    assert_int_equal(all.count, 3);
    assert_true(all.seen);
    close(accepted[0]);
    at_port.count = 0;
    assert_int_equal(sockets_established(at_port.port, connection_see, &at_port), 0);
    assert_int_equal(at_port.count, 2);
    assert_int_equal(sockets_established(all.port, connection_see, &elsewhere), 0);
    assert_int_equal(elsewhere.count, 0); /* what is told is of the port that was asked for */
    for (int at = 0; at < 3; at++)
        close(clients[at]);
    close(accepted[1]);
    close(accepted[2]);
    close(listener);
}

static void the_network_namespace_has_a_cookie(void **state)
{
    (void)state;
    assert_true(sockets_netns_cookie() != 0);
    assert_true(sockets_netns_cookie() == sockets_netns_cookie());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(we_hold_our_own_port),
        cmocka_unit_test(a_python_listener_is_named),
        cmocka_unit_test(listening_ports_are_sorted_and_each_once),
        cmocka_unit_test(shared_listeners_are_in_order),
        cmocka_unit_test(connections_are_listed),
        cmocka_unit_test(the_network_namespace_has_a_cookie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
