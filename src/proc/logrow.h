/* The row of a service's log files as a reader sees it, while the logger may rotate at any moment:
 * SERVICE.log is the newest, SERVICE.log.1 the one before, and so on. A file is known by its inode,
 * since its number changes; numbers only grow. Functions give an open descriptor (the caller's), or
 * -ENOENT: there is no such file; -ESRCH: the file to start from is gone; -errno. */
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

int logrow_newest(int directory_fd, const char *service, struct stat *ret_status);
int logrow_oldest(int directory_fd, const char *service, struct stat *ret_status);
/* The file of this inode. */
int logrow_file(int directory_fd, const char *service, ino_t inode, struct stat *ret_status);
/* The file right after, or right before it. */
int logrow_newer(int directory_fd, const char *service, ino_t inode, struct stat *ret_status);
int logrow_older(int directory_fd, const char *service, ino_t inode, struct stat *ret_status);
