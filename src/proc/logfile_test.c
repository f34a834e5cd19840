#include "proc/logfile.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "proc/scratch_test.h"

#define LINE "2026-01-02T03:04:05.123Z api.1 0123456789\n" /* 42 bytes, of which 11 are output */

static int directory;

static struct logfile *fresh(uint64_t bytes_max, uint32_t files_max)
{
    directory = open(scratch, O_PATH | O_DIRECTORY);
    return logfile_new(directory, "api",
                       (struct logfile_limits){.bytes_max = bytes_max, .files_max = files_max});
}

static void done(struct logfile *logfile)
{
    logfile_free(logfile);
    close(directory);
}

static void put(struct logfile *logfile, const char *line)
{
    assert_true(logfile_write(logfile, line, strlen(line)));
}

static void files_rotate_at_their_size_and_the_oldest_goes(void **state)
{
    (void)state;
    struct logfile *logfile = fresh(10, 2);
    put(logfile, "one 1\n");
    put(logfile, "1\n"); /* 8 bytes: still the first */
    put(logfile, "two 2\n");
    put(logfile, "three\n");
    assert_string_equal(scratch_text("api.log"), "three\n");
    assert_string_equal(scratch_text("api.log.1"), "two 2\n");
    assert_string_equal(scratch_text("api.log.2"), "one 1\n1\n");
    put(logfile, "a line longer than the limit\n"); /* has a file of its own */
    assert_string_equal(scratch_text("api.log"), "a line longer than the limit\n");
    assert_string_equal(scratch_text("api.log.2"), "two 2\n");
    assert_int_not_equal(access(scratch_path("api.log.3"), F_OK), 0);
    done(logfile);
}

static void without_rotated_files_it_begins_anew(void **state)
{
    (void)state;
    struct logfile *logfile = fresh(10, 0);
    put(logfile, "one 1\n");
    put(logfile, "two 2\n");
    assert_string_equal(scratch_text("api.log"), "two 2\n");
    assert_int_not_equal(access(scratch_path("api.log.1"), F_OK), 0);
    done(logfile);
}

static void what_is_there_counts_and_close_opens_anew(void **state)
{
    (void)state;
    scratch_append("api.log", "before\n");
    struct logfile *logfile = fresh(10, 1);
    put(logfile, "after\n");
    assert_string_equal(scratch_text("api.log.1"), "before\n");
    char moved[sizeof scratch + 256];
    snprintf(moved, sizeof moved, "%s", scratch_path("moved"));
    rename(scratch_path("api.log"), moved);
    put(logfile, "x\n"); /* logrotate has moved it: we write on in the moved file … */
    logfile_close(logfile);
    assert_false(logfile_open(logfile));
    put(logfile, "y\n"); /* … until we are told */
    assert_string_equal(scratch_text("moved"), "after\nx\n");
    assert_string_equal(scratch_text("api.log"), "y\n");
    done(logfile);
}

static void a_name_cannot_leave_the_directory(void **state)
{
    (void)state;
    char name[LOGFILE_NAME_BYTES];
    assert_string_equal(logfile_name("../../etc/x", 0, name), "_._.._etc_x.log");
    assert_string_equal(logfile_name("a", 7, name), "a.log.7");
    assert_int_equal(symlink("elsewhere", scratch_path("api.log")), 0);
    struct logfile *logfile = fresh(0, 1);
    assert_false(logfile_write(logfile, LINE, strlen(LINE)));
    assert_int_not_equal(access(scratch_path("elsewhere"), F_OK), 0);
    done(logfile);
}

/* A file size limit in place of a full disk: the same error path, without the need of a mount. */
static void size_limit(rlim_t bytes)
{
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_is_counted_and_told_once(void **state)
{
    (void)state;
    struct logfile *logfile = fresh(0, 1);
    put(logfile, LINE);
    size_limit(2 * 42 + 10);
    /* One of these two lines gets through, and ten bytes of the other. */
    assert_false(logfile_write(logfile, LINE LINE, 2 * strlen(LINE)));
    assert_true(logfile_failing(logfile));
    assert_false(logfile_write(logfile, LINE LINE, 2 * strlen(LINE)));
    size_limit(2 * 42 + 15); /* a part of the report gets through, twice */
    assert_false(logfile_retry(logfile, 0));
    assert_false(logfile_retry(logfile, 0));
    size_limit(RLIM_INFINITY);
    assert_false(logfile_write(logfile, LINE, strlen(LINE))); /* only a retry ends it */
    assert_true(logfile_retry(logfile, 1767323045123));
    put(logfile, LINE);
    assert_string_equal(
        scratch_text("api.log"),
        LINE LINE "2026-01-02\n"
                  "2026-01-02T03:04:05.123Z api 44 bytes of output lost: File too large\n" LINE);
    done(logfile);
}

#define with_scratch(test) cmocka_unit_test_setup_teardown(test, scratch_make, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_scratch(files_rotate_at_their_size_and_the_oldest_goes),
        with_scratch(without_rotated_files_it_begins_anew),
        with_scratch(what_is_there_counts_and_close_opens_anew),
        with_scratch(a_name_cannot_leave_the_directory),
        with_scratch(a_full_disk_is_counted_and_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
