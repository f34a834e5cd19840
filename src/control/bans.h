/* `bans` over the control socket: who is banned by `flood`, and whose ban is lifted. */
#pragma once

#include <jansson.h>

#include "supervise/supervisor.h"

enum { BANS_TOLD_MAX = 10000 };

/* {"count": N, "made": N, "lifted": N, "clients": [{"client", "until", "seconds", "why"}]}, of at
 * most BANS_TOLD_MAX clients, those first whose ban ends first. With "lift" in the request, a
 * client or "all", that is done before. NULL: *ret_error says what is wrong. */
json_t *bans_document(struct supervisor *supervisor, const json_t *request, const char **ret_error);
