/* Starts real programs as the user that runs the test; with "nobody" as its argument it becomes
 * that user first, so that root's test run covers both. seccomp_install is a stand-in, since the
 * filter has tests of its own. */
#include "supervise/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "kernel/root_test.h"

/* What the stand-in gives: a descriptor of /dev/null, or an error. */
static int filter_error;

int seccomp_install(const struct seccomp_wants *wants, bool privileged)
{
    (void)privileged;
    if (filter_error)
        return filter_error;
    return open(wants->connect ? "/dev/zero" : "/dev/null", O_RDONLY | O_CLOEXEC);
}

/* ---- running a plan to its end
 * ------------------------------------------------------------------- */

struct outcome {
    int error; /* of spawn or of the child */
    enum spawn_step step;
    int status; /* wait(2) */
    char output[4096];
};

static char *const env_small[] = {(char[]){"PATH=/usr/bin:/bin"}, (char[]){"GREETING=good day"},
                                  NULL};

static struct spawn_plan plan_of(char *const *argv)
{
    return (struct spawn_plan){
        .program = argv[0], .argv = argv, .env = env_small, .umask = -1, .output_fd = -1};
}

#define ARGV(...)     ((char *const[]){__VA_ARGS__, NULL})
#define WORD(text)    ((char[]){text})
#define SHELL(script) ARGV(WORD("/bin/sh"), WORD("-c"), WORD(script))

static int child_error(int error_fd, enum spawn_step *ret_step)
{
    struct pollfd ready = {.fd = error_fd, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, ROOT_TEST_WAIT_MS), 1);
    return spawn_error(error_fd, ret_step);
}

static void output_collect(int fd, struct outcome *outcome)
{
    size_t length = 0;
    ssize_t got;
    while (length < sizeof outcome->output - 1 &&
           (got = read(fd, outcome->output + length, sizeof outcome->output - 1 - length)) > 0)
        length += (size_t)got;
    outcome->output[length] = 0;
}

static struct outcome run(struct spawn_plan plan)
{
    struct outcome outcome = {.status = -1};
    struct spawn_result result;
    int output[2];
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    plan.output_fd = output[1];
    outcome.error = spawn(&plan, &result, &outcome.step);
    close(output[1]);
    if (!outcome.error) {
        assert_true(fcntl(result.pidfd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(result.notify_socket, -1);
        output_collect(output[0], &outcome);
        outcome.error = child_error(result.error_fd, &outcome.step);
        assert_int_equal(waitpid(result.pid, &outcome.status, 0), result.pid);
        close(result.pidfd);
        close(result.error_fd);
    }
    close(output[0]);
    return outcome;
}

static void assert_fails(struct spawn_plan plan, enum spawn_step step, int error)
{
    struct outcome outcome = run(plan);
    assert_int_equal(outcome.error, error);
    assert_int_equal(outcome.step, step);
    assert_int_equal(WEXITSTATUS(outcome.status), SPAWN_EXIT_STATUS);
}

static void assert_prints(struct spawn_plan plan, const char *wanted)
{
    struct outcome outcome = run(plan);
    assert_int_equal(outcome.error, 0);
    assert_string_equal(outcome.output, wanted);
    assert_int_equal(outcome.status, 0);
}

/* A port that was free a moment ago. */
static uint16_t port_free(int type)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return ntohs(address.sin_port);
}

/* ---- tests
 * --------------------------------------------------------------------------------------- */

static void the_program_gets_arguments_and_environment(void **state)
{
    (void)state;
    assert_prints(plan_of(ARGV(WORD("/bin/echo"), WORD("one"), WORD("two words"))),
                  "one two words\n");
    assert_prints(plan_of(ARGV(WORD("/usr/bin/env"))), "PATH=/usr/bin:/bin\nGREETING=good day\n");
    struct outcome outcome = run(plan_of(SHELL("exit 7")));
    assert_int_equal(WEXITSTATUS(outcome.status), 7);
    outcome = run(plan_of(SHELL("echo error >&2")));
    assert_string_equal(outcome.output, "error\n");
}

static void a_program_that_cannot_be_run_is_told_as_what_it_is(void **state)
{
    (void)state;
    char text[512], path[] = "/tmp/enginx-spawn-test.XXXXXX";
    struct spawn_plan plan = plan_of(ARGV(WORD("/nowhere/program")));
    assert_fails(plan, SPAWN_EXEC, -ENOENT);
    assert_string_equal(spawn_error_text(&plan, SPAWN_EXEC, -ENOENT, text, sizeof text),
                        "/nowhere/program: No such file or directory");
    int fd = mkstemp(path);
    plan.program = path;
    assert_fails(plan, SPAWN_EXEC, -EACCES);
    assert_int_equal(write(fd, "\1\2\3\4", 4), 4);
    assert_int_equal(fchmod(fd, 0755), 0);
    close(fd);
    assert_fails(plan, SPAWN_EXEC, -ENOEXEC);
    spawn_error_text(&plan, SPAWN_EXEC, -ENOEXEC, text, sizeof text);
    assert_non_null(strstr(text, " is not executable: exec format"));
    fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "#!/nowhere\n", 11), 11);
    close(fd);
    assert_fails(plan, SPAWN_EXEC, -ENOENT);
    spawn_error_text(&plan, SPAWN_EXEC, -ENOENT, text, sizeof text);
    assert_non_null(strstr(text, "interpreter"));
    unlink(path);
}

static void directory_and_umask(void **state)
{
    (void)state;
    struct spawn_plan plan = plan_of(SHELL("pwd; umask"));
    plan.directory = "/usr/lib";
    plan.umask = 027;
    assert_prints(plan, "/usr/lib\n0027\n");
    plan.directory = "/nowhere";
    assert_fails(plan, SPAWN_DIRECTORY, -ENOENT);
}

static void limits(void **state)
{
    (void)state;
    struct service_limit ours[] = {{RLIMIT_NOFILE, 77}, {RLIMIT_CORE, 0}};
    struct spawn_plan plan = plan_of(SHELL("ulimit -n; ulimit -Hn; ulimit -c"));
    plan.limits = ours;
    plan.limit_count = 2;
    assert_prints(plan, "77\n77\n0\n");
    ours[0] = (struct service_limit){-1, 1};
    assert_fails(plan, SPAWN_LIMITS, -EINVAL);
}

/* Nothing but 0, 1 and 2 (and ls's own) is open; 0 is /dev/null; signals are as at a login. */
static void nothing_of_enginx_leaks(void **state)
{
    (void)state;
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    int leak = open("/dev/zero", O_RDONLY); /* without O_CLOEXEC, as a library might */
    int high = fcntl(leak, F_DUPFD, 200);
    assert_prints(plan_of(SHELL("ls /proc/$$/fd; readlink /proc/$$/fd/0;"
                                "grep -E 'SigBlk|SigIgn' /proc/self/status")),
                  "0\n1\n2\n/dev/null\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    close(high);
    close(leak);
    signal(SIGPIPE, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    sigprocmask(SIG_SETMASK, &before, NULL);
}

static void a_session_of_its_own(void **state)
{
    (void)state;
    assert_prints(plan_of(SHELL("set -- $(cat /proc/$$/stat); test $6 = $$ && echo leader")),
                  "leader\n");
}

static void standard_descriptors_that_enginx_has_closed(void **state)
{
    (void)state;
    int kept[3];
    for (int fd = 0; fd < 3; fd++)
        kept[fd] = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    struct outcome outcome = run(plan_of(SHELL("ls /proc/$$/fd; :")));
    /* What the child itself needs then has numbers that are to be handed over. */
    uint16_t port = port_free(SOCK_STREAM);
    struct service_port twice[] = {{port, PROTOCOL_TCP, true}, {port, PROTOCOL_TCP, true}};
    struct spawn_plan plan = plan_of(SHELL("true"));
    plan.activation = twice;
    plan.activation_count = 2;
    struct outcome taken = run(plan);
    for (int fd = 0; fd < 3; fd++) {
        dup2(kept[fd], fd);
        close(kept[fd]);
    }
    assert_int_equal(outcome.error, 0);
    assert_string_equal(outcome.output, "0\n1\n2\n");
    assert_int_equal(taken.error, -EADDRINUSE);
    assert_int_equal(taken.step, SPAWN_ACTIVATION);
}

static void our_own_descriptors_do_not_grow(void **state)
{
    (void)state;
    int before = open("/dev/null", O_RDONLY);
    close(before);
    for (int round = 0; round < 3; round++) {
        run(plan_of(SHELL("true")));
        run(plan_of(ARGV(WORD("/nowhere/program"))));
    }
    int after = open("/dev/null", O_RDONLY);
    close(after);
    assert_int_equal(before, after);
}

static void not_reported_until_exec(void **state)
{
    (void)state;
    int ends[2];
    enum spawn_step step;
    assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(spawn_error(ends[0], &step), -EINPROGRESS);
    close(ends[1]);
    assert_int_equal(spawn_error(ends[0], &step), 0);
    close(ends[0]);
}

/* ---- the filter's descriptor
 * --------------------------------------------------------------------- */

static void the_notification_descriptor_comes_and_the_program_waits(void **state)
{
    (void)state;
    struct spawn_result result;
    enum spawn_step step;
    struct stat ours, theirs;
    struct spawn_plan plan = plan_of(SHELL("test -e /proc/$$/fd/2 && test ! -e /proc/$$/fd/3"));
    plan.notify = true;
    plan.wants.connect = true;
    assert_int_equal(spawn(&plan, &result, &step), 0);
    struct pollfd ready = {.fd = result.notify_socket, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, ROOT_TEST_WAIT_MS), 1);
    assert_int_equal(spawn_error(result.error_fd, &step), -EINPROGRESS); /* it waits for us */
    int fd = spawn_notify_receive(result.notify_socket);
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(fstat(fd, &theirs) | stat("/dev/zero", &ours), 0);
    assert_true(ours.st_rdev == theirs.st_rdev);
    assert_int_equal(child_error(result.error_fd, &step), 0);
    int status;
    assert_int_equal(waitpid(result.pid, &status, 0), result.pid);
    assert_int_equal(status, 0);
    assert_int_equal(spawn_notify_receive(result.notify_socket), -EPIPE);
    close(fd);
    close(result.notify_socket);
    close(result.pidfd);
    close(result.error_fd);
}

static void without_an_answer_the_program_does_not_start(void **state)
{
    (void)state;
    struct spawn_result result;
    enum spawn_step step;
    int status;
    struct spawn_plan plan = plan_of(SHELL("true"));
    plan.notify = true;
    assert_int_equal(spawn(&plan, &result, &step), 0);
    close(result.notify_socket); /* as when enginx dies: nobody would answer its calls */
    int error = child_error(result.error_fd, &step);
    assert_true(error == -EPIPE || error == -ECONNRESET);
    assert_int_equal(step, SPAWN_NOTIFY);
    assert_int_equal(waitpid(result.pid, &status, 0), result.pid);
    assert_int_equal(WEXITSTATUS(status), SPAWN_EXIT_STATUS);
    close(result.pidfd);
    close(result.error_fd);
}

static void a_filter_that_cannot_be_had(void **state)
{
    (void)state;
    struct spawn_result result;
    enum spawn_step step;
    struct spawn_plan plan = plan_of(SHELL("true"));
    plan.notify = true;
    filter_error = -EBUSY;
    int error = spawn(&plan, &result, &step);
    filter_error = 0;
    assert_int_equal(error, 0);
    assert_int_equal(child_error(result.error_fd, &step), -EBUSY);
    assert_int_equal(step, SPAWN_NOTIFY);
    assert_int_equal(waitpid(result.pid, NULL, 0), result.pid);
    assert_int_equal(spawn_notify_receive(result.notify_socket), -EPIPE);
    close(result.notify_socket);
    close(result.pidfd);
    close(result.error_fd);
}

/* ---- socket activation
 * --------------------------------------------------------------------------- */

static char activated[] =
    "import os, socket\n"
    "assert os.environ['LISTEN_PID'] == str(os.getpid())\n"
    "print(os.environ['LISTEN_FDS'], os.environ['LISTEN_FDNAMES'])\n"
    "print(sorted(int(f) for f in os.listdir('/proc/self/fd') if int(f) < 90)[:5])\n"
    "for fd in range(3, 3 + int(os.environ['LISTEN_FDS'])):\n"
    "    s = socket.socket(fileno=fd)\n"
    "    print(s.type.name, s.getsockname()[1], s.getsockopt(socket.SOL_SOCKET, "
    "socket.SO_ACCEPTCONN))\n"
    "    if s.type == socket.SOCK_STREAM:\n"
    "        for host in ('127.0.0.1', '::1') if s.family == socket.AF_INET6 else ('127.0.0.1',):\n"
    "            c = socket.create_connection((host, s.getsockname()[1])); a, _ = s.accept()\n"
    "            a.send(b'x'); assert c.recv(1) == b'x'\n";

static void sockets_are_handed_over(void **state)
{
    (void)state;
    if (access("/usr/bin/python3", X_OK)) {
        print_message("no python3 here\n");
        return;
    }
    char wanted[256];
    uint16_t tcp = port_free(SOCK_STREAM), udp = port_free(SOCK_DGRAM);
    struct service_port ports[] = {{tcp, PROTOCOL_TCP, true}, {udp, PROTOCOL_UDP, true}};
    /* Another supervisor had handed sockets to enginx: that is not for the program. */
    char *const env[] = {WORD("LISTEN_FDS=9"), WORD("A=b"), WORD("LISTEN_PID=1"), NULL};
    struct spawn_plan plan = plan_of(ARGV(WORD("/usr/bin/python3"), WORD("-c"), activated));
    plan.env = env;
    plan.activation = ports;
    plan.activation_count = 2;
    snprintf(wanted, sizeof wanted,
             "2 tcp-%d:udp-%d\n[0, 1, 2, 3, 4]\nSOCK_STREAM %d 1\nSOCK_DGRAM %d 0\n", tcp, udp, tcp,
             udp);
    assert_prints(plan, wanted);
}

static void a_port_that_is_taken(void **state)
{
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, length) | listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    struct service_port port = {ntohs(address.sin_port), PROTOCOL_TCP, true};
    struct spawn_plan plan = plan_of(SHELL("true"));
    plan.activation = &port;
    plan.activation_count = 1;
    assert_fails(plan, SPAWN_ACTIVATION, -EADDRINUSE);
    close(fd);
}

/* ---- look-ups
 * ------------------------------------------------------------------------------------ */

static void programs_are_found_as_a_shell_would(void **state)
{
    (void)state;
    char path[256], folder[] = "/tmp/enginx-spawn-test.XXXXXX", file[64], text[256];
    assert_int_equal(spawn_program_find("sh", "/nowhere:/bin", "/", path, sizeof path), 0);
    assert_string_equal(path, "/bin/sh");
    assert_int_equal(spawn_program_find("bin/sh", "", "/usr", path, sizeof path), 0);
    assert_string_equal(path, "/usr/bin/sh");
    assert_int_equal(spawn_program_find("sh", "usr/bin", "/", path, sizeof path), 0);
    assert_int_equal(spawn_program_find("no-such-program", "/bin", "/", path, sizeof path),
                     -ENOENT);
    assert_int_equal(spawn_program_find("", "/bin", "/", path, sizeof path), -ENOENT);
    assert_int_equal(spawn_program_find("/usr/bin", "", "/", path, sizeof path), -EISDIR);
    assert_int_equal(spawn_program_find("/bin/sh", "", "/", path, 4), -ENAMETOOLONG);
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/sh", folder);
    close(open(file, O_CREAT | O_WRONLY, 0644));
    assert_int_equal(spawn_program_find("./sh", "", folder, path, sizeof path), -EACCES);
    assert_int_equal(spawn_program_find("sh", folder, "/", path, sizeof path), -EACCES);
    assert_int_equal(spawn_program_find("sh", "", folder, path, sizeof path), -EACCES);
    snprintf(text, sizeof text, "%s:/bin", folder); /* passed over */
    assert_int_equal(spawn_program_find("sh", text, "/", path, sizeof path), 0);
    assert_string_equal(path, "/bin/sh");
    unlink(file);
    rmdir(folder);
}

static void users_are_found(void **state)
{
    (void)state;
    struct spawn_user user;
    assert_int_equal(spawn_user_find("nobody", NULL, &user), 0);
    assert_int_equal(user.uid, 65534);
    assert_int_equal(user.gid, 65534);
    assert_string_equal(user.name, "nobody");
    assert_int_equal(user.change, geteuid() != 65534);
    assert_int_equal(spawn_user_find("65534", "0", &user), 0);
    assert_int_equal(user.uid, 65534);
    assert_int_equal(user.gid, 0);
    assert_true(user.change);
    assert_int_equal(spawn_user_find("4123456", NULL, &user), 0);
    assert_int_equal(user.uid, 4123456);
    assert_string_equal(user.name, "4123456");
    assert_int_equal(spawn_user_find("no-such-user", NULL, &user), -ENOENT);
    assert_int_equal(spawn_user_find("4294967295", NULL, &user), -ENOENT);
    assert_int_equal(spawn_user_find("nobody", "no-such-group", &user), -ESRCH);
    assert_int_equal(spawn_user_find(NULL, NULL, &user), 0);
    assert_int_equal(user.uid, geteuid());
    assert_false(user.change);
}

static void the_user_is_changed_or_that_is_an_error(void **state)
{
    (void)state;
    struct spawn_user user;
    struct spawn_plan plan = plan_of(SHELL("id -u; id -g; id -G"));
    plan.user = &user;
    if (geteuid() == 0) {
        gid_t groups[] = {4, 65534};
        assert_int_equal(setgroups(1, groups), 0); /* ours, which the program must not get */
        assert_int_equal(spawn_user_find("nobody", NULL, &user), 0);
        assert_prints(plan, "65534\n65534\n65534\n");
        assert_int_equal(setgroups(0, NULL), 0);
    } else {
        assert_int_equal(spawn_user_find("0", NULL, &user), 0);
        assert_fails(plan, SPAWN_USER, -EPERM);
    }
}

/* A user whose ports below 1024 enginx opens for it. */
static void a_low_port_for_nobody(void **state)
{
    (void)state;
    if (geteuid())
        return; /* this is about root's rights */
    struct spawn_user user;
    struct service_port port = {.protocol = PROTOCOL_TCP, .activation = true};
    for (port.port = 1023; port.port > 900; port.port--) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port.port)};
        scoped_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) == 0)
            break;
    }
    struct spawn_plan plan = plan_of(SHELL("id -u; readlink /proc/$$/fd/3 | cut -c1-6"));
    assert_int_equal(spawn_user_find("nobody", NULL, &user), 0);
    plan.user = &user;
    plan.activation = &port;
    plan.activation_count = 1;
    assert_prints(plan, "65534\nsocket\n");
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "nobody") == 0) {
        root_test_require();
        if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
            return 1;
        prctl(PR_SET_DUMPABLE,
              1); /* as any program of that user; the leak sanitizer looks inside */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_program_gets_arguments_and_environment),
        cmocka_unit_test(a_program_that_cannot_be_run_is_told_as_what_it_is),
        cmocka_unit_test(directory_and_umask),
        cmocka_unit_test(limits),
        cmocka_unit_test(nothing_of_enginx_leaks),
        cmocka_unit_test(a_session_of_its_own),
        cmocka_unit_test(standard_descriptors_that_enginx_has_closed),
        cmocka_unit_test(our_own_descriptors_do_not_grow),
        cmocka_unit_test(not_reported_until_exec),
        cmocka_unit_test(the_notification_descriptor_comes_and_the_program_waits),
        cmocka_unit_test(without_an_answer_the_program_does_not_start),
        cmocka_unit_test(a_filter_that_cannot_be_had),
        cmocka_unit_test(sockets_are_handed_over),
        cmocka_unit_test(a_port_that_is_taken),
        cmocka_unit_test(programs_are_found_as_a_shell_would),
        cmocka_unit_test(users_are_found),
        cmocka_unit_test(the_user_is_changed_or_that_is_an_error),
        cmocka_unit_test(a_low_port_for_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
