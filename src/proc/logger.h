/* The logger: a process that writes the output of instances to rotated files, so that a slow or
 * full disk never blocks the supervisor, and thereby no program. It is given chunks of bytes with
 * their source over a socket (SOCK_SEQPACKET, non-blocking at the sender: when the logger is
 * behind, the sender drops and counts, and the logger writes a line that says how much is missing).
 * It splits lines (longer ones than LOGGER_LINE_BYTES_MAX are cut into several), and writes
 *     2026-01-02T03:04:05.123Z api.1 text
 * to DIRECTORY/SERVICE.log, rotated to SERVICE.log.1 … at a size. Control bytes other than tab are
 * kept as they are; NUL becomes a space. A line without an end goes out after its source was quiet
 * for a second. When writing fails (ENOSPC, EIO) it drops, tries again every second, and says once
 * in the file how much was lost when it can write again.
 *
 * Lines of the source LOGGER_RAW_SOURCE (the gateway's access log) are written as they are, without
 * time and source, since other programs read them; what is said about losses of theirs is written
 * as for others.
 *
 * SIGHUP: opens its files anew (logrotate(8)). SIGTERM, or the close of the socket by all who send:
 * writes what is there, and exits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/loop.h"

enum {
    LOGGER_CHUNK_BYTES_MAX = 32 * 1024,
    LOGGER_LINE_BYTES_MAX = 8 * 1024,
    LOGGER_SOURCES_MAX = 16384,
    LOGGER_SOURCE_BYTES = 200, /* "api.1" */
};

#define LOGGER_RAW_SOURCE "access" /* so no service may have that name */

struct logger;

struct logger_options {
    const char *directory; /* made (0750) when it is not there, its parents as well (0755) */
    uint64_t file_bytes_max;
    uint32_t files_max; /* rotated ones kept beside the current */
};

typedef void logger_lost(void *owner);

/* 0 or -errno. `lost` is called when the process is gone; free it then and start another. */
int logger_start(struct loop *loop, const struct logger_options *options, const char *exe,
                 logger_lost *lost, void *owner, struct logger **ret_logger);
/* Goes on with a logger that another supervisor started, by the sending end that the keeper held
 * (KEEPER_LOGGER); with its options. Takes fd. `pid`: what logger_pid shall say, 0 if that is not
 * known. -ESRCH: its process is gone; -errno. On failure fd is closed. */
int logger_adopt(struct loop *loop, int fd, pid_t pid, logger_lost *lost, void *owner,
                 struct logger **ret_logger);
void logger_free(struct logger *logger); /* closes; the logger writes what it has and ends */
/* Never blocks. Bytes that could not be passed on are counted for this source and reported. */
void logger_write(struct logger *logger, const char *source, const char *bytes, size_t length);
/* The logger is behind, and what is written now is lost. A caller who can wait for a moment (whose
 * program is held up by a full pipe meanwhile) loses less. */
bool logger_behind(const struct logger *logger);
/* The sending end, for the keeper. */
int logger_fd(const struct logger *logger);
pid_t logger_pid(const struct logger *logger); /* 0: unknown */

/* Sends one chunk over a logger's socket; used by the keeper too. 0 or -errno (-EAGAIN: behind). */
int logger_send(int fd, const char *source, const char *bytes, size_t length);

/* The role's own main: --role logger DIRECTORY FILE_BYTES_MAX FILES_MAX */
int logger_main(int argc, char **argv);
