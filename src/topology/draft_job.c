#include <assert.h>
#include <string.h>

#include "topology/builder.h"

enum { HOURS = 24, MINUTES = 60, SECONDS = 60 };

void job_defaults(struct builder *builder)
{
    const struct statement *history = check_defaults(&builder->checker, DIRECTIVE_JOB_HISTORY);
    builder->job_defaults = (struct service_job){.history = (uint32_t)history->arguments[0].number};
}

/* Two digits below a bound; the place behind them, or NULL. */
static const char *digits_take(const char *at, uint32_t bound, uint32_t *ret_number)
{
    if (at[0] < '0' || at[0] > '9' || at[1] < '0' || at[1] > '9')
        return NULL;
    *ret_number = (uint32_t)(at[0] - '0') * 10 + (uint32_t)(at[1] - '0');
    return *ret_number < bound ? at + 2 : NULL;
}

/* "03:00" or "03:00:30". */
static bool time_of_day(const char *text, uint32_t *ret_second)
{
    uint32_t hour = 0, minute = 0, second = 0;
    const char *at = digits_take(text, HOURS, &hour);
    at = at && *at == ':' ? digits_take(at + 1, MINUTES, &minute) : NULL;
    if (at && *at == ':')
        at = digits_take(at + 1, SECONDS, &second);
    *ret_second = (hour * MINUTES + minute) * SECONDS + second;
    return at && !*at;
}

/* The statement of a kind, if it is there and right. */
static const struct statement *stated(const struct builder *builder, enum directive_id id)
{
    const struct statement *first = builder_first(builder, id);
    return first && first->valid ? first : NULL;
}

static void at_apply(struct builder *builder, struct service_job *job, const struct statement *at)
{
    const struct value *time = &at->arguments[0];
    job->daily = true;
    if (!time_of_day(time->text, &job->at_second))
        value_refuse(builder, time, "HH:MM or HH:MM:SS, like 03:00", "`%s` is no time of the day",
                     time->text);
}

void job_gather(struct builder *builder, struct draft *draft)
{
    static const enum job_overlap overlaps[] = {JOB_SKIP, JOB_QUEUE, JOB_REPLACE};
    struct service_job *job = arena_alloc(builder->arena, sizeof *job);
    const struct statement *every = stated(builder, DIRECTIVE_JOB_EVERY);
    const struct statement *at = stated(builder, DIRECTIVE_JOB_AT);
    const struct statement *overlap = stated(builder, DIRECTIVE_JOB_OVERLAP);
    const struct statement *timeout = stated(builder, DIRECTIVE_JOB_TIMEOUT);
    const struct statement *history = stated(builder, DIRECTIVE_JOB_HISTORY);
    *job = builder->job_defaults;
    if (every)
        job->every_ms = every->arguments[0].number;
    if (at)
        at_apply(builder, job, at);
    if (overlap)
        job->overlap = overlaps[overlap->arguments[0].choice];
    if (timeout)
        job->timeout_ms = (uint32_t)timeout->arguments[0].number;
    if (history)
        job->history = (uint32_t)history->arguments[0].number;
    if (every && at)
        statement_refuse(builder, at, "one of them says when it runs; or make two jobs",
                         "`every` and `at` exclude each other");
    draft->service.job = job;
    draft->service.listens = false;
    draft->service.restart = RESTART_NEVER;
}
