#include "gateway/core/worker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/table.h"
#include "gateway/core/client_caps.h"
#include "gateway/core/flood.h"
#include "gateway/core/journal.h"
#include "gateway/core/networks.h"

/* An upstream is held by every use (of a generation) that asked for it. Its settings are those of
 * the newest generation that names its service, which it pins: a use that nothing refers to any
 * more lets its upstreams go, but keeps its generation for as long as an upstream is pinned to it.
 */
struct held_upstream {
    LIST_ENTRY(held_upstream) next;
    struct upstream *upstream;
    struct generation_use *settings; /* pinned */
    uint32_t refs;                   /* uses that have it */
};

enum { UPSTREAM_BUCKETS = 1024 };

LIST_HEAD(upstream_bucket, held_upstream);

struct worker_own {
    struct upstream_bucket upstreams[UPSTREAM_BUCKETS]; /* by the hash of the service's name */
    uint64_t now_us;
    uint64_t now_turn; /* of which turn; 0: of none yet */
};

/* ---- uses --------------------------------------------------------------------------------------
 */

static void use_free_if_done(struct generation_use *use)
{
    if (use->refs || use->pins)
        return;
    generation_unref(use->generation);
    free(use->upstreams);
    free(use);
}

static void held_pin(struct held_upstream *held, struct generation_use *use)
{
    struct generation_use *before = held->settings;
    held->settings = use;
    if (use)
        use->pins++;
    if (before) {
        before->pins--;
        use_free_if_done(before);
    }
}

static void held_unref(struct held_upstream *held)
{
    if (--held->refs)
        return;
    LIST_REMOVE(held, next);
    upstream_free(held->upstream);
    held_pin(held, NULL);
    free(held);
}

void use_ref(struct generation_use *use)
{
    use->refs++;
}

void use_unref(struct generation_use *use)
{
    if (!use || --use->refs)
        return;
    use->pins++; /* it stays while its upstreams go, which may be pinned to it */
    for (size_t i = 0; i < use->generation->topology->service_count; i++) {
        struct held_upstream *held = use->upstreams[i];
        use->upstreams[i] = NULL;
        if (held)
            held_unref(held);
    }
    use->pins--;
    use_free_if_done(use);
}

static struct generation_use *use_new(struct worker *worker, struct generation *generation)
{
    struct generation_use *use = calloc(1, sizeof *use);
    size_t services = generation->topology->service_count;
    if (use)
        use->upstreams = calloc(services ? services : 1, sizeof(struct held_upstream *));
    if (!use || !use->upstreams) {
        free(use);
        return NULL;
    }
    use->generation = generation;
    use->worker = worker;
    use->refs = 1;
    return use;
}

/* ---- upstreams ---------------------------------------------------------------------------------
 */

static struct upstream_bucket *bucket_of(struct worker *worker, const char *name)
{
    uint64_t hash = hash_bytes(name, strlen(name), hash_seed());
    return &worker->own->upstreams[hash % UPSTREAM_BUCKETS];
}

static struct held_upstream *held_find(struct worker *worker, const char *name)
{
    struct held_upstream *held;
    LIST_FOREACH (held, bucket_of(worker, name), next) {
        if (strcmp(upstream_service(held->upstream)->name, name) == 0)
            return held;
    }
    return NULL;
}

/* With the newest generation's settings, also when an older one asks. */
static struct held_upstream *held_new(struct worker *worker, struct generation_use *use,
                                      const struct service *service)
{
    const struct service *newest = table_get(worker->current->generation->services, service->name);
    if (newest) {
        use = worker->current;
        service = newest;
    }
    struct held_upstream *held = calloc(1, sizeof *held);
    if (!held)
        return NULL;
    held->upstream = upstream_new(&worker->place, use->generation->topology, service);
    if (!held->upstream) {
        free(held);
        return NULL;
    }
    held_pin(held, use);
    LIST_INSERT_HEAD(bucket_of(worker, service->name), held, next);
    return held;
}

struct upstream *worker_upstream(const struct generation_use *use, uint32_t service)
{
    struct held_upstream *held = use->upstreams[service];
    if (held)
        return held->upstream;
    /* Seldom from here on: the first time under this generation. */
    struct worker *worker = use->worker;
    const struct service *of_service = &use->generation->topology->services[service];
    held = held_find(worker, of_service->name);
    if (!held)
        held = held_new(worker, (struct generation_use *)(uintptr_t)use, of_service);
    if (!held)
        return NULL;
    held->refs++;
    use->upstreams[service] = held;
    return held->upstream;
}

/* The new generation's settings to an upstream, and it to the new use. */
static void held_settle(struct held_upstream *held, struct generation_use *use)
{
    const struct generation *generation = use->generation;
    const struct service *service =
        table_get(generation->services, upstream_service(held->upstream)->name);
    if (!service) /* it is on its way out */
        return;
    upstream_settle(held->upstream, generation->topology, service);
    held_pin(held, use);
    held->refs++;
    use->upstreams[service->index] = held;
}

static void upstreams_settle(struct worker *worker, struct generation_use *use)
{
    struct held_upstream *held;
    for (size_t i = 0; i < UPSTREAM_BUCKETS; i++)
        LIST_FOREACH (held, &worker->own->upstreams[i], next) {
            held_settle(held, use);
        }
}

int worker_switch(struct worker *worker, struct generation *generation)
{
    struct generation_use *use = use_new(worker, generation);
    if (!use) {
        generation_unref(generation);
        return -ENOMEM;
    }
    struct generation_use *before = worker->current;
    upstreams_settle(worker, use);
    worker->current = use;
    use_unref(before);
    return 0;
}

static bool bucket_news(struct upstream_bucket *bucket)
{
    bool revoked = false;
    struct held_upstream *next;
    for (struct held_upstream *held = LIST_FIRST(bucket); held; held = next) {
        held->refs++; /* who is told may let it go */
        upstream_news(held->upstream);
        revoked |= upstream_revoked_take(held->upstream);
        next = LIST_NEXT(held, next);
        held_unref(held);
    }
    return revoked;
}

bool worker_news(struct worker *worker)
{
    bool revoked = false;
    for (size_t i = 0; i < UPSTREAM_BUCKETS; i++)
        revoked |= bucket_news(&worker->own->upstreams[i]);
    return revoked;
}

/* ---- clients -----------------------------------------------------------------------------------
 */

struct listener_load listener_load(const struct worker *worker, const struct plan_listener *plan)
{
    struct listener_load load = {0};
    const struct tally *tally = worker->place.tally;
    uint32_t first = worker->place.thread - worker->number;
    for (uint32_t i = 0; i < tally_sizes(tally)->threads; i++) {
        uint64_t now = atomic_load_explicit(
            &tally_traffic(tally, first + i, TALLY_LISTENER, plan->row)->connections_now,
            memory_order_relaxed);
        load.all += now;
        load.own += i == worker->number ? now : 0;
    }
    return load;
}

static bool gateway_full(const struct worker *worker)
{
    uint32_t all = worker->counts ? 0 : worker->connections;
    for (unsigned i = 0; worker->counts && i < worker->count; i++)
        all += atomic_load_explicit(&worker->counts[i].connections, memory_order_relaxed);
    return all >= worker->connections_max;
}

static void connections_change(struct worker *worker, int by)
{
    worker->connections += (uint32_t)by;
    if (worker->counts)
        atomic_store_explicit(&worker->counts[worker->number].connections, worker->connections,
                              memory_order_relaxed);
}

/* Other families than these two become AF_UNSPEC: nobody's. */
static void address_copy(union client_address *to, const struct sockaddr *from)
{
    if (from->sa_family == AF_INET)
        to->v4 = *(const struct sockaddr_in *)from;
    else if (from->sa_family == AF_INET6)
        to->v6 = *(const struct sockaddr_in6 *)from;
    else
        to->any.sa_family = AF_UNSPEC;
}

bool client_allowed(const struct client_base *client)
{
    const struct access_list *access = client->plan->listener->access;
    return !access || networks_allow(access, &client->peer.any);
}

/* Of a proxy that says by a PROXY header whom it speaks for, that one is asked about: see
 * client_peer_set. */
static bool client_may(const struct client_base *client)
{
    const struct listener *listener = client->plan->listener;
    return client_allowed(client) ||
           networks_contain(listener->proxies, listener->proxy_count, &client->peer.any);
}

static bool client_fits(struct client_base *client)
{
    const struct listener *listener = client->plan->listener;
    struct worker *worker = client->worker;
    if (flood_refuses(client) || gateway_full(worker) || !client_may(client))
        return false;
    if (listener->connections_max &&
        listener_load(worker, client->plan).all >= listener->connections_max)
        return false;
    if (!listener->connections_per_client)
        return true;
    client->capped =
        client_caps_take(client->plan->row, &client->peer.any, listener->connections_per_client);
    return client->capped;
}

bool client_begin(struct client_base *client, struct worker *worker,
                  const struct plan_listener *plan, const struct sockaddr *peer)
{
    *client = (struct client_base){.worker = worker, .use = worker->current, .plan = plan};
    address_copy(&client->peer, peer);
    client->tally =
        tally_traffic(worker->place.tally, worker->place.thread, TALLY_LISTENER, plan->row);
    if (!client_fits(client)) {
        flood_gone(client);
        tally_add(&client->tally->refused, 1);
        return false;
    }
    use_ref(client->use);
    connections_change(worker, 1);
    tally_add(&client->tally->connections, 1);
    tally_add(&client->tally->connections_now, 1);
    return true;
}

bool client_peer_set(struct client_base *client, const struct sockaddr *peer)
{
    if (client->capped)
        client_caps_give(client->plan->row, &client->peer.any);
    flood_gone(client);
    address_copy(&client->peer, peer);
    uint32_t max = client->plan->listener->connections_per_client;
    bool may = !flood_refuses(client) && client_allowed(client);
    client->capped = may && max && client_caps_take(client->plan->row, peer, max);
    if (may && (client->capped || !max))
        return true;
    tally_add(&client->tally->refused, 1);
    return false;
}

void client_end(struct client_base *client)
{
    flood_gone(client);
    if (client->capped)
        client_caps_give(client->plan->row, &client->peer.any);
    connections_change(client->worker, -1);
    tally_add(&client->tally->connections_now, (uint64_t)-1);
    use_unref(client->use);
    client->use = NULL;
}

const struct plan_listener *worker_plan(const struct worker *worker,
                                        const struct plan_listener *older)
{
    const struct generation *generation = worker->current->generation;
    for (size_t i = 0; i < generation->plan_count; i++) {
        const struct listener *listener = generation->plans[i].listener;
        if (listener->kind == older->listener->kind &&
            strcmp(listener->text, older->listener->text) == 0)
            return &generation->plans[i];
    }
    return NULL;
}

bool client_renew(struct client_base *client)
{
    struct generation_use *current = client->worker->current;
    if (client->use == current)
        return true;
    const struct plan_listener *plan = worker_plan(client->worker, client->plan);
    if (!plan)
        return false;
    use_ref(current);
    use_unref(client->use);
    client->use = current;
    client->plan = plan;
    client->trust_known = false;
    return true;
}

const struct sockaddr *client_local(struct client_base *client, int fd)
{
    socklen_t length = sizeof client->local;
    if (client->local.any.sa_family == AF_UNSPEC &&
        getsockname(fd, &client->local.any, &length) < 0)
        client->local.any.sa_family = AF_UNSPEC;
    return &client->local.any;
}

uint64_t worker_now_us(struct worker *worker)
{
    uint64_t turn = loop_turns(worker->loop) + 1;
    if (worker->own->now_turn != turn) {
        worker->own->now_turn = turn;
        worker->own->now_us = clock_monotonic_ns() / 1000;
    }
    return worker->own->now_us;
}

/* ---- life --------------------------------------------------------------------------------------
 */

int worker_init(struct worker *worker, const struct worker_setup *setup)
{
    *worker = (struct worker){.number = setup->number,
                              .connections_max = setup->connections_max,
                              .counts = setup->counts,
                              .count = setup->count,
                              .descriptors_max = setup->descriptors_max,
                              .bans = setup->bans,
                              .ban_news = setup->ban_news};
    random_init(&worker->random);
    worker->loop = loop_new();
    worker->own = calloc(1, sizeof *worker->own);
    worker->input = aligned_alloc(64, WORKER_INPUT_BYTES);
    worker->output = aligned_alloc(64, WORKER_OUTPUT_BYTES);
    if (worker->loop)
        worker->journal = journal_new(worker->loop, setup->logger_fd);
    if (!worker->loop || !worker->own || !worker->input || !worker->output || !worker->journal) {
        worker_done(worker);
        return -ENOMEM;
    }
    worker->place = (struct upstream_place){
        .loop = worker->loop,
        .board = setup->board,
        .tally = setup->tally,
        .resolved = setup->resolved,
        .breakers = setup->breakers,
        .thread = setup->thread,
        .random = &worker->random,
        .wake_fd = setup->wake_fd,
    };
    if (setup->stash) {
        low_water_init(&worker->low_water, worker->loop, setup->stash);
        worker->place.low_water = &worker->low_water;
    }
    return 0;
}

void worker_done(struct worker *worker)
{
    if (worker->current)
        use_unref(worker->current);
    worker->current = NULL;
    low_water_done(&worker->low_water);
    journal_free(worker->journal);
    pipes_done(&worker->pipes);
    free(worker->input);
    free(worker->output);
    free(worker->own);
    loop_free(worker->loop);
    *worker = (struct worker){0};
}
