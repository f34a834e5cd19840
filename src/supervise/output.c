#include "supervise/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"

struct output {
    struct output_setup setup;
    char *path;
    int fd;
    struct watch watch;
    char line[OUTPUT_LINE_BYTES_MAX]; /* the line that has no end yet */
    size_t line_length;
    bool line_cut; /* the rest of a too long line is being passed over */
    char tail[OUTPUT_TAIL_BYTES * 2];
    size_t tail_length;
    bool tail_cut; /* something stood before it */
};

static void tail_add(struct output *output, const char *bytes, size_t length)
{
    if (length > OUTPUT_TAIL_BYTES) {
        bytes += length - OUTPUT_TAIL_BYTES;
        length = OUTPUT_TAIL_BYTES;
        output->tail_cut = true;
    }
    if (output->tail_length + length > sizeof output->tail) {
        size_t kept =
            OUTPUT_TAIL_BYTES < output->tail_length ? OUTPUT_TAIL_BYTES : output->tail_length;
        memmove(output->tail, output->tail + output->tail_length - kept, kept);
        output->tail_length = kept;
        output->tail_cut = true;
    }
    memcpy(output->tail + output->tail_length, bytes, length);
    output->tail_length += length;
}

static void line_show(struct output *output)
{
    console_line(*output->setup.console, LOG_LEVEL_INFO, output->setup.source, output->setup.hue,
                 output->line, output->line_length);
    output->line_length = 0;
}

static void lines_show(struct output *output, const char *bytes, size_t length)
{
    while (length) {
        const char *end = memchr(bytes, '\n', length);
        size_t piece = end ? (size_t)(end - bytes) : length;
        size_t room = sizeof output->line - output->line_length;
        size_t copied = output->line_cut ? 0 : piece < room ? piece : room;
        memcpy(output->line + output->line_length, bytes, copied);
        output->line_length += copied;
        if (end && !output->line_cut)
            line_show(output);
        else if (!end && !output->line_cut && output->line_length == sizeof output->line) {
            line_show(output);
            output->line_cut = true;
        }
        if (end)
            output->line_cut = false;
        bytes += piece + (end ? 1 : 0);
        length -= piece + (end ? 1 : 0);
    }
}

/* False: nothing is left. */
static bool output_read(struct output *output)
{
    char bytes[OUTPUT_READ_BYTES];
    ssize_t count = read(output->fd, bytes, sizeof bytes);
    if (count <= 0)
        return false;
    if (*output->setup.logger)
        logger_write(*output->setup.logger, output->setup.source, bytes, (size_t)count);
    if (*output->setup.console)
        lines_show(output, bytes, (size_t)count);
    tail_add(output, bytes, (size_t)count);
    return true;
}

static void output_ready(struct watch *watch, unsigned events)
{
    (void)events;
    output_read(watch->owner);
}

static int fifo_open(const char *path, uid_t uid, gid_t gid)
{
    bool made = mkfifo(path, 0600) == 0;
    if (!made && errno != EEXIST)
        return -errno;
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        int error = -errno;
        if (made)
            unlink(path);
        return error;
    }
    struct stat stat;
    if (fstat(fd, &stat) < 0 || !S_ISFIFO(stat.st_mode)) {
        close(fd);
        return -EEXIST;
    }
    if ((stat.st_uid != uid || stat.st_gid != gid) && fchown(fd, uid, gid) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    fcntl(fd, F_SETPIPE_SZ, OUTPUT_PIPE_BYTES); /* more is better, less will do */
    return fd;
}

int output_open(const struct output_setup *setup, uid_t uid, gid_t gid, struct output **ret_output)
{
    int fd = fifo_open(setup->path, uid, gid);
    if (fd < 0)
        return fd;
    struct output *output = calloc(1, sizeof *output);
    char *path = strdup(setup->path);
    int error = output && path ? 0 : -ENOMEM;
    if (!error) {
        *output = (struct output){.setup = *setup, .path = path, .fd = fd};
        output->setup.path = path;
        error = watch_start(setup->loop, &output->watch, fd, WATCH_READ, output_ready, output);
    }
    if (error) {
        free(path);
        free(output);
        close(fd);
        return error;
    }
    *ret_output = output;
    return 0;
}

void output_drain(struct output *output)
{
    /* Bounded: a process that survived in the FIFO's other end could print for ever. */
    for (int i = 0; i < 64 && output_read(output); i++)
        ;
    if (output->line_length)
        line_show(output);
}

void output_close(struct output *output, bool remove)
{
    if (!output)
        return;
    output_drain(output);
    watch_stop(output->setup.loop, &output->watch);
    close(output->fd);
    if (remove)
        unlink(output->path);
    free(output->path);
    free(output);
}

int output_program_fd(const struct output *output)
{
    int fd = open(output->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    return fd < 0 ? -errno : fd;
}

int output_fd(const struct output *output)
{
    return output->fd;
}

const char *output_tail(const struct output *output, size_t *ret_length)
{
    const char *tail = output->tail;
    size_t length = output->tail_length;
    bool cut = output->tail_cut;
    if (length > OUTPUT_TAIL_BYTES) {
        tail += length - OUTPUT_TAIL_BYTES;
        length = OUTPUT_TAIL_BYTES;
        cut = true;
    }
    if (cut) {
        const char *end = memchr(tail, '\n', length);
        if (end && end + 1 < tail + length) {
            length -= (size_t)(end + 1 - tail);
            tail = end + 1;
        }
    }
    *ret_length = length;
    return tail;
}
