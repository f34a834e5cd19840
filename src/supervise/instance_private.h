/* What the files of kind instance_*.c share of supervise/instance.h: instance.c carries out what
 * the lifecycle decides, instance_begin.c starts the process, instance_ready.c finds out whether it
 * is up, instance_role.c what its role is, instance_end.c finds its processes and sees them end,
 * instance_step.c runs what comes before a start and after an end. */
#pragma once

#include "supervise/instance.h"
#include "supervise/supervisor.h"

static inline struct supervisor *supervisor_of(const struct instance *instance)
{
    return instance->unit->supervisor;
}

static inline const struct steering_operations *steering_of(const struct instance *instance,
                                                            struct steering **ret_steering)
{
    *ret_steering = supervisor_of(instance)->steering;
    return (*ret_steering)->operations;
}

/* ---- instance.c ---- */

/* Why it is not up. */
void instance_reason_set(struct instance *instance, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* An event of its life. The instance may have another state, or a new process, afterwards. */
void instance_feed(struct instance *instance, enum lifecycle_event event);
/* The process that watches and waits belong to is gone, or was never there. */
void instance_process_forget(struct instance *instance);
/* Its group is removed, unless it is busy with the dead; then before the next start. */
void instance_group_end(struct instance *instance);
/* The deadline of its state begins. */
void instance_deadline_set(struct instance *instance);
/* Its output is not there any more, for the keeper neither. */
void instance_output_end(struct instance *instance);

/* ---- instance_begin.c ---- */

/* Its program, or with `steps` the step that it is at. */
void instance_spawn(struct instance *instance);
/* It could not be started: the event of its end comes after this turn. */
void instance_stillborn(struct instance *instance, int error);
/* The parts of a beginning that an adopted instance needs too. 0 or -errno. */
int instance_group_begin(struct instance *instance);
int instance_output_begin(struct instance *instance);
int instance_steering_prepare(struct instance *instance);
int instance_readiness_listen(struct instance *instance, char *path, size_t size);
/* Reads the child's word on its exec, if it has been spoken. */
void instance_report_take(struct instance *instance);

/* ---- instance_step.c ---- */

/* The step that it is at; NULL: none. */
const struct service_step *instance_step(const struct instance *instance);
/* Runs the steps before its start, or after its end; EVENT_PREPARED or EVENT_FINISHED follows. */
void instance_prepare(struct instance *instance);
void instance_finish(struct instance *instance);
/* Are steps to follow the end of which it is about to be told? Takes note of how it ended. */
bool instance_finishes(struct instance *instance);
/* No process of the step is left, or none could be started. */
void instance_step_ended(struct instance *instance);
/* The step's time is over. */
void instance_step_overran(struct instance *instance);
/* An adopted instance was at a step. */
void instance_step_adopt(struct instance *instance);
/* ENGINX_STEP, and what steps after an end are told of it. 0 or -ENOMEM. */
struct launch;
int instance_step_env(const struct instance *instance, struct launch *launch);

/* ---- instance_ready.c ---- */

void instance_probe_begin(struct instance *instance);
/* A command that is run again and again beside the instance. 0 or -errno. */
int instance_probe_start(struct instance *instance, const char *const *argv,
                         const struct probe_plan *plan, probe_call *call, struct probe **ret_probe);
/* What it says by sd_notify; a readiness_call. */
void instance_notified(void *owner, const struct readiness_message *message);
/* Has it come far enough to be asked whether it is ready? */
void instance_consider(struct instance *instance);

/* ---- instance_role.c ---- */

/* It listens: who asks for its role by a command begins, unless it has. */
void instance_role_begin(struct instance *instance);
/* The settings of its service are others: who asks begins anew, and what is known stays, unless
 * nobody asks any more. */
void instance_role_resettle(struct instance *instance);
/* Its process is no more: neither is its role. */
void instance_role_forget(struct instance *instance);

/* ---- instance_end.c ---- */

/* "exited with status 3", of a wait(2) status; NULL for -1. */
const char *instance_status_text(int status, const char *cause, char *text, size_t size);
/* Watches for its death. 0 or -errno. */
int instance_main_watch(struct instance *instance);
void instance_main_ended(struct instance *instance);
/* MAINPID= of sd_notify: that one is the main process now, if it is one of the instance's. */
void instance_main_told(struct instance *instance, pid_t pid);
/* Looks again soon: is it drained, has the last process gone? */
void instance_sweep_start(struct instance *instance);
