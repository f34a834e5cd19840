/* spawn into real control groups; see kernel/cgroup_root_test.c for the groups themselves. */
#include "supervise/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernel/root_test.h"

int seccomp_install(const struct seccomp_wants *wants, bool privileged)
{
    (void)wants;
    (void)privileged;
    return -ENOSYS; /* no test here asks for the filter */
}

static char base[64];
static struct cgroups *cgroups;
static struct cgroup cgroup;

static int group_make(void **state)
{
    (void)state;
    char why[512];
    /* Roomy, but a quota: v1 folders are there for those only. */
    struct cgroup_quota roomy = {
        .memory_bytes = 4ull << 30, .cpu_percent = 800, .tasks = 1000, .io_weight = 90};
    int error = cgroups_open(base, "shop", &cgroups, why, sizeof why);
    return error ? error : cgroup_open(cgroups, "api.1", &roomy, &cgroup, NULL);
}

static int group_remove(void **state)
{
    (void)state;
    cgroup_kill(&cgroup);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    (void)ROOT_TEST_UNTIL(!cgroup_populated(&cgroup));
    int error = cgroup_remove(cgroups, &cgroup);
    if (!error)
        error = cgroups_destroy(cgroups);
    cgroups_close(cgroups);
    return error;
}

static char *const environment[] = {NULL};

static struct spawn_plan plan_of(char *const *argv)
{
    return (struct spawn_plan){.program = argv[0],
                               .argv = argv,
                               .env = environment,
                               .umask = -1,
                               .output_fd = -1,
                               .cgroups = cgroups,
                               .cgroup = &cgroup};
}

#define SHELL(script) ((char *const[]){(char[]){"/bin/sh"}, (char[]){"-c"}, (char[]){script}, NULL})

/* Runs it; what it printed, and its wait status. */
static int output_of(struct spawn_plan plan, char *text, size_t size)
{
    struct spawn_result result;
    enum spawn_step step;
    int output[2], status;
    assert_int_equal(pipe2(output, O_CLOEXEC), 0);
    plan.output_fd = output[1];
    assert_int_equal(spawn(&plan, &result, &step), 0);
    close(output[1]);
    size_t length = 0;
    ssize_t got;
    while ((got = read(output[0], text + length, size - 1 - length)) > 0)
        length += (size_t)got;
    text[length] = 0;
    assert_int_equal(spawn_error(result.error_fd, &step), 0);
    assert_int_equal(waitpid(result.pid, &status, 0), result.pid);
    close(output[0]);
    close(result.pidfd);
    close(result.error_fd);
    return status;
}

/* Is there a line "…:CONTROLLERS:…/BASE/shop/api.1"? */
static bool group_shown(const char *text, const char *controllers)
{
    char wanted[160];
    snprintf(wanted, sizeof wanted, "/%s/shop/api.1", base);
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *colon = strchr(line, ':');
        size_t length = strcspn(line, "\n");
        if (colon && strncmp(colon + 1, controllers, strlen(controllers)) == 0 &&
            length > strlen(wanted) &&
            strncmp(line + length - strlen(wanted), wanted, strlen(wanted)) == 0)
            return true;
    }
    return false;
}

static void the_child_begins_in_its_groups(void **state)
{
    (void)state;
    char text[4096];
    assert_int_equal(output_of(plan_of(SHELL("cat /proc/self/cgroup")), text, sizeof text), 0);
    assert_true(group_shown(text, ":"));
    for (enum cgroup_controller at = 0; at < CGROUP_CONTROLLERS; at++) {
        static const char *const names[] = {
            [CGROUP_MEMORY] = "memory",
            [CGROUP_CPU] = "cpu",
            [CGROUP_PIDS] = "pids",
            [CGROUP_IO] = "blkio",
        };
        const char *backend = cgroups_backend(cgroups, at);
        if (backend && strcmp(backend, "v1") == 0)
            assert_true(group_shown(text, names[at]));
    }
}

/* From here on clone3 answers ENOSYS, as under older container runtimes. */
static int clone3_refuse(void)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clone3, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof program / sizeof *program, program};
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static void without_clone3_it_joins_by_itself(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct spawn_result result;
        enum spawn_step step;
        struct spawn_plan plan = plan_of(SHELL("grep -q \"^0:.*/shop/api.1$\" /proc/self/cgroup"));
        int status;
        if (clone3_refuse() || spawn(&plan, &result, &step))
            _exit(90);
        if (fcntl(result.pidfd, F_GETFD) != FD_CLOEXEC)
            _exit(91);
        _exit(waitpid(result.pid, &status, 0) == result.pid && status == 0 ? 0 : 92);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_group_that_is_gone_is_told(void **state)
{
    (void)state;
    struct spawn_result result;
    enum spawn_step step = SPAWN_EXEC;
    struct spawn_plan plan = plan_of(SHELL("true"));
    struct cgroup gone;
    struct cgroup_quota none = {0};
    assert_int_equal(cgroup_open(cgroups, "gone.1", &none, &gone, NULL), 0);
    struct cgroup copy = gone;
    copy.fd = dup(gone.fd);
    assert_int_equal(cgroup_remove(cgroups, &gone), 0);
    plan.cgroup = &copy;
    int error = spawn(&plan, &result, &step);
    assert_true(error == -ENODEV ||
                error == -ENOENT); /* clone(2) says the one, Linux 6.18 the other */
    assert_int_equal(step, SPAWN_CLONE);
    close(copy.fd);
}

static void a_program_that_is_over_its_task_limit(void **state)
{
    (void)state;
    if (!cgroups_backend(cgroups, CGROUP_PIDS)) {
        print_message("no pids controller here\n");
        return;
    }
    char text[256];
    struct cgroup_quota quota = {.tasks = 1};
    assert_int_equal(cgroup_quota_set(cgroups, &cgroup, &quota, NULL), 0);
    int status = output_of(plan_of(SHELL("(true); echo forked")), text, sizeof text);
    assert_int_not_equal(status, 0); /* the shell gives up when it cannot fork */
    assert_non_null(strstr(text, "fork"));
    assert_null(strstr(text, "forked"));
}

/* ---- an ordinary user to whom a v2 group was delegated, as systemd does it with Delegate=yes
 * ------ */

enum { USER_NOBODY = 65534 };

static bool backend_is(const struct cgroups *all, enum cgroup_controller controller,
                       const char *name)
{
    const char *backend = cgroups_backend(all, controller);
    return backend && strcmp(backend, name) == 0;
}

/* In a child, inside the delegated group, as that user: 0, or the number of what went wrong. */
static int delegated_user(void)
{
    char why[512], text[4096];
    struct cgroups *ours;
    struct cgroup group;
    struct cgroup_quota none = {0};
    if (cgroups_open("inner", "mine", &ours, why, sizeof why)) {
        print_message("%s\n", why);
        return 1;
    }
    if (!strstr(cgroups_path(ours), "-user/inner/mine"))
        return 2;
    /* Where v2 has controllers it must have made way for them: it was itself in the group. */
    for (enum cgroup_controller at = 0; at < CGROUP_CONTROLLERS; at++)
        if (backend_is(cgroups, at, "v2") && !backend_is(ours, at, "v2"))
            return 8;
    if (cgroup_open(ours, "api.1", &none, &group, NULL))
        return 3;
    struct spawn_plan plan =
        plan_of(SHELL("grep -q '^0:.*-user/inner/mine/api.1$' /proc/self/cgroup;"
                      "echo $?; sleep 60 <&- >&- 2>&- &"));
    plan.cgroups = ours;
    plan.cgroup = &group;
    if (output_of(plan, text, sizeof text) || strcmp(text, "0\n") != 0)
        return 4;
    if (!cgroup_populated(&group) || cgroup_kill(&group))
        return 5;
    if (!ROOT_TEST_UNTIL(!cgroup_populated(&group)) || cgroup_remove(ours, &group))
        return 6;
    int error = cgroups_destroy(ours);
    cgroups_close(ours);
    return error ? 7 : 0;
}

/* Gives the group to the user, as cgroups(7) says under "delegation". */
static void delegate(int fd)
{
    static const char *const files[] = {".", "cgroup.procs", "cgroup.subtree_control",
                                        "cgroup.threads"};
    for (size_t at = 0; at < sizeof files / sizeof *files; at++)
        assert_int_equal(fchownat(fd, files[at], USER_NOBODY, USER_NOBODY, 0), 0);
}

static void a_delegated_group_serves_an_ordinary_user(void **state)
{
    (void)state;
    struct cgroup_quota none = {0};
    struct cgroup outer;
    assert_int_equal(cgroup_open(cgroups, "the-user", &none, &outer, NULL), 0);
    delegate(outer.fd);
    pid_t pid = fork();
    if (pid == 0) {
        if (cgroup_join(&outer) || setresgid(USER_NOBODY, USER_NOBODY, USER_NOBODY) ||
            setresuid(USER_NOBODY, USER_NOBODY, USER_NOBODY))
            _exit(90);
        _exit(delegated_user());
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(cgroup_remove(cgroups, &outer), 0);
}

/* Without one it is told what was tried, and by no means does anything half. */
static void without_a_group_an_ordinary_user_is_told(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        char why[512];
        struct cgroups *none = NULL;
        if (setresgid(USER_NOBODY, USER_NOBODY, USER_NOBODY) ||
            setresuid(USER_NOBODY, USER_NOBODY, USER_NOBODY))
            _exit(90);
        int error = cgroups_open(base, "mine", &none, why, sizeof why);
        _exit(error == -EACCES && !none && strstr(why, "Permission denied") ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    root_test_require();
    snprintf(base, sizeof base, "enginx-spawn-test-%d", getpid());
    const struct CMUnitTest tests[] = {
#define IN_A_GROUP(test) cmocka_unit_test_setup_teardown(test, group_make, group_remove)
        IN_A_GROUP(the_child_begins_in_its_groups),
        IN_A_GROUP(without_clone3_it_joins_by_itself),
        IN_A_GROUP(a_group_that_is_gone_is_told),
        IN_A_GROUP(a_program_that_is_over_its_task_limit),
        IN_A_GROUP(a_delegated_group_serves_an_ordinary_user),
        IN_A_GROUP(without_a_group_an_ordinary_user_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
