#include "cli/place.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/place-XXXXXX";

static int folder_make(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int folder_remove(void **state)
{
    (void)state;
    char path[PLACE_BYTES];
    static const char *const names[] = {"a/b/c", "a/b", "a"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        rmdir(path);
    }
    return rmdir(folder);
}

static mode_t mode_of(const char *path)
{
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 0777;
}

static void the_folder_may_be_walked_through_whatever_the_umask(void **state)
{
    (void)state;
    char path[PLACE_BYTES];
    snprintf(path, sizeof path, "%s/a/b/c", folder);
    mode_t mask = umask(077);
    assert_int_equal(place_make(path), 0);
    assert_int_equal(umask(mask), 077);
    assert_int_equal(mode_of(path), 0711);
    *strrchr(path, '/') = 0;
    assert_int_equal(mode_of(path), 0755);
}

static void what_is_no_folder_of_ours_is_refused(void **state)
{
    (void)state;
    char path[PLACE_BYTES], far[PLACE_BYTES];
    snprintf(path, sizeof path, "%s/link", folder);
    assert_int_equal(symlink(folder, path), 0);
    assert_int_equal(place_make(path), -ENOTDIR);
    unlink(path);
    memset(far, 'x', sizeof far - 1);
    far[0] = '/';
    far[sizeof far - 1] = 0;
    assert_int_equal(place_make(far), -ENAMETOOLONG);
    if (geteuid() != 0)
        assert_int_equal(place_make("/usr"), -EPERM);
}

static void where_a_cluster_lives(void **state)
{
    (void)state;
    char path[PLACE_BYTES];
    struct cli cli = {.state = "/x/y"};
    assert_int_equal(place_state(&cli, "shop", path), 0);
    assert_string_equal(path, "/x/y");
    assert_int_equal(place_log(&cli, "/x/y", "shop", path), 0);
    assert_string_equal(path, "/x/y/log");
    cli.state = NULL;
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_int_equal(place_state(&cli, "shop", path), 0);
    assert_string_equal(path, geteuid() == 0 ? "/run/enginx/shop" : "/run/user/7/enginx/shop");
    char name[PLACE_BYTES];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(place_state(&cli, name, path), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_folder_may_be_walked_through_whatever_the_umask),
        cmocka_unit_test(what_is_no_folder_of_ours_is_refused),
        cmocka_unit_test(where_a_cluster_lives),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
