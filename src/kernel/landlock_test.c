/* Each confinement is for life, so each test confines a child. */
#include "kernel/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/enginx-landlock-XXXXXX";

static int directory_make(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int directory_remove(void **state)
{
    (void)state;
    return rmdir(directory);
}

/* Runs `tries` confined; it exits with the number of the step that went otherwise. */
static void confined(int directory_fd, int (*tries)(void))
{
    pid_t child = fork();
    if (child == 0) {
        if (chdir(directory) < 0)
            _exit(101);
        int error = landlock_confine(directory_fd, false);
        if (error == -ENOSYS || error == -EOPNOTSUPP)
            _exit(100);
        _exit(error ? 102 : tries());
    }
    int status;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 100)
        skip();
    assert_int_equal(status, 0);
}

static int try_nothing_allowed(void)
{
    if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
        return 1;
    if (open("new", O_WRONLY | O_CREAT, 0600) >= 0 || errno != EACCES)
        return 2;
    return open("/dev/null", O_WRONLY) >= 0 ? 3 : 0;
}

static int try_own_directory(void)
{
    int fd = open("a", O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0 || write(fd, "x", 1) != 1 || ftruncate(fd, 0) < 0)
        return 1;
    if (rename("a", "b") < 0 || unlink("b") < 0)
        return 2;
    if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
        return 3;
    if (open("/tmp/enginx-landlock-outside", O_WRONLY | O_CREAT, 0600) >= 0 || errno != EACCES)
        return 4;
    if (mkdir("folder", 0700) == 0 || symlink("/", "link") == 0 || mkfifo("fifo", 0600) == 0)
        return 5;
    return 0;
}

static void without_a_directory_nothing_can_be_opened(void **state)
{
    (void)state;
    confined(-1, try_nothing_allowed);
}

static void below_the_directory_files_can_be_written_and_nothing_else(void **state)
{
    (void)state;
    int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    confined(fd, try_own_directory);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_directory_nothing_can_be_opened),
        cmocka_unit_test(below_the_directory_files_can_be_written_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, directory_make, directory_remove);
}
