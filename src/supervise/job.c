#include "supervise/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "supervise/supervisor.h"

/* A clock that is set is noticed within this time. */
enum { LOOK_MS_MAX = 15000 };

static const struct service_job *plan_of(const struct job *job)
{
    return job->unit->service->job;
}

static const char *name_of(const struct job *job)
{
    return job->unit->service->name;
}

static void look_due(struct timer *timer);
static void overdue(struct timer *timer);

static void timer_set(struct job *job, struct timer *timer, uint64_t wait_ms, timer_due *due)
{
    if (timer_start(job->unit->supervisor->loop, timer, wait_ms, due, job) < 0)
        log_error("no-memory", "job=%s what=timer", name_of(job));
}

/* The next look: at once, when another run waits for its turn. */
static void look_set(struct job *job)
{
    uint64_t now_ms = clock_wall_ms(), due_ms = job->schedule.due_ms;
    uint64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;
    timer_stop(job->unit->supervisor->loop, &job->look);
    if (job->unit->ended || job->unit->removed)
        return;
    if (job->waits && !job->runs)
        wait_ms = 0;
    else if (!due_ms)
        return;
    timer_set(job, &job->look, wait_ms < LOOK_MS_MAX ? wait_ms : LOOK_MS_MAX, look_due);
}

static void overdue_set(struct job *job)
{
    uint64_t taken_ms = clock_wall_ms() - job->begin_wall_ms;
    uint32_t timeout_ms = plan_of(job)->timeout_ms;
    timer_stop(job->unit->supervisor->loop, &job->overdue);
    if (timeout_ms && job->runs && !job->late)
        timer_set(job, &job->overdue, taken_ms < timeout_ms ? timeout_ms - taken_ms : 0, overdue);
}

static void run_end(struct job *job)
{
    struct instance *instance = unit_instance(job->unit, 1);
    if (instance)
        instance_stop(instance, GOAL_REST, true);
}

static void overdue(struct timer *timer)
{
    struct job *job = timer->owner;
    job->late = true;
    run_end(job);
}

static void skipped(const struct job *job, const char *why)
{
    log_warn("job-skipped", "job=%s why=\"%s\"", name_of(job), why);
}

static void run_begin(struct job *job)
{
    struct instance *instance = unit_instance(job->unit, 1);
    job->waits = false;
    if (!instance) {
        skipped(job, "there is no room for an instance");
        return;
    }
    job->runs = true;
    job->late = false;
    job->begin_wall_ms = clock_wall_ms();
    schedule_started(&job->schedule, plan_of(job), job->begin_wall_ms);
    log_info("job-started", "job=%s", name_of(job));
    overdue_set(job);
    instance_start(instance);
    supervisor_note_change(job->unit->supervisor, job->unit);
}

/* It is due, and a run is under way. */
static void overlap(struct job *job)
{
    enum job_overlap how = plan_of(job)->overlap;
    if (how == JOB_SKIP || (how == JOB_QUEUE && job->waits)) {
        skipped(job, how == JOB_SKIP ? "the run before is not over" : "another run waits already");
        return;
    }
    job->waits = true;
    if (how == JOB_REPLACE)
        run_end(job);
}

static void look_due(struct timer *timer)
{
    struct job *job = timer->owner;
    bool due = schedule_look(&job->schedule, plan_of(job), clock_wall_ms());
    if (job->unit->ended || job->unit->removed)
        return;
    if (due && job->runs)
        overlap(job);
    else if (due || (job->waits && !job->runs))
        run_begin(job);
    look_set(job);
}

static void past_add(struct job *job, bool good, const char *how)
{
    uint64_t now_ms = clock_wall_ms();
    struct job_run run = {.begin_wall_ms = job->begin_wall_ms,
                          .duration_ms =
                              now_ms > job->begin_wall_ms ? now_ms - job->begin_wall_ms : 0,
                          .good = good};
    snprintf(run.exit, sizeof run.exit, "%s", how);
    job_history_add(job->history, &run);
    log_event(good ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "job-ended", "job=%s ms=%llu how=\"%s\"",
              name_of(job), (unsigned long long)run.duration_ms, how);
}

const struct job_run *job_past(const struct job *job, uint32_t back)
{
    return back < plan_of(job)->history ? job_history_run(job->history, back) : NULL;
}

void job_changed(struct unit *unit, const struct instance *instance)
{
    struct job *job = unit->job;
    char text[64];
    if (!job || !job->runs || lifecycle_running(instance->life.state))
        return;
    const char *exit = instance_exit_text(instance, text, sizeof text);
    const char *how = !instance->executed && instance->reason[0] ? instance->reason
                      : job->late                                ? "took too long"
                      : exit                                     ? exit
                                                                 : "nobody knows";
    job->runs = false;
    timer_stop(unit->supervisor->loop, &job->overdue);
    past_add(job, instance->life.clean && !job->late && exit, how);
    look_set(job);
}

/* What the supervisor before had started: it runs on, or ended while nobody looked. */
static void run_find(struct job *job)
{
    const struct instance *found = unit_instance(job->unit, 1);
    struct instance *instance = unit_instance(job->unit, 1);
    if (!found || !found->record->pid || !found->record->up_wall_ms)
        return;
    job->begin_wall_ms = found->record->up_wall_ms;
    if (lifecycle_running(found->life.state)) {
        job->runs = true;
        log_info("job-found", "job=%s pid=%d", name_of(job), found->pid);
        overdue_set(job);
    } else if (lifecycle_running(found->record->state)) {
        instance_kill(instance); /* what its main process has left behind */
        instance->record->state = STATE_IDLE;
        past_add(job, false, "ended while no supervisor looked");
    }
}

/* "STATE/jobs" */
static void folder_of(const struct supervisor *supervisor, char path[STATE_PATH_BYTES_MAX + 16])
{
    snprintf(path, STATE_PATH_BYTES_MAX + 16, "%s/jobs", supervisor->options.state_directory);
}

static bool history_begin(struct job *job)
{
    int error = 0;
    char folder[STATE_PATH_BYTES_MAX + 16];
    folder_of(job->unit->supervisor, folder);
    job->history = job_history_open(folder, name_of(job), &error);
    if (error)
        log_warn("job-history-not-kept", "job=%s error=\"%s\" instead=\"in memory\"", name_of(job),
                 strerror(-error));
    return job->history != NULL;
}

static bool job_stated(void *owner, const char *name)
{
    const struct unit *unit = supervisor_unit(owner, name);
    return unit && unit->service->job;
}

void jobs_trim(struct supervisor *supervisor, bool all)
{
    char folder[STATE_PATH_BYTES_MAX + 16];
    folder_of(supervisor, folder);
    job_histories_keep(folder, all ? NULL : job_stated, supervisor);
}

int job_begin(struct unit *unit)
{
    const struct instance *instance = unit_instance(unit, 1);
    struct job *job = unit->job = calloc(1, sizeof *job);
    if (!job)
        return -ENOMEM;
    job->unit = unit;
    if (!history_begin(job)) {
        free(job);
        unit->job = NULL;
        return -ENOMEM;
    }
    run_find(job);
    uint64_t last_ms = instance ? instance->record->up_wall_ms : 0;
    schedule_begin(&job->schedule, plan_of(job), last_ms, clock_wall_ms());
    look_set(job);
    return 0;
}

void job_rest(struct unit *unit)
{
    if (!unit->job)
        return;
    unit->job->waits = false;
    timer_stop(unit->supervisor->loop, &unit->job->look);
    timer_stop(unit->supervisor->loop, &unit->job->overdue);
}

void job_free(struct unit *unit)
{
    char folder[STATE_PATH_BYTES_MAX + 16];
    if (!unit->job)
        return;
    job_rest(unit);
    folder_of(unit->supervisor, folder);
    if (unit->removed)
        job_history_remove(folder, name_of(unit->job));
    job_history_close(unit->job->history);
    free(unit->job);
    unit->job = NULL;
}

void job_adapt(struct unit *unit)
{
    struct job *job = unit->job;
    if (!job)
        return;
    schedule_begin(&job->schedule, plan_of(job), job->begin_wall_ms, clock_wall_ms());
    overdue_set(job);
    look_set(job);
}

const char *job_run_now(struct unit *unit, uint64_t *ret_number)
{
    struct job *job = unit ? unit->job : NULL;
    if (!unit || !unit->service->job)
        return "there is no such job";
    if (!job || unit->ended || unit->removed)
        return "it has not begun, or is going down";
    if (job->runs)
        return "a run is under way";
    *ret_number = job_history_ended(job->history) + 1;
    run_begin(job);
    look_set(job);
    return job->runs || job_history_ended(job->history) >= *ret_number
               ? NULL
               : "there is no room for an instance";
}

bool job_over(const struct unit *unit, uint64_t number, const char **ret_error)
{
    const struct job *job = unit->job;
    uint64_t ended = job ? job_history_ended(job->history) : 0;
    if (job && ended < number)
        return false;
    const struct job_run *run = job ? job_past(job, (uint32_t)(ended - number)) : NULL;
    if (!run)
        *ret_error = "the job was removed";
    else if (!run->good)
        *ret_error = run->exit;
    return true;
}
