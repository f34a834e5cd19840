#include "upstream/retry_budget.h"

#include <string.h>

static void budget_forget(struct retry_budget *budget, uint32_t bucket)
{
    budget->requests_sum -= budget->requests[bucket];
    budget->retries_sum -= budget->retries[bucket];
    budget->requests[bucket] = 0;
    budget->retries[bucket] = 0;
}

/* The bucket of this second; those that it passes over are empty afterwards. */
static uint32_t budget_turn(struct retry_budget *budget, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    if (second >= budget->second + RETRY_WINDOW_SECONDS)
        *budget = (struct retry_budget){.second = second};
    while (budget->second < second)
        budget_forget(budget, (uint32_t)(++budget->second % RETRY_WINDOW_SECONDS));
    return (uint32_t)(second % RETRY_WINDOW_SECONDS);
}

void retry_budget_count(struct retry_budget *budget, uint64_t now_ms)
{
    budget->requests[budget_turn(budget, now_ms)]++;
    budget->requests_sum++;
}

bool retry_budget_take(struct retry_budget *budget, uint64_t now_ms, uint32_t percent)
{
    uint32_t bucket = budget_turn(budget, now_ms);
    uint64_t tries = budget->requests_sum;
    uint64_t first_tries = tries > budget->retries_sum ? tries - budget->retries_sum : 0;
    uint64_t allowed = first_tries * percent / 100;
    if (allowed < RETRY_FLOOR)
        allowed = RETRY_FLOOR;
    if (percent == 0 || budget->retries_sum >= allowed)
        return false;
    budget->retries[bucket]++;
    budget->retries_sum++;
    return true;
}
