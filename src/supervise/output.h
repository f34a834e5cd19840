/* The output of one instance: a named FIFO that is the program's standard output and error. The
 * supervisor holds it open for reading and writing, so the program never meets a closed pipe, not
 * even when every process of enginx is dead, and a new supervisor finds it by its name.
 *
 * Chunks go to the logger as they come; lines go to the console; the last lines are remembered for
 * the message that says why an instance failed. Reading is bounded a turn, so that an instance that
 * prints without end cannot keep the supervisor from its work. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "event/loop.h"
#include "proc/logger.h"
#include "supervise/console.h"

enum {
    OUTPUT_TAIL_BYTES = 2048,
    OUTPUT_LINE_BYTES_MAX = 2048,  /* on the console; longer lines are cut there */
    OUTPUT_READ_BYTES = 32 * 1024, /* a turn */
    OUTPUT_PIPE_BYTES = 256 * 1024,
};

struct output_setup {
    struct loop *loop;
    const char *path;   /* of the FIFO */
    const char *source; /* "api.1"; must live as long as the output */
    int hue;
    struct logger *const *logger; /* where the pointer to the current logger stands (may be NULL) */
    struct console *const *console; /* the same */
};

struct output;

/* Makes or finds the FIFO, owned by uid and gid (so that programs may open /dev/stdout), and starts
 * reading. 0 or -errno. */
int output_open(const struct output_setup *setup, uid_t uid, gid_t gid, struct output **ret_output);
/* Reads what is left, and closes. `remove`: the FIFO goes as well. */
void output_close(struct output *output, bool remove);
/* A descriptor of the FIFO for the program, which blocks as programs expect (ours does not); the
 * caller's. Or -errno. */
int output_program_fd(const struct output *output);
/* Ours, for the keeper. */
int output_fd(const struct output *output);
/* Reads all that is there now: after the program's end, before its last lines are shown. */
void output_drain(struct output *output);
/* The last lines, whole ones where possible; *ret_length bytes, valid until the next read. */
const char *output_tail(const struct output *output, size_t *ret_length);
