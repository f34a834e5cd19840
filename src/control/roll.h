/* Rollouts over the control socket: how one is asked for, and how it and its end are told. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "supervise/unit.h"

/* What the request says besides the service's own `roll`: numbers under the names of its options,
 * times in ms, and `canary` (percent) with `step`. False: *ret_why says what is wrong. */
bool roll_plan_read(const json_t *request, struct rollout_plan *plan, const char **ret_why);
/* The rollout that is under way, or the last: for `status`. null: there was none. */
json_t *roll_status(const struct unit *unit);
/* How the last one ended, for whoever waited: NULL: well; else why not, valid until the next call.
 */
const char *roll_error(const struct unit *unit);
