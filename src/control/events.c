#include "control/events.h"

#include <stdlib.h>
#include <string.h>

#include "control/event.h"

struct events {
    uint64_t next;            /* the number of the next one; the first has 1 */
    char *lines[EVENTS_KEPT]; /* by number; NULL: there was no memory for it */
};

struct events *events_new(void)
{
    struct events *events = calloc(1, sizeof *events);
    if (events)
        events->next = 1;
    return events;
}

void events_free(struct events *events)
{
    for (size_t i = 0; events && i < EVENTS_KEPT; i++)
        free(events->lines[i]);
    free(events);
}

void events_add(struct events *events, const char *line, size_t length)
{
    char **place = &events->lines[events->next++ % EVENTS_KEPT];
    free(*place);
    *place = strndup(line, length);
}

uint64_t events_from(const struct events *events, uint64_t count)
{
    uint64_t there = events->next - 1 < EVENTS_KEPT ? events->next - 1 : EVENTS_KEPT;
    return events->next - (count < there ? count : there);
}

json_t *events_take(const struct events *events, uint64_t *next)
{
    uint64_t first = events_from(events, EVENTS_KEPT);
    if (*next >= events->next)
        return NULL;
    uint64_t lost = *next < first ? first - *next : 0;
    const char *line = lost ? NULL : events->lines[*next % EVENTS_KEPT];
    json_t *object = line ? event_object(line, strlen(line), *next) : NULL;
    if (!object && !lost)
        lost = 1;
    *next += lost ? lost : 1;
    return object ? object : json_pack("{s:I}", "lost", (json_int_t)lost);
}
