/* An event as an object: a line of enginx's own log (base/log.h), taken apart.
 *
 *     {"event": "instance-up", "number": 7, "time": "…Z", "level": "info",
 *      "fields": {"instance": "api.1", "pid": 4711}}
 *
 * Numbers are numbers, but for the fields that are names or texts whatever they look like. Lines
 * hold text of programs and files, so any bytes have a meaning here; what is no event gives NULL.
 */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* A new reference; NULL: the line is none, or no memory. */
json_t *event_object(const char *line, size_t length, uint64_t number);
