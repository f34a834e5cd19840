#include "kernel/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* A child that waits until it is killed. */
static pid_t child_start(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        for (;;)
            pause();
    }
    assert_true(pid > 0);
    return pid;
}

static void child_end(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void what_proc_tells(void **state)
{
    (void)state;
    char name[PROCESS_NAME_BYTES];
    uint64_t memory_bytes = 0, cpu_usec = 0;
    /* The worst name that a process can give itself. */
    prctl(PR_SET_NAME, ") R 1 (1 x\n");
    assert_string_equal(process_name(getpid(), name), ") R 1 (1 x");
    assert_int_equal(process_parent(getpid()), getppid());
    assert_true(process_start_ticks(getpid()) > 0);
    assert_int_equal(process_usage(getpid(), &memory_bytes, &cpu_usec), 0);
    assert_in_range(memory_bytes, 100000, 16ull << 30);
    pid_t child = child_start();
    assert_int_equal(process_parent(child), getpid());
    assert_true(process_start_ticks(child) >= process_start_ticks(getpid()));
    child_end(child);
    assert_int_equal(process_start_ticks(child), 0);
    assert_int_equal(process_parent(child), 0);
    assert_string_equal(process_name(child, name), "?");
    assert_int_equal(process_usage(child, &memory_bytes, &cpu_usec), -ENOENT);
}

/* Tells its number, and lives until the other pipe is closed. */
struct thread_pipes {
    int told[2];
    int until[2];
};

static void *thread_wait(void *owner)
{
    struct thread_pipes *pipes = owner;
    pid_t tid = gettid();
    char byte;
    if (write(pipes->told[1], &tid, sizeof tid) != sizeof tid || read(pipes->until[0], &byte, 1))
        abort();
    return NULL;
}

static void a_pidfd_of_a_process_and_of_a_thread(void **state)
{
    (void)state;
    struct thread_pipes pipes;
    pid_t tid;
    pthread_t thread;
    int fd = process_open(getpid());
    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    assert_int_equal(pipe(pipes.told) | pipe(pipes.until), 0);
    assert_int_equal(pthread_create(&thread, NULL, thread_wait, &pipes), 0);
    assert_int_equal(read(pipes.told[0], &tid, sizeof tid), sizeof tid);
    assert_int_not_equal(tid, getpid());
    fd = process_open_thread(tid);
    assert_true(fd >= 0);
    int copy = process_descriptor(fd, pipes.told[0]);
    assert_true(copy >= 0);
    close(copy);
    close(fd);
    close(pipes.until[1]);
    pthread_join(thread, NULL);
    close(pipes.until[0]);
    close(pipes.told[0]);
    close(pipes.told[1]);
    pid_t child = child_start();
    child_end(child);
    assert_int_equal(process_open(child), -ESRCH);
    assert_true(process_open_thread(child) < 0);
}

/* The exit status of a grandchild, which only its own parent can wait for. */
static int grandchild_status(int exit_code, int signal_number, int *ret_status)
{
    int ends[2], go[2];
    assert_int_equal(pipe(ends) | pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            char byte;
            close(go[1]);
            if (read(go[0], &byte, 1) != 0)
                abort();
            if (signal_number)
                kill(getpid(), signal_number);
            _exit(exit_code);
        }
        close(go[1]);
        if (write(ends[1], &grandchild, sizeof grandchild) < 0)
            abort();
        waitpid(grandchild, NULL, 0);
        _exit(0);
    }
    pid_t grandchild;
    assert_int_equal(read(ends[0], &grandchild, sizeof grandchild), sizeof grandchild);
    int pidfd = process_open(grandchild);
    assert_true(pidfd >= 0);
    int early = process_exit_status(pidfd, ret_status);
    assert_true(early == -EAGAIN || early == -ENOTSUP);
    close(go[0]);
    close(go[1]);
    close(ends[0]);
    close(ends[1]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};
    assert_int_equal(poll(&poll_fd, 1, 1000), 1);
    int answer = process_exit_status(pidfd, ret_status);
    close(pidfd);
    return answer;
}

static void the_exit_status_of_a_process_that_is_no_child(void **state)
{
    (void)state;
    int status = 0;
    int answer = grandchild_status(42, 0, &status);
    if (answer == -ENOTSUP) {
        print_message("needs Linux 6.15\n");
        return;
    }
    assert_int_equal(answer, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    assert_int_equal(grandchild_status(0, SIGTERM, &status), 0);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void a_zombie_tells_how_it_ended(void **state)
{
    (void)state;
    int status = -1;
    pid_t child = child_start();
    uint64_t ticks = process_start_ticks(child);
    assert_true(process_runs(child));
    assert_int_equal(process_zombie_status(child, ticks, &status), -EAGAIN);
    kill(child, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    assert_false(process_runs(child));
    assert_int_equal(process_zombie_status(child, ticks, &status), 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(process_zombie_status(child, ticks + 1, &status), -ESRCH);
    child_end(child);
    assert_int_equal(process_zombie_status(child, ticks, &status), -ENOENT);
    child = fork();
    if (child == 0)
        _exit(7);
    assert_int_equal(waitid(P_PID, (id_t)child, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
    assert_int_equal(process_zombie_status(child, process_start_ticks(child), &status), 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    child_end(child);
}

static void a_socket_is_found_by_its_cookie(void **state)
{
    (void)state;
    int decoy = socket(AF_INET, SOCK_DGRAM, 0);
    int wanted = socket(AF_INET, SOCK_STREAM, 0);
    uint64_t cookie = 0, again = 0;
    socklen_t length = sizeof cookie;
    assert_int_equal(getsockopt(wanted, SOL_SOCKET, SO_COOKIE, &cookie, &length), 0);
    pid_t pids[2] = {1 << 30, getpid()}; /* one that is not there */
    int found = process_socket_find(pids, 2, cookie);
    assert_true(found >= 0 && found != wanted);
    assert_int_equal(getsockopt(found, SOL_SOCKET, SO_COOKIE, &again, &length), 0);
    assert_true(cookie == again);
    close(found);
    close(wanted);
    assert_int_equal(process_socket_find(pids, 2, cookie), -ENOENT);
    assert_int_equal(process_socket_find(pids, 0, cookie), -ENOENT);
    close(decoy);
}

struct found {
    int value;
    size_t count;
    pid_t pid;
};

static void found_add(void *owner, pid_t pid, const char *value)
{
    struct found *found = owner;
    if (atoi(value) != found->value)
        return;
    found->count++;
    found->pid = pid;
}

static void processes_are_found_by_their_environment(void **state)
{
    (void)state;
    char assignment[64], longer[80];
    int ready[2];
    snprintf(assignment, sizeof assignment, "ENGINX_PROCESS_TEST=%d", getpid());
    snprintf(longer, sizeof longer, "%s0", assignment); /* must not be taken for it */
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t children[2];
    for (int at = 0; at < 2; at++) {
        char other[] = "OTHER=1", *env[] = {other, at ? longer : assignment, NULL};
        char sleep_name[] = "sleep", thirty[] = "30", *argv[] = {sleep_name, thirty, NULL};
        children[at] = fork();
        if (children[at] == 0) {
            execve("/bin/sleep", argv, env);
            _exit(127);
        }
    }
    close(ready[1]);
    char byte;
    assert_int_equal(read(ready[0], &byte, 1), 0); /* both have exec'ed */
    struct found found = {.value = getpid()};
    assert_int_equal(processes_value_each("ENGINX_PROCESS_TEST", found_add, &found), 0);
    assert_int_equal(found.count, 1);
    assert_int_equal(found.pid, children[0]);
    child_end(children[0]);
    child_end(children[1]);
    found = (struct found){.value = getpid()};
    assert_int_equal(processes_value_each("ENGINX_PROCESS_TEST", found_add, &found), 0);
    assert_int_equal(found.count, 0);
    close(ready[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_proc_tells),
        cmocka_unit_test(a_pidfd_of_a_process_and_of_a_thread),
        cmocka_unit_test(the_exit_status_of_a_process_that_is_no_child),
        cmocka_unit_test(a_zombie_tells_how_it_ended),
        cmocka_unit_test(a_socket_is_found_by_its_cookie),
        cmocka_unit_test(processes_are_found_by_their_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
