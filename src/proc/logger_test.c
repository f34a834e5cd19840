/* The logger as a process: what is written to it is in its files after it ended. */
#include "proc/logger.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/clock.h"
#include "proc/message.h"
#include "proc/scratch_test.h"

enum { WAIT_MS = 10000 }; /* for what must come; never for what takes time by design */

static struct loop *loop;
static int losses; /* of loggers */

static int setup(void **state)
{
    loop = loop_new();
    losses = 0;
    return loop ? scratch_make(state) : -1;
}

static int teardown(void **state)
{
    loop_free(loop);
    return scratch_remove(state);
}

static void note_loss(void *owner)
{
    (void)owner;
    losses++;
    loop_stop(loop);
}

static struct logger *start(uint64_t file_bytes_max, uint32_t files_max)
{
    struct logger_options options = {
        .directory = scratch, .file_bytes_max = file_bytes_max, .files_max = files_max};
    struct logger *logger = NULL;
    assert_int_equal(
        logger_start(loop, &options, getenv("ENGINX_ROLE_PROGRAM"), note_loss, NULL, &logger), 0);
    assert_true(logger_pid(logger) > 0);
    return logger;
}

static void put(struct logger *logger, const char *source, const char *text)
{
    logger_write(logger, source, text, strlen(text));
}

/* Closes and waits for the process: everything is in the files then. */
static void finish(struct logger *logger)
{
    pid_t pid = logger_pid(logger);
    logger_free(logger);
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* Turns the loop until the file holds the text. */
static void await_text(const char *name, const char *text)
{
    uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
    while (!strstr(scratch_text(name), text) && clock_monotonic_ms() < until_ms)
        loop_turn(loop, 10);
    assert_non_null(strstr(scratch_text(name), text));
}

/* The file without the times; each line must have one. */
static const char *without_times(const char *name)
{
    static char text[4096];
    const char *from = scratch_text(name);
    size_t length = 0;
    while (*from && length < sizeof text - 300) {
        assert_int_equal(from[10], 'T');
        assert_int_equal(from[24], ' ');
        size_t line = strcspn(from, "\n") + 1;
        memcpy(text + length, from + 25, line - 25);
        length += line - 25;
        from += line;
    }
    text[length] = 0;
    return text;
}

static void lines_go_to_the_files_of_their_services(void **state)
{
    (void)state;
    struct logger *logger = start(1 << 20, 1);
    put(logger, "api.1", "hello\nwor");
    put(logger, "api.2", "tab\tis\n");
    put(logger, "api.1", "ld\n");
    put(logger, "s1.db.1", "x\n");
    logger_write(logger, "api.1", "a\0b\033[1m\n", 8);
    put(logger, "api.1", "no end");
    finish(logger);
    assert_string_equal(without_times("api.log"), "api.1 hello\napi.2 tab\tis\napi.1 world\n"
                                                  "api.1 a b\033[1m\napi.1 no end\n");
    assert_string_equal(without_times("s1.db.log"), "s1.db.1 x\n");
}

static void the_gateway_s_access_log_stays_as_it_is(void **state)
{
    (void)state;
    struct logger *logger = start(1 << 20, 1);
    struct message message;
    assert_int_equal(message_init(&message, MESSAGE_CHUNK, LOGGER_RAW_SOURCE), 0);
    message.bytes = "{\"status\":200}\n192.0.2.7 - - \"GET / HTTP/1.1\" 200\n";
    message.length = strlen(message.bytes);
    assert_int_equal(message_send(logger_fd(logger), PARTY_GATEWAY, &message), 0);
    put(logger, "accessories.1", "not that one\n");
    assert_int_equal(message_init(&message, MESSAGE_LOST, LOGGER_RAW_SOURCE), 0);
    message.number = 7;
    assert_int_equal(message_send(logger_fd(logger), PARTY_GATEWAY, &message), 0);
    finish(logger);
    const char *text = scratch_text("access.log");
    const char *lines = "{\"status\":200}\n192.0.2.7 - - \"GET / HTTP/1.1\" 200\n";
    assert_memory_equal(text, lines, strlen(lines));
    assert_string_equal(text + strlen(lines) + 24,
                        " access 7 bytes of output lost: the logger was behind\n");
    assert_string_equal(without_times("accessories.log"), "accessories.1 not that one\n");
}

static void a_line_without_an_end_comes_after_a_quiet_second(void **state)
{
    (void)state;
    struct logger *logger = start(1 << 20, 1);
    put(logger, "api.1", "login: ");
    await_text("api.log", "api.1 login: \n");
    finish(logger);
}

static void a_term_signal_writes_what_is_there(void **state)
{
    (void)state;
    struct logger *logger = start(1 << 20, 1);
    put(logger, "api.1", "first\n");
    await_text("api.log", "first\n");
    kill(logger_pid(logger), SIGSTOP);
    for (int i = 0; i < 199; i++) /* more than it takes in one turn */
        put(logger, "api.1", "more\n");
    put(logger, "api.1", "second\nthird");
    kill(logger_pid(logger), SIGTERM);
    kill(logger_pid(logger), SIGCONT);
    loop_run(loop);
    assert_int_equal(losses, 1);
    logger_free(logger);
    const char *text = without_times("api.log");
    assert_memory_equal(text, "api.1 first\napi.1 more\n", 23);
    assert_string_equal(text + 12 + 199 * 11, "api.1 second\napi.1 third\n");
}

static void a_hangup_signal_opens_the_files_anew(void **state)
{
    (void)state;
    struct logger *logger = start(1 << 20, 1);
    put(logger, "api.1", "one\n");
    await_text("api.log", "one\n");
    char moved[sizeof scratch + 256];
    strcpy(moved, scratch_path("moved"));
    assert_int_equal(rename(scratch_path("api.log"), moved), 0);
    put(logger, "api.1", "two\n");
    await_text("moved", "two\n");
    kill(logger_pid(logger), SIGHUP);
    /* The signal and the next chunk race for the logger's turn: more chunks until it was seen. */
    uint64_t until_ms = clock_monotonic_ms() + WAIT_MS;
    while (access(scratch_path("api.log"), F_OK) && clock_monotonic_ms() < until_ms) {
        put(logger, "api.1", "more\n");
        loop_turn(loop, 10);
    }
    assert_int_equal(access(scratch_path("api.log"), F_OK), 0);
    finish(logger);
}

static void death_is_told(void **state)
{
    (void)state;
    struct logger *logger = start(1 << 20, 1);
    kill(logger_pid(logger), SIGKILL);
    loop_run(loop);
    assert_int_equal(losses, 1);
    put(logger, "api.1", "to nobody\n"); /* harmless */
    logger_free(logger);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* and it was reaped */
}

static void a_logger_that_stands_still_costs_output_but_no_time(void **state)
{
    (void)state;
    enum { CHUNKS = 3200 }; /* 100 MiB */
    static char chunk[LOGGER_CHUNK_BYTES_MAX];
    memset(chunk, 'x', sizeof chunk);
    for (size_t i = 99; i < sizeof chunk; i += 100)
        chunk[i] = '\n';
    struct logger *logger = start(1 << 30, 1);
    put(logger, "api.1", "begin\n");
    await_text("api.log", "begin\n");
    kill(logger_pid(logger), SIGSTOP);
    uint64_t slowest_ms = 0;
    for (int i = 0; i < CHUNKS; i++) {
        uint64_t before_ms = clock_monotonic_ms();
        logger_write(logger, "api.1", chunk, sizeof chunk);
        uint64_t took_ms = clock_monotonic_ms() - before_ms;
        slowest_ms = took_ms > slowest_ms ? took_ms : slowest_ms;
    }
    assert_true(slowest_ms < 2000); /* this machine may be busy; blocking would be for ever */
    assert_true(logger_behind(logger));
    kill(logger_pid(logger), SIGCONT);
    await_text("api.log", " bytes of output lost: the logger was behind\n");
    assert_false(logger_behind(logger));
    put(logger, "api.1", "end\n");
    finish(logger);
    /* Written and lost bytes together are what was sent. */
    uint64_t sum = 0, lost = 0;
    const char *text = scratch_text("api.log");
    const char *end = text + strlen(text);
    for (const char *line = text, *next; line < end; line = next) {
        next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        const char *output = line + strlen("2026-01-02T03:04:05.123Z api.1 ");
        if (memmem(line, (size_t)(next - line), "bytes of output", 15))
            sscanf(output, "%19lu", &lost);
        else
            sum += (uint64_t)(next - output);
    }
    assert_string_equal(end - strlen("api.1 end\n"), "api.1 end\n"); /* the gap parts lines */
    assert_true(lost > 50 * 1000 * 1000);
    assert_in_range(sum + lost, (uint64_t)CHUNKS * sizeof chunk + 10,
                    (uint64_t)CHUNKS * sizeof chunk + 11); /* one line was cut in two by the gap */
}

static void many_services_need_few_descriptors(void **state)
{
    (void)state;
    struct logger *logger = start(1 << 20, 1);
    struct rlimit limit = {300, 300};
    assert_int_equal(prlimit(logger_pid(logger), RLIMIT_NOFILE, &limit, NULL), 0);
    char source[32], name[32];
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 600; i++) {
            snprintf(source, sizeof source, "s%d.1", i);
            put(logger, source, round ? "b\n" : "a\n");
            while (logger_behind(logger))
                loop_turn(loop, 100);
        }
    finish(logger);
    for (int i = 0; i < 600; i++) {
        snprintf(source, sizeof source, "s%d.1 a\ns%d.1 b\n", i, i);
        snprintf(name, sizeof name, "s%d.log", i);
        assert_string_equal(without_times(name), source);
    }
}

static void one_that_cannot_start_is_told(void **state)
{
    (void)state;
    struct logger_options options = {.directory = scratch};
    struct logger *logger;
    assert_int_equal(logger_start(loop, &options, "/nonexistent", note_loss, NULL, &logger),
                     -ENOENT);
    scratch_append("file", "x");
    char below[sizeof scratch + 256];
    strcpy(below, scratch_path("file"));
    options.directory = below;
    assert_int_equal(
        logger_start(loop, &options, getenv("ENGINX_ROLE_PROGRAM"), note_loss, NULL, &logger),
        -ENOTDIR);
}

static void another_supervisor_adopts_it(void **state)
{
    (void)state;
    struct logger *first = start(1 << 20, 1);
    pid_t pid = logger_pid(first);
    put(first, "api.1", "from the fir");
    int fd = dup(logger_fd(first)); /* as the keeper hands it over */
    logger_free(first);
    struct logger *second;
    assert_int_equal(logger_adopt(loop, fd, pid, note_loss, NULL, &second), 0);
    assert_int_equal(logger_pid(second), pid);
    put(second, "api.1", "st and the second\n");
    await_text("api.log", "api.1 from the first and the second\n");
    kill(pid, SIGKILL);
    loop_run(loop);
    assert_int_equal(losses, 1);
    fd = dup(logger_fd(second));
    logger_free(second);
    assert_int_equal(logger_adopt(loop, fd, pid, note_loss, NULL, &second), -ESRCH);
    waitpid(pid, NULL, 0);
}

/* A file system of 256 KiB in a mount namespace of this process's own; the same with a limit on the
 * size of files is in logfile_test.c. */
static void a_full_disk_is_told_when_there_is_space_again(void **state)
{
    (void)state;
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", scratch, "tmpfs", 0, "size=256k") < 0)
        skip();
    struct logger *logger = start(0, 1);
    scratch_append("ballast", "x");
    assert_int_equal(truncate(scratch_path("ballast"), 0), 0);
    int ballast = open(scratch_path("ballast"), O_WRONLY);
    while (write(ballast, without_times, 4096) > 0)
        continue;
    put(logger, "api.1", "nowhere\n");
    put(logger, "api.2", "neither\n");
    usleep(100000); /* so that it has tried before there is space */
    assert_int_equal(ftruncate(ballast, 0), 0);
    close(ballast);
    await_text("api.log", "api 16 bytes of output lost: No space left on device\n");
    put(logger, "api.1", "back\n");
    finish(logger);
    assert_string_equal(without_times("api.log"),
                        "api 16 bytes of output lost: No space left on device\napi.1 back\n");
    umount2(scratch, MNT_DETACH);
}

#define with_logger(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_logger(lines_go_to_the_files_of_their_services),
        with_logger(the_gateway_s_access_log_stays_as_it_is),
        with_logger(a_line_without_an_end_comes_after_a_quiet_second),
        with_logger(a_term_signal_writes_what_is_there),
        with_logger(a_hangup_signal_opens_the_files_anew),
        with_logger(death_is_told),
        with_logger(a_logger_that_stands_still_costs_output_but_no_time),
        with_logger(many_services_need_few_descriptors),
        with_logger(one_that_cannot_start_is_told),
        with_logger(another_supervisor_adopts_it),
        with_logger(a_full_disk_is_told_when_there_is_space_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
