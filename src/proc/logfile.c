#include "proc/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "proc/logline.h"

struct logfile {
    int directory_fd; /* the owner's */
    int fd;           /* -1: not open */
    struct logfile_limits limits;
    uint64_t bytes;
    bool torn;           /* the last write ended within a line */
    uint64_t lost_bytes; /* of output, without our times and names */
    int lost_error;      /* an errno; not 0: failing */
    char service[];
};

const char *logfile_name(const char *service, uint32_t number, char name[LOGFILE_NAME_BYTES])
{
    if (number)
        snprintf(name, LOGFILE_NAME_BYTES, "%s.log.%" PRIu32, service, number);
    else
        snprintf(name, LOGFILE_NAME_BYTES, "%s.log", service);
    for (char *at = strchr(name, '/'); at; at = strchr(at, '/'))
        *at = '_';
    if (name[0] == '.')
        name[0] = '_';
    return name;
}

struct logfile *logfile_new(int directory_fd, const char *service, struct logfile_limits limits)
{
    size_t name_bytes = strlen(service) + 1;
    struct logfile *logfile = calloc(1, sizeof *logfile + name_bytes);
    if (!logfile)
        return NULL;
    logfile->directory_fd = directory_fd;
    logfile->fd = -1;
    logfile->limits = limits;
    memcpy(logfile->service, service, name_bytes);
    return logfile;
}

void logfile_free(struct logfile *logfile)
{
    if (!logfile)
        return;
    fd_drop(&logfile->fd);
    free(logfile);
}

void logfile_close(struct logfile *logfile)
{
    fd_drop(&logfile->fd);
}

bool logfile_open(const struct logfile *logfile)
{
    return logfile->fd >= 0;
}

bool logfile_failing(const struct logfile *logfile)
{
    return logfile->lost_error != 0;
}

/* O_NOFOLLOW and the look at the type: the directory may be one that others write in too. */
static int file_open(struct logfile *logfile)
{
    char name[LOGFILE_NAME_BYTES];
    scoped_fd int fd =
        openat(logfile->directory_fd, logfile_name(logfile->service, 0, name),
               O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
    if (fd < 0)
        return -errno;
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode))
        return -EINVAL;
    logfile->bytes = (uint64_t)status.st_size;
    logfile->fd = fd_take(&fd);
    return 0;
}

/* X.log.2 → X.log.3, X.log.1 → X.log.2, X.log → X.log.1. A gap in the row is no error. */
static int file_rotate(struct logfile *logfile)
{
    char from[LOGFILE_NAME_BYTES], to[LOGFILE_NAME_BYTES];
    int directory = logfile->directory_fd;
    for (uint32_t number = logfile->limits.files_max; number > 0; number--)
        if (renameat(directory, logfile_name(logfile->service, number - 1, from), directory,
                     logfile_name(logfile->service, number, to)) < 0 &&
            errno != ENOENT)
            return -errno;
    if (!logfile->limits.files_max &&
        unlinkat(directory, logfile_name(logfile->service, 0, from), 0))
        return -errno;
    fd_drop(&logfile->fd);
    logfile->torn = false;
    return file_open(logfile);
}

static int file_prepare(struct logfile *logfile, size_t length)
{
    int error = logfile->fd < 0 ? file_open(logfile) : 0;
    if (error || !logfile->limits.bytes_max || !logfile->bytes ||
        logfile->bytes + length <= logfile->limits.bytes_max)
        return error;
    return file_rotate(logfile);
}

/* How many bytes went out; fewer than `length`: *ret_error says why. */
static size_t bytes_write(struct logfile *logfile, const char *bytes, size_t length, int *ret_error)
{
    size_t done = 0;
    *ret_error = 0;
    while (done < length) {
        ssize_t count = write(logfile->fd, bytes + done, length - done);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            *ret_error = count < 0 ? -errno : -EIO;
            break;
        }
        done += (size_t)count;
    }
    logfile->bytes += done;
    return done;
}

/* The bytes of output in the lines that did not go out whole: without times and names. Lines that
 * have none (LOGGER_RAW_SOURCE) count as they are. */
static uint64_t output_bytes(const char *lines, size_t length, size_t written)
{
    uint64_t output = 0;
    const char *end = lines + length;
    for (const char *line = lines; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const char *next = newline ? newline + 1 : end;
        struct logline parsed;
        bool headed = logline_parse(line, (size_t)(next - line), &parsed);
        if (next > lines + written)
            output += headed ? parsed.text_bytes + 1 : (size_t)(next - line);
        line = next;
    }
    return output;
}

bool logfile_write(struct logfile *logfile, const char *lines, size_t length)
{
    size_t written = 0;
    int error = 0;
    if (!logfile->lost_error) {
        error = file_prepare(logfile, length);
        if (!error)
            written = bytes_write(logfile, lines, length, &error);
    }
    if (written == length)
        return true;
    if (written)
        logfile->torn = lines[written - 1] != '\n';
    if (error)
        logfile->lost_error = -error;
    logfile->lost_bytes += output_bytes(lines, length, written);
    return false;
}

bool logfile_retry(struct logfile *logfile, uint64_t wall_ms)
{
    if (!logfile->lost_error)
        return true;
    char line[LOGLINE_HEAD_BYTES_MAX + 256];
    size_t length = 0;
    if (logfile->torn)
        line[length++] = '\n';
    length += logline_head(line + length, wall_ms, logfile->service);
    length += (size_t)snprintf(line + length, sizeof line - length,
                               "%" PRIu64 " bytes of output lost: %s\n", logfile->lost_bytes,
                               strerror(logfile->lost_error));
    int error = file_prepare(logfile, length);
    if (error)
        return false;
    /* A part of this line may get through again and again; it is taken back, so that the file holds
     * it once. Nobody else writes here. */
    off_t before = (off_t)logfile->bytes;
    size_t written = bytes_write(logfile, line, length, &error);
    if (written < length) {
        if (written && ftruncate(logfile->fd, before) == 0)
            logfile->bytes = (uint64_t)before;
        return false;
    }
    logfile->torn = false;
    logfile->lost_error = 0;
    logfile->lost_bytes = 0;
    return true;
}
