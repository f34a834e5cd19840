/* What other branches bring within minutes; this file goes when they land. */
#include "gateway/relay/sessions.h"

#include <stdlib.h>

#define WEAK __attribute__((weak))

WEAK struct sessions *sessions_new(struct worker *worker, const struct plan_listener *plan, int fd)
{
    (void)worker, (void)plan, (void)fd;
    return NULL;
}
WEAK void sessions_settle(struct sessions *sessions, struct generation_use *use,
                          const struct plan_listener *plan)
{
    (void)sessions, (void)use, (void)plan;
}
WEAK void sessions_free(struct sessions *sessions)
{
    (void)sessions;
}
