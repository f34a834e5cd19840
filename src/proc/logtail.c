#include "proc/logtail.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scoped.h"
#include "proc/logfile.h"

void logtail_init(struct logtail *tail, int directory_fd, const char *service, char *block)
{
    *tail = (struct logtail){
        .directory_fd = directory_fd, .service = service, .fd = -1, .block = block};
}

void logtail_done(struct logtail *tail)
{
    fd_drop(&tail->fd);
}

/* 1: the file is open at its end; 0: there is none of this number. */
static int file_open(struct logtail *tail)
{
    char name[LOGFILE_NAME_BYTES];
    tail->fd = openat(tail->directory_fd, logfile_name(tail->service, tail->number, name),
                      O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    if (tail->fd < 0 || fstat(tail->fd, &status) < 0)
        return errno == ENOENT ? 0 : -errno;
    tail->block_offset = status.st_size;
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
        if (tail->fd < 0) {
            int opened = file_open(tail);
            if (opened <= 0)
                return opened;
        }
        if (block_line(tail, ret_line, ret_length))
            return 1;
        if (tail->block_offset > 0) {
            int error = block_fill(tail);
            if (error)
                return error;
            continue;
        }
        fd_drop(&tail->fd);
        tail->number++;
    }
}
