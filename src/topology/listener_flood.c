/* `flood` of a listener. */
#include <string.h>

#include "topology/builder.h"

#define HOUR_NS 3600000000000ull

static struct flood_rate flood_rate_of(const struct value *rate)
{
    if (!rate->given)
        return (struct flood_rate){0};
    return (struct flood_rate){.interval_ns = HOUR_NS / rate->number, .burst = rate_burst(rate)};
}

static const struct network *exempt_take(struct builder *builder, const struct value *first,
                                         size_t *ret_count)
{
    size_t count = 0;
    for (const struct value *value = first; value && value->given; value = value->next)
        count++;
    struct network *networks = arena_array(builder->arena, count ? count : 1, sizeof *networks);
    for (const struct value *value = first; value && value->given; value = value->next) {
        struct network *network = &networks[(*ret_count)++];
        memcpy(network->address, value->network.address, sizeof network->address);
        network->length = value->network.length;
    }
    return networks;
}

const struct flood *flood_take(struct builder *builder, const struct statement *at)
{
    if (!at)
        return NULL;
    struct flood *flood = arena_alloc(builder->arena, sizeof *flood);
    *flood = (struct flood){
        .connections = flood_rate_of(&at->options[FLOOD_CONNECTIONS]),
        .requests = flood_rate_of(&at->options[FLOOD_REQUESTS]),
        .concurrent = option_number(at, FLOOD_CONCURRENT),
        .ban_ms = option_number(at, FLOOD_BAN),
    };
    if (!flood->connections.interval_ns && !flood->requests.interval_ns && !flood->concurrent)
        statement_refuse(builder, at, at->directive->example, "`flood` says nothing of how much");
    flood->exempt = exempt_take(builder, &at->options[FLOOD_EXCEPT], &flood->exempt_count);
    return flood;
}
