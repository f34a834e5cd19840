/* The journal of one worker: lines for the file `access` of the log directory, gathered in a buffer
 * and sent to the logger's process when it is full or a moment has passed (JOURNAL_FLUSH_MS). Never
 * blocks: what the logger does not take in time is dropped and counted. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "event/loop.h"

enum { JOURNAL_FLUSH_MS = 200, JOURNAL_LINE_BYTES_MAX = 8 * 1024 };

struct journal;

/* `logger_fd`: the logger's socket, not taken over (-1: none, lines are dropped). NULL: no memory.
 */
struct journal *journal_new(struct loop *loop, int logger_fd);
void journal_free(struct journal *journal);
/* Room for one line of at most JOURNAL_LINE_BYTES_MAX; then say how long it became, without its
 * line end. */
char *journal_room(struct journal *journal);
void journal_commit(struct journal *journal, size_t length);
uint64_t journal_dropped(const struct journal *journal); /* lines */

/* Copies outside text with `"`, `\` and control bytes escaped as in JSON; the bytes written (never
 * more than `room`; cut with "…" when it does not fit). */
size_t journal_escape(char *out, size_t room, const char *bytes, size_t length);
