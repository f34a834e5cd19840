/* Scoped cleanup for locals of cold paths: `scoped_fd int fd = open(...)` closes itself at the end
 * of its block; `fd_take(&fd)` hands it on instead. */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void scoped_fd_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}
static inline void scoped_file_close(FILE **file)
{
    if (*file)
        fclose(*file);
}
static inline void scoped_dir_close(DIR **dir)
{
    if (*dir)
        closedir(*dir);
}
static inline void scoped_memory_free(void *pointer)
{
    free(*(void **)pointer);
}

#define scoped_fd     __attribute__((cleanup(scoped_fd_close)))
#define scoped_file   __attribute__((cleanup(scoped_file_close)))
#define scoped_dir    __attribute__((cleanup(scoped_dir_close)))
#define scoped_memory __attribute__((cleanup(scoped_memory_free)))

/* Moves the descriptor out of a scoped variable (or a struct's field). */
static inline int fd_take(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

/* Closes and forgets; accepts -1. */
static inline void fd_drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}
