#include "kernel/landlock.h"

#include <errno.h>
#include <linux/landlock.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/scoped.h"

/* Debian 12's headers are of Linux 6.1 (ABI 2); what later kernels added is spelt out here. */
struct rights {
    uint64_t files;   /* ABI 1 */
    uint64_t network; /* ABI 4 */
    uint64_t scoped;  /* ABI 6 */
};
enum {
    FILES_ABI_1 = (1 << 13) - 1,  /* execute … make_sym */
    FILES_TRUNCATE = 1 << 14,     /* ABI 3 */
    FILES_DEVICE_IOCTL = 1 << 15, /* ABI 5 */
    NETWORK_TCP = 3,              /* bind, connect */
    SCOPED_ALL = 3,               /* abstract sockets, signals */
};

static struct rights rights_known(long version, size_t *ret_size)
{
    struct rights rights = {.files = FILES_ABI_1};
    if (version >= 2)
        rights.files |= LANDLOCK_ACCESS_FS_REFER;
    if (version >= 3)
        rights.files |= FILES_TRUNCATE;
    if (version >= 4)
        rights.network = NETWORK_TCP;
    if (version >= 5)
        rights.files |= FILES_DEVICE_IOCTL;
    if (version >= 6)
        rights.scoped = SCOPED_ALL;
    *ret_size = version >= 6   ? sizeof rights
                : version >= 4 ? offsetof(struct rights, scoped)
                               : offsetof(struct rights, network);
    return rights;
}

/* Gives up these rights but for what may be done below the directory (-1: none). */
static int confine(const struct rights *known, size_t size, int directory_fd)
{
    struct rights rights = *known;
    scoped_fd int rules = (int)syscall(SYS_landlock_create_ruleset, &rights, size, 0);
    if (rules < 0)
        return -errno;
    if (directory_fd >= 0) {
        struct landlock_path_beneath_attr below = {
            .allowed_access = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                              LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                              (rights.files & FILES_TRUNCATE),
            .parent_fd = directory_fd,
        };
        if (syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &below, 0) < 0)
            return -errno;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    return syscall(SYS_landlock_restrict_self, rules, 0) < 0 ? -errno : 0;
}

static int rights_find(struct rights *ret_rights, size_t *ret_size)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (version < 0)
        return -errno;
    *ret_rights = rights_known(version, ret_size);
    return 0;
}

int landlock_confine(int directory_fd, bool network)
{
    struct rights rights;
    size_t size;
    int error = rights_find(&rights, &size);
    if (error)
        return error;
    if (network)
        rights.network = 0;
    return confine(&rights, size, directory_fd);
}

int landlock_confine_reading(void)
{
    struct rights rights;
    size_t size;
    int error = rights_find(&rights, &size);
    if (error)
        return error;
    rights.files &= ~(uint64_t)(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR);
    return confine(&rights, size, -1);
}
