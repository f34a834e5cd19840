/* The console: what enginx shows to the person in front of it. It never blocks: the descriptor is
 * opened anew as non-blocking, lines wait in a bounded buffer, and when nobody reads, the newest
 * are dropped and counted. Owned by the supervisor. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "event/loop.h"

enum { CONSOLE_BYTES_MAX = 1024 * 1024 };

struct console;

/* Shows on `fd` (which stays the caller's). colour: escape sequences are welcome. NULL: no memory.
 */
struct console *console_new(struct loop *loop, int fd, bool colour);
/* Tries once more to write what waits, then frees. */
void console_free(struct console *console);

/* Is it what systemd gave us for its journal? JOURNAL_STREAM has "device:inode" of that. */
bool console_is_journal(int fd);
/* When the descriptor is systemd's journal, lines begin with their priority, as
 * sd-daemon(3) describes, instead of the time, which the journal knows itself.
 *
 * A line of an instance or of enginx itself (source "enginx"): "05:10:01.123 api.1   | text". The
 * colour is chosen by `hue`, which is the same for all instances of a service; hue < 0: none. */
void console_line(struct console *console, enum log_level level, const char *source, int hue,
                  const char *text, size_t length);
