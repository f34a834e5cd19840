/* Marks: which processes belong to which instance where there are no cgroups. Each process of an
 * instance has its mark in its environment (launch.h). All of /proc is read at once, at the first
 * question of a turn of the loop, and the answer serves the turn: a hundred instances that are
 * looked at together, or die together, cost one walk, not a hundred. A process that begins within
 * the turn is not seen before the next, unless somebody says so (marks_forget). Owned by the
 * supervisor. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/loop.h"

struct marks;

struct marks *marks_new(struct loop *loop); /* NULL: no memory */
void marks_free(struct marks *marks);       /* accepts NULL */

/* The next question reads anew: for what must not be decided on an answer that is a moment old. */
void marks_forget(struct marks *marks);
/* How many walks were begun until now: the answer does not know a process that began after the
 * last. */
uint64_t marks_walks(const struct marks *marks);
/* For what decides on life and death: this turn's answer is of two walks together, since a process
 * that forks and ends while /proc is walked through can be missed by one with its child. One that
 * was seen by the first alone is in it, and may be dead. */
void marks_make_sure(struct marks *marks);

/* Processes with the mark ("shop/api.1"), the rest of "ENGINX_INSTANCE=", and those of the session
 * (0: none), since a program may have written over its mark. Each once; the number stored. */
size_t marks_processes(struct marks *marks, const char *mark, pid_t session, pid_t *ret_pids,
                       size_t max);
