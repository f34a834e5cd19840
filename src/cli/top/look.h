/* Looking at a cluster again and again: asks for its `status` once in an interval, without waiting,
 * and makes models of the answers. A supervisor that is gone, or does not answer, is asked again
 * until it does; what was seen last stays. */
#pragma once

#include "cli/top/model.h"
#include "control/conversation.h"

enum { LOOK_PATIENCE_MS = 5000, LOOK_TEXT_BYTES = 256 };

struct look {
    struct loop *loop;
    const char *state; /* the user's */
    uint64_t interval_ms;
    struct model *model;           /* the last; owned; NULL: none yet */
    bool rated;                    /* it was made with one before, so it has rates */
    char trouble[LOOK_TEXT_BYTES]; /* "": the last look went well */
    char news[LOOK_TEXT_BYTES];    /* something about the supervisor has changed; "": nothing */
    struct timer next, patience;
    struct conversation *conversation;
    uint64_t asked_ms;
    void (*changed)(void *owner); /* after each look, whether it went well or not */
    void *owner;
};

/* The first look is at once. The struct must stay where it is. */
void look_begin(struct look *look, struct loop *loop, const char *state, uint64_t interval_ms,
                void (*changed)(void *owner), void *owner);
void look_end(struct look *look);
/* The next one at once, for something was done. */
void look_soon(struct look *look);
