#include "gateway/relay/sources.h"

#include "upstream/board.h"

void address_key(struct key *key, const union client_address *peer)
{
    if (peer->any.sa_family == AF_INET6)
        key_add(key, &peer->v6.sin6_addr, sizeof peer->v6.sin6_addr);
    else
        key_add(key, &peer->v4.sin_addr, sizeof peer->v4.sin_addr);
}

bool endpoint_gone(const struct board *board, const struct endpoint *endpoint)
{
    if (endpoint->slot == BOARD_NONE)
        return !endpoint->listed;
    const struct board_instance *instance = board_instance(board, endpoint->slot);
    uint32_t state = atomic_load_explicit(&instance->state, memory_order_acquire);
    return state == BOARD_FREE || state == BOARD_DOWN || instance->epoch != endpoint->epoch;
}

struct endpoint *endpoint_choose(const struct session_wish *wish)
{
    struct pick pick = {.datagram = true, .port = wish->port};
    struct endpoint *endpoint;
    if (wish->avoid)
        pick.avoid[pick.avoid_count++] = wish->avoid;
    if (upstream_service(wish->upstream)->balance == BALANCE_HASH) {
        struct key key = {0};
        address_key(&key, wish->peer);
        pick.hash = pick_hash(key.bytes, key.length);
    }
    return upstream_pick(wish->upstream, &pick, &endpoint) == PICK_DONE ? endpoint : NULL;
}

static struct source *source_new(struct sources *sources, struct endpoint *endpoint,
                                 const struct key *key)
{
    struct source *source = slab_take(sources->slab);
    if (!source)
        return NULL;
    *source = (struct source){.endpoint = endpoint, .refs = 1};
    endpoint_ref(endpoint);
    keyed_insert(&sources->table, &source->keyed, key);
    return source;
}

struct source *source_take(struct sources *sources, const struct session_wish *wish)
{
    struct key key = {0};
    address_key(&key, wish->peer);
    struct source *source = (struct source *)keyed_find(&sources->table, &key);
    const bool good = source && !source->failed && !endpoint_gone(sources->board, source->endpoint);
    struct endpoint *endpoint = good ? source->endpoint : endpoint_choose(wish);
    if (!endpoint)
        return NULL;
    if (!source)
        return source_new(sources, endpoint, &key);
    endpoint_ref(endpoint);
    endpoint_unref(source->endpoint);
    source->endpoint = endpoint;
    source->failed = false;
    source->refs++;
    return source;
}

struct source *source_inherit(struct sources *sources, const union client_address *peer,
                              struct endpoint *endpoint)
{
    struct key key = {0};
    address_key(&key, peer);
    struct source *source = (struct source *)keyed_find(&sources->table, &key);
    if (!source)
        return source_new(sources, endpoint, &key);
    source->refs++;
    return source;
}

void source_unref(struct sources *sources, struct source *source)
{
    if (!source || --source->refs)
        return;
    keyed_remove(&sources->table, &source->keyed);
    endpoint_unref(source->endpoint);
    slab_give(sources->slab, source);
}
