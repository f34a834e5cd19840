/* Reading what the logger wrote, for `enginx logs`: the last lines of one service or of all, merged
 * by their times, rotated files included, and following them as they grow. For the command's own
 * process: it blocks, and reads files that the logger goes on writing. Memory is bounded by the
 * number of lines that are asked for, whatever the size of the files. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { LOGREAD_LINES_DEFAULT = 100, LOGREAD_LINES_MAX = 1000000 };

struct logread_options {
    const char *directory;
    const char *service; /* NULL: all */
    uint32_t instance;   /* 0: all; lines of the whole service are shown in any case */
    uint32_t lines;      /* the last so many; LOGREAD_LINES_MAX at most */
    bool colour;         /* times dim, each service in a colour of its own */
};

/* Prints the last lines, the oldest first. 0; -ENOENT: no such directory, or nothing was ever
 * logged by the service; -errno. */
int logread_print(FILE *out, const struct logread_options *options);
/* As logread_print, then goes on with each new line until writing to `out` fails (-EPIPE) or the
 * process is ended. A service (or directory content) that is not there yet is waited for. */
int logread_follow(FILE *out, const struct logread_options *options);
