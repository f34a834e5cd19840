/* What the kernel really enforces. Works in folders of its own, enginx-cgroup-test-PID, below each
 * hierarchy's root, which are removed at the end, also after a failure. */
#include "kernel/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernel/root_test.h"

static char base[64];
static struct cgroups *cgroups;

static int cluster_make(void **state)
{
    (void)state;
    char why[512];
    int error = cgroups_open(base, "shop", &cgroups, why, sizeof why);
    if (error)
        print_message("no cgroups here: %s\n", why);
    return error;
}

static void member_end(void *owner, const char *name)
{
    (void)owner;
    struct cgroup cgroup;
    struct cgroup_quota none = {0};
    if (cgroup_open(cgroups, name, &none, &cgroup, NULL))
        return;
    cgroup_kill(&cgroup);
    (void)ROOT_TEST_UNTIL(!cgroup_populated(&cgroup));
    cgroup_close(&cgroup);
}

static int cluster_remove(void **state)
{
    (void)state;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    cgroups_each(cgroups, member_end, NULL);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    int error = cgroups_destroy(cgroups);
    cgroups_close(cgroups);
    return error;
}

static struct cgroup group_make(const char *name, struct cgroup_quota quota)
{
    struct cgroup cgroup;
    unsigned failed = 99;
    assert_int_equal(cgroup_open(cgroups, name, &quota, &cgroup, &failed), 0);
    assert_int_equal(failed, 0);
    return cgroup;
}

/* Runs `body` in a child inside the group; it ends with what body gives. */
static pid_t run_in(const struct cgroup *cgroup, int (*body)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        if (cgroup_join(cgroup) || cgroup_join_v1(cgroups, cgroup))
            _exit(99);
        _exit(body());
    }
    assert_true(pid > 0);
    return pid;
}

static int wait_for(pid_t pid)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static int sleep_for_ever(void)
{
    for (;;)
        pause();
    return 0;
}

/* Leaves a process behind that has a session and a parent of its own. */
static int daemonise(void)
{
    if (fork() == 0) {
        setsid();
        if (fork() == 0)
            sleep_for_ever();
        _exit(0);
    }
    wait(NULL);
    return 0;
}

static int prefork(void)
{
    for (int worker = 0; worker < 4; worker++)
        if (fork() == 0)
            sleep_for_ever();
    return sleep_for_ever();
}

static void the_folder_is_where_and_what_it_says(void **state)
{
    (void)state;
    struct stat status;
    char path[4200];
    struct cgroup cgroup = group_make("api.1", (struct cgroup_quota){0});
    snprintf(path, sizeof path, "%s/api.1", cgroups_path(cgroups));
    assert_int_equal(stat(path, &status), 0);
    assert_true(status.st_ino == cgroup.id);
    struct cgroup again = group_make("api.1", (struct cgroup_quota){0}); /* finds it */
    assert_true(again.id == cgroup.id);
    cgroup_close(&again);
    assert_false(cgroup_populated(&cgroup));
    assert_int_equal(cgroup_remove(cgroups, &cgroup), 0);
    assert_int_equal(cgroup.fd, -1);
    assert_int_equal(stat(path, &status), -1);
}

static void what_daemonises_is_found_and_ended(void **state)
{
    (void)state;
    pid_t pids[8];
    struct cgroup cgroup = group_make("daemon.1", (struct cgroup_quota){0});
    assert_int_equal(wait_for(run_in(&cgroup, daemonise)), 0);
    assert_true(cgroup_populated(&cgroup));
    assert_int_equal(cgroup_processes(&cgroup, pids, 8), 1);
    assert_int_equal(kill(pids[0], 0), 0);
    assert_int_equal(cgroup_remove(cgroups, &cgroup), -EBUSY);
    assert_int_equal(cgroups_destroy(cgroups), -EBUSY);
    assert_int_equal(cgroup_kill(&cgroup), 0);
    assert_true(ROOT_TEST_UNTIL(!cgroup_populated(&cgroup)));
    assert_int_equal(cgroup_processes(&cgroup, pids, 8), 0);
    assert_int_equal(cgroup_remove(cgroups, &cgroup), 0);
}

static void prefork_servers_end_as_a_whole_and_that_is_an_event(void **state)
{
    (void)state;
    pid_t pids[8];
    struct cgroup cgroup = group_make("prefork.1", (struct cgroup_quota){0});
    struct pollfd watch = {.fd = cgroup.watch_fd, .events = POLLPRI};
    assert_false(cgroup_populated(&cgroup));
    assert_int_equal(poll(&watch, 1, 0), 0);
    pid_t pid = run_in(&cgroup, prefork);
    assert_int_equal(poll(&watch, 1, 1000), 1); /* it became populated */
    assert_true(cgroup_populated(&cgroup));
    assert_int_equal(poll(&watch, 1, 0), 0); /* reading takes the event back */
    assert_true(ROOT_TEST_UNTIL(cgroup_processes(&cgroup, pids, 8) == 5));
    assert_int_equal(cgroup_processes(&cgroup, pids, 3), 3);
    assert_int_equal(cgroup_kill(&cgroup), 0);
    assert_int_equal(poll(&watch, 1, 1000), 1);
    assert_true(ROOT_TEST_UNTIL(!cgroup_populated(&cgroup)));
    assert_int_equal(WTERMSIG(wait_for(pid)), SIGKILL);
    assert_int_equal(cgroup_remove(cgroups, &cgroup), 0);
}

static void groups_that_the_program_made_belong_to_it(void **state)
{
    (void)state;
    pid_t pids[8];
    struct cgroup cgroup = group_make("nest.1", (struct cgroup_quota){0});
    assert_int_equal(mkdirat(cgroup.fd, "inner", 0755), 0);
    assert_int_equal(mkdirat(cgroup.fd, "inner/most", 0755), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int fd = openat(cgroup.fd, "inner/most/cgroup.procs", O_WRONLY);
        if (write(fd, "0", 1) != 1)
            _exit(99);
        sleep_for_ever();
    }
    assert_true(ROOT_TEST_UNTIL(cgroup_processes(&cgroup, pids, 8) == 1));
    assert_int_equal(pids[0], pid);
    assert_true(cgroup_populated(&cgroup));
    assert_int_equal(cgroup_signal(&cgroup, SIGTERM), 0);
    assert_int_equal(WTERMSIG(wait_for(pid)), SIGTERM);
    assert_true(ROOT_TEST_UNTIL(!cgroup_populated(&cgroup)));
    assert_int_equal(cgroup_remove(cgroups, &cgroup), 0);
}

/* Says so where nobody enforces that limit. */
static bool enforced(enum cgroup_controller controller)
{
    if (!cgroups_backend(cgroups, controller))
        print_message("no such controller here\n");
    return cgroups_backend(cgroups, controller) != NULL;
}

static int eat_memory(void)
{
    enum { EATEN = 64 << 20 };
    char *memory = mmap(NULL, EATEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return 1;
    for (size_t at = 0; at < EATEN; at += 4096)
        ((volatile char *)memory)[at] = 1;
    return 0;
}

static void memory_is_bounded(void **state)
{
    (void)state;
    if (!enforced(CGROUP_MEMORY))
        return;
    struct cgroup_usage usage;
    struct cgroup cgroup = group_make("memory.1", (struct cgroup_quota){.memory_bytes = 16 << 20});
    int status = wait_for(run_in(&cgroup, eat_memory));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    cgroup_usage_read(cgroups, &cgroup, &usage);
    assert_int_equal(usage.oom_kills, 1);
    /* Without the limit it goes through: the test's program is not what fails. */
    assert_int_equal(cgroup_quota_set(cgroups, &cgroup, &(struct cgroup_quota){0}, NULL), 0);
    assert_int_equal(wait_for(run_in(&cgroup, eat_memory)), 0);
    cgroup_usage_read(cgroups, &cgroup, &usage);
    assert_int_equal(usage.oom_kills, 1);
    cgroup_close(&cgroup);
}

static void the_cluster_memory_bounds_what_is_below(void **state)
{
    (void)state;
    if (!enforced(CGROUP_MEMORY))
        return;
    unsigned failed;
    struct cgroup_quota quota = {.memory_bytes = 16 << 20};
    assert_int_equal(cgroups_quota_set(cgroups, &quota, &failed), 0);
    struct cgroup cgroup = group_make("memory.2", (struct cgroup_quota){0});
    assert_int_equal(WTERMSIG(wait_for(run_in(&cgroup, eat_memory))), SIGKILL);
    cgroup_close(&cgroup);
}

static int fork_many(void)
{
    for (int count = 0; count < 10; count++) {
        pid_t pid = fork();
        if (pid < 0)
            return errno == EAGAIN ? count : 100;
        if (pid == 0)
            sleep_for_ever();
    }
    return 50;
}

static void tasks_are_bounded(void **state)
{
    (void)state;
    if (!enforced(CGROUP_PIDS))
        return;
    struct cgroup cgroup = group_make("tasks.1", (struct cgroup_quota){.tasks = 4});
    assert_int_equal(WEXITSTATUS(wait_for(run_in(&cgroup, fork_many))), 3);
    cgroup_kill(&cgroup);
    assert_true(ROOT_TEST_UNTIL(!cgroup_populated(&cgroup)));
    cgroup_close(&cgroup);
}

/* Computes for 600 ms of wall time, and tells how many of cpu that were. */
static int compute(void)
{
    struct timespec start, now, used;
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_nsec - start.tv_nsec) / 1000000 < 600);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int)(used.tv_sec * 100 + used.tv_nsec / 10000000); /* in 10 ms: fits a status */
}

static void cpu_time_is_bounded(void **state)
{
    (void)state;
    if (!enforced(CGROUP_CPU))
        return;
    struct cgroup_usage usage;
    struct cgroup cgroup = group_make("cpu.1", (struct cgroup_quota){.cpu_percent = 10});
    int used = WEXITSTATUS(wait_for(run_in(&cgroup, compute)));
    assert_in_range(used, 1, 18); /* 6 at 10 %; 60 without a limit */
    cgroup_usage_read(cgroups, &cgroup, &usage);
    assert_in_range(usage.cpu_usec, 10000, 200000);
    cgroup_close(&cgroup);
}

static void a_lower_cpu_ceiling_lowers_members(void **state)
{
    (void)state;
    if (!enforced(CGROUP_CPU))
        return;
    unsigned failed;
    struct cgroup cgroup = group_make("cpu.2", (struct cgroup_quota){.cpu_percent = 80});
    assert_int_equal(cgroups_quota_set(cgroups, &(struct cgroup_quota){.cpu_percent = 10}, &failed),
                     0);
    struct cgroup other = group_make("cpu.3", (struct cgroup_quota){.cpu_percent = 50});
    int used = WEXITSTATUS(wait_for(run_in(&cgroup, compute)));
    assert_in_range(used, 1, 18);
    cgroup_close(&cgroup);
    cgroup_close(&other);
}

static void name_count(void *owner, const char *name)
{
    int *count = owner;
    *count += strcmp(name, "one.1") == 0 || strcmp(name, "two.1") == 0 ? 1 : 100;
}

static void members_are_listed_for_adoption(void **state)
{
    (void)state;
    int count = 0;
    struct cgroup one = group_make("one.1", (struct cgroup_quota){0});
    struct cgroup two = group_make("two.1", (struct cgroup_quota){0});
    assert_int_equal(cgroups_each(cgroups, name_count, &count), 0);
    assert_int_equal(count, 2);
    count = 0;
    assert_int_equal(cgroups_each(cgroups, name_count, &count), 0); /* from the start again */
    assert_int_equal(count, 2);
    cgroup_close(&one);
    cgroup_close(&two);
}

int main(void)
{
    root_test_require();
    snprintf(base, sizeof base, "enginx-cgroup-test-%d", getpid());
    const struct CMUnitTest tests[] = {
#define IN_A_CLUSTER(test) cmocka_unit_test_setup_teardown(test, cluster_make, cluster_remove)
        IN_A_CLUSTER(the_folder_is_where_and_what_it_says),
        IN_A_CLUSTER(what_daemonises_is_found_and_ended),
        IN_A_CLUSTER(prefork_servers_end_as_a_whole_and_that_is_an_event),
        IN_A_CLUSTER(groups_that_the_program_made_belong_to_it),
        IN_A_CLUSTER(memory_is_bounded),
        IN_A_CLUSTER(the_cluster_memory_bounds_what_is_below),
        IN_A_CLUSTER(tasks_are_bounded),
        IN_A_CLUSTER(cpu_time_is_bounded),
        IN_A_CLUSTER(a_lower_cpu_ceiling_lowers_members),
        IN_A_CLUSTER(members_are_listed_for_adoption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
