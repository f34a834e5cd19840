#include "supervise/instance_private.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "supervise/launch.h"

enum { ADOPTED_STEP_MS = 30000 }; /* one that the file does not have any more */

static const char *const kinds[] = {
    [STEPS_BEFORE_START] = "before-start", [STEPS_AFTER_STOP] = "after-stop"};

static size_t count_of(const struct instance *instance)
{
    const struct service *service = rolling_service(instance);
    return instance->steps == STEPS_BEFORE_START ? service->before_start_count
           : instance->steps == STEPS_AFTER_STOP ? service->after_stop_count
                                                 : 0;
}

const struct service_step *instance_step(const struct instance *instance)
{
    const struct service *service = rolling_service(instance);
    if (instance->step >= count_of(instance))
        return NULL;
    return instance->steps == STEPS_BEFORE_START ? &service->before_start[instance->step]
                                                 : &service->after_stop[instance->step];
}

static const char *step_text(const struct instance *instance)
{
    const struct service_step *step = instance_step(instance);
    return step ? step->text : "that the file had before";
}

const char *instance_step_text(const struct instance *instance, char *text, size_t size)
{
    if (!instance->steps || (!instance->pid && !instance->step_waits))
        return NULL;
    snprintf(text, size, "%s %s", kinds[instance->steps], step_text(instance));
    return text;
}

/* ---- once for all ----------------------------------------------------------------------------
 */

static bool is_prepared(const struct instance *instance)
{
    const struct service_record *record = instance->unit->record;
    uint32_t mark = instance->record->revision + 1;
    return record->prepared[0] == mark || record->prepared[1] == mark;
}

/* Of two revisions at a time something may start: the one that is led to, and the one before. */
static void prepared_note(const struct instance *instance)
{
    struct service_record *record = instance->unit->record;
    uint32_t mark = instance->record->revision + 1;
    bool first_counts = record->prepared[0] == record->revision + 1 ||
                        record->prepared[0] == record->revision_before + 1;
    if (!is_prepared(instance))
        record->prepared[first_counts] = mark;
}

/* Is this the last of the steps that are taken once? */
static bool is_last_once(const struct instance *instance)
{
    const struct service *service = rolling_service(instance);
    for (size_t i = instance->step + 1; i < service->before_start_count; i++)
        if (service->before_start[i].once)
            return false;
    return service->before_start[instance->step].once;
}

static void step_next(struct instance *instance);

/* Those that wait go on, or, when it cannot be had, fail: it was tried often enough. */
static void waiting_wake(struct unit *unit, const struct instance *failed)
{
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        struct instance *instance = unit->instances[i];
        if (!instance || !instance->step_waits || instance->life.state != STATE_PREPARING)
            continue;
        if (!failed) {
            step_next(instance);
            continue;
        }
        instance->life.blame = BLAME_HOPELESS;
        instance_reason_set(instance, "%.160s failed: %.300s", failed->name, failed->reason);
        instance_stillborn(instance, 0);
    }
}

void instance_steps_settle(struct instance *instance)
{
    struct unit *unit = instance->unit;
    enum lifecycle_state state = instance->life.state;
    enum lifecycle_goal goal = instance->life.goal;
    bool tries = state == STATE_PREPARING || state == STATE_STOPPING || state == STATE_FINISHING ||
                 state == STATE_BACKOFF;
    if (unit->prepares != instance->number ||
        (tries && goal != GOAL_REST && goal != GOAL_REMOVE && !is_prepared(instance)))
        return;
    unit->prepares = 0;
    waiting_wake(unit, state == STATE_FAILED ? instance : NULL);
}

/* ---- one after the other -----------------------------------------------------------------------
 */

/* It must not be run here and now: another instance does. */
static bool step_waits(struct instance *instance, const struct service_step *step)
{
    struct unit *unit = instance->unit;
    if (instance->steps != STEPS_BEFORE_START || !step->once)
        return false;
    if (unit->prepares && unit->prepares != instance->number) {
        instance_reason_set(instance, "waits for %s.%u, which runs %s", unit->service->name,
                            unit->prepares, step->text);
        return true;
    }
    unit->prepares = instance->number;
    return false;
}

/* From the one that it is at on: runs it, or the first that is not done yet. */
static void step_next(struct instance *instance)
{
    const struct service_step *step;
    instance->step_waits = instance->step_late = false;
    while ((step = instance_step(instance)) && step->once && is_prepared(instance))
        instance->step++;
    if (!step || (instance->steps == STEPS_AFTER_STOP && supervisor_of(instance)->killing)) {
        instance_feed(instance,
                      instance->steps == STEPS_BEFORE_START ? EVENT_PREPARED : EVENT_FINISHED);
        return;
    }
    instance->begun = true;
    instance->step_waits = step_waits(instance, step);
    if (instance->step_waits)
        return;
    instance->life.step_ms = step->timeout_ms;
    instance_spawn(instance);
    instance_deadline_set(instance);
}

void instance_prepare(struct instance *instance)
{
    instance->steps = STEPS_BEFORE_START;
    instance->step = 0;
    step_next(instance);
}

void instance_finish(struct instance *instance)
{
    instance->steps = STEPS_AFTER_STOP;
    instance->step = 0;
    step_next(instance);
}

static bool ended_well(const struct instance *instance)
{
    return instance->executed && instance->exit_status == 0 && !instance->step_late;
}

/* How the step failed, where nothing has said so yet. */
static void failure_explain(const struct instance *instance, char *text, size_t size)
{
    char status[64];
    const char *how = instance_status_text(instance->exit_status, "", status, sizeof status);
    if (instance->step_late)
        snprintf(text, size, "took longer than %u ms", instance->life.step_ms);
    else if (!instance->executed && instance->reason[0])
        snprintf(text, size, "%.300s", instance->reason);
    else
        snprintf(text, size, "%s", how ? how : "ended, and nobody knows how");
}

static void failure_tell(struct instance *instance)
{
    char how[INSTANCE_REASON_BYTES];
    failure_explain(instance, how, sizeof how);
    log_warn("step-failed", "instance=%s kind=%s step=\"%s\" how=\"%s\"", instance->name,
             kinds[instance->steps], step_text(instance), how);
    if (instance->steps == STEPS_BEFORE_START)
        instance_reason_set(instance, "%s %u (%.60s): %.300s", kinds[instance->steps],
                            instance->step + 1, step_text(instance), how);
}

/* The one after it, or the program; what was done for all is known. */
static void step_done(struct instance *instance)
{
    log_info("step-ended", "instance=%s kind=%s step=\"%s\"", instance->name,
             kinds[instance->steps], step_text(instance));
    if (instance->steps == STEPS_BEFORE_START && is_last_once(instance))
        prepared_note(instance);
    instance->step++;
    step_next(instance);
    instance_steps_settle(instance);
}

/* Nobody knows how one ended that was adopted, on kernels that do not tell: it is tried again, and
 * nobody is to blame. */
static void step_failed(struct instance *instance)
{
    bool asked = instance->life.state == STATE_STOPPING || instance->step_waits;
    if (!asked)
        failure_tell(instance);
    if (!asked && instance->executed && instance->exit_status == -1)
        instance->life.blame = BLAME_MACHINE;
    instance->step_waits = false;
    instance->life.clean = false;
    instance_feed(instance, EVENT_EXIT);
}

void instance_step_ended(struct instance *instance)
{
    if (instance->output)
        output_drain(instance->output);
    instance_process_forget(instance);
    instance->record->step = 0;
    bool well = ended_well(instance) && instance_step(instance);
    if (instance->steps == STEPS_BEFORE_START) {
        if (well && instance->life.state == STATE_PREPARING)
            step_done(instance);
        else
            step_failed(instance);
    } else if (well) {
        step_done(instance);
    } else {
        failure_tell(instance);
        instance->step++;
        step_next(instance);
    }
    if (!lifecycle_running(instance->life.state))
        instance_group_end(instance);
}

void instance_step_overran(struct instance *instance)
{
    instance->step_late = true;
    failure_tell(instance);
}

void instance_step_adopt(struct instance *instance)
{
    const struct instance_record *record = instance->record;
    if (!record->step)
        return;
    instance->steps = record->state == STATE_FINISHING ? STEPS_AFTER_STOP : STEPS_BEFORE_START;
    instance->step = record->step - 1u;
    const struct service_step *step = instance_step(instance);
    if (step && step->once && instance->steps == STEPS_BEFORE_START)
        instance->unit->prepares = instance->number;
}

/* ---- what steps after an end are told
 * ---------------------------------------------------------- */

static const char *result_of(const struct instance *instance, int status)
{
    if (instance->steps == STEPS_BEFORE_START)
        return instance->overran ? "timeout" : "before-start";
    if (instance->overran)
        return "timeout";
    if (!instance->executed && instance->begun)
        return "not-started";
    if (status == -1)
        return "unknown";
    if (instance->record->out_of_memory)
        return "oom-kill";
    bool asked = instance->life.state == STATE_STOPPING && WIFSIGNALED(status) &&
                 WTERMSIG(status) == rolling_service(instance)->stop_signal;
    if (status == 0 || asked)
        return "success";
    return WIFSIGNALED(status) ? "signal" : "exit-code";
}

bool instance_finishes(struct instance *instance)
{
    if (!rolling_service(instance)->after_stop_count || !instance->ran ||
        supervisor_of(instance)->killing)
        return false;
    instance->result_status = instance->exit_status;
    instance->result = result_of(instance, instance->exit_status);
    return true;
}

static int end_env(const struct instance *instance, struct launch *launch)
{
    char text[16] = "";
    int status = instance->result ? instance->result_status : instance->record->exit_status;
    const char *result = instance->result ? instance->result : result_of(instance, status);
    const char *code = status == -1 ? "unknown" : WIFSIGNALED(status) ? "killed" : "exited";
    const char *name = status != -1 && WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    if (name)
        snprintf(text, sizeof text, "%s", name);
    else if (status != -1)
        snprintf(text, sizeof text, "%d",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    int error = launch_env_set(launch, "ENGINX_RESULT", result);
    if (!error)
        error = launch_env_set(launch, "ENGINX_EXIT_CODE", code);
    return error ? error : launch_env_set(launch, "ENGINX_EXIT_STATUS", text);
}

int instance_step_env(const struct instance *instance, struct launch *launch)
{
    int error = launch_env_set(launch, "ENGINX_STEP", kinds[instance->steps]);
    if (!error && instance->steps == STEPS_AFTER_STOP)
        error = end_env(instance, launch);
    return error;
}
