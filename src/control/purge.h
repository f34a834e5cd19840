/* `purge` over the control socket. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "supervise/supervisor.h"

/* Asks the gateway for what the request names; *ret_ticket is for front_purged. NULL, or what is
 * wrong. */
const char *purge_begin(struct supervisor *supervisor, const json_t *request, uint64_t *ret_ticket);
