/* A retry budget: of the requests of the last ten seconds only so many in a hundred may have been
 * tried again, so that retries do not bury a service that is in trouble already. A few a second are
 * always allowed, or a service with little traffic could not retry at all. A value; pure. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { RETRY_WINDOW_SECONDS = 10, RETRY_FLOOR = 3 * RETRY_WINDOW_SECONDS };

struct retry_budget { /* zero-initialised: nothing happened yet */
    uint64_t second;  /* that of the newest bucket */
    uint32_t requests[RETRY_WINDOW_SECONDS];
    uint32_t retries[RETRY_WINDOW_SECONDS];
    uint64_t requests_sum;
    uint64_t retries_sum;
};

/* A try was begun, the first of its request or a further one. */
void retry_budget_count(struct retry_budget *budget, uint64_t now_ms);
/* May one be tried again? Then it is counted. `percent` 0: never. */
bool retry_budget_take(struct retry_budget *budget, uint64_t now_ms, uint32_t percent);
