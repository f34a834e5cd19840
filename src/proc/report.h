/* An event that the gateway finds out by itself, about what the supervisor cannot see: the health
 * and roles of servers elsewhere, names, JWK sets. It goes to the supervisor as MESSAGE_EVENT,
 * whose log it stands in like any other: so who follows events hears of it, too. The gateway reads
 * from the network, so what it says is believed only as far as it is one of these events, and a
 * line. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"
#include "proc/message.h"

enum { REPORT_BYTES_MAX = 1536 }; /* "key=value …" */

/* Makes it of a line of the log (base/log.h), which must stay there. False: the line is none. */
bool report_make(const char *line, size_t length, enum log_level level,
                 struct message *ret_message);
/* Logs it, as an event of this process. False: it is none. */
bool report_log(const struct message *message);
