#include "proc/logrow.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/scoped.h"
#include "proc/logfile.h"

enum {
    NUMBERS_MAX = 100000, /* a bound for walking the row */
    TRIES_MAX = 1000,     /* against a logger that rotates all the time */
};

static int file_open(int directory_fd, const char *service, uint32_t number,
                     struct stat *ret_status)
{
    char name[LOGFILE_NAME_BYTES];
    scoped_fd int fd = openat(directory_fd, logfile_name(service, number, name),
                              O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, ret_status) < 0)
        return -errno;
    return fd_take(&fd);
}

/* 0 when there is no file of this number. */
static ino_t inode_of(int directory_fd, const char *service, uint32_t number)
{
    char name[LOGFILE_NAME_BYTES];
    struct stat status;
    if (fstatat(directory_fd, logfile_name(service, number, name), &status, 0) < 0)
        return 0;
    return status.st_ino;
}

/* The number of the file, or -1; *ret_last: the last number that was seen. A file only moves up, as
 * we do, so it cannot slip past us. One number may be missing: a rotation is under way there. */
static int64_t number_of(int directory_fd, const char *service, ino_t inode, uint32_t *ret_last)
{
    uint32_t missing = 0;
    *ret_last = 0;
    for (uint32_t number = 0; number < NUMBERS_MAX && missing < 2; number++) {
        ino_t here = inode_of(directory_fd, service, number);
        if (here && here == inode)
            return number;
        missing = here ? 0 : missing + 1;
        if (here)
            *ret_last = number;
    }
    return -1;
}

int logrow_newest(int directory_fd, const char *service, struct stat *ret_status)
{
    return file_open(directory_fd, service, 0, ret_status);
}

int logrow_oldest(int directory_fd, const char *service, struct stat *ret_status)
{
    uint32_t last;
    number_of(directory_fd, service, 0, &last);
    return file_open(directory_fd, service, last, ret_status);
}

/* Opens the file `step` numbers from that of the inode. When the inode has the same number before
 * and after, no rotation has come between, and the file is its neighbour indeed. */
static int neighbour_open(int directory_fd, const char *service, ino_t inode, int step,
                          struct stat *ret_status)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        uint32_t last;
        int64_t number = number_of(directory_fd, service, inode, &last);
        if (number < 0)
            return -ESRCH;
        if (number + step < 0)
            return -ENOENT;
        struct stat status;
        scoped_fd int fd = file_open(directory_fd, service, (uint32_t)(number + step), &status);
        /* A rotation begins at the old end: what stood behind us may have made its step alone. */
        bool stepping =
            fd == -ENOENT && step > 0 && inode_of(directory_fd, service, (uint32_t)number + 2);
        if (stepping || inode_of(directory_fd, service, (uint32_t)number) != inode)
            continue;
        if (fd < 0)
            return fd;
        *ret_status = status;
        return fd_take(&fd);
    }
    return -EAGAIN;
}

int logrow_file(int directory_fd, const char *service, ino_t inode, struct stat *ret_status)
{
    return neighbour_open(directory_fd, service, inode, 0, ret_status);
}

int logrow_newer(int directory_fd, const char *service, ino_t inode, struct stat *ret_status)
{
    return neighbour_open(directory_fd, service, inode, -1, ret_status);
}

int logrow_older(int directory_fd, const char *service, ino_t inode, struct stat *ret_status)
{
    return neighbour_open(directory_fd, service, inode, 1, ret_status);
}
