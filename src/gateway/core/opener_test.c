/* The process that opens files: what it gives, and that nothing leads out of a folder. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "gateway/core/opener.h"

static struct {
    char path[64];
    int directory;
    int control;
    struct opener opener;
} rig;

static void put(const char *name, const char *text)
{
    scoped_fd int fd = openat(rig.directory, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int group_setup(void **state)
{
    (void)state;
    rig.control = opener_start();
    assert_true(rig.control >= 0);
    strcpy(rig.path, "/tmp/enginx-opener-XXXXXX");
    assert_non_null(mkdtemp(rig.path));
    char below[80];
    snprintf(below, sizeof below, "%s/public", rig.path);
    assert_int_equal(mkdir(below, 0755), 0);
    rig.directory = open(below, O_PATH | O_DIRECTORY | O_CLOEXEC);
    put("../secret", "secret");
    put("a", "hello");
    assert_int_equal(mkdirat(rig.directory, "f", 0755), 0);
    put("f/b", "deep");
    symlinkat("../a", rig.directory, "f/inside");
    symlinkat("../secret", rig.directory, "outside");
    symlinkat("/etc/passwd", rig.directory, "absolute");
    symlinkat("/proc/self/root", rig.directory, "magic");
    symlinkat("..", rig.directory, "up");
    symlinkat("circle", rig.directory, "circle");
    assert_int_equal(mkfifoat(rig.directory, "fifo", 0644), 0);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    char command[128];
    opener_done(&rig.opener);
    close(rig.directory);
    snprintf(command, sizeof command, "rm -rf %s", rig.path);
    return system(command);
}

static void reads(const char *path, const char *text)
{
    scoped_fd int fd = -1;
    char bytes[64] = "";
    assert_int_equal(opener_open(&rig.opener, rig.directory, path, &fd), 0);
    assert_int_equal(read(fd, bytes, sizeof bytes), strlen(text));
    assert_string_equal(bytes, text);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
}

static void refuses(const char *path, int error)
{
    int fd = -1;
    assert_int_equal(opener_open(&rig.opener, rig.directory, path, &fd), error);
    assert_int_equal(fd, -1);
}

static void files_below_the_folder_are_opened(void **state)
{
    (void)state;
    reads("a", "hello");
    reads("f/b", "deep");
    reads("f/../a", "hello");
    reads("f/inside", "hello"); /* a link that stays inside is a name like others */
    refuses("none", -ENOENT);
    refuses("a/b", -ENOTDIR);
    scoped_fd int folder = -1;
    assert_int_equal(opener_open(&rig.opener, rig.directory, "", &folder), 0);
    scoped_fd int fifo = -1;
    assert_int_equal(opener_open(&rig.opener, rig.directory, "fifo", &fifo), 0); /* at once */
}

static void nothing_leads_out(void **state)
{
    (void)state;
    refuses("../secret", -EXDEV);
    refuses("..", -EXDEV);
    refuses("f/../../secret", -EXDEV);
    refuses("/etc/passwd", -EXDEV);
    refuses("outside", -EXDEV);
    refuses("absolute", -EXDEV);
    refuses("magic", -EXDEV);
    refuses("up/secret", -EXDEV);
    refuses("circle", -ELOOP);
}

static void long_names_are_refused(void **state)
{
    (void)state;
    char path[OPENER_PATH_BYTES + 2];
    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = 0;
    refuses(path, -ENAMETOOLONG);
    path[OPENER_PATH_BYTES - 1] = 0;
    refuses(path, -ENAMETOOLONG);
    reads("a", "hello");
}

static void a_descriptor_that_is_no_folder_opens_nothing(void **state)
{
    (void)state;
    scoped_fd int file = -1;
    int fd = -1;
    assert_int_equal(opener_open(&rig.opener, rig.directory, "a", &file), 0);
    assert_int_equal(opener_open(&rig.opener, file, "b", &fd), -ENOTDIR);
}

static void a_lost_answer_costs_a_new_connection(void **state)
{
    (void)state;
    close(rig.opener.fd); /* as after a time-out */
    rig.opener.fd = 0;
    reads("a", "hello");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_below_the_folder_are_opened),
        cmocka_unit_test(nothing_leads_out),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(a_descriptor_that_is_no_folder_opens_nothing),
        cmocka_unit_test(a_lost_answer_costs_a_new_connection),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
