/* Time. Modules take the loop's time (event/loop.h) and are handed numbers; only the loop, the
 * process start and log lines read a clock. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Milliseconds and nanoseconds of CLOCK_MONOTONIC; for intervals. */
uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_ns(void);
/* Milliseconds since 1970 (CLOCK_REALTIME); for people. */
uint64_t clock_wall_ms(void);

enum { CLOCK_TEXT_BYTES = 32 };
/* RFC 3339 in UTC: "2026-01-02T03:04:05Z", and with milliseconds "2026-01-02T03:04:05.123Z". */
const char *clock_format(uint64_t wall_ms, char text[CLOCK_TEXT_BYTES]);
const char *clock_format_ms(uint64_t wall_ms, char text[CLOCK_TEXT_BYTES]);
