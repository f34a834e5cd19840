#include "supervise/schedule.h"

#include <time.h>

enum { SECOND_MS = 1000, HOUR_SECONDS = 3600, DAYS_TRIED = 3 };

/* Clocks show this second or a later one of the day that `day` is in. */
static bool reached(time_t at, const struct tm *day, uint32_t at_second)
{
    struct tm local;
    localtime_r(&at, &local);
    if (local.tm_year != day->tm_year || local.tm_yday != day->tm_yday)
        return local.tm_year > day->tm_year ||
               (local.tm_year == day->tm_year && local.tm_yday > day->tm_yday);
    return (uint32_t)(local.tm_hour * HOUR_SECONDS + local.tm_min * 60 + local.tm_sec) >= at_second;
}

/* The first second of the day at which `reached` holds. mktime(3) is near it, wherever clocks jump:
 * from well before, what is searched for lies in a span within which clocks jump once at most.
 * Where they show it twice, the search from below must find the first. */
static time_t moment_of(const struct tm *day, uint32_t at_second)
{
    struct tm wanted = {.tm_year = day->tm_year,
                        .tm_mon = day->tm_mon,
                        .tm_mday = day->tm_mday,
                        .tm_hour = (int)(at_second / HOUR_SECONDS),
                        .tm_min = (int)(at_second / 60 % 60),
                        .tm_sec = (int)(at_second % 60),
                        .tm_isdst = -1};
    time_t at = mktime(&wanted) - 2 * HOUR_SECONDS;
    for (time_t step = 60; step; step = step == 60 ? 1 : 0) {
        while (!reached(at, day, at_second))
            at += step;
        at -= step == 60 ? 60 : 0;
    }
    return at;
}

uint64_t schedule_at(uint32_t at_second, uint64_t after_ms)
{
    time_t after = (time_t)(after_ms / SECOND_MS);
    struct tm day;
    localtime_r(&after, &day);
    for (int i = 0; i < DAYS_TRIED; i++) {
        time_t moment = moment_of(&day, at_second);
        if ((uint64_t)moment * SECOND_MS > after_ms)
            return (uint64_t)moment * SECOND_MS;
        day.tm_mday++; /* the next day, at noon, which all days have */
        day.tm_hour = 12;
        day.tm_min = day.tm_sec = 0;
        day.tm_isdst = -1;
        mktime(&day);
    }
    return after_ms + 24ull * HOUR_SECONDS * SECOND_MS;
}

static uint64_t next_after(const struct service_job *job, uint64_t after_ms)
{
    return job->every_ms ? after_ms + job->every_ms
           : job->daily  ? schedule_at(job->at_second, after_ms)
                         : 0;
}

void schedule_begin(struct schedule *schedule, const struct service_job *job, uint64_t last_ms,
                    uint64_t now_ms)
{
    bool known = last_ms && last_ms <= now_ms;
    *schedule =
        (struct schedule){.due_ms = next_after(job, known ? last_ms : now_ms), .looked_ms = now_ms};
}

bool schedule_look(struct schedule *schedule, const struct service_job *job, uint64_t now_ms)
{
    bool far_back = now_ms + SCHEDULE_BACK_MS_MAX < schedule->looked_ms;
    schedule->looked_ms = now_ms;
    if (!schedule->due_ms)
        return false;
    /* What counts from the start of a run does not wait longer than that, whatever clocks do. */
    if (far_back || (job->every_ms && schedule->due_ms > now_ms + job->every_ms))
        schedule->due_ms = next_after(job, now_ms);
    if (now_ms < schedule->due_ms)
        return false;
    schedule->due_ms = next_after(job, now_ms);
    return true;
}

void schedule_started(struct schedule *schedule, const struct service_job *job, uint64_t now_ms)
{
    if (job->every_ms)
        schedule->due_ms = now_ms + job->every_ms;
}
