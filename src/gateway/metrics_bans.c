/* The metrics page's part on clients that are banned. */
#include <inttypes.h>
#include <stdbool.h>

#include "base/clock.h"
#include "gateway/metrics_page.h"

static bool has_floods(const struct generation *generation)
{
    for (size_t i = 0; i < generation->plan_count; i++)
        if (generation->plans[i].listener->flood)
            return true;
    return false;
}

void metrics_bans_print(const struct generation *generation, const struct bans *bans,
                        struct buffer *out)
{
    if (!has_floods(generation))
        return;
    buffer_printf(out,
                  "# HELP enginx_bans Clients that are banned.\n# TYPE enginx_bans gauge\n"
                  "enginx_bans %zu\n",
                  bans_list(bans, NULL, 0, clock_monotonic_ms()));
    buffer_printf(out,
                  "# HELP enginx_bans_total Times that a client was banned.\n"
                  "# TYPE enginx_bans_total counter\nenginx_bans_total %" PRIu64 "\n",
                  bans_made(bans));
}
