/* What the files of kind rolling_*.c share of supervise/rolling.h: rolling_begin.c begins a
 * rollout, or goes on with one after a crash; rolling.c carries it out; rolling_proof.c tells
 * whether the new program is good enough; rolling_program.c knows which program an instance is of.
 */
#pragma once

#include "supervise/rolling.h"
#include "supervise/supervisor.h"

/* ---- rolling.c ---- */

/* Something happened that its rollout decides on. */
void rolling_feed(struct unit *unit, enum rollout_event event);
/* Was it started from what the rollout leads to (on the way back: from the program before)? */
bool rolling_is_led(const struct unit *unit, const struct instance *instance);
/* Is it one beyond those that are wanted? */
bool rolling_is_extra(const struct unit *unit, const struct instance *instance);
void rolling_timers_stop(struct unit *unit);

/* ---- rolling_proof.c ---- */

/* `within=` and `errors=` of its plan are looked at from now on. */
void rolling_proof_begin(struct unit *unit);
/* What goes wrong in the instance from now on is counted against its program. */
void rolling_errors_begin(struct instance *instance);
