/* Counting connections in the kernel: from the handshake's end until the program has done with
 * them, for the start of the instance that they belong to, and always back to zero. */
#include "kernel/steer_fixture.h"

static int64_t live_of(uint32_t slot)
{
    int64_t live;
    uint64_t total;
    steer_counts(steer, slot, &live, &total);
    return live;
}

static uint64_t total_of(uint32_t slot)
{
    int64_t live;
    uint64_t total;
    steer_counts(steer, slot, &live, &total);
    return total;
}

static int connected(const char *address, uint32_t expected)
{
    int fd = -1;
    assert_int_equal(rig_connect(address, PORT, &fd), expected);
    return fd;
}

/* To the instance's own address; does not wait until it accepts. */
static void connect_own(int fd, uint32_t slot)
{
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(address_of(slot))};
    struct timeval within = {.tv_sec = 2};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof within), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
}

static void byte_send(int fd, char byte)
{
    assert_int_equal(send(fd, &byte, 1, MSG_NOSIGNAL), 1);
}

static void end_wait(int fd)
{
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

/* Under a new cgroup and epoch, as a start is. */
static void start_anew(uint32_t slot, struct rig_instance *ret, uint32_t number,
                       const struct rig_server *server)
{
    epoch++;
    rig_instance_cgroup(rig, ret, number);
    struct steer_member member = {
        .slot = slot, .address = address_of(slot), .home = HOME, .epoch = epoch};
    assert_int_equal(steer_member_set(steer, ret->cgroup_id, &member), 0);
    rig_instance_start(ret, server, slot);
    event_wait(STEER_EVENT_LISTEN, slot, epoch);
}

static const struct rig_server plain = {.kind = RIG_V4, .port = PORT};

/* ---- one connection -----------------------------------------------------------------------------
 */

static void it_counts_while_the_program_has_it(void **state)
{
    (void)state;
    start(0, &plain);
    rotate(0, STEER_LEAST, 0, 1);
    int fd = connected("127.0.0.1", 0);
    live_wait(0, 1);
    byte_send(fd, RIG_BYTE_SHUTDOWN);
    end_wait(fd); /* half of it is closed: the program reads on */
    usleep(20000);
    assert_int_equal(live_of(0), 1);
    close(fd);
    live_wait(0, 0);
    assert_int_equal(total_of(0), 1);
}

static void it_ends_with_the_programs_close_whatever_the_client_does(void **state)
{
    (void)state;
    start(0, &plain);
    rotate(0, STEER_LEAST, 0, 1);
    int fd = connected("127.0.0.1", 0);
    live_wait(0, 1);
    byte_send(fd, RIG_BYTE_CLOSE);
    end_wait(fd);
    live_wait(0, 0); /* while the kernel waits for the client's end still */
    close(fd);
    fd = connected("127.0.0.1", 0);
    live_wait(0, 1);
    rig_instance_kill(&instances[0]);
    live_wait(0, 0);
    close(fd);
    usleep(20000);
    assert_int_equal(live_of(0), 0);
    assert_int_equal(total_of(0), 2);
}

/* The client does not read, so what the program has sent, and its end, wait in the kernel. */
static void it_ends_while_the_rest_is_being_sent(void **state)
{
    (void)state;
    enum { BYTES = 64 * 1024, SMALL = 2048, SETTLED_US = 50000 };
    static char bytes[BYTES];
    int small = SMALL;
    size_t got = 0;
    ssize_t more;
    start(0, &plain);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    connect_own(fd, 0);
    live_wait(0, 1);
    assert_int_equal(send(fd, bytes, BYTES, 0), BYTES);
    usleep(SETTLED_US); /* all of it has been echoed */
    assert_int_equal(live_of(0), 1);
    byte_send(fd, RIG_BYTE_CLOSE);
    live_wait(0, 0);
    while ((more = recv(fd, bytes, BYTES, 0)) > 0)
        got += (size_t)more;
    assert_int_equal(more, 0);
    assert_int_equal(got, 1 + BYTES);
    close(fd);
    usleep(SETTLED_US);
    assert_int_equal(live_of(0), 0);
}

static void it_ends_once_however_it_is_cut(void **state)
{
    (void)state;
    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    start(0, &plain);
    rotate(0, STEER_LEAST, 0, 1);
    int stays = connected("127.0.0.1", 0);
    int fd = connected("127.0.0.1", 0);
    live_wait(0, 2);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(fd);
    live_wait(0, 1);
    fd = connected("127.0.0.1", 0);
    live_wait(0, 2);
    assert_int_equal(shutdown(fd, SHUT_WR), 0); /* the client first, then the program */
    end_wait(fd);
    live_wait(0, 1);
    close(fd);
    usleep(20000);
    assert_int_equal(live_of(0), 1);
    close(stays);
    live_wait(0, 0);
    assert_int_equal(total_of(0), 3);
}

static void both_families_count(void **state)
{
    (void)state;
    start(0, &(struct rig_server){.kind = RIG_DUAL, .port = PORT});
    start(1, &(struct rig_server){.kind = RIG_V6ONLY, .port = PORT});
    rotate(0, STEER_LEAST, 0, 1);
    int fds[] = {connected("127.0.0.1", 0), connected("::1", 0), -1};
    live_wait(0, 2);
    rotate(0, STEER_LEAST, 1, 1);
    fds[2] = connected("::1", 1);
    live_wait(1, 1);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    live_wait(0, 0);
    live_wait(1, 0);
}

static void those_of_sub_cgroups_count(void **state)
{
    (void)state;
    start(0, &(struct rig_server){.kind = RIG_V4, .port = PORT, .in_child_cgroup = true});
    rotate(0, STEER_LEAST, 0, 1);
    int fd = connected("127.0.0.1", 0);
    live_wait(0, 1);
    close(fd);
    live_wait(0, 0);
    assert_int_equal(total_of(0), 1);
}

/* ---- starts -------------------------------------------------------------------------------------
 */

static void a_new_start_counts_from_zero(void **state)
{
    (void)state;
    int fds[3];
    struct rig_instance *second = &instances[40];
    start(0, &plain);
    rotate(0, STEER_CYCLE, 0, 1);
    for (int i = 0; i < 2; i++)
        fds[i] = connected("127.0.0.1", 0);
    live_wait(0, 2);
    /* What the first has, and will get, does not count any more. */
    start_anew(0, second, 40, &plain);
    assert_int_equal(live_of(0), 0);
    while (true) { /* until one comes to the second, by chance */
        fds[2] = connected("127.0.0.1", 0);
        if (live_of(0) == 1)
            break;
        close(fds[2]);
    }
    close(fds[0]);
    close(fds[1]);
    usleep(50000);
    assert_int_equal(live_of(0), 1);
    assert_int_equal(total_of(0), 1);
    close(fds[2]);
    live_wait(0, 0);
}

static void what_is_gone_has_no_connections(void **state)
{
    (void)state;
    start(0, &plain);
    rotate(0, STEER_CYCLE, 0, 1);
    int fd = connected("127.0.0.1", 0);
    live_wait(0, 1);
    assert_int_equal(steer_member_remove(steer, instances[0].cgroup_id, address_of(0)), 0);
    assert_int_equal(live_of(0), 0);
    close(fd);
    usleep(20000);
    assert_int_equal(live_of(0), 0);
    assert_int_equal(total_of(0), 1);
}

static void what_moves_to_a_sibling_leaves_no_trace(void **state)
{
    (void)state;
    enum { COUNT = 5 };
    int fds[COUNT];
    bool changed;
    start(0, &plain);
    start(1, &plain);
    rotate(0, STEER_CYCLE, 0, 2);
    assert_int_equal(steer_migrate_enable(steer, &changed), 0);
    kill(instances[0].pid, SIGSTOP);
    for (int i = 0; i < COUNT; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        connect_own(fds[i], 0);
    }
    live_wait(0, COUNT);
    rig_instance_kill(&instances[0]);
    for (int i = 0; i < COUNT; i++) {
        char who = 0;
        assert_int_equal(recv(fds[i], &who, 1, 0), 1);
        assert_int_equal(who, 1);
    }
    start_anew(0, &instances[40], 40, &plain);
    assert_int_equal(live_of(0), 0);
    rotate(0, STEER_CYCLE, 0, 1);
    int fd = connected("127.0.0.1", 0);
    live_wait(0, 1);
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    usleep(50000);
    assert_int_equal(live_of(0), 1);
    assert_int_equal(live_of(1), 0);
    close(fd);
    live_wait(0, 0);
    bool restored;
    assert_int_equal(steer_migrate_disable(steer, &restored), 0);
}

static int tests(struct rig *with)
{
    rig = with;
#define steer_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest all[] = {
        steer_test(it_counts_while_the_program_has_it),
        steer_test(it_ends_with_the_programs_close_whatever_the_client_does),
        steer_test(it_ends_while_the_rest_is_being_sent),
        steer_test(it_ends_once_however_it_is_cut),
        steer_test(both_families_count),
        steer_test(those_of_sub_cgroups_count),
        steer_test(a_new_start_counts_from_zero),
        steer_test(what_is_gone_has_no_connections),
        steer_test(what_moves_to_a_sibling_leaves_no_trace),
    };
    return cmocka_run_group_tests_name("steer-count", all, NULL, NULL);
}

int main(void)
{
    return rig_run(tests);
}
