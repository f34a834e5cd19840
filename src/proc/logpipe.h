/* The sending end of a logger's socket: passes chunks on without ever blocking, and keeps account
 * of what could not be passed on, for each source, until the logger can be told. Used by the
 * supervisor (logger.h) and by the keeper, on duplicates of one socket: packets of both arrive
 * whole. Embedded in its owner; belongs to the owner's loop. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "event/loop.h"
#include "proc/message.h"

enum { LOGPIPE_SOURCES_MAX = 256 }; /* with losses; those of further sources are put together */

struct logpipe_loss {
    STAILQ_ENTRY(logpipe_loss) next;
    uint64_t bytes;
    char source[];
};

struct logpipe {
    struct loop *loop;
    int fd; /* owned; -1: none, everything is dropped without account */
    enum message_party sender;
    struct watch writable; /* active only while there are losses to report */
    STAILQ_HEAD(, logpipe_loss) losses;
    size_t loss_count;
    uint64_t lost_elsewhere; /* of sources beyond LOGPIPE_SOURCES_MAX */
};

/* Takes the descriptor. */
void logpipe_init(struct logpipe *pipe, struct loop *loop, int fd, enum message_party sender);
void logpipe_done(struct logpipe *pipe);

void logpipe_write(struct logpipe *pipe, const char *source, const char *bytes, size_t length);
/* The logger has not yet taken what was sent before: something is being lost just now. */
bool logpipe_behind(const struct logpipe *pipe);
