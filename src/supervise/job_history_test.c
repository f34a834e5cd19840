#include "supervise/job_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "topology/topology.h"

static char state_folder[] = "/tmp/job-history-XXXXXX";
static char folder[64];

static int folder_make(void **state)
{
    (void)state;
    if (!mkdtemp(state_folder))
        return -1;
    snprintf(folder, sizeof folder, "%s/jobs", state_folder);
    return 0;
}

static int folder_remove(void **state)
{
    (void)state;
    job_histories_keep(folder, NULL, NULL);
    return rmdir(state_folder); /* nothing is left in it */
}

static struct job_history *opened(const char *name)
{
    int error = -1;
    struct job_history *history = job_history_open(folder, name, &error);
    assert_non_null(history);
    assert_int_equal(error, 0);
    return history;
}

static void add(struct job_history *history, uint64_t begin)
{
    struct job_run run = {.begin_wall_ms = begin, .duration_ms = 5, .good = 1};
    snprintf(run.exit, sizeof run.exit, "run %llu", (unsigned long long)begin);
    job_history_add(history, &run);
}

static void it_is_there_after_a_crash_the_last_first(void **state)
{
    (void)state;
    struct job_history *history = opened("backup");
    assert_null(job_history_run(history, 0));
    for (uint64_t i = 1; i <= JOB_HISTORY_MAX + 3; i++)
        add(history, i);
    job_history_close(history); /* no more than a crash does: stores are in the file already */
    history = opened("backup");
    assert_int_equal(job_history_ended(history), JOB_HISTORY_MAX + 3);
    assert_int_equal(job_history_run(history, 0)->begin_wall_ms, JOB_HISTORY_MAX + 3);
    assert_string_equal(job_history_run(history, 1)->exit, "run 102");
    assert_int_equal(job_history_run(history, JOB_HISTORY_MAX - 1)->begin_wall_ms, 4);
    assert_null(job_history_run(history, JOB_HISTORY_MAX));
    job_history_close(history);
}

static void write_at(const char *name, off_t at, const char *bytes, off_t size)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, at, SEEK_SET), 0);
    fputs(bytes, file);
    fclose(file);
    if (size >= 0)
        assert_int_equal(truncate(path, size), 0);
}

static void what_is_not_ours_is_begun_anew(void **state)
{
    (void)state;
    const struct {
        off_t at;
        const char *bytes;
        off_t size;
    } broken[] = {{0, "E", -1}, {8, "\x07", -1}, {12, "\x07", -1}, {0, "", 100}, {0, "", 0}};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        struct job_history *history = opened("odd");
        add(history, 1);
        job_history_close(history);
        write_at("odd", broken[i].at, broken[i].bytes, broken[i].size);
        history = opened("odd");
        assert_int_equal(job_history_ended(history), 0);
        assert_null(job_history_run(history, 0));
        job_history_close(history);
    }
}

static void a_text_without_an_end_gets_one(void **state)
{
    (void)state;
    struct job_history *history = opened("long");
    add(history, 1);
    job_history_close(history);
    char text[JOB_EXIT_BYTES + 1];
    memset(text, 'x', JOB_EXIT_BYTES);
    text[JOB_EXIT_BYTES] = 0;
    write_at("long", 24 + 24, text, -1);
    history = opened("long");
    assert_int_equal(strlen(job_history_run(history, 0)->exit), JOB_EXIT_BYTES - 1);
    job_history_close(history);
}

static void without_a_file_it_is_in_memory(void **state)
{
    (void)state;
    int error = 0;
    struct job_history *history = job_history_open("/proc/nowhere", "backup", &error);
    assert_non_null(history);
    assert_int_not_equal(error, 0);
    add(history, 7);
    assert_int_equal(job_history_run(history, 0)->begin_wall_ms, 7);
    job_history_close(history);
}

static bool is_kept(void *owner, const char *name)
{
    return strcmp(name, owner) == 0;
}

static void those_of_jobs_that_are_no_more_go(void **state)
{
    (void)state;
    char kept[] = "kept", gone[] = "gone";
    struct job_history *history = opened(kept);
    add(history, 1);
    job_history_close(history);
    history = opened(gone);
    add(history, 1);
    job_history_close(history);
    job_histories_keep(folder, is_kept, kept);
    history = opened(gone);
    assert_int_equal(job_history_ended(history), 0);
    job_history_close(history);
    history = opened(kept);
    assert_int_equal(job_history_ended(history), 1);
    job_history_close(history);
    job_history_remove(folder, kept);
    history = opened(kept);
    assert_int_equal(job_history_ended(history), 0);
    job_history_close(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_there_after_a_crash_the_last_first),
        cmocka_unit_test(what_is_not_ours_is_begun_anew),
        cmocka_unit_test(a_text_without_an_end_gets_one),
        cmocka_unit_test(without_a_file_it_is_in_memory),
        cmocka_unit_test(those_of_jobs_that_are_no_more_go),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
