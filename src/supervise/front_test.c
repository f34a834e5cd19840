/* The front with a gateway that only speaks the messages (front_program.c), and a real keeper,
 * logger and program. Without BPF, so that no rights are needed. */
#include "supervise/front_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "event/signals.h"
#include "topology/build.h"

enum { WAIT_MS = 5000 };

static struct loop *loop;
static struct supervisor *supervisor;
static char folder[64];
static char why[512];
static uint16_t port;

/* ---- fixture ----------------------------------------------------------------------------------
 */

static uint16_t port_free(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    scoped_fd int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    return ntohs(address.sin_port);
}

static struct topology *topology_make(void)
{
    char text[1024];
    int length = snprintf(text, sizeof text,
                          "cluster front; steering seccomp;\n"
                          "service web { run \"%s\" listen %u;\n"
                          "  restart always backoff=5s..5s; check tcp; }\n"
                          "listen %u tcp -> web path=relay;\n",
                          getenv("ENGINX_FRONT_PROGRAM"), port + 1, port);
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology_options options = {0};
    struct topology *topology =
        topology_parse(text, (size_t)length, "front.conf", "/", &options, diagnostics);
    if (!topology)
        diagnostics_print(diagnostics, stderr, false);
    assert_non_null(topology);
    diagnostics_free(diagnostics);
    return topology;
}

static int bundle_make(const char *text)
{
    int fd = memfd_create("bundle", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    return fd;
}

static int supervisor_make(const char *bundle)
{
    struct supervisor_options options = {.topology = topology_make(),
                                         .bundle_fd = bundle_make(bundle),
                                         .state_directory = folder,
                                         .log_directory = folder,
                                         .cgroup_base = "enginx-front-test",
                                         .exe = getenv("ENGINX_FRONT_PROGRAM")};
    why[0] = 0;
    return supervisor_new(loop, &options, &supervisor, why, sizeof why);
}

static int begin(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/front-XXXXXX");
    assert_non_null(mkdtemp(folder));
    loop = loop_new();
    port = port_free();
    return 0;
}

typedef bool condition(void);

static bool turn_until(condition *there)
{
    uint64_t until_ms = loop_now(loop) + WAIT_MS;
    while (!there() && loop_now(loop) < until_ms) {
        loop_turn(loop, 10);
        supervisor_reap(supervisor);
    }
    return there();
}

static bool all_at_rest(void)
{
    return supervisor_at_rest(supervisor);
}

static int end(void **state)
{
    (void)state;
    if (supervisor) {
        supervisor_end(supervisor);
        turn_until(all_at_rest);
        supervisor_free(supervisor, false);
    }
    supervisor = NULL;
    loop_free(loop);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* ---- asking -----------------------------------------------------------------------------------
 */

static int client_connect(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Who answered, and under which generation. */
static pid_t client_hear(int fd, unsigned *ret_generation)
{
    char text[128] = "";
    int pid = 0;
    for (int tries = 0; tries < 500; tries++) {
        loop_turn(loop, 5);
        if (recv(fd, text, sizeof text - 1, MSG_DONTWAIT) > 0)
            break;
    }
    assert_int_equal(sscanf(text, "%d %u", &pid, ret_generation), 2);
    close(fd);
    return pid;
}

static const struct board_instance *web(void)
{
    return board_instance(supervisor->front->board, supervisor->units[0].instances[0]->slot);
}

static bool web_is_up(void)
{
    return web()->state == BOARD_UP && supervisor->units[0].instances[0]->life.state == STATE_UP;
}

static bool web_is_down(void)
{
    return web()->state == BOARD_DOWN;
}

static pid_t killed;

static bool gateway_is_another(void)
{
    pid_t pid = front_pid(supervisor->front);
    return pid && pid != killed;
}

/* ---- tests ------------------------------------------------------------------------------------
 */

static void a_gateway_is_started_and_serves(void **state)
{
    (void)state;
    unsigned generation = 0;
    assert_int_equal(supervisor_make("fine"), 0);
    assert_int_equal(client_hear(client_connect(), &generation), front_pid(supervisor->front));
    assert_int_equal(generation, 1);
}

static void what_it_rejects_is_told(void **state)
{
    (void)state;
    assert_int_equal(supervisor_make("bad"), -EINVAL);
    assert_string_equal(why, "the gateway: it is bad");
    supervisor = NULL;
}

static void a_port_that_is_taken_is_told_with_its_holder(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    pid_t pid = fork();
    if (pid == 0) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0)
            pause();
        _exit(1);
    }
    usleep(100000);
    char expected[128];
    snprintf(expected, sizeof expected, "listen tcp:%u: the port is taken by process %d", port,
             pid);
    int error = supervisor_make("fine");
    kill(pid, SIGKILL);
    assert_int_equal(error, -EADDRINUSE);
    assert_int_equal(strncmp(why, expected, strlen(expected)), 0);
    supervisor = NULL;
}

static void a_killed_gateway_is_replaced_and_nobody_refused(void **state)
{
    (void)state;
    unsigned generation = 0;
    assert_int_equal(supervisor_make("fine"), 0);
    pid_t first = front_pid(supervisor->front);
    for (int i = 0; i < 3; i++) {
        killed = front_pid(supervisor->front);
        kill(killed, SIGKILL);
        int client = client_connect();
        assert_true(turn_until(gateway_is_another));
        assert_int_equal(client_hear(client, &generation), front_pid(supervisor->front));
        assert_int_equal(generation, 1);
    }
    assert_int_not_equal(front_pid(supervisor->front), first);
}

static void the_board_says_what_instances_are(void **state)
{
    (void)state;
    assert_int_equal(supervisor_make("fine"), 0);
    supervisor_begin(supervisor);
    assert_true(turn_until(web_is_up));
    assert_int_equal(web()->ports[0], port + 1);
    assert_int_equal(web()->number, 1);
    assert_int_equal(web()->epoch, supervisor->units[0].instances[0]->record->epoch);
    uint32_t number = front_number(&supervisor->units[0]);
    const struct board_service *service = board_service(supervisor->front->board, number);
    assert_string_equal(service->name, "web");
    assert_int_equal(service->wanted, 1);
    assert_int_equal(service->coming, 0);
    assert_int_equal(service->home, supervisor->units[0].home);
    kill(supervisor->units[0].instances[0]->pid, SIGKILL);
    assert_true(turn_until(web_is_down));
    assert_int_equal(service->coming, 1);
    assert_true(turn_until(web_is_up));
}

static void a_new_supervisor_goes_on_with_a_gateway_that_lives(void **state)
{
    (void)state;
    unsigned generation = 0;
    assert_int_equal(supervisor_make("fine"), 0);
    supervisor_begin(supervisor);
    assert_true(turn_until(web_is_up));
    pid_t gateway = front_pid(supervisor->front);
    pid_t program = supervisor->units[0].instances[0]->pid;
    supervisor_free(supervisor, true);
    assert_int_equal(supervisor_make("fine"), 0);
    assert_int_equal(front_pid(supervisor->front), gateway);
    assert_int_equal(client_hear(client_connect(), &generation), gateway);
    assert_int_equal(generation, 2);
    supervisor_begin(supervisor);
    assert_true(turn_until(web_is_up));
    assert_int_equal(supervisor->units[0].instances[0]->pid, program);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_gateway_is_started_and_serves, begin, end),
        cmocka_unit_test_setup_teardown(what_it_rejects_is_told, begin, end),
        cmocka_unit_test_setup_teardown(a_port_that_is_taken_is_told_with_its_holder, begin, end),
        cmocka_unit_test_setup_teardown(a_killed_gateway_is_replaced_and_nobody_refused, begin,
                                        end),
        cmocka_unit_test_setup_teardown(the_board_says_what_instances_are, begin, end),
        cmocka_unit_test_setup_teardown(a_new_supervisor_goes_on_with_a_gateway_that_lives, begin,
                                        end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
