/* The journal of one worker: lines for the file `access` of the log directory, gathered and sent to
 * the logger's process when a packet is full or a moment has passed (JOURNAL_FLUSH_MS). Never
 * blocks: when the logger is behind, JOURNAL_CHUNKS packets wait; what does not fit into them is
 * dropped and counted, and when there is room again one line says how many are missing
 * (`{"lost_lines":3}` among lines of JSON, else `# 3 lines lost: the logger was behind`). When the
 * logger is gone, what waits is dropped; another one's socket may be put under the same descriptor
 * (dup2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/loop.h"

enum {
    JOURNAL_FLUSH_MS = 200,
    JOURNAL_LINE_BYTES_MAX = 8 * 1024,
    JOURNAL_CHUNKS = 8, /* of 32 KiB; memory that is used only while the logger is behind */
};

struct journal;

/* `logger_fd`: the logger's socket, not taken over (-1: none, lines are dropped). NULL: no memory.
 */
struct journal *journal_new(struct loop *loop, int logger_fd);
void journal_free(struct journal *journal); /* sends what the logger takes */
/* Room for one line of at most JOURNAL_LINE_BYTES_MAX; then say how long it became, without its
 * line end. */
char *journal_room(struct journal *journal);
void journal_commit(struct journal *journal, size_t length);
uint64_t journal_dropped(const struct journal *journal); /* lines */

/* Copies outside text with `"`, `\` and control bytes escaped as in JSON; bytes that are not UTF-8
 * come as \u00XX. The bytes written (never more than `room`; cut with "…" when it does not fit). */
size_t journal_escape(char *out, size_t room, const char *bytes, size_t length);
