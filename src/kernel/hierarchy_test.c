#include "kernel/hierarchy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const char hybrid_mounts[] =
    "23 1 0:20 / / rw,relatime - ext4 /dev/vda rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:1 master:2 - cgroup2 cgroup2 rw\n";
static const char hybrid_own[] = "9:name=systemd:/user\n4:memory:/process/one\n"
                                 "2:cpu,cpuacct:/\n0::/\n";

static void hybrid_machine(void **state)
{
    (void)state;
    struct hierarchy hierarchy;
    assert_true(hierarchy_find(hybrid_mounts, hybrid_own, NULL, &hierarchy));
    assert_string_equal(hierarchy.mount, "/sys/fs/cgroup/unified");
    assert_string_equal(hierarchy.own, "/sys/fs/cgroup/unified");
    assert_true(hierarchy_find(hybrid_mounts, hybrid_own, "memory", &hierarchy));
    assert_string_equal(hierarchy.own, "/sys/fs/cgroup/memory/process/one");
    assert_true(hierarchy_find(hybrid_mounts, hybrid_own, "cpu", &hierarchy));
    assert_string_equal(hierarchy.mount, "/sys/fs/cgroup/cpu,cpuacct");
    assert_string_equal(hierarchy.own, "/sys/fs/cgroup/cpu,cpuacct");
    assert_false(hierarchy_find(hybrid_mounts, hybrid_own, "pids", &hierarchy));
    assert_false(hierarchy_find("", "", NULL, &hierarchy));
    assert_false(hierarchy_find("1 2\n\n - \n", ":\n::", NULL, &hierarchy));
}

static void pure_v2_in_a_delegated_unit(void **state)
{
    (void)state;
    struct hierarchy hierarchy;
    const char *mounts =
        "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
    assert_true(
        hierarchy_find(mounts, "0::/user.slice/user-1000.slice/app.scope", NULL, &hierarchy));
    assert_string_equal(hierarchy.own, "/sys/fs/cgroup/user.slice/user-1000.slice/app.scope");
    assert_false(hierarchy_find(mounts, "0::/x\n", "memory", &hierarchy));
}

static void a_bind_mount_shows_a_part_of_the_tree(void **state)
{
    (void)state;
    struct hierarchy hierarchy;
    const char *mounts = "29 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
    assert_true(hierarchy_find(mounts, "0::/docker/abc\n", NULL, &hierarchy));
    assert_string_equal(hierarchy.own, "/sys/fs/cgroup");
    assert_true(hierarchy_find(mounts, "0::/docker/abc/below\n", NULL, &hierarchy));
    assert_string_equal(hierarchy.own, "/sys/fs/cgroup/below");
    assert_true(hierarchy_find(mounts, "0::/docker/abcdef\n", NULL, &hierarchy));
    assert_string_equal(hierarchy.own, "");
    assert_true(hierarchy_find(mounts, "0::/\n", NULL, &hierarchy));
    assert_string_equal(hierarchy.own, "");
}

static void a_group_outside_the_namespace_has_no_folder(void **state)
{
    (void)state;
    struct hierarchy hierarchy;
    const char *mounts = "29 23 0:26 / /cg rw - cgroup2 none rw\n";
    assert_true(hierarchy_find(mounts, "0::/../other\n", NULL, &hierarchy));
    assert_string_equal(hierarchy.own, "");
    assert_true(hierarchy_find(mounts, "0::/..name\n", NULL, &hierarchy));
    assert_string_equal(hierarchy.own, "/cg/..name");
}

static void the_mount_that_shows_us_is_preferred(void **state)
{
    (void)state;
    struct hierarchy hierarchy;
    const char *mounts =
        "1 0 0:1 /a /one rw - cgroup2 x rw\n2 0 0:1 /b /two\\040words rw - cgroup2 x rw\n"
        "3 0 0:1 /c /three rw - cgroup2 x rw\n";
    assert_true(hierarchy_find(mounts, "0::/b/c", NULL, &hierarchy));
    assert_string_equal(hierarchy.own, "/two words/c");
    assert_true(hierarchy_find(mounts, "0::/z", NULL, &hierarchy));
    assert_string_equal(hierarchy.mount, "/one");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hybrid_machine),
        cmocka_unit_test(pure_v2_in_a_delegated_unit),
        cmocka_unit_test(a_bind_mount_shows_a_part_of_the_tree),
        cmocka_unit_test(a_group_outside_the_namespace_has_no_folder),
        cmocka_unit_test(the_mount_that_shows_us_is_preferred),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
