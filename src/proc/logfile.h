/* One service's log: SERVICE.log and its rotated predecessors SERVICE.log.1 (the newest) …
 * SERVICE.log.FILES_MAX, in one directory. Rotation is by rename(2), so whoever reads on in an open
 * file loses nothing. Owned by the logger's process, the only writer; writes may block on a slow
 * disk.
 *
 * A file is in one of two states. Good: whole lines go out. Failing, after a write that failed (no
 * space, an I/O error): everything is dropped and counted until logfile_retry, which the owner
 * calls each second, gets a line through that says how much of the output is missing, and why. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LOGFILE_NAME_BYTES = 256 };

struct logfile_limits {
    uint64_t bytes_max; /* a file that would grow beyond is rotated first; 0: never */
    uint32_t files_max; /* rotated ones that are kept */
};

struct logfile;

/* NULL: no memory. Opens nothing yet. `directory_fd` stays the caller's. A '/' or a leading '.' of
 * the service's name becomes '_'. */
struct logfile *logfile_new(int directory_fd, const char *service, struct logfile_limits limits);
void logfile_free(struct logfile *logfile);

/* Appends whole lines in the shape of logline.h. True when the file is good afterwards. */
bool logfile_write(struct logfile *logfile, const char *lines, size_t length);
/* Of a failing file: tries again. True when it is good again. */
bool logfile_retry(struct logfile *logfile, uint64_t wall_ms);
bool logfile_failing(const struct logfile *logfile);

/* Closes the descriptor; the next write opens the file anew (after a logrotate(8), or to keep the
 * number of open files small). */
void logfile_close(struct logfile *logfile);
bool logfile_open(const struct logfile *logfile);

/* The file's name within the directory: of the current one with number 0, else of a rotated one. */
const char *logfile_name(const char *service, uint32_t number, char name[LOGFILE_NAME_BYTES]);
