/* What other branches bring within minutes; this file goes when they land. */
#include "gateway/relay/sessions.h"
#include "upstream/checker.h"

#include <stdlib.h>

#define WEAK __attribute__((weak))

WEAK struct checker *checker_new(struct loop *loop, const struct board *board,
                                 struct resolved *resolved, struct resolver *resolver,
                                 checker_instance *instance, void *owner)
{
    (void)loop, (void)board, (void)resolved, (void)resolver, (void)instance, (void)owner;
    return malloc(1);
}
WEAK int checker_settle(struct checker *checker, const struct topology *topology)
{
    (void)checker, (void)topology;
    return 0;
}
WEAK void checker_news(struct checker *checker)
{
    (void)checker;
}
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
