/* PURGE: a request of those whom the route's `purge=` names takes answers out of the store: that of
 * its own target; with `*` at the end of the path all that begin so, of its host; with a Cache-Tag
 * field all that have one of these tags. */
#include <stdio.h>

#include "gateway/core/networks.h"
#include "gateway/http/cache.h"

static uint64_t purge(struct cache_own *own)
{
    const struct field *tags = head_find(&own->exchange->request, "Cache-Tag");
    const struct cache_key *key = &own->key;
    struct cache_purge purge = {.kind = PURGE_TAGS};
    if (tags) {
        purge.text = tags->value;
        return cache_store_purge(own->store, &purge);
    }
    if (!key->length || key->bytes[key->length - 1] != '*')
        return cache_store_invalidate(own->store, key);
    const char *line_end = memchr(key->bytes, '\n', key->length);
    purge.kind = PURGE_BELOW;
    purge.listener = (struct slice){key->bytes, (uint32_t)(line_end - key->bytes)};
    purge.text = (struct slice){key->bytes + key->url, key->length - key->url - 1};
    return cache_store_purge(own->store, &purge);
}

static void answer(struct exchange *exchange, uint64_t count)
{
    char text[32];
    int length = snprintf(text, sizeof text, "purged: %llu\n", (unsigned long long)count);
    static const struct field fields[] = {
        {.name = SLICE("Content-Type"), .value = SLICE("text/plain"), .id = FIELD_CONTENT_TYPE},
        {.name = SLICE("Cache-Control"), .value = SLICE("no-store")},
    };
    const struct response_head head = {.status = count ? 200 : 404,
                                       .fields = fields,
                                       .field_count = 2,
                                       .body = BODY_LENGTH,
                                       .body_length = (uint64_t)length};
    ssize_t taken = exchange_respond(exchange, &head, text, (size_t)length, true);
    if (taken >= 0 && taken < length)
        exchange_cut(exchange, BLAME_CLIENT, "it takes nothing");
    if (taken >= 0)
        exchange_release(exchange);
}

bool cache_purge_request(struct cache_own *own)
{
    struct exchange *exchange = own->exchange;
    const struct route_cache *rules = own->rules;
    if (!rules->purger_count || !slice_is(exchange->request.method_name, "PURGE"))
        return false;
    if (!networks_contain(rules->purgers, rules->purger_count, &exchange->client->peer.any)) {
        exchange_fail(exchange, 403, BLAME_CLIENT, "PURGE of somebody who may not");
        exchange_release(exchange);
        return true;
    }
    if (!cache_own_key(exchange, rules, &own->key)) {
        exchange_fail(exchange, 400, BLAME_CLIENT, "PURGE of what is no key");
        exchange_release(exchange);
        return true;
    }
    answer(exchange, purge(own));
    return true;
}
