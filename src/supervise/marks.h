/* Marks: which processes belong to which instance where there are no cgroups. Each process of an
 * instance has its mark in its environment (launch.h). All of /proc is read at once, at the first
 * question of a turn of the loop, and the answer serves the turn: a hundred instances that are
 * looked at together cost one walk, not a hundred. A process that begins within the turn is not
 * seen before the next. Owned by the supervisor. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "event/loop.h"

struct marks;

struct marks *marks_new(struct loop *loop); /* NULL: no memory */
void marks_free(struct marks *marks);       /* accepts NULL */

/* The next question reads anew: for what must not be decided on an answer that is a moment old. */
void marks_forget(struct marks *marks);

/* Processes with the mark ("shop/api.1"), the rest of "ENGINX_INSTANCE=", and those of the session
 * (0: none), since a program may have written over its mark. The number stored. */
size_t marks_processes(struct marks *marks, const char *mark, pid_t session, pid_t *ret_pids,
                       size_t max);
