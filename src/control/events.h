/* The last events of enginx's own log, for who asks or subscribes: a ring of lines, each with a
 * number, in the supervisor's memory. It keeps EVENTS_KEPT of them. A reader has nothing but the
 * number of the event that it wants next, so readers cost nothing and hold nobody up: whom the ring
 * has overtaken is told how many events it has lost. Begins anew with each supervisor. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EVENTS_KEPT = 1024,
    EVENTS_SUBSCRIBERS_MAX = 16, /* of the control socket's clients */
};

struct events;

struct events *events_new(void); /* NULL: no memory */
void events_free(struct events *events);

/* A line of the log. */
void events_add(struct events *events, const char *line, size_t length);
/* The number of the first of the last `count` events; of the next one to come, when count is 0. */
uint64_t events_from(const struct events *events, uint64_t count);
/* The event of number *next as an object (event.h), or {"lost": N} for those that are not there any
 * more; a new reference. Moves *next behind it. NULL: there is none yet. */
json_t *events_take(const struct events *events, uint64_t *next);
