/* The keeper as a process, with the supervisor's crash played by children of this test. */
#include "proc/keeper.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "proc/logger.h"
#include "proc/message.h"
#include "proc/scratch_test.h"

enum { WAIT_MS = 10000, FOUND_MAX = 2048 };

static struct loop *loop;
static int losses;
static struct {
    char name[KEEPER_NAME_BYTES];
    int fd;
} found[FOUND_MAX];
static size_t found_count;

static int setup(void **state)
{
    loop = loop_new();
    losses = 0;
    found_count = 0;
    return loop ? scratch_make(state) : -1;
}

static void close_found(void *owner, const char *name, int fd)
{
    (void)owner, (void)name;
    close(fd);
}

static void note_loss(void *owner)
{
    (void)owner;
    losses++;
    loop_stop(loop);
}

static int teardown(void **state)
{
    for (size_t i = 0; i < found_count; i++)
        close(found[i].fd);
    /* A test that failed half-way has left its keeper: end it, so that nothing outlives the tests.
     */
    struct keeper *left;
    if (access(scratch_path("keeper"), F_OK) == 0 &&
        keeper_start(loop, scratch, getenv("ENGINX_ROLE_PROGRAM"), close_found, note_loss, NULL,
                     &left) == 0)
        keeper_end(left);
    loop_free(loop);
    return scratch_remove(state);
}

static void note_found(void *owner, const char *name, int fd)
{
    (void)owner;
    assert_true(found_count < FOUND_MAX);
    strcpy(found[found_count].name, name);
    found[found_count++].fd = fd;
}

static struct keeper *start(void)
{
    struct keeper *keeper = NULL;
    assert_int_equal(keeper_start(loop, scratch, getenv("ENGINX_ROLE_PROGRAM"), note_found,
                                  note_loss, NULL, &keeper),
                     0);
    assert_true(keeper_pid(keeper) > 0);
    return keeper;
}

/* Does something as a supervisor that is then killed with -9. */
static void as_a_crashing_supervisor(void (*work)(struct keeper *keeper))
{
    pid_t pid = fork();
    if (pid == 0) {
        loop = loop_new();
        work(start());
        kill(getpid(), SIGKILL);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void file_open(int *ret_fd, struct stat *ret_status, const char *name)
{
    *ret_fd = open(scratch_path(name), O_RDWR | O_CREAT, 0600);
    fstat(*ret_fd, ret_status);
}

static bool same_file(int fd, const char *name)
{
    struct stat ours, theirs;
    return fstat(fd, &ours) == 0 && stat(scratch_path(name), &theirs) == 0 &&
           ours.st_ino == theirs.st_ino && ours.st_dev == theirs.st_dev;
}

static void await(bool (*done)(void *), void *context)
{
    uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
    while (!done(context) && clock_monotonic_ms() < until_ms)
        loop_turn(loop, 10);
    assert_true(done(context));
}

static void put_and_drop(struct keeper *keeper)
{
    int a, b;
    struct stat status;
    file_open(&a, &status, "a");
    file_open(&b, &status, "b");
    assert_int_equal(write(a, "12345", 5), 5); /* the open file's position comes back too */
    keeper_put(keeper, "listener:a", a);
    keeper_put(keeper, "dropped", a);
    keeper_put(keeper, "listener:b", a);
    keeper_put(keeper, "listener:b", b); /* in place of the first */
    keeper_drop(keeper, "dropped");
    keeper_drop(keeper, "never there");
}

static void descriptors_survive_the_supervisor(void **state)
{
    (void)state;
    as_a_crashing_supervisor(put_and_drop);
    struct keeper *keeper = start();
    assert_int_equal(found_count, 2);
    assert_string_equal(found[0].name, "listener:a");
    assert_true(same_file(found[0].fd, "a"));
    assert_int_equal(lseek(found[0].fd, 0, SEEK_CUR), 5);
    assert_true(fcntl(found[0].fd, F_GETFD) & FD_CLOEXEC);
    assert_string_equal(found[1].name, "listener:b");
    assert_true(same_file(found[1].fd, "b"));
    keeper_end(keeper);
}

static void leaving_keeps_and_ending_ends(void **state)
{
    (void)state;
    struct keeper *keeper = start();
    pid_t pid = keeper_pid(keeper);
    assert_int_equal(keeper_put(keeper, "x", 0), 0);
    keeper_leave(keeper);
    keeper = start();
    assert_int_equal(keeper_pid(keeper), pid);
    assert_int_equal(found_count, 1);
    struct stat status;
    assert_int_equal(stat(scratch_path("keeper"), &status), 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    keeper_end(keeper);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_not_equal(access(scratch_path("keeper"), F_OK), 0);
    keeper = start(); /* a new one, which knows nothing */
    assert_int_equal(found_count, 1);
    assert_int_not_equal(keeper_pid(keeper), pid);
    keeper_end(keeper);
    assert_int_equal(losses, 0);
}

static void its_death_is_told_and_another_can_be_started(void **state)
{
    (void)state;
    struct keeper *keeper = start();
    kill(keeper_pid(keeper), SIGKILL);
    loop_run(loop);
    assert_int_equal(losses, 1);
    assert_int_equal(keeper_put(keeper, "x", 0), -EPIPE);
    keeper_leave(keeper);
    keeper = start(); /* over the stale socket */
    assert_int_equal(found_count, 0);
    keeper_end(keeper);
    assert_int_equal(losses, 1);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* all were reaped */
}

static void a_silent_keeper_is_replaced(void **state)
{
    (void)state;
    struct keeper *keeper = start();
    pid_t pid = keeper_pid(keeper);
    keeper_leave(keeper);
    kill(pid, SIGSTOP);
    keeper = start();
    assert_int_not_equal(keeper_pid(keeper), pid);
    keeper_end(keeper);
}

static int stranger_connect(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.64s/keeper", scratch);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* The keeper hangs up on it. */
static void assert_dropped(int fd)
{
    struct pollfd end = {.fd = fd, .events = POLLIN};
    char byte;
    assert_int_equal(poll(&end, 1, WAIT_MS), 1);
    assert_true(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

static void garbage_costs_only_who_sends_it(void **state)
{
    (void)state;
    struct keeper *keeper = start();
    keeper_put(keeper, "x", 0);
    static char big[60000];
    const struct {
        const char *bytes;
        size_t length;
    } garbage[] = {{"x", 1}, {"GET / HTTP/1.1\r\n\r\n", 18}, {big, sizeof big}, {big, 16}};
    for (size_t i = 0; i < sizeof garbage / sizeof *garbage; i++) {
        int fd = stranger_connect();
        assert_int_equal(send(fd, garbage[i].bytes, garbage[i].length, 0), garbage[i].length);
        assert_dropped(fd);
    }
    int silent[20]; /* more than it has places for */
    for (int i = 0; i < 20; i++)
        silent[i] = stranger_connect();
    keeper_put(keeper, "y", 0);
    keeper_leave(keeper); /* we were its supervisor all the time */
    keeper = start();
    assert_int_equal(found_count, 2);
    for (int i = 0; i < 20; i++)
        close(silent[i]);
    keeper_end(keeper);
    assert_int_equal(losses, 0);
}

/* A supervisor of another user may not speak. */
static void another_user_is_refused(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    struct keeper *keeper = start();
    assert_int_equal(chmod(scratch, 0755), 0);
    assert_int_equal(chmod(scratch_path("keeper"), 0666), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setresuid(1, 1, 1) < 0)
            _exit(2);
        int fd = stranger_connect();
        struct pollfd end = {.fd = fd, .events = POLLIN};
        poll(&end, 1, WAIT_MS);
        _exit(end.revents & POLLHUP ? 0 : 1);
    }
    int status;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    keeper_end(keeper);
}

static void a_second_supervisor_takes_over(void **state)
{
    (void)state;
    enum { PUTS = 200 }; /* more than it takes in one turn, less than the socket holds */
    struct keeper *first = start();
    pid_t pid = keeper_pid(first);
    kill(pid, SIGSTOP);
    char name[32];
    for (int i = 0; i < PUTS; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(keeper_put(first, name, 0), 0);
    }
    assert_int_equal(keeper_waiting(first), 0);
    pid_t waker = fork(); /* when the second waits for its answer, the keeper finds both at once */
    if (waker == 0) {
        usleep(200000);
        _exit(kill(pid, SIGCONT));
    }
    struct keeper *second = start();
    waitpid(waker, NULL, 0);
    assert_int_equal(found_count, PUTS);
    for (int i = 0; i < 10; i++)
        loop_turn(loop, 10);
    assert_int_equal(losses, 0); /* or it would start a keeper, take over in its turn, and so on */
    assert_int_equal(keeper_put(first, "z", 0), -EPIPE);
    assert_int_equal(keeper_put(second, "y", 0), 0);
    keeper_leave(first);
    keeper_end(second);
}

static bool has_refused(void *keeper)
{
    return keeper_refused(keeper, NULL) > 0;
}

static void at_its_limit_it_refuses_and_goes_on(void **state)
{
    (void)state;
    struct rlimit before, few = {64, 64};
    getrlimit(RLIMIT_NOFILE, &before);
    few.rlim_max = before.rlim_max;
    pid_t child = fork();
    if (child == 0) { /* the hard limit of the keeper comes from who starts it */
        few.rlim_max = 64;
        setrlimit(RLIMIT_NOFILE, &few);
        loop = loop_new();
        keeper_leave(start());
        _exit(0);
    }
    waitpid(child, NULL, 0);
    struct keeper *keeper = start();
    char name[32];
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(keeper_put(keeper, name, 0), 0);
    }
    await(has_refused, keeper);
    int error;
    keeper_refused(keeper, &error);
    assert_int_equal(error, -EMFILE);
    struct keeper *second = start(); /* there is still a descriptor left for one more */
    keeper_leave(keeper);
    keeper = second;
    assert_in_range(found_count, 20, 64);
    size_t held = found_count;
    keeper_drop(keeper, "n0");
    keeper_put(keeper, "last", 0);
    keeper_leave(keeper);
    keeper = start();
    assert_int_equal(found_count, 2 * held);
    assert_string_equal(found[held].name, "n1");
    assert_string_equal(found[found_count - 1].name, "last");
    keeper_end(keeper);
}

/* As few rights as its work allows, however many its supervisor has. */
static void it_has_no_rights(void **state)
{
    (void)state;
    struct keeper *keeper = start();
    char path[64], line[256];
    snprintf(path, sizeof path, "/proc/%d/status", (int)keeper_pid(keeper));
    FILE *status = fopen(path, "r");
    unsigned long capabilities = ~0ul;
    int no_new_privs = -1, filter = -1;
    while (fgets(line, sizeof line, status)) {
        sscanf(line, "CapPrm: %lx", &capabilities);
        sscanf(line, "NoNewPrivs: %d", &no_new_privs);
        sscanf(line, "Seccomp: %d", &filter);
    }
    fclose(status);
    assert_int_equal(capabilities & ~2ul, 0); /* CAP_DAC_OVERRIDE, which landlock makes void */
    assert_int_equal(no_new_privs, 1);
#ifndef __SANITIZE_ADDRESS__
    assert_int_equal(filter, 2);
#endif
    keeper_end(keeper);
}

/* Far more than a socket holds: the queue is used in both directions. */
static void a_thousand_descriptors_in_one_turn(void **state)
{
    (void)state;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 8192 ? limit.rlim_max : 8192;
    setrlimit(RLIMIT_NOFILE, &limit);
    struct keeper *keeper = start();
    kill(keeper_pid(keeper), SIGSTOP);
    char name[32];
    int fd = open("/dev/null", O_RDONLY);
    for (int i = 0; i < 1500; i++) {
        snprintf(name, sizeof name, "n%d", i);
        assert_int_equal(keeper_put(keeper, name, fd), 0);
    }
    close(fd); /* what waits in the queue is a duplicate */
    keeper_drop(keeper, "n7");
    kill(keeper_pid(keeper), SIGCONT);
    uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
    while (keeper_waiting(keeper) && clock_monotonic_ms() < until_ms)
        loop_turn(loop, 10);
    assert_int_equal(keeper_refused(keeper, NULL), 0);
    keeper_leave(keeper);
    keeper = start();
    assert_int_equal(found_count, 1499);
    assert_string_equal(found[7].name, "n8");
    keeper_end(keeper);
}

/* ---- output without a supervisor ------------------------------------------------------------ */

static bool log_holds(void *text)
{
    return strstr(scratch_text("api.log"), text) != NULL;
}

static void start_logging(struct keeper *keeper)
{
    struct logger_options options = {
        .directory = scratch, .file_bytes_max = 1 << 30, .files_max = 1};
    struct logger *logger;
    if (logger_start(loop, &options, getenv("ENGINX_ROLE_PROGRAM"), note_loss, NULL, &logger))
        _exit(1);
    int fifo = open(scratch_path("fifo"), O_RDWR | O_NONBLOCK);
    keeper_put(keeper, KEEPER_LOGGER, logger_fd(logger));
    keeper_put(keeper, KEEPER_OUTPUT_PREFIX "api.1", fifo);
    logger_write(logger, "api.1", "from the supervisor, ", 21);
}

static void output_is_logged_while_there_is_no_supervisor(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(scratch_path("fifo"), 0600), 0);
    int program = open(scratch_path("fifo"), O_RDWR);
    as_a_crashing_supervisor(start_logging);
    assert_int_equal(write(program, "from the program\n", 17), 17);
    await(log_holds, (char[]){"api.1 from the supervisor, from the program\n"});

    /* More than a pipe holds: written at all only because somebody reads. */
    static char much[1000000]; /* whole lines */
    memset(much, 'm', sizeof much);
    for (size_t i = 99; i < sizeof much; i += 100)
        much[i] = '\n';
    assert_int_equal(write(program, much, sizeof much), sizeof much);

    /* From now on the output is the supervisor's to read. */
    struct keeper *keeper = start();
    assert_int_equal(found_count, 2);
    assert_int_equal(write(program, "for the supervisor\n", 19), 19);
    for (int i = 0; i < 10; i++)
        loop_turn(loop, 10);
    char text[64];
    assert_int_equal(read(found[1].fd, text, sizeof text), 19);
    assert_false(log_holds((char[]){"for the supervisor"}));

    /* And without one again the keeper's. */
    keeper_leave(keeper);
    assert_int_equal(write(program, "again\n", 6), 6);
    await(log_holds, (char[]){"api.1 again\n"});
    /* Dropped: nobody reads it any more. */
    keeper = start();
    keeper_drop(keeper, KEEPER_OUTPUT_PREFIX "api.1");
    keeper_leave(keeper);
    keeper = start();
    keeper_leave(keeper);
    assert_int_equal(write(program, "unread\n", 7), 7);
    usleep(50000);
    assert_int_equal(read(found[1].fd, text, sizeof text), 7);
    keeper_end(start());
    close(program);
}

static bool process_gone(void *pid)
{
    return kill(*(pid_t *)pid, 0) < 0;
}

static void note_logger(struct keeper *keeper)
{
    struct logger_options options = {.directory = scratch, .files_max = 1};
    struct logger *logger;
    logger_start(loop, &options, getenv("ENGINX_ROLE_PROGRAM"), note_loss, NULL, &logger);
    FILE *file = fopen(scratch_path("pid"), "w");
    fprintf(file, "%d", (int)logger_pid(logger));
    fclose(file);
    keeper_put(keeper, KEEPER_LOGGER, logger_fd(logger));
}

/* The logger lives as long as the keeper or a supervisor holds its socket, and no longer. */
static void the_logger_ends_with_the_last_who_holds_it(void **state)
{
    (void)state;
    as_a_crashing_supervisor(note_logger);
    pid_t pid = (pid_t)atoi(scratch_text("pid"));
    struct keeper *keeper = start();
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(found_count, 1);
    close(found[0].fd);
    found_count = 0;
    keeper_end(keeper);
    await(process_gone, &pid);
}

#define with_keeper(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_keeper(descriptors_survive_the_supervisor),
        with_keeper(leaving_keeps_and_ending_ends),
        with_keeper(its_death_is_told_and_another_can_be_started),
        with_keeper(a_silent_keeper_is_replaced),
        with_keeper(garbage_costs_only_who_sends_it),
        with_keeper(another_user_is_refused),
        with_keeper(a_second_supervisor_takes_over),
        with_keeper(at_its_limit_it_refuses_and_goes_on),
        with_keeper(it_has_no_rights),
        with_keeper(a_thousand_descriptors_in_one_turn),
        with_keeper(output_is_logged_while_there_is_no_supervisor),
        with_keeper(the_logger_ends_with_the_last_who_holds_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
