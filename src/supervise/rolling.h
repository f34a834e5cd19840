/* Rolling: carries out for a unit what rollout.h decides — which of its programs an instance is
 * started from, which instances there are beyond those that are wanted, which is replaced next,
 * what share of the traffic each gets — and looks whether the new program is good enough. Owned by
 * the unit; the supervisor's thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "event/loop.h"
#include "supervise/lifecycle.h"
#include "supervise/rollout.h"
#include "supervise/spawn.h"

struct instance;
struct unit;

enum program_choice {
    PROGRAM_NOW,    /* what the configuration says */
    PROGRAM_BEFORE, /* what ran before, while it may be needed again: rolling.before */
};

struct program {
    const struct service *service; /* in a topology that is not in use any more; NULL: none */
    struct spawn_user user;
};

struct rolling {
    struct rollout rollout;
    struct rollout_plan plan;
    struct program before;
    enum program_choice leads; /* what instances that are made now are started from */
    uint32_t extra;            /* instances beyond those that are wanted */
    uint32_t ended;            /* rollouts that are over: whoever waits for one can tell */
    bool failed;               /* the new program: record->rollout_why says why */
    struct timer time;         /* of the rollout's state */
    struct timer overdue;      /* `within=` */
    struct timer sample;       /* looks at the errors */
};

/* What service and plan say when nobody says anything else. */
struct rollout_plan rolling_plan(const struct unit *unit);
/* Replaces all instances by new ones of the service as it stands. `cause` is for the log. 0;
 * -EBUSY: a rollout is under way; -EINVAL: a canary needs somebody beside it; -ESRCH: it has not
 * begun, or is going down. */
int rolling_begin(struct unit *unit, const struct rollout_plan *plan, const char *cause);
/* The unit's service says another program from now on: it is rolled to. `was`, the service before,
 * stays valid for as long as rolling_needs says. */
void rolling_redefine(struct unit *unit, const struct service *service, const struct service *was);
/* After a crash of the supervisor: goes on with a rollout, or begins one to a changed file. */
void rolling_resume(struct unit *unit);
/* Looks whether the next step can be taken; after each turn in which something of it changed. */
void rolling_tend(struct unit *unit);
/* The unit ends. */
void rolling_cancel(struct unit *unit);
/* Its service is absent from now on; what it was before is not needed any more. */
void rolling_forget(struct unit *unit);
void rolling_done(struct unit *unit);
/* Does it need the service (of a topology that is not in use any more)? */
bool rolling_needs(const struct unit *unit, const struct service *services, size_t count);

/* The service that the instance was started from, for all that concerns its process. */
const struct service *rolling_service(const struct instance *instance);
const struct spawn_user *rolling_user(const struct instance *instance);
/* How it is checked: as its service says, but for one of a program before whose check was another,
 * since the gateway knows the present one only: it is up while it listens. */
enum check_kind rolling_check(const struct instance *instance);

/* ---- what happens to instances ---- */

/* It is about to be started from what it is meant to be (instance.aim). */
void rolling_takes(struct instance *instance);
/* Does this event of its life tell that the new program is not good enough? Then it is meant to be
 * the program before, if it starts again; and rolling_blame takes note why. */
bool rolling_fails(struct instance *instance, enum lifecycle_event event, enum lifecycle_state was,
                   enum lifecycle_goal goal_was);
void rolling_blame(struct instance *instance, const char *why);
/* Its check failed while it was up. */
void rolling_ill(struct instance *instance, const char *why);
/* An adopted one: what was it started from? */
void rolling_adopts(struct instance *instance);

/* The weight of an instance, which is `weight` without a rollout. */
uint32_t rolling_weight(const struct instance *instance, uint32_t weight);
/* How far it is, in words: "2 of 4 replaced, pausing". */
void rolling_text(const struct unit *unit, char *text, size_t size);
/* So many of the instances that are wanted were replaced (on the way back: are not put back). */
uint32_t rolling_replaced(const struct unit *unit);
