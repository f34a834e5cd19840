/* The direct path in the kernel, with tiny servers as instances (steer_rig.h). */
#include "kernel/steer_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "kernel/steer_rig.h"

/* ---- balancing
 * ------------------------------------------------------------------------------------ */

/* A late packet of a connection that has just gone is looked up as well, and takes a turn: a share
 * may be one off. */
static void assert_turns(int count, int expected)
{
    assert_in_range(count, expected - 1, expected + 1);
}

static void thousand_connections_go_round_evenly(void **state)
{
    (void)state;
    int counts[SLOTS];
    start_four(RIG_V4);
    rotate(0, STEER_CYCLE, 0, 4);
    connect_many("127.0.0.1", PORT, 1000, NULL, counts);
    for (int i = 0; i < 4; i++)
        assert_in_range(counts[i], 249, 251);
}

static void least_connections_are_even_held_or_not(void **state)
{
    (void)state;
    int counts[SLOTS];
    static int held[1000];
    start_four(RIG_V4);
    rotate(0, STEER_LEAST, 0, 4);
    connect_many("127.0.0.1", PORT, 1000, held, counts);
    for (uint32_t i = 0; i < 4; i++) {
        assert_in_range(counts[i], 249, 251);
        live_wait(i, counts[i]);
    }
    /* All of one end: the next as many go to that one. */
    for (int i = 0; i < 1000; i++) {
        char byte = 'x';
        assert_int_equal(send(held[i], &byte, 1, 0), 1);
        assert_int_equal(recv(held[i], &byte, 1, 0), 1);
        assert_int_equal(byte, 'x');
    }
    int freed = 0;
    for (int i = 0; i < 1000 && freed < 100; i += 4, freed++)
        close(held[i]); /* in turn: all of the same one */
    int64_t live;
    uint64_t total;
    int lowest = 0;
    for (uint32_t i = 0; i < 4; i++) {
        usleep(50000);
        steer_counts(steer, i, &live, &total);
        if (live < 200)
            lowest = (int)i;
        assert_int_equal(total, counts[i]);
    }
    static int more[100];
    connect_many("127.0.0.1", PORT, 100, more, counts);
    assert_int_equal(counts[lowest], 100);
    for (int i = 0; i < 100; i++)
        close(more[i]);
    for (int i = 0; i < 1000; i++)
        if (i >= 400 || i % 4)
            close(held[i]);
    for (uint32_t i = 0; i < 4; i++)
        live_wait(i, 0);
}

static void short_connections_under_least_are_even(void **state)
{
    (void)state;
    int counts[SLOTS];
    start_four(RIG_V4);
    rotate(0, STEER_LEAST, 0, 4);
    for (int i = 0; i < 1000; i++) {
        int fd;
        int who = rig_connect("127.0.0.1", PORT, &fd);
        close(fd);
        if (i == 0)
            memset(counts, 0, sizeof counts);
        counts[who]++;
        for (uint32_t slot = 0; slot < 4; slot++)
            live_wait(slot, 0);
    }
    for (int i = 0; i < 4; i++)
        assert_in_range(counts[i], 249, 251);
}

static void weights_are_kept(void **state)
{
    (void)state;
    int counts[SLOTS];
    const uint32_t slots[] = {0, 0, 1, 0, 2, 0, 0}; /* 5:1:1 */
    start_four(RIG_V4);
    assert_int_equal(steer_rotation_set(steer, 0, STEER_CYCLE, slots, 7), 0);
    connect_many("127.0.0.1", PORT, 700, NULL, counts);
    assert_turns(counts[0], 500);
    assert_turns(counts[1], 100);
    assert_turns(counts[2], 100);
    assert_int_equal(counts[3], 0);
}

static void a_client_keeps_its_instance_under_hash(void **state)
{
    (void)state;
    int counts[SLOTS];
    start_four(RIG_V4);
    rotate(0, STEER_CLIENT_HASH, 0, 4);
    connect_many("127.0.0.1", PORT, 50, NULL, counts);
    int used = 0;
    for (int i = 0; i < 4; i++)
        used += counts[i] > 0;
    assert_int_equal(used, 1);
}

static void large_rotations_reach_everybody(void **state)
{
    (void)state;
    enum { COUNT = 40 }; /* > STEER_ROTATION_SMALL */
    int counts[SLOTS];
    struct rig_server server = {.kind = RIG_V4, .port = PORT};
    for (uint32_t slot = 0; slot < COUNT; slot++)
        start(slot, &server);
    rotate(0, STEER_CYCLE, 0, COUNT);
    connect_many("127.0.0.1", PORT, 2 * COUNT, NULL, counts);
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(counts[i], 2);
    static int held[400];
    rotate(0, STEER_LEAST, 0, COUNT); /* two random choices: much better than chance */
    connect_many("127.0.0.1", PORT, 400, held, counts);
    for (int i = 0; i < COUNT; i++)
        assert_in_range(counts[i], 5, 14);
    for (int i = 0; i < 400; i++)
        close(held[i]);
    rotate(0, STEER_CYCLE, 0, 2); /* and back to a small one */
    connect_many("127.0.0.1", PORT, 10, NULL, counts);
    assert_int_equal(counts[0] + counts[1], 10);
}

static void draining_leaves_connections(void **state)
{
    (void)state;
    int counts[SLOTS];
    int held[8];
    char byte = 'd';
    start_four(RIG_V4);
    rotate(0, STEER_CYCLE, 0, 4);
    connect_many("127.0.0.1", PORT, 8, held, counts);
    rotate(0, STEER_CYCLE, 1, 3);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(send(held[i], &byte, 1, 0), 1);
        assert_int_equal(recv(held[i], &byte, 1, 0), 1);
        close(held[i]);
    }
    connect_many("127.0.0.1", PORT, 30, NULL, counts);
    assert_int_equal(counts[0], 0);
    rotate(0, STEER_CYCLE, 0, 0);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), -ECONNREFUSED);
}

static void the_dead_are_passed_over(void **state)
{
    (void)state;
    int counts[SLOTS];
    start_four(RIG_V4);
    rotate(0, STEER_CYCLE, 0, 4);
    rig_instance_kill(&instances[2]);
    connect_many("127.0.0.1", PORT, 100, NULL, counts); /* still in rotation */
    assert_int_equal(counts[2], 0);
}

static int load_until_killed(int report)
{
    int refused = 0;
    for (int i = 0; i < 3000; i++)
        refused += rig_connect("127.0.0.1", PORT, NULL) == -ECONNREFUSED;
    return write(report, &refused, sizeof refused) == (ssize_t)sizeof refused ? 0 : 1;
}

static void nobody_is_refused_when_one_of_four_is_killed(void **state)
{
    (void)state;
    int report[2];
    int refused = -1;
    bool changed;
    start_four(RIG_V4);
    rotate(0, STEER_LEAST, 0, 4);
    assert_int_equal(steer_migrate_enable(steer, &changed), 0);
    assert_int_equal(pipe(report), 0);
    pid_t client = fork();
    if (client == 0)
        _exit(load_until_killed(report[1]));
    for (uint32_t i = 0; i < 3; i++) {
        usleep(30000);
        rig_instance_kill(&instances[i]);
    }
    assert_int_equal(read(report[0], &refused, sizeof refused), sizeof refused);
    assert_int_equal(refused, 0);
    waitpid(client, NULL, 0);
    close(report[0]);
    close(report[1]);
}

/* ---- kinds of listeners
 * ---------------------------------------------------------------------------- */

static void each_family_finds_its_listener(void **state)
{
    (void)state;
    int counts[SLOTS];
    start(0, &(struct rig_server){.kind = RIG_V4, .port = PORT, .second = RIG_V6ONLY});
    start(1, &(struct rig_server){.kind = RIG_DUAL, .port = PORT});
    start(2, &(struct rig_server){.kind = RIG_V6ONLY, .port = PORT});
    rotate(0, STEER_CYCLE, 0, 3);
    connect_many("127.0.0.1", PORT, 40, NULL, counts);
    assert_true(counts[0] > 0 && counts[1] > 0 && counts[2] == 0);
    connect_many("::1", PORT, 30, NULL, counts);
    assert_true(counts[0] == 10 && counts[1] == 10 && counts[2] == 10);
    assert_int_equal(rig_connect(text_of(1), PORT, NULL), 1);
    assert_true(steer_has_listener(steer, 1, STEER_TCP, PORT, 4));
    assert_true(steer_has_listener(steer, 1, STEER_TCP, PORT, 6));
    assert_false(steer_has_listener(steer, 2, STEER_TCP, PORT, 4));
    assert_int_equal(event_wait(STEER_EVENT_LISTEN, 1, epoch)->family, 46);
}

static void several_listeners_of_one_instance_share(void **state)
{
    (void)state;
    int counts[SLOTS];
    struct rig_server server = {.kind = RIG_V4, .port = PORT, .workers = 4};
    start(0, &server);
    start(1, &server);
    rotate(0, STEER_CYCLE, 0, 2);
    connect_many("127.0.0.1", PORT, 100, NULL, counts);
    assert_turns(counts[0], 50);
    assert_turns(counts[1], 50);
    size_t listens = 0;
    for (size_t i = 0; i < seen_count; i++)
        listens += seen[i].kind == STEER_EVENT_LISTEN;
    assert_int_equal(listens, 8);
}

static void sub_cgroups_belong_to_their_instance(void **state)
{
    (void)state;
    start(0, &(struct rig_server){.kind = RIG_V4, .port = PORT, .in_child_cgroup = true});
    rotate(0, STEER_LEAST, 0, 1);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), 0);
    assert_int_equal(rig_connect(text_of(0), PORT, NULL), 0);
}

static void nobody_gets_a_privileged_port(void **state)
{
    (void)state;
    /* Some machines allow low ports to all. */
    int fd = open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY);
    assert_int_equal(write(fd, "1024", 4), 4);
    close(fd);
    start(0, &(struct rig_server){.kind = RIG_V4, .port = 80, .uid = NOBODY});
    start(1, &(struct rig_server){.kind = RIG_V4, .port = 80, .uid = NOBODY});
    rotate(0, STEER_CYCLE, 0, 2);
    target(0, 80, 0, 80, STEER_TARGET_LOCAL, STEER_TCP);
    int counts[SLOTS];
    connect_many("127.0.0.1", 80, 10, NULL, counts);
    assert_turns(counts[0], 5);
}

/* ---- who may come in, and where
 * --------------------------------------------------------------------- */

static void instances_and_homes_have_addresses(void **state)
{
    (void)state;
    start_four(RIG_V4_LOOPBACK);
    rotate(0, STEER_CYCLE, 0, 4);
    target(HOME, PORT, 0, PORT, 0, STEER_TCP);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(rig_connect(text_of(i), PORT, NULL), i);
    assert_int_equal(rig_connect(text_of(0), PORT + 1, NULL), -ECONNREFUSED);
    int counts[SLOTS];
    connect_many(HOME_TEXT, PORT, 40, NULL, counts);
    for (uint32_t i = 0; i < 4; i++)
        assert_turns(counts[i], 10);
    /* Whoever else listens on another port does not stand in for the service. */
    int stranger = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT + 1)};
    assert_int_equal(bind(stranger, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(stranger, 1), 0);
    assert_int_equal(rig_connect(HOME_TEXT, PORT + 1, NULL), -ECONNREFUSED);
    assert_int_equal(rig_connect(text_of(0), PORT + 1, NULL), -ECONNREFUSED);
    close(stranger);
    assert_int_equal(rig_connect("127.86.9.9", PORT, NULL), -ECONNREFUSED);
}

static void published_ports_lead_to_the_programs(void **state)
{
    (void)state;
    start_four(RIG_V4_LOOPBACK);
    rotate(0, STEER_LEAST, 0, 4);
    assert_int_equal(rig_connect("127.0.0.1", 8080, NULL), -ECONNREFUSED);
    target(0, 8080, 0, PORT, 0, STEER_TCP);
    assert_in_range(rig_connect("127.0.0.1", 8080, NULL), 0, 3);
    assert_in_range(rig_connect_from_outside(8080), 0, 3);
}

static void what_is_not_published_is_for_this_machine_only(void **state)
{
    (void)state;
    start_four(RIG_V4);
    rotate(0, STEER_LEAST, 0, 4);
    /* No target was set: the program in the kernel has made it local by itself. */
    assert_in_range(rig_connect("127.0.0.1", PORT, NULL), 0, 3);
    assert_int_equal(rig_connect_from_outside(PORT), -ECONNREFUSED);
    target(0, PORT, 0, PORT, 0, STEER_TCP);
    assert_in_range(rig_connect_from_outside(PORT), 0, 3);
}

static void loopback_listeners_leave_other_addresses_alone(void **state)
{
    (void)state;
    start(0, &(struct rig_server){.kind = RIG_V4_LOOPBACK, .port = PORT});
    rotate(0, STEER_LEAST, 0, 1);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), 0);
    /* A stranger's server, on another address of that port. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(0x7f000002)};
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(fd, 1), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&at, sizeof at), 0);
    close(client);
    close(fd);
}

/* Listeners at any address and PORT, of the table tcp or tcp6. */
static int wildcard_listeners(const char *table, const char *any)
{
    char path[64];
    char line[512];
    char expected[64];
    int found = 0;
    snprintf(path, sizeof path, "/proc/self/net/%s", table);
    snprintf(expected, sizeof expected, "%s:%04X", any, PORT);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        char local[64];
        char state[8];
        if (sscanf(line, "%*s %63s %*s %7s", local, state) == 2 && strcmp(state, "0A") == 0)
            found += strcmp(local, expected) == 0;
    }
    fclose(file);
    return found;
}
static int wildcard_listeners4(void)
{
    return wildcard_listeners("tcp", "00000000");
}
static int wildcard_listeners6(void)
{
    return wildcard_listeners("tcp6", "00000000000000000000000000000000");
}

static void two_services_share_a_port(void **state)
{
    (void)state;
    struct rig_server servers[] = {
        {.kind = RIG_V4, .port = PORT},
        {.kind = RIG_DUAL, .port = PORT},
        {.kind = RIG_V4_LOOPBACK, .port = PORT, .second = RIG_V6ONLY},
    };
    for (uint32_t i = 0; i < 3; i++)
        start_as(i, 0, &servers[i], 0);
    for (uint32_t i = 0; i < 3; i++)
        start_as(10 + i, 1, &servers[i], 0);
    /* Only those of the first are where they wanted to be. */
    assert_int_equal(wildcard_listeners4(), 1);
    assert_int_equal(wildcard_listeners6(), 2);
    rotate(0, STEER_CYCLE, 0, 3);
    rotate(1, STEER_CYCLE, 10, 3);
    target(HOME, PORT, 0, PORT, 0, STEER_TCP);
    target(OTHER, PORT, 1, PORT, 0, STEER_TCP);
    target(0, 8081, 1, PORT, 0, STEER_TCP);
    int counts[SLOTS];
    connect_many("127.0.0.1", PORT, 30, NULL, counts);
    assert_int_equal(counts[0] + counts[1] + counts[2], 30);
    connect_many(HOME_TEXT, PORT, 30, NULL, counts);
    assert_int_equal(counts[0] + counts[1] + counts[2], 30);
    connect_many(OTHER_TEXT, PORT, 30, NULL, counts);
    assert_true(counts[10] == 10 && counts[11] == 10 && counts[12] == 10);
    connect_many("127.0.0.1", 8081, 30, NULL, counts);
    assert_true(counts[10] == 10 && counts[11] == 10 && counts[12] == 10);
    connect_many("::1", 8081, 30, NULL,
                 counts); /* 11 by IPv6 on its home, 12 by its other socket */
    assert_int_equal(counts[11] + counts[12], 30);
    assert_true(counts[11] > 0 && counts[12] > 0);
    assert_int_equal(rig_connect(text_of(10), PORT, NULL), 10);
}

static void a_moved_program_sees_what_it_asked_for(void **state)
{
    (void)state;
    start_as(0, 1, &(struct rig_server){.kind = RIG_V4, .port = PORT}, STEER_MEMBER_AT_HOME);
    start_as(1, 1, &(struct rig_server){.kind = RIG_DUAL, .port = PORT}, STEER_MEMBER_AT_HOME);
    start_as(2, 1, &(struct rig_server){.kind = RIG_V6ONLY, .port = PORT}, STEER_MEMBER_AT_HOME);
    struct sockaddr_in6 name = rig_instance_sockname(&instances[0]);
    const struct sockaddr_in *name4 = (const struct sockaddr_in *)&name;
    assert_int_equal(name4->sin_addr.s_addr, 0);
    assert_int_equal(name4->sin_port, htons(PORT));
    for (uint32_t i = 1; i < 3; i++) {
        name = rig_instance_sockname(&instances[i]);
        assert_memory_equal(&name.sin6_addr, &in6addr_any, sizeof in6addr_any);
        assert_int_equal(name.sin6_port, htons(PORT));
    }
    assert_int_equal(wildcard_listeners4(), 0);
    assert_int_equal(wildcard_listeners6(), 0);
    rotate(1, STEER_CYCLE, 0, 3);
    target(OTHER, PORT, 1, PORT, 0, STEER_TCP);
    assert_in_range(rig_connect(OTHER_TEXT, PORT, NULL), 0, 1);
    assert_in_range(rig_connect("::1", PORT, NULL), 0, 2);
}

/* Two users cannot share a wildcard port, but each can have its home. */
static void two_users_share_a_port_at_home(void **state)
{
    (void)state;
    struct rig_server server = {.kind = RIG_V4, .port = PORT};
    start_as(0, 0, &server, STEER_MEMBER_AT_HOME);
    server.uid = NOBODY;
    start_as(10, 1, &server, STEER_MEMBER_AT_HOME);
    start_as(11, 1, &server, STEER_MEMBER_AT_HOME);
    rotate(0, STEER_CYCLE, 0, 1);
    rotate(1, STEER_CYCLE, 10, 2);
    target(OTHER, PORT, 1, PORT, 0, STEER_TCP);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), 0);
    assert_in_range(rig_connect(OTHER_TEXT, PORT, NULL), 10, 11);
}

/* ---- outgoing
 * ------------------------------------------------------------------------------------- */

static void an_instance_reaches_itself_and_what_it_uses(void **state)
{
    (void)state;
    start_four(RIG_DUAL);
    start_as(10, 1, &(struct rig_server){.kind = RIG_V4, .port = 5432}, 0);
    rotate(0, STEER_CYCLE, 0, 4);
    rotate(1, STEER_CYCLE, 10, 1);
    target(OTHER, 5432, 1, 5432, 0, STEER_TCP);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(rig_instance_connects(&instances[2], "127.0.0.1", PORT), 2);
        assert_int_equal(rig_instance_connects(&instances[2], "::1", PORT), 2);
        assert_int_equal(rig_instance_connects(&instances[2], "::ffff:127.0.0.1", PORT), 2);
        assert_int_equal(rig_instance_connects(&instances[2], text_of(1), PORT), 1);
    }
    /* The plain port serves already; that it is the use that leads there shows when it does not. */
    struct steer_target_key any = {.port = 5432, .protocol = STEER_TCP};
    assert_int_equal(steer_target_remove(steer, &any), 0);
    rig_instance_kill(&instances[10]);
    start_as(10, 1, &(struct rig_server){.kind = RIG_V4, .port = 5432}, STEER_MEMBER_AT_HOME);
    steer_target_remove(steer, &any);
    assert_int_equal(rig_connect("127.0.0.1", 5432, NULL), -ECONNREFUSED);
    struct steer_use_key use = {.service = 0, .port = 5432, .protocol = STEER_TCP};
    assert_int_equal(steer_use_set(steer, &use, OTHER), 0);
    assert_int_equal(rig_instance_connects(&instances[0], "127.0.0.1", 5432), 10);
    assert_int_equal(rig_instance_connects(&instances[0], "::1", 5432), 10);
    assert_int_equal(steer_use_remove(steer, &use), 0);
    assert_int_equal(rig_instance_connects(&instances[0], "127.0.0.1", 5432), -ECONNREFUSED);
}

/* ---- UDP
 * ------------------------------------------------------------------------------------------ */

static int udp_socket_of(struct rig_instance *instance)
{
    int pidfd = (int)syscall(SYS_pidfd_open, instance->pid, 0);
    for (int number = 3; number < 16; number++) {
        int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
        int type = 0;
        socklen_t size = sizeof type;
        if (fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
            type == SOCK_DGRAM) {
            close(pidfd);
            return fd;
        }
        if (fd >= 0)
            close(fd);
    }
    close(pidfd);
    return -1;
}

static void datagrams_stick_and_come_back_from_the_right_port(void **state)
{
    (void)state;
    enum { CLIENTS = 40 };
    int counts[4] = {0};
    for (uint32_t slot = 0; slot < 4; slot++) {
        start(slot, &(struct rig_server){.kind = RIG_UDP, .port = PORT});
        const struct steer_event *event = event_wait(STEER_EVENT_UDP, slot, epoch);
        scoped_fd int fd = udp_socket_of(&instances[slot]);
        uint64_t cookie;
        socklen_t size = sizeof cookie;
        assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size), 0);
        assert_true(cookie == event->cookie);
        assert_int_equal(steer_udp_add(steer, slot, PORT, 4, fd), 0);
    }
    rotate(0, STEER_LEAST, 0, 4);
    int clients[CLIENTS];
    int first[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = socket(AF_INET, SOCK_DGRAM, 0);
        first[i] = rig_ask(clients[i], "127.0.0.1", PORT);
        assert_in_range(first[i], 0, 3);
        counts[first[i]]++;
        for (int again = 0; again < 5; again++)
            assert_int_equal(rig_ask(clients[i], "127.0.0.1", PORT), first[i]);
    }
    for (int i = 0; i < 4; i++)
        assert_true(counts[i] > 0);
    /* One goes: only its clients move. */
    const uint32_t rest[] = {0, 1, 3};
    assert_int_equal(steer_rotation_set(steer, 0, STEER_LEAST, rest, 3), 0);
    for (int i = 0; i < CLIENTS; i++) {
        int now = rig_ask(clients[i], "127.0.0.1", PORT);
        assert_true(now == first[i] || (first[i] == 2 && now != 2));
        close(clients[i]);
    }
    assert_int_equal(rig_instance_sends(&instances[2], "127.0.0.1", PORT), 2); /* itself */
}

/* ---- life
 * ------------------------------------------------------------------------------------------- */

static void pins_are_found_again(void **state)
{
    (void)state;
    bool adopted = false;
    char why[256] = "";
    int fd;
    start_four(RIG_V4);
    rotate(0, STEER_CYCLE, 0, 4);
    int who = rig_connect("127.0.0.1", PORT, &fd);
    steer_close(steer);
    assert_in_range(rig_connect("127.0.0.1", PORT, NULL), 0, 3); /* nobody supervises */
    rig_instance_kill(&instances[3]);
    rig_instance_start(&instances[3], &(struct rig_server){.kind = RIG_V4, .port = PORT}, 3);
    seen_count = 0;
    assert_int_equal(steer_open(options(), &steer, &adopted, why, sizeof why), 0);
    assert_true(adopted);
    event_wait(STEER_EVENT_LISTEN, 3, epoch); /* what happened meanwhile */
    live_wait((uint32_t)who, 1);
    close(fd);
    live_wait((uint32_t)who, 0);
    int counts[SLOTS];
    connect_many("127.0.0.1", PORT, 40, NULL, counts);
    for (int i = 0; i < 4; i++)
        assert_turns(counts[i], 10);
    steer_close(steer);
    struct steer_options larger = *options();
    larger.slots_max = 2 * SLOTS; /* does not fit: anew */
    assert_int_equal(steer_open(&larger, &steer, &adopted, why, sizeof why), 0);
    assert_false(adopted);
}

static int migrate_value(void)
{
    char digit = 0;
    int fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_RDONLY);
    assert_int_equal(read(fd, &digit, 1), 1);
    close(fd);
    return digit - '0';
}

static void destroy_leaves_nothing(void **state)
{
    (void)state;
    bool changed = false;
    bool adopted;
    char path[128];
    struct steer *second = NULL;
    char why[256];
    struct stat unused;
    snprintf(path, sizeof path, "%s/enginx", rig->bpf_mount);
    assert_int_equal(migrate_value(), 0);
    assert_int_equal(steer_migrate_enable(steer, &changed), 0);
    assert_true(changed);
    struct steer_options other = *options();
    other.cluster = "other.name";
    assert_int_equal(steer_open(&other, &second, &adopted, why, sizeof why), 0);
    assert_int_equal(steer_migrate_enable(second, &changed), 0);
    assert_false(changed);
    struct steer_claim claim;
    assert_int_equal(steer_claim(steer, STEER_CLAIM_HOME, HOME, 7, NULL), 0);
    assert_int_equal(steer_claim(steer, STEER_CLAIM_HOME, HOME, 7, NULL), 0);
    assert_int_equal(steer_claim(steer, STEER_CLAIM_HOME, HOME, 8, &claim), -EEXIST);
    assert_int_equal(steer_claim(second, STEER_CLAIM_HOME, HOME, 7, &claim), -EEXIST);
    assert_int_equal(claim.cluster, steer_cluster_number(steer));
    steer_destroy(steer);
    steer = NULL;
    assert_int_equal(migrate_value(), 1); /* the other needs it still */
    assert_int_equal(steer_claim(second, STEER_CLAIM_HOME, HOME, 7, NULL), 0);
    steer_close(second);
    assert_int_equal(stat(path, &unused), 0);
    steer_remove(rig->bpf_mount, "other.name");
    assert_int_equal(migrate_value(), 0);
    assert_int_equal(stat(path, &unused), -1);
    steer_remove(rig->bpf_mount, "other.name"); /* quiet */
}

static void failure_says_why_and_leaves_nothing(void **state)
{
    (void)state;
    struct steer *second = NULL;
    bool adopted;
    char why[256] = "";
    char path[128];
    struct stat unused;
    struct steer_options wrong = *options();
    wrong.cluster = "wrong";
    wrong.cgroup_path = "/proc"; /* not a cgroup: attaching fails */
    assert_true(steer_open(&wrong, &second, &adopted, why, sizeof why) < 0);
    assert_true(strstr(why, "attaching") != NULL);
    snprintf(path, sizeof path, "%s/enginx/wrong", rig->bpf_mount);
    assert_int_equal(stat(path, &unused), -1);
}

static int tests(struct rig *with)
{
    rig = with;
#define steer_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest all[] = {
        steer_test(thousand_connections_go_round_evenly),
        steer_test(least_connections_are_even_held_or_not),
        steer_test(short_connections_under_least_are_even),
        steer_test(weights_are_kept),
        steer_test(a_client_keeps_its_instance_under_hash),
        steer_test(large_rotations_reach_everybody),
        steer_test(draining_leaves_connections),
        steer_test(the_dead_are_passed_over),
        steer_test(nobody_is_refused_when_one_of_four_is_killed),
        steer_test(each_family_finds_its_listener),
        steer_test(several_listeners_of_one_instance_share),
        steer_test(sub_cgroups_belong_to_their_instance),
        steer_test(nobody_gets_a_privileged_port),
        steer_test(instances_and_homes_have_addresses),
        steer_test(published_ports_lead_to_the_programs),
        steer_test(what_is_not_published_is_for_this_machine_only),
        steer_test(loopback_listeners_leave_other_addresses_alone),
        steer_test(two_services_share_a_port),
        steer_test(a_moved_program_sees_what_it_asked_for),
        steer_test(two_users_share_a_port_at_home),
        steer_test(an_instance_reaches_itself_and_what_it_uses),
        steer_test(datagrams_stick_and_come_back_from_the_right_port),
        steer_test(pins_are_found_again),
        steer_test(destroy_leaves_nothing),
        steer_test(failure_says_why_and_leaves_nothing),
    };
    return cmocka_run_group_tests_name("steer", all, NULL, NULL);
}

int main(void)
{
    return rig_run(tests);
}
