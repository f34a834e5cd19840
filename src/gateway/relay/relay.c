#include "gateway/relay/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "gateway/core/networks.h"
#include "gateway/relay/approach.h"
#include "gateway/relay/proxy_header.h"
#include "gateway/relay/relay_worker.h"
#include "gateway/relay/tunnel.h"
#include "tls/client.h"

/* A relayed connection while its tunnel lasts: what is needed to end it, and no more — an idle one
 * is to cost no more than RELAYED_BYTES_MAX together with its tunnel. */
struct relayed {
    struct generation_use *use;
    const struct plan_listener *plan;
    struct endpoint *endpoint;
    uint32_t service;
    uint32_t connect_us;
    breaker_pass pass;
    union client_address peer;
    bool capped;
    bool concurrent;
};

/* ---- accepting ------------------------------------------------------------------------------ */

void relay_accept(struct worker *worker, const struct plan_listener *plan, int fd,
                  const struct sockaddr *peer)
{
    struct relay_worker *relay = worker->relay;
    const struct listener *listener = plan->listener;
    struct approach *approach = slab_take(&relay->approaches);
    if (!approach) {
        close(fd);
        return;
    }
    *approach = (struct approach){.service = listener->service, .upstream = {.fd = -1}};
    if (!client_begin(&approach->base, worker, plan, peer)) {
        slab_give(&relay->approaches, approach);
        close(fd);
        return;
    }
    LIST_INSERT_HEAD(&relay->approaching, approach, next);
    const bool proxied = networks_contain(listener->proxies, listener->proxy_count, peer);
    approach_begin(approach, fd, proxied);
}

/* ---- joining -------------------------------------------------------------------------------- */

static struct tally_traffic *service_tally(const struct relayed *relayed)
{
    return upstream_tally(worker_upstream(relayed->use, relayed->service));
}

/* A reset by an endpoint that had answered before is nothing that speaks against it. */
static enum endpoint_outcome outcome_of(const struct tunnel_end *end)
{
    return end->upstream_failed && !end->bytes_out ? OUTCOME_FAILED : OUTCOME_GOOD;
}

static void breaker_hear(struct relayed *relayed, enum endpoint_outcome outcome)
{
    if (!relayed->pass)
        return;
    const struct upstream *upstream = worker_upstream(relayed->use, relayed->service);
    if (outcome == OUTCOME_FAILED)
        upstream_bad(upstream, &relayed->pass);
    else
        upstream_over(upstream, &relayed->pass);
}

static void relayed_over(void *owner, const struct tunnel_end *end)
{
    struct relayed *relayed = owner;
    struct endpoint *endpoint = relayed->endpoint;
    struct worker *worker = relayed->use->worker;
    struct client_base base = {
        .worker = worker,
        .use = relayed->use,
        .plan = relayed->plan,
        .tally = tally_traffic(worker->place.tally, worker->place.thread, TALLY_LISTENER,
                               relayed->plan->row),
        .peer = relayed->peer,
        .capped = relayed->capped,
        .concurrent = relayed->concurrent,
    };
    struct tally_traffic *service = service_tally(relayed);
    tally_add(&service->requests_now, (uint64_t)-1);
    tally_add(&service->bytes_in, end->bytes_in);
    tally_add(&service->bytes_out, end->bytes_out);
    tally_add(&endpoint->tally->bytes_in, end->bytes_in);
    tally_add(&endpoint->tally->bytes_out, end->bytes_out);
    tally_add(&endpoint->tally->connections_now, (uint64_t)-1);
    breaker_hear(relayed, outcome_of(end));
    endpoint_end(endpoint, outcome_of(end), relayed->connect_us);
    client_end(&base);
    slab_give(&worker->relay->relayed, relayed);
}

/* The PROXY header, which a socket that was just connected has room for, then TLS. 0 or -errno. */
static int upstream_greet(struct approach *approach)
{
    struct client_base *base = &approach->base;
    const struct generation *generation = base->use->generation;
    const struct service *service = &generation->topology->services[approach->service];
    const uint8_t version = service->gateway.proxy_protocol;
    if (version) {
        struct sockaddr_storage peer = {0};
        struct sockaddr_storage local = {0};
        memcpy(&peer, &base->peer, sizeof base->peer);
        memcpy(&local, client_local(base, approach->client.fd), sizeof base->local);
        size_t length = proxy_header_write(version, &peer, &local, base->worker->output);
        if (stream_write(&approach->upstream, base->worker->output, length, false) !=
            (ssize_t)length)
            return -EIO;
    }
    struct tls_client *tls = generation->tls_to ? generation->tls_to[approach->service] : NULL;
    if (!tls)
        return 0;
    const char *name = tls_client_name(tls);
    return stream_tls_connect(&approach->upstream, tls, name ? name : approach->endpoint->host);
}

static uint32_t connect_us(const struct approach *approach)
{
    uint64_t us = worker_now_us(approach->base.worker) - approach->begun_us;
    if (us > UINT32_MAX)
        return UINT32_MAX;
    return us ? (uint32_t)us : 1; /* 0 would be unknown */
}

static struct tunnel *tunnel_begin(struct approach *approach, struct relayed *relayed)
{
    const struct tunnel_setup setup = {
        .worker = approach->base.worker,
        .client = &approach->client,
        .upstream = &approach->upstream,
        .client_ahead = approach->ahead,
        .client_ahead_length = approach->ahead_length,
        .client_passed = approach->passed,
        .idle_ms = approach->base.plan->listener->idle_ms,
        .bytes_in = &approach->base.tally->bytes_in,
        .bytes_out = &approach->base.tally->bytes_out,
        .over = relayed_over,
        .owner = relayed,
    };
    return tunnel_new(&setup);
}

void relay_joined(struct approach *approach)
{
    struct relay_worker *relay = approach->base.worker->relay;
    struct relayed *relayed = approach->endpoint->revoked ? NULL : slab_take(&relay->relayed);
    if (!relayed || upstream_greet(approach) || !tunnel_begin(approach, relayed)) {
        slab_give(&relay->relayed, relayed);
        approach_fail(approach, true);
        return;
    }
    upstream_good(approach->pool, &approach->pass);
    *relayed = (struct relayed){
        .use = approach->base.use,
        .plan = approach->base.plan,
        .endpoint = approach->endpoint,
        .service = approach->service,
        .connect_us = connect_us(approach),
        .pass = approach->pass,
        .peer = approach->base.peer,
        .capped = approach->base.capped,
        .concurrent = approach->base.concurrent,
    };
    tally_add(&service_tally(relayed)->requests_now, 1);
    approach_free(approach);
}

/* ---- roles ---------------------------------------------------------------------------------- */

static bool relayed_revoked(const void *owner)
{
    const struct relayed *relayed = owner;
    return relayed->endpoint->revoked;
}

/* A walk over all connections: roles change seldom. */
void relay_revoke(struct worker *worker)
{
    size_t count = tunnels_reset(worker, relayed_over, relayed_revoked);
    if (count)
        log_info("connections-closed", "worker=%u count=%zu why=\"their endpoint's role changed\"",
                 worker->number, count);
}

/* ---- the worker's --------------------------------------------------------------------------- */

enum { RELAYED_BYTES_MAX = 300 };

int relay_worker_init(struct worker *worker)
{
    struct relay_worker *relay = calloc(1, sizeof *relay);
    if (!relay)
        return -ENOMEM;
    worker->relay = relay;
    slab_init(&relay->approaches, sizeof(struct approach));
    slab_init(&relay->relayed, sizeof(struct relayed));
    tunnels_init(relay, worker);
    sessions_worker_init(relay);
    _Static_assert(sizeof(struct relayed) + TUNNEL_BYTES <= RELAYED_BYTES_MAX, "the promise above");
    return 0;
}

void relay_worker_done(struct worker *worker)
{
    struct relay_worker *relay = worker->relay;
    if (!relay)
        return;
    tunnels_done(relay);
    while (!LIST_EMPTY(&relay->approaching)) {
        struct approach *approach = LIST_FIRST(&relay->approaching);
        approach->called = false;
        if (approach->step == STEP_OVER)
            approach_end(approach);
        else
            approach_fail(approach, true);
    }
    sessions_worker_done(relay);
    slab_done(&relay->approaches);
    slab_done(&relay->relayed);
    free(relay);
    worker->relay = NULL;
}
