#include "proc/logtail.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scoped.h"
#include "proc/logrow.h"

void logtail_init(struct logtail *tail, int directory_fd, const char *service, char *block,
                  ino_t inode, off_t end)
{
    *tail = (struct logtail){.directory_fd = directory_fd,
                             .service = service,
                             .inode = inode,
                             .end = end,
                             .fd = -1,
                             .block = block};
}

void logtail_done(struct logtail *tail)
{
    fd_drop(&tail->fd);
}

/* The next file to read, opened: the first, or the one before the file in hand. */
static int file_choose(struct logtail *tail, struct stat *ret_status)
{
    if (tail->fd >= 0) {
        fd_drop(&tail->fd);
        return logrow_older(tail->directory_fd, tail->service, tail->inode, ret_status);
    }
    if (tail->inode)
        return logrow_file(tail->directory_fd, tail->service, tail->inode, ret_status);
    int fd = logrow_newest(tail->directory_fd, tail->service, ret_status);
    if (fd == -ENOENT) /* a rotation is under way: the newest is not there yet */
        fd = logrow_oldest(tail->directory_fd, tail->service, ret_status);
    return fd;
}

/* 1: a file is open, and to be read from its end; 0: there is none left. */
static int file_next(struct logtail *tail)
{
    struct stat status;
    tail->fd = file_choose(tail, &status);
    if (tail->fd < 0) {
        int error = tail->fd;
        tail->fd = -1;
        return error == -ENOENT || error == -ESRCH ? 0 : error; /* -ESRCH: the rest is deleted */
    }
    tail->inode = status.st_ino;
    tail->block_offset = status.st_size;
    if (tail->end >= 0 && tail->end < tail->block_offset)
        tail->block_offset = tail->end;
    tail->end = -1;
    tail->left = 0;
    return 1;
}

/* Moves what is left of the block to its end, and reads what stands before it in the file. */
static int block_fill(struct logtail *tail)
{
    size_t room = LOGTAIL_BLOCK_BYTES - tail->left;
    size_t part = tail->block_offset < (off_t)room ? (size_t)tail->block_offset : room;
    memmove(tail->block + part, tail->block, tail->left);
    off_t from = tail->block_offset - (off_t)part;
    for (size_t done = 0; done < part;) {
        ssize_t count = pread(tail->fd, tail->block + done, part - done, from + (off_t)done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) /* 0: somebody cut the file */
            return count < 0 ? -errno : -EIO;
        done += (size_t)count;
    }
    tail->block_offset = from;
    tail->left += part;
    return 0;
}

/* The last line of the block, when it is there from its beginning. */
static int block_line(struct logtail *tail, const char **ret_line, size_t *ret_length)
{
    if (!tail->left)
        return 0;
    size_t end = tail->left - (tail->block[tail->left - 1] == '\n');
    const char *newline = memrchr(tail->block, '\n', end);
    size_t begin = newline ? (size_t)(newline - tail->block) + 1 : 0;
    if (!newline && tail->block_offset > 0 && tail->left < LOGTAIL_BLOCK_BYTES)
        return 0;
    *ret_line = tail->block + begin;
    *ret_length = end - begin;
    tail->left = begin;
    return 1;
}

int logtail_line(struct logtail *tail, const char **ret_line, size_t *ret_length)
{
    for (;;) {
        if (tail->fd >= 0 && block_line(tail, ret_line, ret_length))
            return 1;
        if (tail->fd >= 0 && tail->block_offset > 0) {
            int error = block_fill(tail);
            if (error)
                return error;
            continue;
        }
        int more = file_next(tail);
        if (more <= 0)
            return more;
    }
}
