/* What becomes known when a service's breaker changes: a line in the log, its counts in the tally
 * (for `status` and the metrics page), and a word to the supervisor, whose event it is. Of the main
 * thread; workers make the changes. */
#pragma once

#include "event/loop.h"
#include "upstream/board.h"
#include "upstream/breakers.h"
#include "upstream/tally.h"

enum { BREAK_WHY_BYTES = 128 };

/* `why` is "" but for one that opened. */
typedef void break_call(const char *service, enum breaker_state state, const char *why);

struct breaks {
    struct breakers *breakers;
    const struct board *board;
    struct tally *tally;
    uint32_t thread; /* in whose rows it counts: the lane's first */
    break_call *call;
    struct watch watch;
};

/* 0 or -errno. `breaks` and what it points to stay until the end of the process. */
int breaks_start(struct breaks *breaks, struct loop *loop);
