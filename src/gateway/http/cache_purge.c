/* PURGE: a request of those whom the route's `purge=` names takes answers out of the store: that of
 * its own target; with `*` at the end of the path all that begin so, of its host; with a Cache-Tag
 * field all that have one of these tags. */
#include <stdio.h>

#include "gateway/core/networks.h"
#include "gateway/http/cache.h"

struct wanted {
    struct slice listener; /* with its line's end */
    struct slice url;      /* that it begins with */
    struct slice tags;
};

static bool tag_matches(const struct cache_object *object, void *owner)
{
    const struct wanted *wanted = owner;
    const char *at = wanted->tags.bytes, *end = at + wanted->tags.length;
    while (at < end) {
        const char *start = at;
        while (at < end && *at != ' ' && *at != ',' && *at != '\t')
            at++;
        struct slice tag = {start, (uint32_t)(at - start)};
        if (tag.length && cache_object_tagged(object, tag))
            return true;
        at++;
    }
    return false;
}

static bool url_matches(const struct cache_object *object, void *owner)
{
    const struct wanted *wanted = owner;
    const struct cache_key *key = &object->key;
    return key->length - key->url >= wanted->url.length &&
           memcmp(key->bytes + key->url, wanted->url.bytes, wanted->url.length) == 0 &&
           key->length > wanted->listener.length &&
           memcmp(key->bytes, wanted->listener.bytes, wanted->listener.length) == 0;
}

static uint64_t purge(struct cache_own *own)
{
    const struct field *tags = head_find(&own->exchange->request, "Cache-Tag");
    struct wanted wanted = {0};
    if (tags) {
        wanted.tags = tags->value;
        return cache_store_purge(own->store, tag_matches, &wanted);
    }
    const struct cache_key *key = &own->key;
    if (!key->length || key->bytes[key->length - 1] != '*')
        return cache_store_invalidate(own->store, key);
    const char *line_end = memchr(key->bytes, '\n', key->length);
    wanted.listener = (struct slice){key->bytes, (uint32_t)(line_end - key->bytes) + 1};
    wanted.url = (struct slice){key->bytes + key->url, key->length - key->url - 1};
    return cache_store_purge(own->store, url_matches, &wanted);
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
