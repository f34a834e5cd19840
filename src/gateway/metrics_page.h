/* Parts of the metrics page that have files of their own. */
#pragma once

#include "base/buffer.h"
#include "gateway/core/generation.h"
#include "upstream/bans.h"

/* Of all caches of a generation; nothing when there are none. */
void metrics_caches_print(const struct generation *generation, struct buffer *out);
/* Of who floods; nothing when no listener has `flood`. */
void metrics_bans_print(const struct generation *generation, const struct bans *bans,
                        struct buffer *out);
