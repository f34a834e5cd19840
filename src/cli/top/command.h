/* What a key asks of the cluster, as a request to its control server. Pure. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/top/keys.h"
#include "cli/top/model.h"

enum { COMMAND_TEXT_BYTES = 256 };

/* A new reference, and in `text` what it does: "restart web.2". NULL: that cannot be done to such
 * an item (NULL: none is chosen), and `text` says why. `count`: how many, of ACTION_SCALE_OPEN. */
json_t *command_request(enum action action, const struct item *item, uint32_t count,
                        char text[COMMAND_TEXT_BYTES]);
