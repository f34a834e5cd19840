#include "proc/logread.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "proc/logfile.h"
#include "proc/logline.h"
#include "proc/scratch_test.h"

static char *text;
static size_t text_bytes;

/* What logread_print prints; valid until the next call. */
static const char *printed(struct logread_options options)
{
    free(text);
    options.directory = scratch;
    FILE *out = open_memstream(&text, &text_bytes);
    int error = logread_print(out, &options);
    fclose(out);
    assert_int_equal(error, 0);
    return text;
}

#define AT(second, rest) "2026-01-02T03:04:" second ".000Z " rest "\n"

static void logs_are_merged_by_time_and_cut_at_the_last_lines(void **state)
{
    (void)state;
    scratch_append("api.log.2", AT("01", "api.1 a") AT("02", "api.2 b"));
    scratch_append("api.log.1", AT("04", "api.1 c"));
    scratch_append("api.log", AT("06", "api.2 d"));
    scratch_append("db.log", AT("03", "db.1 x") AT("04", "db.1 y") AT("07", "db.1 z"));
    scratch_append("notes.txt", "not ours\n");
    assert_string_equal(printed((struct logread_options){.lines = 4}),
                        AT("04", "api.1 c") AT("04", "db.1 y") AT("06", "api.2 d")
                            AT("07", "db.1 z"));
    assert_string_equal(printed((struct logread_options){.lines = 100, .service = "api"}),
                        AT("01", "api.1 a") AT("02", "api.2 b") AT("04", "api.1 c")
                            AT("06", "api.2 d"));
    assert_string_equal(
        printed((struct logread_options){.lines = 1, .service = "api", .instance = 1}),
        AT("04", "api.1 c"));
    assert_string_equal(printed((struct logread_options){.lines = 0}), "");
}

static void lines_without_a_time_keep_their_place(void **state)
{
    (void)state;
    scratch_append("api.log",
                   AT("05", "api.1 a") "somebody's own text\n" AT("03", "api.1 b") "torn");
    scratch_append("db.log", AT("04", "db.1 x"));
    assert_string_equal(printed((struct logread_options){.lines = 9}),
                        AT("05", "api.1 a") "somebody's own text\n" AT("03", "api.1 b")
                            AT("04", "db.1 x") "torn\n");
}

static void a_service_without_a_log_is_told(void **state)
{
    (void)state;
    struct logread_options options = {.directory = scratch, .service = "none", .lines = 1};
    assert_int_equal(logread_print(stdout, &options), -ENOENT);
    options.directory = "/nonexistent";
    assert_int_equal(logread_print(stdout, &options), -ENOENT);
}

static void colours_stand_around_time_and_name(void **state)
{
    (void)state;
    scratch_append("api.log", AT("01", "api.1 hello"));
    const char *line = printed((struct logread_options){.lines = 1, .colour = true});
    assert_memory_equal(line, "\033[2m2026-01-02T03:04:01.000Z\033[0m \033[", 35);
    assert_non_null(strstr(line, "mapi.1\033[0m hello\n"));
}

/* Blocks are 64 KiB: many of them, lines of all lengths, and a merge that is cut within. */
static void many_blocks_are_read_backwards(void **state)
{
    (void)state;
    enum { LINES = 6000 };
    FILE *file = fopen(scratch_path("api.log"), "w");
    char head[LOGLINE_HEAD_BYTES_MAX];
    for (int i = 0; i < LINES; i++) {
        size_t head_bytes = logline_head(head, 1767323045000u + (uint64_t)i, "api.1");
        fprintf(file, "%.*s%d %0*d\n", (int)head_bytes, head, i, i * 7 % 500 + 1, 0);
    }
    fclose(file);
    char *all = strdup(scratch_text("api.log"));
    assert_true(strlen(all) > 20 * 64 * 1024);
    assert_string_equal(printed((struct logread_options){.lines = LINES + 1}), all);
    printed((struct logread_options){.lines = 2500});
    assert_string_equal(text, all + strlen(all) - text_bytes);
    int lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 2500);
    free(all);
}

/* ---- following: a child prints into a pipe -------------------------------------------------- */

static pid_t follower;
static int follower_output;

static void follow_start(struct logread_options options)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    options.directory = scratch;
    follower = fork();
    if (follower == 0) {
        close(ends[0]);
        FILE *out = fdopen(ends[1], "w");
        int error = logread_follow(out, &options);
        _exit(error == -EPIPE ? 0 : 1);
    }
    close(ends[1]);
    follower_output = ends[0];
}

/* Waits for one line; "" after a second and a half without one. */
static const char *follow_line(void)
{
    static char line[512];
    size_t length = 0;
    struct pollfd more = {.fd = follower_output, .events = POLLIN};
    while (length < sizeof line - 1 && (!length || line[length - 1] != '\n')) {
        if (poll(&more, 1, 1500) <= 0 || read(follower_output, line + length, 1) != 1)
            break;
        length++;
    }
    line[length] = 0;
    return line;
}

/* The follower ends by itself when nobody reads. */
static void follow_stop(void)
{
    close(follower_output);
    int status;
    waitpid(follower, &status, 0);
    assert_int_equal(status, 0);
}

static void new_lines_follow_over_rotations(void **state)
{
    (void)state;
    int directory = open(scratch, O_PATH | O_DIRECTORY);
    struct logfile_limits limits = {.bytes_max = 120, .files_max = 9};
    struct logfile *logfile = logfile_new(directory, "api", limits);
    assert_true(logfile_write(logfile, AT("01", "api.1 0000"), 36));
    assert_true(logfile_write(logfile, AT("01", "api.1 0001"), 36));
    follow_start((struct logread_options){.service = "api", .lines = 1});
    assert_string_equal(follow_line(), AT("01", "api.1 0001"));
    for (int i = 2; i < 40; i++) { /* three lines a file; bursts of ten are more than one file */
        char line[64];
        snprintf(line, sizeof line, AT("01", "api.1 %04d"), i);
        assert_true(logfile_write(logfile, line, 36));
        if (i % 10 == 9)
            for (int j = i - 9 < 2 ? 2 : i - 9; j <= i; j++) {
                snprintf(line, sizeof line, AT("01", "api.1 %04d"), j);
                assert_string_equal(follow_line(), line);
            }
    }
    logfile_free(logfile);
    close(directory);
    follow_stop();
}

/* Lines are written all the time while the follower begins: each comes once, in order. */
static void the_beginning_neither_misses_nor_repeats(void **state)
{
    (void)state;
    enum { LINES = 3000, ROUNDS = 5 };
    for (int round = 0; round < ROUNDS; round++) {
        pid_t writer = fork();
        if (writer == 0) {
            int directory = open(scratch, O_PATH | O_DIRECTORY);
            struct logfile *logfile = logfile_new(
                directory, "api", (struct logfile_limits){.bytes_max = 36 * 50, .files_max = 400});
            for (int i = round * LINES; i < (round + 1) * LINES; i++) {
                char line[64];
                snprintf(line, sizeof line, AT("01", "api.1 %05d"), i);
                logfile_write(logfile, line, strlen(line));
            }
            _exit(0);
        }
        usleep((useconds_t)round * 3000); /* anywhere in the writer's life */
        follow_start((struct logread_options){.service = "api", .lines = LOGREAD_LINES_MAX});
        int expected = 0;
        for (const char *line; expected < (round + 1) * LINES; expected++) {
            line = follow_line();
            if (!*line || atoi(strrchr(line, ' ')) != expected)
                fail_msg("line %d is \"%s\"", expected, line);
        }
        follow_stop();
        waitpid(writer, NULL, 0);
    }
}

static void a_service_that_appears_is_followed(void **state)
{
    (void)state;
    follow_start((struct logread_options){.lines = 5});
    usleep(100000); /* it waits for something to happen: nothing tells us when it does */
    scratch_append("new.log", AT("01", "new.1 a"));
    assert_string_equal(follow_line(), AT("01", "new.1 a"));
    scratch_append("new.log", "2026-01-02T03:04:02.000Z new.1 ");
    scratch_append("new.log", "b\n");
    assert_string_equal(follow_line(), AT("02", "new.1 b"));
    follow_stop();
}

#define with_scratch(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        with_scratch(logs_are_merged_by_time_and_cut_at_the_last_lines),
        with_scratch(lines_without_a_time_keep_their_place),
        with_scratch(a_service_without_a_log_is_told),
        with_scratch(colours_stand_around_time_and_name),
        with_scratch(many_blocks_are_read_backwards),
        with_scratch(new_lines_follow_over_rotations),
        with_scratch(the_beginning_neither_misses_nor_repeats),
        with_scratch(a_service_that_appears_is_followed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(text);
    return failed;
}
