/* The access log: one line for an exchange that is over, as text (one field after the other, as
 * people know it from web servers) or JSON, with the site's fields; into the worker's journal.
 *
 * Text without `fields=` is the "combined" format of web servers, then what they do not know:
 *   192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] "GET /a?b HTTP/1.1" 200 16 "-" "curl/8.5"
 *   "shop.example" "shop.example /api/" api.2 0.012345 0.011902 1 4711abcd "-"
 * (one line): host, route, instance, seconds in all, seconds to the response's head, tries, request
 * id, failure. With `fields=` the values stand in the order given, those that the client may choose
 * in quotes; what is not there is `-`. In JSON every field is there under its name, numbers as
 * numbers, what is not there as null. Outside text is escaped as in JSON in both, and cut at
 * a length of its own, so that a line is a line. Names: access_log_fields (topology/site.h). */
#pragma once

#include "gateway/http/exchange.h"

void access_log_exchange(struct exchange *exchange);

/* The line, without its end, into `out` (JOURNAL_LINE_BYTES_MAX); its length. */
size_t access_log_format(struct exchange *exchange, uint64_t wall_ms, uint64_t duration_us,
                         char *out);
