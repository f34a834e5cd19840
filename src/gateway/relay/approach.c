#include "gateway/relay/approach.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/relay/relay_worker.h"

/* ---- the end -------------------------------------------------------------------------------- */

void approach_free(struct approach *approach)
{
    struct relay_worker *relay = approach->base.worker->relay;
    struct loop *loop = approach->base.worker->loop;
    timer_stop(loop, &approach->timer);
    deferred_stop(loop, &approach->end);
    waiter_stop(&approach->waiter);
    for (size_t i = 0; i < approach->pick.avoid_count; i++)
        endpoint_unref((struct endpoint *)(uintptr_t)approach->pick.avoid[i]);
    free(approach->ahead);
    LIST_REMOVE(approach, next);
    slab_give(&relay->approaches, approach);
}

/* The connection to the endpoint, if there is one, is over before it was of use. */
static void connection_leave(struct approach *approach, enum endpoint_outcome outcome)
{
    struct endpoint *endpoint = approach->endpoint;
    stream_close(&approach->upstream, true);
    if (!endpoint)
        return;
    approach->endpoint = NULL;
    tally_add(&endpoint->tally->connections_now, (uint64_t)-1);
    if (outcome == OUTCOME_CONNECT_FAILED)
        upstream_bad(approach->pool, &approach->pass);
    else
        upstream_over(approach->pool, &approach->pass);
    endpoint_end(endpoint, outcome, 0);
}

void approach_end(struct approach *approach)
{
    client_end(&approach->base); /* may free the upstream, if its service is gone */
    approach_free(approach);
}

static void end_late(struct deferred *deferred)
{
    approach_end(deferred->owner);
}

void approach_fail(struct approach *approach, bool reset)
{
    struct loop *loop = approach->base.worker->loop;
    approach->step = STEP_OVER;
    timer_stop(loop, &approach->timer);
    waiter_stop(&approach->waiter);
    connection_leave(approach, OUTCOME_UNUSED);
    stream_close(&approach->client, reset);
    if (approach->called)
        deferred_start(loop, &approach->end, end_late, approach);
    else
        approach_end(approach);
}

int approach_keep(struct approach *approach, const char *bytes, size_t length)
{
    approach->ahead = malloc(length);
    if (!approach->ahead)
        return -ENOMEM;
    memcpy(approach->ahead, bytes, length);
    approach->ahead_length = length;
    return 0;
}

/* ---- waiting -------------------------------------------------------------------------------- */

static enum going connect_failed(struct approach *approach);

static void advance_after(struct approach *approach, enum going going)
{
    if (going == GOES_ON)
        approach_advance(approach);
    else if (going == FAILS)
        approach_fail(approach, true);
}

static void time_over(struct timer *timer)
{
    struct approach *approach = timer->owner;
    if (approach->step == STEP_PICK) /* a pause */
        approach_advance(approach);
    else if (approach->step == STEP_CONNECT)
        advance_after(approach, connect_failed(approach));
    else
        approach_fail(approach, true);
}

static enum going wait_ms(struct approach *approach, uint64_t delay_ms)
{
    int error =
        timer_start(approach->base.worker->loop, &approach->timer, delay_ms, time_over, approach);
    return error ? FAILS : WAITS;
}

/* ---- connecting ----------------------------------------------------------------------------- */

static bool failed_before(const struct approach *approach, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < approach->pick.avoid_count; i++)
        if (approach->pick.avoid[i] == endpoint)
            return true;
    return false;
}

/* Another try, of another endpoint if there is one. */
static enum going connect_failed(struct approach *approach)
{
    struct pick *pick = &approach->pick;
    struct endpoint *endpoint = approach->endpoint;
    if (!failed_before(approach, endpoint) && pick->avoid_count < PICK_AVOID_MAX) {
        endpoint_ref(endpoint);
        pick->avoid[pick->avoid_count++] = endpoint;
    }
    timer_stop(approach->base.worker->loop, &approach->timer);
    connection_leave(approach, OUTCOME_CONNECT_FAILED);
    approach->step = STEP_PICK;
    const struct service_gateway *settings = &upstream_service(approach->pool)->gateway;
    if (approach->tries >= settings->retry_tries || !upstream_closed(approach->pool) ||
        !upstream_retry_allowed(approach->pool))
        return FAILS;
    approach->tries++;
    return GOES_ON;
}

static void upstream_ready(struct stream *stream, unsigned events)
{
    char *address = (char *)stream - offsetof(struct approach, upstream);
    struct approach *approach = (struct approach *)(void *)address;
    (void)events;
    if (approach->step != STEP_CONNECT)
        return;
    int error = stream_connected(stream);
    if (error == -EAGAIN)
        return;
    if (error)
        advance_after(approach, connect_failed(approach));
    else
        relay_joined(approach);
}

/* Does the connection stand? The client's first bytes find out, if they are here and may go as they
 * are: they are on their way then, at no extra call. What is not taken is kept. */
static int first_bytes(struct approach *approach)
{
    struct stream *client = &approach->client;
    char *bytes = approach->base.worker->input;
    const struct generation *generation = approach->base.use->generation;
    const struct service *service = &generation->topology->services[approach->service];
    if (client->tls || approach->ahead || service->gateway.proxy_protocol ||
        service->gateway.tls.on)
        return stream_connected(&approach->upstream);
    ssize_t count = stream_read(client, bytes, FIRST_BYTES_MAX);
    if (count <= 0) /* an end or an error is the tunnel's to pass on */
        return stream_connected(&approach->upstream);
    ssize_t taken = stream_write(&approach->upstream, bytes, (size_t)count, false);
    size_t done = taken > 0 ? (size_t)taken : 0;
    approach->passed = done;
    if (done < (size_t)count && approach_keep(approach, bytes + done, (size_t)count - done))
        return -ENOMEM;
    return taken < 0 ? (int)taken : 0;
}

static enum going connect_begin(struct approach *approach, struct endpoint *endpoint)
{
    struct worker *worker = approach->base.worker;
    endpoint_begin(endpoint);
    tally_add(&endpoint->tally->connections_now, 1);
    tally_add(&endpoint->tally->connections, 1);
    approach->endpoint = endpoint;
    approach->begun_us = worker_now_us(worker);
    approach->step = STEP_CONNECT;
    int error = stream_connect(&approach->upstream, worker->loop,
                               (const struct sockaddr *)&endpoint->address,
                               endpoint->address_length, upstream_ready);
    if (!error)
        error = first_bytes(approach);
    if (!error)
        return GOES_ON;
    if (stream_error_ours(error))
        return FAILS;
    if (error != -EAGAIN)
        return connect_failed(approach);
    /* Over a network: it takes a while. The client may leave in the meantime. */
    if (stream_watch(&approach->upstream) || stream_watch(&approach->client))
        return FAILS;
    return wait_ms(approach, upstream_service(approach->pool)->gateway.connect_ms);
}

/* ---- choosing ------------------------------------------------------------------------------- */

static uint64_t client_hash(const union client_address *client)
{
    if (client->any.sa_family == AF_INET6)
        return pick_hash(&client->v6.sin6_addr, sizeof client->v6.sin6_addr);
    return pick_hash(&client->v4.sin_addr, sizeof client->v4.sin_addr);
}

static void endpoint_came(struct waiter *waiter, enum pick_result result)
{
    char *address = (char *)waiter - offsetof(struct approach, waiter);
    struct approach *approach = (struct approach *)(void *)address;
    approach->called = true;
    if (result == PICK_NONE)
        approach_fail(approach, true);
    else
        approach_advance(approach);
}

static enum going pick_wait(struct approach *approach)
{
    if (!upstream_wait(approach->pool, &approach->waiter, endpoint_came))
        return FAILS;
    return stream_watch(&approach->client) ? FAILS : WAITS;
}

static enum going pick_first(struct approach *approach)
{
    const struct generation *generation = approach->base.use->generation;
    const struct service *service = &generation->topology->services[approach->service];
    approach->pool = worker_upstream(approach->base.use, approach->service);
    if (!approach->pool)
        return FAILS;
    approach->pick.port = approach->base.plan->listener->target_port;
    approach->pick.role = approach->waiter.role = approach->base.plan->listener->role;
    if (service->balance == BALANCE_HASH)
        approach->pick.hash = client_hash(&approach->base.peer);
    tally_add(&upstream_tally(approach->pool)->requests, 1);
    return GOES_ON;
}

/* Before somebody is tried who has failed just now — he may be alone — a moment passes. */
static enum going pick_step(struct approach *approach)
{
    struct endpoint *endpoint;
    if (!approach->pool && pick_first(approach) == FAILS)
        return FAILS;
    if (!upstream_passes(approach->pool, &approach->pass))
        return FAILS;
    enum pick_result result = upstream_pick(approach->pool, &approach->pick, &endpoint);
    if (result == PICK_DONE &&
        (!failed_before(approach, endpoint) || approach->pauses == approach->tries))
        return connect_begin(approach, endpoint);
    upstream_over(approach->pool, &approach->pass);
    if (result != PICK_DONE)
        return result == PICK_WAIT ? pick_wait(approach) : FAILS;
    approach->pauses = approach->tries;
    if (stream_watch(&approach->client))
        return FAILS;
    return wait_ms(approach, (uint64_t)PAUSE_MS << (approach->tries < 8 ? approach->tries : 8));
}

/* ---- steps ---------------------------------------------------------------------------------- */

static enum approach_step step_after(const struct approach *approach)
{
    const struct listener *listener = approach->base.plan->listener;
    if (approach->step == STEP_PROXY && listener->sni_count)
        return STEP_HELLO;
    if (approach->step == STEP_PROXY && approach->base.plan->tls)
        return STEP_TLS;
    return STEP_PICK;
}

static enum going greet(struct approach *approach)
{
    if (approach->step == STEP_PROXY)
        return greet_proxy(approach);
    return approach->step == STEP_HELLO ? greet_hello(approach) : greet_tls(approach);
}

static enum going greet_step(struct approach *approach)
{
    enum going going = greet(approach);
    if (going == WAITS && !timer_active(&approach->timer))
        return wait_ms(approach, GREETING_MS);
    if (going == GOES_ON)
        approach->step = step_after(approach);
    if (approach->step == STEP_PICK)
        timer_stop(approach->base.worker->loop, &approach->timer);
    return going;
}

void approach_advance(struct approach *approach)
{
    enum going going = GOES_ON;
    while (going == GOES_ON && approach->step != STEP_CONNECT)
        going = approach->step < STEP_PICK ? greet_step(approach) : pick_step(approach);
    if (going == GOES_ON)
        relay_joined(approach);
    else if (going == FAILS)
        approach_fail(approach, true);
}

static void client_ready(struct stream *stream, unsigned events)
{
    char *address = (char *)stream - offsetof(struct approach, client);
    struct approach *approach = (struct approach *)(void *)address;
    if (approach->step < STEP_PICK)
        approach_advance(approach);
    else if (approach->step != STEP_OVER && (events & WATCH_ERROR))
        approach_fail(approach, false);
}

void approach_begin(struct approach *approach, int fd, bool proxied)
{
    stream_init(&approach->client, approach->base.worker->loop, fd, client_ready);
    approach->step = STEP_PROXY;
    if (!proxied)
        approach->step = step_after(approach);
    approach_advance(approach);
}
