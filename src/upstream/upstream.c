#include "upstream/upstream.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "upstream/upstream_private.h"

/* Its row is its number on the board; who has none shares the last. */
static void upstream_place_find(struct upstream *upstream)
{
    const struct upstream_place *place = &upstream->place;
    upstream->number = board_find(place->board, upstream->service->name);
    uint32_t row = tally_row(place->tally, TALLY_SERVICE, upstream->number);
    if (upstream->tally && row == upstream->row)
        return;
    struct tally_traffic *tally = tally_traffic(place->tally, place->thread, TALLY_SERVICE, row);
    if (upstream->tally) {
        tally_add(&upstream->tally->held_now, (uint64_t)0 - upstream->waiting);
        tally_add(&tally->held_now, upstream->waiting);
    }
    upstream->row = row;
    upstream->tally = tally;
}

/* Without memory for one it is as if the service had none. */
static void upstream_breaker_settle(struct upstream *upstream)
{
    bool wanted = upstream->service->gateway.breaker.failures && upstream->place.breakers;
    if (wanted && !upstream->breaker)
        upstream->breaker = breakers_take(upstream->place.breakers, upstream->service->name);
    if (wanted)
        return;
    shared_breaker_unref(upstream->breaker);
    upstream->breaker = NULL;
}

struct upstream *upstream_new(const struct upstream_place *place, const struct topology *topology,
                              const struct service *service)
{
    (void)topology;
    struct upstream *upstream = calloc(1, sizeof *upstream);
    if (!upstream)
        return NULL;
    upstream->place = *place;
    upstream->service = service;
    upstream->threads = tally_sizes(place->tally)->threads;
    TAILQ_INIT(&upstream->waiters);
    LIST_INIT(&upstream->all);
    upstream_place_find(upstream);
    upstream_breaker_settle(upstream);
    return upstream;
}

void upstream_settle(struct upstream *upstream, const struct topology *topology,
                     const struct service *service)
{
    (void)topology;
    upstream->service = service;
    upstream_place_find(upstream);
    upstream_breaker_settle(upstream);
    for (struct roster *roster = upstream->rosters; roster; roster = roster->next)
        roster->stale = true;
    if (upstream->waiting > 0)
        waiters_wake(upstream);
}

void upstream_free(struct upstream *upstream)
{
    if (!upstream)
        return;
    upstream->ending = true;
    waiters_dismiss(upstream);
    while (upstream->rosters) {
        struct roster *roster = upstream->rosters;
        upstream->rosters = roster->next;
        roster_free(roster);
    }
    /* Those that somebody still holds. */
    while (!LIST_EMPTY(&upstream->all)) {
        struct endpoint_own *own = LIST_FIRST(&upstream->all);
        LIST_REMOVE(own, all);
        own->endpoint.upstream = NULL;
    }
    shared_breaker_unref(upstream->breaker);
    upstream->breaker = NULL;
    if (!upstream->looking)
        free(upstream);
}

const struct service *upstream_service(const struct upstream *upstream)
{
    return upstream->service;
}

struct tally_traffic *upstream_tally(const struct upstream *upstream)
{
    return upstream->tally;
}

/* ---- choosing ------------------------------------------------------------------------------- */

/* Few: one for each port of the program that a listener or a route leads to. */
static struct roster *upstream_roster(struct upstream *upstream, const struct pick *pick)
{
    uint16_t port = upstream->service->gateway.remote_count ? 0 : pick->port;
    struct roster **last = &upstream->rosters;
    for (; *last; last = &(*last)->next)
        if ((*last)->port == port && (*last)->datagram == pick->datagram &&
            (*last)->role == pick->role)
            return *last;
    *last = roster_new(upstream, pick);
    return *last;
}

enum pick_result upstream_pick(struct upstream *upstream, const struct pick *pick,
                               struct endpoint **ret_endpoint)
{
    if (upstream->ending)
        return PICK_NONE;
    struct roster *roster = upstream_roster(upstream, pick);
    if (!roster)
        return PICK_NONE;
    roster_refresh(roster);
    return roster_choose(roster, pick, ret_endpoint);
}

struct endpoint *upstream_find(struct upstream *upstream, const struct pick *pick, uint32_t slot,
                               uint32_t epoch, const char *name)
{
    struct roster *roster = upstream->ending ? NULL : upstream_roster(upstream, pick);
    if (!roster)
        return NULL;
    roster_refresh(roster);
    for (uint32_t i = 0; i < roster->count; i++) {
        struct endpoint *endpoint = &roster->endpoints[i]->endpoint;
        if (endpoint->slot == slot &&
            (slot == BOARD_NONE ? strcmp(endpoint->name, name) == 0 : endpoint->epoch == epoch))
            return endpoint;
    }
    return NULL;
}

uint64_t pick_hash(const void *bytes, size_t length)
{
    uint64_t hash = hash_bytes(bytes, length, hash_seed());
    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93ull; /* so that all bits depend on all */
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

bool upstream_retry_allowed(struct upstream *upstream)
{
    uint32_t percent = upstream->service->gateway.retry_budget_percent;
    if (!retry_budget_take(&upstream->budget, loop_now(upstream->place.loop), percent))
        return false;
    tally_add(&upstream->tally->retries, 1);
    return true;
}

/* ---- the breaker ---------------------------------------------------------------------------- */

static struct breaker_user breaker_user(const struct upstream *upstream)
{
    return (struct breaker_user){.shared = upstream->breaker,
                                 .settings = &upstream->service->gateway.breaker,
                                 .thread = upstream->place.thread % upstream->threads,
                                 .now_ms = loop_now(upstream->place.loop)};
}

bool upstream_passes(struct upstream *upstream, breaker_pass *ret_pass)
{
    *ret_pass = 0;
    if (!upstream->breaker)
        return true;
    const struct breaker_user user = breaker_user(upstream);
    if (shared_breaker_passes(&user, ret_pass))
        return true;
    *ret_pass = 0;
    tally_add(&upstream->tally->broken, 1);
    return false;
}

bool upstream_closed(const struct upstream *upstream)
{
    return !upstream->breaker || shared_breaker_closed(upstream->breaker);
}

bool upstream_may_pass(const struct upstream *upstream)
{
    if (!upstream->breaker)
        return true;
    const struct breaker_user user = breaker_user(upstream);
    return shared_breaker_may_pass(&user);
}

uint64_t upstream_rests_ms(const struct upstream *upstream)
{
    if (!upstream->breaker)
        return 0;
    const struct breaker_user user = breaker_user(upstream);
    return shared_breaker_rests_ms(&user);
}

/* A pass may be older than a reload that took the breaker away. */
static bool breaker_hears(const struct upstream *upstream, const breaker_pass *pass)
{
    return *pass && upstream->breaker;
}

void upstream_good(const struct upstream *upstream, breaker_pass *pass)
{
    if (!breaker_hears(upstream, pass))
        return;
    const struct breaker_user user = breaker_user(upstream);
    shared_breaker_good(&user, pass);
}

void upstream_bad(const struct upstream *upstream, breaker_pass *pass)
{
    if (!breaker_hears(upstream, pass))
        return;
    const struct breaker_user user = breaker_user(upstream);
    shared_breaker_bad(&user, pass);
}

void upstream_over(const struct upstream *upstream, breaker_pass *pass)
{
    if (!breaker_hears(upstream, pass))
        return;
    const struct breaker_user user = breaker_user(upstream);
    shared_breaker_over(&user, pass);
}

/* ---- news ----------------------------------------------------------------------------------- */

static void upstream_idle_settle(struct upstream *upstream)
{
    for (struct roster *roster = upstream->rosters; roster; roster = roster->next) {
        roster_refresh(roster);
        for (uint32_t i = 0; i < roster->count; i++)
            endpoint_idle_settle(roster->endpoints[i]);
    }
}

/* Reads those anew that go by role: who lost his is to be known now, not with the next choice. */
static void upstream_roles_settle(struct upstream *upstream)
{
    for (struct roster *roster = upstream->rosters; roster; roster = roster->next)
        if (roster->role != ROLE_WISH_ANY)
            roster_refresh(roster);
}

bool upstream_revoked_take(struct upstream *upstream)
{
    bool revoked = upstream->revoked;
    upstream->revoked = false;
    return revoked;
}

void upstream_news(struct upstream *upstream)
{
    if (upstream->number == BOARD_NONE) {
        upstream_place_find(upstream);
        if (upstream->number == BOARD_NONE && upstream->service->gateway.remote_count == 0)
            return;
        for (struct roster *roster = upstream->rosters; roster; roster = roster->next)
            roster->stale = true;
    }
    if (upstream->idle_total > 0 || upstream->looked_at > 0)
        upstream_idle_settle(upstream);
    else
        upstream_roles_settle(upstream);
    if (upstream->waiting > 0)
        waiters_wake(upstream);
}
