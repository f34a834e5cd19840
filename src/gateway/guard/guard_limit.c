#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "gateway/core/key_hash.h"
#include "gateway/core/rate_table.h"
#include "gateway/guard/guard.h"
#include "gateway/guard/key_counts.h"
#include "gateway/http/bump.h"
#include "gateway/http/expand.h"
#include "gateway/http/requester.h"

#define SECOND_NS 1000000000ull

struct guard_hold {
    struct guard_hold *next;
    uint64_t key;
};

/* IPv4 whole, of IPv6 the /64, which is one client's. */
struct client_key {
    uint64_t identity;
    uint8_t family;
    uint8_t address[8];
    uint8_t none[7];
};

static uint64_t key_of_client(const struct exchange *exchange, uint64_t identity)
{
    union client_address client;
    struct client_key key = {.identity = identity};
    requester_client(exchange, &client);
    key.family = (uint8_t)client.any.sa_family;
    if (client.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&client.v6.sin6_addr)) {
        key.family = AF_INET;
        memcpy(key.address, &client.v6.sin6_addr.s6_addr[12], 4);
    } else if (client.any.sa_family == AF_INET6) {
        memcpy(key.address, &client.v6.sin6_addr, sizeof key.address);
    } else if (client.any.sa_family == AF_INET) {
        memcpy(key.address, &client.v4.sin_addr, 4);
    }
    return key_hash(key_secret(), &key, sizeof key);
}

/* False: no memory. */
static bool key_of(struct exchange *exchange, const struct guard_limit *limit, uint64_t *ret_key)
{
    if (!limit->key) {
        *ret_key = key_of_client(exchange, limit->identity);
        return true;
    }
    struct slice text = expand_pattern(exchange, limit->key);
    if (!text.bytes)
        return false;
    const uint64_t parts[2] = {key_hash(key_secret(), text.bytes, text.length), limit->identity};
    *ret_key = key_hash(key_secret(), parts, sizeof parts);
    return true;
}

static enum guard_answer too_much(struct exchange *exchange, const struct guard *guard,
                                  uint64_t wait_ns)
{
    char seconds[24];
    uint64_t wait_s = (wait_ns + SECOND_NS - 1) / SECOND_NS;
    int length = snprintf(seconds, sizeof seconds, "%llu", (unsigned long long)wait_s);
    const struct field field = {.name = SLICE("Retry-After"),
                                .value = {seconds, (uint32_t)length},
                                .id = FIELD_RETRY_AFTER};
    return guard_refuse(exchange, guard, guard->limit->status, NULL, &field, 1);
}

enum guard_answer guard_rate(struct exchange *exchange, const struct guard *guard)
{
    const struct guard_limit *limit = guard->limit;
    const struct rate rate = {.interval_ns = limit->interval_ns, .burst = limit->burst};
    uint64_t key, wait_ns;
    if (!key_of(exchange, limit, &key))
        return guard_fail(exchange, guard, 503, BLAME_ENGINX, "no memory for a limit's key");
    if (rate_take(key, &rate, worker_now_us(exchange->worker) * 1000, &wait_ns))
        return GUARD_PASSES;
    return too_much(exchange, guard, wait_ns);
}

enum guard_answer guard_requests(struct exchange *exchange, const struct guard *guard)
{
    uint64_t key;
    struct guard_hold *hold = bump_alloc(exchange->arena, sizeof *hold);
    if (!hold || !key_of(exchange, guard->limit, &key))
        return guard_fail(exchange, guard, 503, BLAME_ENGINX, "no memory for a limit's key");
    if (!key_count_take(key, guard->limit->requests))
        return too_much(exchange, guard, SECOND_NS);
    *hold = (struct guard_hold){.next = exchange->guarded->holds, .key = key};
    exchange->guarded->holds = hold;
    return GUARD_PASSES;
}

void guard_holds_give(struct guarded *guarded)
{
    for (struct guard_hold *hold = guarded->holds; hold; hold = hold->next)
        key_count_give(hold->key);
    guarded->holds = NULL;
}
