#include "topology/job_text.h"

#include <inttypes.h>
#include <stdio.h>

enum { DURATION_BYTES = 32 };

/* In the largest unit that says it exactly. */
static const char *duration(uint64_t ms, char text[DURATION_BYTES])
{
    static const struct {
        uint64_t ms;
        const char *name;
    } units[] = {{3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;
    while (ms % units[i].ms)
        i++;
    snprintf(text, DURATION_BYTES, "%" PRIu64 "%s", ms / units[i].ms, units[i].name);
    return text;
}

const char *job_text_times(const struct service_job *job, char text[JOB_TEXT_BYTES])
{
    char every[DURATION_BYTES];
    uint32_t second = job->at_second % 60, minute = job->at_second / 60;
    if (job->every_ms)
        snprintf(text, JOB_TEXT_BYTES, "every %s", duration(job->every_ms, every));
    else if (job->daily && second)
        snprintf(text, JOB_TEXT_BYTES, "at %02u:%02u:%02u", minute / 60, minute % 60, second);
    else if (job->daily)
        snprintf(text, JOB_TEXT_BYTES, "at %02u:%02u", minute / 60, minute % 60);
    else
        snprintf(text, JOB_TEXT_BYTES, "when it is asked for");
    return text;
}

const char *job_text_bounds(const struct service_job *job, char text[JOB_TEXT_BYTES])
{
    static const char *const overlaps[] = {
        [JOB_SKIP] = "", [JOB_QUEUE] = "overlap queue", [JOB_REPLACE] = "overlap replace"};
    char most[DURATION_BYTES];
    const char *overlap = overlaps[job->overlap];
    if (job->timeout_ms)
        snprintf(text, JOB_TEXT_BYTES, "%s%stimeout %s", overlap, *overlap ? ", " : "",
                 duration(job->timeout_ms, most));
    else
        snprintf(text, JOB_TEXT_BYTES, "%s", overlap);
    return text;
}
