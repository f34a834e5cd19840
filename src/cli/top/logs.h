/* The log view of `enginx top`: the last lines that an instance or a service has printed, and those
 * that come. They are read by a process of its own (proc/logread.h blocks), which ends with the
 * view. */
#pragma once

#include "cli/top/page.h"
#include "event/loop.h"

enum { LOGS_LINES_MAX = 2000, LOGS_LINE_BYTES_MAX = 4096 };

struct logs;
typedef void logs_changed(void *owner);

/* `service` NULL: all; `instance` 0: all of the service. NULL with errno. */
struct logs *logs_open(struct loop *loop, const char *directory, const char *service,
                       uint32_t instance, logs_changed *changed, void *owner);
void logs_close(struct logs *logs); /* accepts NULL */

/* Rows upwards (negative) or downwards; at the end it follows what comes. */
void logs_scroll(struct logs *logs, long rows);
void logs_scroll_end(struct logs *logs, bool first);
/* The last lines on all rows of the page but the last. */
void logs_paint(const struct logs *logs, struct page *page);
