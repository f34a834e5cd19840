/* supervise/marks.h with children that carry marks, as an instance's processes do. */
#include "supervise/marks.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervise/launch.h"

enum { CHILDREN_MAX = 8 };

static struct loop *loop;
static struct marks *marks;
static char prefix[32]; /* of this run's marks */
static pid_t children[CHILDREN_MAX];
static size_t child_count;

static int marks_make(void **state)
{
    (void)state;
    snprintf(prefix, sizeof prefix, "marks-test-%d", getpid());
    loop = loop_new();
    marks = loop ? marks_new(loop) : NULL;
    return marks ? 0 : -1;
}

static void child_end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static int marks_remove(void **state)
{
    (void)state;
    while (child_count)
        child_end(children[--child_count]);
    marks_free(marks);
    loop_free(loop);
    return 0;
}

static void turn(void)
{
    assert_int_equal(loop_turn(loop, 0), 0);
}

/* A process of PREFIX/NAME (NULL: without a mark) in a session of its own, which has begun. */
static pid_t child_start(const char *name)
{
    char mark[96];
    int ready[2];
    snprintf(mark, sizeof mark, LAUNCH_MARK "=%s/%s", prefix, name ? name : "");
    char other[] = "OTHER=1", program[] = "sleep", thirty[] = "30";
    char *env[] = {other, name ? mark : NULL, NULL}, *argv[] = {program, thirty, NULL};
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        execve("/bin/sleep", argv, env);
        _exit(127);
    }
    char byte;
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 0); /* closed by exec */
    close(ready[0]);
    assert_true(child_count < CHILDREN_MAX);
    children[child_count++] = pid;
    return pid;
}

static size_t processes_of(const char *name, pid_t session, pid_t pids[CHILDREN_MAX])
{
    char mark[64];
    snprintf(mark, sizeof mark, "%s/%s", prefix, name);
    return marks_processes(marks, mark, session, pids, CHILDREN_MAX);
}

static void each_instance_has_its_own(void **state)
{
    (void)state;
    pid_t pids[CHILDREN_MAX];
    pid_t first = child_start("api.1");
    pid_t tenth = child_start("api.10");
    pid_t tenth_too = child_start("api.10");
    assert_int_equal(processes_of("api.1", 0, pids), 1);
    assert_int_equal(pids[0], first);
    assert_int_equal(processes_of("api.10", 0, pids), 2);
    assert_true(pids[0] + pids[1] == tenth + tenth_too && pids[0] != pids[1]);
    assert_int_equal(processes_of("api", 0, pids), 0);
}

static void what_lost_its_mark_is_found_by_its_session(void **state)
{
    (void)state;
    pid_t pids[CHILDREN_MAX];
    pid_t titled = child_start(NULL);
    pid_t marked = child_start("api.1");
    assert_int_equal(processes_of("api.1", titled, pids), 2);
    assert_int_equal(pids[0], marked);
    assert_int_equal(pids[1], titled);
    assert_int_equal(processes_of("api.1", marked, pids), 1); /* by both, and once */
}

static void a_turn_is_answered_by_one_walk(void **state)
{
    (void)state;
    pid_t pids[CHILDREN_MAX];
    pid_t old = child_start("api.1");
    turn();
    assert_int_equal(processes_of("api.1", 0, pids), 1);
    assert_int_equal(processes_of("api.2", 0, pids), 0);
    uint64_t walks = marks_walks(marks);
    pid_t young = child_start("api.2");
    assert_int_equal(processes_of("api.2", 0, pids), 0); /* the answer is of this turn */
    assert_int_equal(marks_walks(marks), walks);
    marks_forget(marks);
    assert_int_equal(processes_of("api.2", 0, pids), 1);
    assert_int_equal(pids[0], young);
    assert_int_equal(marks_walks(marks), walks + 1);
    child_end(old);
    turn();
    assert_int_equal(processes_of("api.1", 0, pids), 0);
}

static void to_be_sure_takes_two_walks_in_a_turn(void **state)
{
    (void)state;
    pid_t pids[CHILDREN_MAX];
    pid_t old = child_start("api.1");
    turn();
    assert_int_equal(processes_of("api.1", 0, pids), 1);
    uint64_t walks = marks_walks(marks);
    pid_t young = child_start("api.1"); /* as if the first walk had missed it */
    marks_make_sure(marks);
    assert_int_equal(processes_of("api.1", old, pids), 2); /* each once */
    assert_true(pids[0] + pids[1] == old + young && pids[0] != pids[1]);
    assert_int_equal(marks_walks(marks), walks + 1);
    marks_make_sure(marks);
    assert_int_equal(processes_of("api.1", 0, pids), 2);
    assert_int_equal(marks_walks(marks), walks + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define WITH_MARKS(test) cmocka_unit_test_setup_teardown(test, marks_make, marks_remove)
        WITH_MARKS(each_instance_has_its_own),
        WITH_MARKS(what_lost_its_mark_is_found_by_its_session),
        WITH_MARKS(a_turn_is_answered_by_one_walk),
        WITH_MARKS(to_be_sure_takes_two_walks_in_a_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
