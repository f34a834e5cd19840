#include "steering/connections.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static struct connections *connections;

static int connections_make(void **state)
{
    (void)state;
    loop = loop_new();
    connections = loop ? connections_new(loop) : NULL;
    return connections ? 0 : -1;
}

static int connections_remove(void **state)
{
    (void)state;
    connections_free(connections);
    loop_free(loop);
    return 0;
}

static void turn(void)
{
    assert_int_equal(loop_turn(loop, 0), 0);
}

struct pairs { /* connections to a listener of our own, both ends of them */
    int listener;
    uint16_t port;
    int clients[3];
    int accepted[3];
};

static void pairs_open(struct pairs *pairs)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    pairs->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(pairs->listener, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(pairs->listener, 16), 0);
    assert_int_equal(getsockname(pairs->listener, (struct sockaddr *)&address, &length), 0);
    pairs->port = ntohs(address.sin_port);
    for (int at = 0; at < 3; at++) {
        pairs->clients[at] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(pairs->clients[at], (struct sockaddr *)&address, length), 0);
        pairs->accepted[at] = accept(pairs->listener, NULL, NULL);
        assert_true(pairs->accepted[at] >= 0);
    }
}

static void pairs_close(const struct pairs *pairs)
{
    for (int at = 0; at < 3; at++) {
        close(pairs->clients[at]);
        close(pairs->accepted[at]);
    }
    close(pairs->listener);
}

static void those_at_the_port_are_counted(void **state)
{
    (void)state;
    struct pairs pairs;
    pid_t own = getpid();
    pairs_open(&pairs);
    assert_int_equal(connections_held(connections, &own, 1, pairs.port), 3);
    assert_int_equal(connections_held(connections, &own, 0, pairs.port), 0);
    assert_int_equal(connections_held(connections, &own, 1, pairs.port), 3);
    pairs_close(&pairs);
}

static void a_turn_has_one_answer_and_the_next_another(void **state)
{
    (void)state;
    struct pairs pairs;
    pid_t own = getpid();
    pairs_open(&pairs);
    turn();
    assert_int_equal(connections_held(connections, &own, 1, pairs.port), 3);
    shutdown(pairs.accepted[0], SHUT_WR);
    assert_int_equal(connections_held(connections, &own, 1, pairs.port), 3);
    turn();
    assert_int_equal(connections_held(connections, &own, 1, pairs.port), 2);
    pairs_close(&pairs);
}

static void another_port_in_the_same_turn_is_answered_too(void **state)
{
    (void)state;
    struct pairs one, other;
    pid_t own = getpid();
    pairs_open(&one);
    pairs_open(&other);
    shutdown(other.accepted[0], SHUT_WR);
    turn();
    assert_int_equal(connections_held(connections, &own, 1, one.port), 3);
    assert_int_equal(connections_held(connections, &own, 1, other.port), 2);
    assert_int_equal(connections_held(connections, &own, 1, one.port), 3);
    pairs_close(&one);
    pairs_close(&other);
}

static void what_several_processes_hold_counts_once(void **state)
{
    (void)state;
    struct pairs pairs;
    pairs_open(&pairs);
    pid_t pids[2] = {getpid(), fork()};
    if (pids[1] == 0) {
        pause();
        _exit(0);
    }
    turn();
    assert_int_equal(connections_held(connections, pids, 2, pairs.port), 3);
    assert_int_equal(connections_held(connections, pids + 1, 1, pairs.port), 3);
    kill(pids[1], SIGKILL);
    waitpid(pids[1], NULL, 0);
    pairs_close(&pairs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_CONNECTIONS(test)                                                                     \
    cmocka_unit_test_setup_teardown(test, connections_make, connections_remove)
        WITH_CONNECTIONS(those_at_the_port_are_counted),
        WITH_CONNECTIONS(a_turn_has_one_answer_and_the_next_another),
        WITH_CONNECTIONS(another_port_in_the_same_turn_is_answered_too),
        WITH_CONNECTIONS(what_several_processes_hold_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
