/* kernel/cgroup.h on trees of ordinary files that look like a machine's; what the kernel really
 * enforces is in cgroup_root_test.c. */
#include "kernel/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char top[64]; /* of the tree */

static int entry_remove(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

static int tree_make(void **state)
{
    (void)state;
    strcpy(top, "/tmp/enginx-cgroup-test.XXXXXX");
    return mkdtemp(top) ? 0 : -1;
}

static int tree_remove(void **state)
{
    (void)state;
    return nftw(top, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes a file of the tree and makes the folders on its way. */
static void file_put(const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof full, "%s/%s", top, path);
    for (char *at = full + strlen(top) + 1; (at = strchr(at, '/')); at++) {
        *at = 0;
        assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
        *at = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void assert_file(const char *path, const char *wanted)
{
    char full[512], text[512] = "";
    snprintf(full, sizeof full, "%s/%s", top, path);
    FILE *file = fopen(full, "r");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    text[length] = 0;
    fclose(file);
    assert_string_equal(text, wanted);
}

/* A v2 folder as the kernel makes it. */
static void folder_put(const char *folder, const char *controllers)
{
    static const char *const files[][2] = {
        {"cgroup.procs", ""},
        {"cgroup.subtree_control", ""},
        {"cgroup.events", "populated 0\nfrozen 0\n"},
        {"cgroup.kill", ""},
        {"memory.max", "max\n"},
        {"cpu.max", "max 100000\n"},
        {"pids.max", "max\n"},
        {"memory.current", "4096\n"},
        {"memory.events", "oom 3\noom_kill 2\n"},
        {"cpu.stat", "usage_usec 1234\nuser_usec 1000\n"},
    };
    char path[256];
    for (size_t at = 0; at < sizeof files / sizeof *files; at++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[at][0]);
        file_put(path, files[at][1]);
    }
    snprintf(path, sizeof path, "%s/cgroup.controllers", folder);
    file_put(path, controllers);
}

static int open_on(const char *mounts_format, const char *own, bool root,
                   struct cgroups **ret_cgroups, char *why, size_t why_size)
{
    char mountinfo[1024];
    size_t length = 0;
    for (const char *at = mounts_format; *at && length < sizeof mountinfo - 1; at++) {
        if (*at == '@') /* stands for the tree's top */
            length += (size_t)snprintf(mountinfo + length, sizeof mountinfo - length, "%s", top);
        else
            mountinfo[length++] = *at;
    }
    mountinfo[length] = 0;
    struct cgroup_machine machine = {mountinfo, own, root};
    return cgroups_open_on(&machine, "base", "shop", ret_cgroups, why, why_size);
}

static const char pure_v2[] = "29 23 0:26 / @ rw - cgroup2 cgroup2 rw\n";

static void v2_controllers_are_enabled_level_by_level(void **state)
{
    (void)state;
    char why[256];
    struct cgroups *cgroups;
    folder_put(".", "cpuset cpu io memory pids\n");
    folder_put("base", "cpu io memory pids\n");
    folder_put("base/shop", "cpu io memory pids\n");
    file_put("cgroup.subtree_control", "cpu memory pids\n"); /* as systemd leaves it */
    assert_int_equal(open_on(pure_v2, "0::/user.slice\n", true, &cgroups, why, sizeof why), 0);
    assert_file("cgroup.subtree_control", "+io");
    assert_file("base/cgroup.subtree_control", "+io"); /* the last of four writes */
    assert_file("base/shop/cgroup.subtree_control", "+io");
    for (enum cgroup_controller at = 0; at < CGROUP_CONTROLLERS; at++)
        assert_string_equal(cgroups_backend(cgroups, at), "v2");
    assert_non_null(strstr(cgroups_path(cgroups), "/base/shop"));
    cgroups_close(cgroups);
}

static void v2_quotas_are_written(void **state)
{
    (void)state;
    char why[256];
    struct cgroups *cgroups;
    struct cgroup cgroup;
    struct cgroup_usage usage;
    unsigned failed = 99;
    folder_put(".", "cpu io memory pids\n");
    folder_put("base", "cpu io memory pids\n");
    folder_put("base/shop", "cpu io memory pids\n");
    folder_put("base/shop/api.1", "cpu io memory pids\n");
    file_put("base/shop/io.weight", "default 100\n");
    file_put("base/shop/io.bfq.weight", "default 100\n");
    file_put("base/shop/api.1/io.weight", "default 7\n"); /* a kernel without BFQ */
    assert_int_equal(open_on(pure_v2, "0::/\n", true, &cgroups, why, sizeof why), 0);
    struct cgroup_quota quota = {
        .memory_bytes = 1 << 20, .cpu_percent = 150, .tasks = 7, .io_weight = 5050};
    assert_int_equal(cgroups_quota_set(cgroups, &quota, &failed), 0);
    assert_int_equal(failed, 0);
    assert_file("base/shop/memory.max", "1048576");
    assert_file("base/shop/cpu.max", "150000 100000");
    assert_file("base/shop/pids.max", "7");
    assert_file("base/shop/io.weight", "default 5050");
    assert_file("base/shop/io.bfq.weight", "550");
    assert_int_equal(
        cgroup_open(cgroups, "api.1", &(struct cgroup_quota){.tasks = 3}, &cgroup, &failed), 0);
    assert_int_equal(failed, 0);
    assert_file("base/shop/api.1/memory.max", "max");
    assert_file("base/shop/api.1/cpu.max", "max");
    assert_file("base/shop/api.1/pids.max", "3");
    assert_file("base/shop/api.1/io.weight", "default 100");
    cgroup_usage_read(cgroups, &cgroup, &usage);
    assert_int_equal(usage.cpu_usec, 1234);
    assert_int_equal(usage.memory_bytes, 4096);
    assert_int_equal(usage.oom_kills, 2);
    cgroup_close(&cgroup);
    cgroups_close(cgroups);
}

static void limits_that_nobody_enforces_are_reported(void **state)
{
    (void)state;
    char why[256];
    struct cgroups *cgroups;
    unsigned failed;
    folder_put(".", "cpu\n");
    folder_put("base", "cpu\n");
    folder_put("base/shop", "cpu\n");
    assert_int_equal(open_on(pure_v2, "0::/\n", true, &cgroups, why, sizeof why), 0);
    assert_null(cgroups_backend(cgroups, CGROUP_MEMORY));
    assert_non_null(strstr(cgroups_lack(cgroups, CGROUP_MEMORY), " has no memory controller"));
    assert_string_equal(cgroups_lack(cgroups, CGROUP_CPU), "");
    struct cgroup_quota quota = {.memory_bytes = 1 << 20, .cpu_percent = 10};
    assert_int_equal(cgroups_quota_set(cgroups, &quota, &failed), -ENOTSUP);
    assert_int_equal(failed, 1 << CGROUP_MEMORY);
    assert_file("base/shop/cpu.max", "10000 100000");
    cgroups_close(cgroups);
}

/* The controller is there, and no way to share a disk by weights. */
static void a_weight_that_the_kernel_does_not_know_is_reported(void **state)
{
    (void)state;
    char why[256];
    struct cgroups *cgroups;
    unsigned failed;
    folder_put(".", "io\n");
    folder_put("base", "io\n");
    folder_put("base/shop", "io\n");
    assert_int_equal(open_on(pure_v2, "0::/\n", true, &cgroups, why, sizeof why), 0);
    assert_int_equal(cgroups_quota_set(cgroups, &(struct cgroup_quota){0}, &failed), 0);
    assert_int_equal(cgroups_quota_set(cgroups, &(struct cgroup_quota){.io_weight = 50}, &failed),
                     -ENOENT);
    assert_int_equal(failed, 1 << CGROUP_IO);
    cgroups_close(cgroups);
}

static const char hybrid_io[] = "1 0 0:1 / @/unified rw - cgroup2 cgroup2 rw\n"
                                "2 0 0:2 / @/blkio rw - cgroup cgroup rw,blkio\n";

static void v1_calls_it_blkio(void **state)
{
    (void)state;
    char why[256];
    struct cgroups *cgroups;
    struct cgroup cgroup;
    unsigned failed;
    folder_put("unified", "\n");
    folder_put("unified/base/shop", "\n");
    folder_put("unified/base/shop/api.1", "\n");
    file_put("blkio/cgroup.procs", "");
    file_put("blkio/base/shop/cgroup.procs", "");
    file_put("blkio/base/shop/blkio.bfq.weight", "100\n");
    file_put("blkio/base/shop/api.1/cgroup.procs", "");
    file_put("blkio/base/shop/api.1/blkio.bfq.weight", "100\n");
    assert_int_equal(open_on(hybrid_io, "0::/\n2:blkio:/\n", true, &cgroups, why, sizeof why), 0);
    assert_string_equal(cgroups_backend(cgroups, CGROUP_IO), "v1");
    assert_int_equal(
        cgroup_open(cgroups, "api.1", &(struct cgroup_quota){.io_weight = 10000}, &cgroup, &failed),
        0);
    assert_int_equal(failed, 0);
    assert_true(cgroup.v1[CGROUP_IO]);
    assert_file("blkio/base/shop/api.1/blkio.bfq.weight", "1000");
    cgroup_close(&cgroup);
    cgroups_close(cgroups);
}

static const char hybrid[] = "1 0 0:1 / @/unified rw - cgroup2 cgroup2 rw\n"
                             "2 0 0:2 / @/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
                             "3 0 0:3 / @/memory rw - cgroup cgroup rw,memory\n";

static void v1_holds_what_v2_does_not(void **state)
{
    (void)state;
    char why[256];
    struct cgroups *cgroups;
    struct cgroup cgroup;
    unsigned failed;
    folder_put("unified", "hugetlb\n");
    folder_put("unified/base/shop", "\n");
    folder_put("unified/base/shop/api.1", "\n");
    file_put("cpu,cpuacct/cgroup.procs", "");
    file_put("cpu,cpuacct/base/cpu.cfs_quota_us", "90000\n");
    file_put("cpu,cpuacct/base/cpu.cfs_period_us", "100000\n");
    static const char *const cpu_folders[] = {"shop", "shop/api.1"};
    for (int at = 0; at < 2; at++) {
        char path[128];
        snprintf(path, sizeof path, "cpu,cpuacct/base/%s/cgroup.procs", cpu_folders[at]);
        file_put(path, "");
        snprintf(path, sizeof path, "cpu,cpuacct/base/%s/cpu.cfs_quota_us", cpu_folders[at]);
        file_put(path, "-1\n");
        snprintf(path, sizeof path, "cpu,cpuacct/base/%s/cpu.cfs_period_us", cpu_folders[at]);
        file_put(path, "100000\n");
    }
    assert_int_equal(
        open_on(hybrid, "0::/\n2:cpu,cpuacct:/\n3:memory:/\n", true, &cgroups, why, sizeof why), 0);
    assert_string_equal(cgroups_backend(cgroups, CGROUP_CPU), "v1");
    assert_null(cgroups_backend(cgroups, CGROUP_MEMORY)); /* no folder can be made there */
    assert_null(cgroups_backend(cgroups, CGROUP_PIDS));
    assert_string_equal(cgroups_lack(cgroups, CGROUP_CPU), "");
    assert_non_null(strstr(cgroups_lack(cgroups, CGROUP_MEMORY), "/memory/base: "));
    assert_non_null(strstr(cgroups_lack(cgroups, CGROUP_PIDS), " has no pids controller"));
    assert_int_equal(cgroups_quota_set(cgroups, &(struct cgroup_quota){.cpu_percent = 60}, &failed),
                     0);
    assert_file("cpu,cpuacct/base/shop/cpu.cfs_quota_us", "60000");
    /* A member may not have more than the cluster … */
    assert_int_equal(
        cgroup_open(cgroups, "api.1", &(struct cgroup_quota){.cpu_percent = 80}, &cgroup, &failed),
        0);
    assert_int_equal(failed, 0);
    assert_true(cgroup.v1[CGROUP_CPU]);
    assert_false(cgroup.v1[CGROUP_MEMORY]);
    assert_file("cpu,cpuacct/base/shop/api.1/cpu.cfs_quota_us", "60000");
    /* … and is lowered with it. */
    assert_int_equal(cgroups_quota_set(cgroups, &(struct cgroup_quota){.cpu_percent = 20}, &failed),
                     0);
    assert_file("cpu,cpuacct/base/shop/api.1/cpu.cfs_quota_us", "20000");
    assert_file("cpu,cpuacct/base/shop/cpu.cfs_quota_us", "20000");
    /* A ceiling further up, that is not ours, counts too. */
    assert_int_equal(
        cgroups_quota_set(cgroups, &(struct cgroup_quota){.cpu_percent = 200}, &failed), 0);
    assert_file("cpu,cpuacct/base/shop/cpu.cfs_quota_us", "90000");
    cgroup_close(&cgroup);
    cgroups_close(cgroups);
}

static void without_root_the_own_group_is_the_place(void **state)
{
    (void)state;
    char why[512];
    struct cgroups *cgroups;
    folder_put(".", "memory\n");
    folder_put("user/app.scope", "\n");
    folder_put("user/app.scope/base/shop", "\n");
    assert_int_equal(open_on(pure_v2, "0::/user/app.scope\n", false, &cgroups, why, sizeof why), 0);
    assert_non_null(strstr(cgroups_path(cgroups), "/user/app.scope/base/shop"));
    cgroups_close(cgroups);
    /* Started again from the leaf into which an earlier start has moved itself. */
    assert_int_equal(
        open_on(pure_v2, "0::/user/app.scope/base.self\n", false, &cgroups, why, sizeof why), 0);
    assert_non_null(strstr(cgroups_path(cgroups), "/user/app.scope/base/shop"));
    cgroups_close(cgroups);
}

/* A group that was given to a user, as systemd does with Delegate=yes. */
static void a_delegated_group_has_what_is_handed_down(void **state)
{
    (void)state;
    char why[512];
    struct cgroups *cgroups;
    folder_put("delegated", "memory\n");
    folder_put("delegated/base", "memory\n");
    folder_put("delegated/base/shop", "memory\n");
    assert_int_equal(open_on(pure_v2, "0::/delegated\n", false, &cgroups, why, sizeof why), 0);
    assert_file("delegated/cgroup.subtree_control", "+memory");
    assert_file("delegated/base/shop/cgroup.subtree_control", "+memory");
    assert_string_equal(cgroups_backend(cgroups, CGROUP_MEMORY), "v2");
    assert_string_equal(cgroups_lack(cgroups, CGROUP_MEMORY), "");
    assert_null(cgroups_backend(cgroups, CGROUP_CPU));
    const char *lack = cgroups_lack(cgroups, CGROUP_CPU);
    assert_non_null(strstr(lack, "the group above does not hand the cpu controller down to "));
    assert_non_null(strstr(lack, "/delegated (systemd: Delegate=yes)"));
    cgroups_close(cgroups);
}

static void what_was_tried_is_told(void **state)
{
    (void)state;
    char why[512];
    struct cgroups *cgroups = NULL;
    assert_int_equal(open_on("", "", true, &cgroups, why, sizeof why), -ENOENT);
    assert_string_equal(why, "no cgroup v2 hierarchy is mounted");
    assert_int_equal(open_on(pure_v2, "0::/a\n", true, &cgroups, why, sizeof why), -ENOENT);
    assert_non_null(strstr(why, "/base: No such file or directory; "));
    assert_non_null(strstr(why, "/a/base: No such file or directory"));
    assert_int_equal(
        open_on("1 0 0:1 /x @ rw - cgroup2 n rw\n", "0::/a\n", false, &cgroups, why, sizeof why),
        -ENOENT);
    assert_non_null(strstr(why, "does not show the group"));
    assert_null(cgroups);
}

static void names_that_lead_elsewhere_are_refused(void **state)
{
    (void)state;
    char why[256], longest[300];
    struct cgroups *cgroups;
    struct cgroup cgroup;
    struct cgroup_machine machine = {"", "", true};
    assert_int_equal(cgroups_open_on(&machine, "base", "../x", &cgroups, why, sizeof why), -EINVAL);
    assert_int_equal(cgroups_open_on(&machine, "..", "x", &cgroups, why, sizeof why), -EINVAL);
    folder_put(".", "\n");
    folder_put("base/shop", "\n");
    assert_int_equal(open_on(pure_v2, "0::/\n", true, &cgroups, why, sizeof why), 0);
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    struct cgroup_quota none = {0};
    assert_int_equal(cgroup_open(cgroups, "..", &none, &cgroup, NULL), -EINVAL);
    assert_int_equal(cgroup_open(cgroups, "", &none, &cgroup, NULL), -EINVAL);
    assert_int_equal(cgroup_open(cgroups, "a/b", &none, &cgroup, NULL), -EINVAL);
    assert_int_equal(cgroup_open(cgroups, longest, &none, &cgroup, NULL), -EINVAL);
    cgroups_close(cgroups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define ON_A_TREE(test) cmocka_unit_test_setup_teardown(test, tree_make, tree_remove)
        ON_A_TREE(v2_controllers_are_enabled_level_by_level),
        ON_A_TREE(v2_quotas_are_written),
        ON_A_TREE(limits_that_nobody_enforces_are_reported),
        ON_A_TREE(a_weight_that_the_kernel_does_not_know_is_reported),
        ON_A_TREE(v1_calls_it_blkio),
        ON_A_TREE(v1_holds_what_v2_does_not),
        ON_A_TREE(without_root_the_own_group_is_the_place),
        ON_A_TREE(what_was_tried_is_told),
        ON_A_TREE(names_that_lead_elsewhere_are_refused),
        ON_A_TREE(a_delegated_group_has_what_is_handed_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
