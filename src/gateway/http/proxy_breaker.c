/* What the breaker of a service (upstream/breakers.h) means for a request: whether it is asked at
 * all, another service of the route in its place, and what is learnt from each try. */
#include <stdio.h>

#include "gateway/http/proxy.h"

/* ---- which service -------------------------------------------------------------------------- */

static bool target_closed(struct exchange *exchange, const struct route_target *target)
{
    const struct upstream *upstream = worker_upstream(exchange->use, target->service);
    return upstream && upstream_closed(upstream);
}

/* One of those that are closed, by their weights; of those with none (weight=0) the first. NULL:
 * none is closed. */
static const struct route_target *closed_choose(struct exchange *exchange)
{
    const struct route *route = exchange->route;
    const struct route_target *closed[ROUTE_TARGETS_MAX], *spare = NULL;
    size_t count = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < route->target_count; i++) {
        const struct route_target *target = &route->targets[i];
        if (!target_closed(exchange, target))
            continue;
        spare = spare ? spare : target;
        sum += target->weight;
        closed[count++] = target;
    }
    uint64_t place = sum ? random_below(&exchange->worker->random, sum) : 0;
    for (size_t i = 0; sum && i < count; i++) {
        if (place < closed[i]->weight)
            return closed[i];
        place -= closed[i]->weight;
    }
    return spare;
}

/* `-> api weight=95, canary weight=5` */
static const struct route_target *any_choose(struct exchange *exchange)
{
    const struct route *route = exchange->route;
    uint64_t sum = 0;
    for (size_t i = 0; i < route->target_count; i++)
        sum += route->targets[i].weight;
    uint64_t place = sum ? random_below(&exchange->worker->random, sum) : 0;
    for (size_t i = 0; i < route->target_count; i++) {
        if (place < route->targets[i].weight)
            return &route->targets[i];
        place -= route->targets[i].weight;
    }
    return &route->targets[0];
}

/* One that is not closed is chosen as if it were while it does not rest: its probes are among the
 * requests that would have been its own. */
static bool target_passes(struct exchange *exchange, const struct route_target *target)
{
    struct upstream *upstream = worker_upstream(exchange->use, target->service);
    return !upstream || upstream_may_pass(upstream);
}

const struct route_target *proxy_target_choose(struct exchange *exchange)
{
    if (exchange->route->target_count == 1)
        return &exchange->route->targets[0];
    const struct route_target *target = any_choose(exchange);
    if (target_passes(exchange, target))
        return target;
    const struct route_target *other = closed_choose(exchange);
    return other ? other : target;
}

/* ---- what is learnt ------------------------------------------------------------------------- */

void proxy_breaker_leave(struct proxy *proxy, enum endpoint_outcome outcome)
{
    if (outcome == OUTCOME_CONNECT_FAILED || outcome == OUTCOME_FAILED)
        upstream_bad(proxy->upstream, &proxy->pass);
    else
        upstream_over(proxy->upstream, &proxy->pass);
}

void proxy_breaker_told(struct proxy *proxy, uint16_t status)
{
    const struct service_breaker *breaker = &proxy_service(proxy)->gateway.breaker;
    if (status >= breaker->status_low && status <= breaker->status_high)
        upstream_bad(proxy->upstream, &proxy->pass);
    else
        upstream_good(proxy->upstream, &proxy->pass);
}

/* ---- the answer in its place ---------------------------------------------------------------- */

void proxy_breaker_fail(struct proxy *proxy)
{
    struct exchange *exchange = proxy->exchange;
    uint64_t wait_s = (upstream_rests_ms(proxy->upstream) + 999) / 1000;
    char text[24];
    int length = snprintf(text, sizeof text, "%llu", (unsigned long long)(wait_s ? wait_s : 1));
    const struct field field = {
        .name = SLICE("Retry-After"), .value = {text, (uint32_t)length}, .id = FIELD_RETRY_AFTER};
    exchange->page_fields = &field;
    exchange->page_field_count = 1;
    exchange_fail(exchange, 503, BLAME_UPSTREAM, "breaker open");
    exchange->page_field_count = 0;
}
