/* Listeners in the kernel's map, as their programs see them (listeners.h, steer_settle). */
#include "kernel/steer_fixture.h"

#include <sys/un.h>

static const struct rig_server late = {.kind = RIG_DUAL, .port = PORT, .is_late = true};

static bool is_mended(void)
{
    char why[256] = "";
    bool mended = steer_listeners_answer(steer, why, sizeof why);
    assert_true(mended || strstr(why, "security_socket_recvmsg"));
    if (!mended)
        print_message("# %s\n", why);
    return mended;
}

/* Where it cannot be mended, the kernel's own answer is why listeners are attended to. */
static void a_listener_that_is_served_answers_recv(void **state)
{
    (void)state;
    int expected = is_mended() ? -ENOTCONN : -EAGAIN;
    for (enum rig_listen kind = RIG_V4; kind <= RIG_DUAL; kind++) {
        start((uint32_t)kind, &(struct rig_server){.kind = kind, .port = PORT});
        assert_int_equal(rig_instance_receives(&instances[kind]), expected);
    }
    rotate(0, STEER_CYCLE, RIG_V4, 1);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), RIG_V4);
}

/* Other sockets receive as ever: one that listens and is of no other kind, one that is connected.
 */
static void other_sockets_receive(void **state)
{
    (void)state;
    int pair[2];
    char byte = 'x';
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    scoped_fd int local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(local, (struct sockaddr *)&name, sizeof name.sun_family), 0);
    assert_int_equal(listen(local, 1), 0);
    assert_int_equal(recv(local, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(send(pair[0], &byte, 1, 0), 1);
    assert_int_equal(recv(pair[1], &byte, 1, 0), 1);
    close(pair[0]);
    close(pair[1]);
    scoped_fd int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(listen(tcp, 1), 0);
    assert_int_equal(recv(tcp, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, ENOTCONN);
    assert_int_equal(recv(tcp, &byte, 1, MSG_DONTWAIT | MSG_ERRQUEUE), -1);
    assert_int_equal(errno, EAGAIN);
}

static void an_attended_listener_is_served_when_it_is_waited_for(void **state)
{
    (void)state;
    assert_int_equal(steer_attend(steer), 0);
    start(0, &late);
    event_wait(STEER_EVENT_OPEN, 0, epoch);
    rotate(0, STEER_CYCLE, 0, 1);
    for (int i = 0; i < 3; i++)
        assert_true(steer_settle(steer));
    assert_false(steer_has_listener(steer, 0, STEER_TCP, PORT, 4));
    assert_int_equal(rig_instance_receives(&instances[0]), -ENOTCONN);
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), -ECONNREFUSED);
    rig_instance_serves(&instances[0]);
    for (int waited = 0; steer_settle(steer) && waited < EVENT_WITHIN_MS; waited += 5)
        usleep(5000);
    const struct steer_event *event = event_wait(STEER_EVENT_LISTEN, 0, epoch);
    assert_int_equal(event->port, PORT);
    assert_int_equal(event->family, 46);
    assert_true(steer_has_listener(steer, 0, STEER_TCP, PORT, 6));
    assert_int_equal(rig_connect("127.0.0.1", PORT, NULL), 0);
    assert_int_equal(rig_connect("::1", PORT, NULL), 0);
}

static void a_listener_that_nobody_waits_for_is_served_in_the_end(void **state)
{
    (void)state;
    assert_int_equal(steer_attend(steer), 0);
    start(0, &late);
    event_wait(STEER_EVENT_OPEN, 0, epoch);
    int waited = 0;
    for (; steer_settle(steer) && waited < 2 * STEER_OPENS_MS; waited += 50)
        usleep(50000);
    assert_true(waited >= STEER_OPENS_MS / 2);
    event_wait(STEER_EVENT_LISTEN, 0, epoch);
}

/* Its program has said that it is ready. */
static void a_slot_that_hurries_is_served_at_once(void **state)
{
    (void)state;
    assert_int_equal(steer_attend(steer), 0);
    start(0, &late);
    start(1, &late);
    steer_settle_slot(steer, 0);
    event_wait(STEER_EVENT_LISTEN, 0, epoch);
    assert_true(steer_has_listener(steer, 0, STEER_TCP, PORT, 4));
    assert_false(steer_has_listener(steer, 1, STEER_TCP, PORT, 4));
    assert_true(steer_settle(steer));
}

static void without_an_attendant_listeners_are_served_at_once(void **state)
{
    (void)state;
    bool adopted;
    char why[256];
    assert_int_equal(steer_attend(steer), 0);
    start(0, &late);
    rig_instance_cgroup(rig, &instances[1], 1);
    struct steer_member member = {
        .slot = 1, .address = address_of(1), .home = HOME, .epoch = epoch};
    assert_int_equal(steer_member_set(steer, instances[1].cgroup_id, &member), 0);
    steer_close(steer); /* as a crash would */
    rig_instance_start(&instances[1], &late, 1);
    assert_int_equal(steer_open(options(), &steer, &adopted, why, sizeof why), 0);
    assert_true(adopted);
    event_wait(STEER_EVENT_LISTEN, 1, epoch);
    event_wait(STEER_EVENT_OPEN, 0, epoch);
    assert_true(steer_settle(steer));
    rig_instance_serves(&instances[0]);
    for (int waited = 0; steer_settle(steer) && waited < EVENT_WITHIN_MS; waited += 5)
        usleep(5000);
    event_wait(STEER_EVENT_LISTEN, 0, epoch);
}

static int tests(struct rig *with)
{
    rig = with;
#define steer_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest all[] = {
        steer_test(a_listener_that_is_served_answers_recv),
        steer_test(other_sockets_receive),
        steer_test(an_attended_listener_is_served_when_it_is_waited_for),
        steer_test(a_listener_that_nobody_waits_for_is_served_in_the_end),
        steer_test(a_slot_that_hurries_is_served_at_once),
        steer_test(without_an_attendant_listeners_are_served_at_once),
    };
    return cmocka_run_group_tests_name("steer-listen", all, NULL, NULL);
}

int main(void)
{
    return rig_run(tests);
}
