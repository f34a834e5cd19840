/* Who is next. A choice goes through levels: first among those that nothing speaks against, then
 * among those that start slowly, then among those that were tried already; and when all that stand
 * are ejected, ejections are given no regard, since somebody who may fail is better than nobody.
 *
 * Loads are those of all threads. What the others have is read once a turn of the loop; what this
 * thread adds in the turn counts at once.
 *
 * Among equals the one is next whose clock is behind: a choice moves its clock on by 1 / weight, so
 * a service with little to do shares it out by weights. Who comes back finds its clock set to the
 * roster's, and is not owed what it missed. */
#include <assert.h>
#include <math.h>

#include "upstream/upstream_private.h"

enum level { LEVEL_STRICT, LEVEL_SLOW, LEVEL_AVOIDED, LEVEL_PANIC };

enum {
    SAMPLES_MAX =
        12, /* so often chance is asked for one that can take it, then all are looked at */
    SLOW_START_PERMILLE = 100, /* where the ramp begins */
    BOUND_LEAST = 4, /* so many at a time are no load: a bound does not move keys for them */
    EWMA_UNKNOWN_US = 1000000, /* of one that is busy, and has not answered yet */
};

struct choice {
    struct roster *roster;
    const struct pick *pick;
    const struct service_gateway *settings;
    uint64_t now_ms;
    uint64_t turn;
    enum level level;
    enum endpoint_role role; /* only those of it; ROLE_NONE: all of the roster */
};

/* ---- can it take a request? ----------------------------------------------------------------- */

bool endpoint_stands(const struct endpoint_own *own)
{
    if (!own->instance)
        return !own->ill;
    return atomic_load_explicit(&own->instance->state, memory_order_acquire) == BOARD_UP &&
           __atomic_load_n(&own->instance->epoch, __ATOMIC_RELAXED) == own->endpoint.epoch;
}

bool endpoint_ejected(const struct endpoint_own *own, uint64_t now_ms)
{
    if (own->endpoint.ejected_until_ms == 0)
        return false;
    /* Its time is over: it is half open, one request tries it. */
    return now_ms < own->endpoint.ejected_until_ms ||
           (own->trials > 0 && now_ms < own->trial_until_ms);
}

/* On its way up it takes part in so many of thousand choices. */
static bool slow_skips(const struct choice *choice, const struct endpoint_own *own)
{
    uint64_t slow_ms = choice->settings->slow_start_ms;
    uint64_t up_ms = own->up_ms;
    if (own->instance) {
        uint64_t came_ms = __atomic_load_n(&own->instance->up_ms, __ATOMIC_RELAXED);
        up_ms = came_ms > up_ms ? came_ms : up_ms;
    }
    if (up_ms == 0 || choice->now_ms >= up_ms + slow_ms)
        return false;
    uint64_t been_ms = choice->now_ms > up_ms ? choice->now_ms - up_ms : 0;
    uint64_t permille = SLOW_START_PERMILLE + been_ms * (1000 - SLOW_START_PERMILLE) / slow_ms;
    return random_below(choice->roster->upstream->place.random, 1000) >= permille;
}

static bool pick_avoids(const struct pick *pick, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < pick->avoid_count; i++)
        if (pick->avoid[i] == endpoint)
            return true;
    return false;
}

/* The board shows a death soon after the sockets of the dead refuse. */
static bool seems_dead(const struct choice *choice, const struct endpoint_own *own)
{
    return own->instance && own->refused_ms && choice->now_ms < own->refused_ms + REFUSED_PAUSE_MS;
}

/* Of all threads. */
static uint64_t requests_now(const struct choice *choice, struct endpoint_own *own)
{
    const struct upstream *upstream = choice->roster->upstream;
    uint64_t ours = atomic_load_explicit(&own->endpoint.tally->requests_now, memory_order_relaxed);
    if (upstream->threads == 1 && tally_lane_alone(upstream->place.tally))
        return ours;
    if (own->others_turn != choice->turn) {
        own->others_now = tally_requests_now(upstream->place.tally, own->endpoint.row) - ours;
        own->others_turn = choice->turn;
    }
    return own->others_now + ours;
}

static bool has_room(const struct choice *choice, struct endpoint_own *own)
{
    const struct service_gateway *settings = choice->settings;
    if (settings->requests_max && requests_now(choice, own) >= settings->requests_max)
        return false;
    if (own->endpoint.full)
        return false;
    if (settings->connections_max == 0 || own->endpoint.idle_count > 0 || shelf_holds(own->shelf))
        return true;
    return tally_connections_now(choice->roster->upstream->place.tally, own->endpoint.row) <
           settings->connections_max;
}

static bool eligible(const struct choice *choice, struct endpoint_own *own)
{
    if (own->endpoint.weight == 0 || !endpoint_stands(own))
        return false;
    if (choice->role != ROLE_NONE && own->role != choice->role)
        return false;
    if (choice->level < LEVEL_PANIC && endpoint_ejected(own, choice->now_ms))
        return false;
    if (choice->pick->avoid_count > 0 && pick_avoids(choice->pick, &own->endpoint) &&
        (choice->level < LEVEL_AVOIDED || seems_dead(choice, own)))
        return false;
    if (choice->level < LEVEL_SLOW && choice->settings->slow_start_ms && slow_skips(choice, own))
        return false;
    return has_room(choice, own);
}

/* ---- comparing ------------------------------------------------------------------------------ */

/* Its latency as of now: what nobody has measured for long loses weight, so that it is tried. */
static double ewma_now(const struct choice *choice, const struct endpoint *endpoint)
{
    uint64_t age_ms = choice->now_ms > endpoint->ewma_ms ? choice->now_ms - endpoint->ewma_ms : 0;
    return endpoint->ewma_us * ewma_fade(age_ms);
}

/* The less, the better; by weight. */
static double cost(const struct choice *choice, struct endpoint_own *own)
{
    double weight = own->endpoint.weight;
    double load = (double)requests_now(choice, own);
    if (choice->roster->upstream->service->balance != BALANCE_EWMA)
        return load / weight;
    double latency_us = ewma_now(choice, &own->endpoint);
    if (own->endpoint.ewma_us <= 0)
        latency_us = load > 0 ? EWMA_UNKNOWN_US : 0;
    return latency_us * (load + 1) / weight;
}

static uint64_t clock_now(const struct roster *roster, const struct endpoint_own *own)
{
    return (int64_t)(own->clock - roster->clock) > 0 ? own->clock : roster->clock;
}

static struct endpoint_own *clock_choose(struct roster *roster, struct endpoint_own *own)
{
    if (!own)
        return NULL;
    roster->clock = clock_now(roster, own);
    own->clock = roster->clock + ((uint64_t)1 << 32) / own->endpoint.weight;
    return own;
}

/* ---- policies: NULL: nobody can take it at this level --------------------------------------- */

static struct endpoint_own *by_position(const struct choice *choice, uint32_t position)
{
    const struct roster *roster = choice->roster;
    return roster->endpoints[roster->sequence ? roster->sequence[position] : position];
}

/* The first that can take it, from a position on. */
static struct endpoint_own *first_from(const struct choice *choice, uint32_t position,
                                       uint32_t *ret_position)
{
    uint32_t length = choice->roster->sequence_length;
    for (uint32_t i = 0; i < length; i++) {
        struct endpoint_own *own = by_position(choice, position);
        if (eligible(choice, own)) {
            *ret_position = position;
            return own;
        }
        if (++position == length)
            position = 0;
    }
    return NULL;
}

static uint32_t random_position(const struct choice *choice)
{
    return (uint32_t)random_below(choice->roster->upstream->place.random,
                                  choice->roster->sequence_length);
}

static struct endpoint_own *choose_rotation(const struct choice *choice)
{
    struct roster *roster = choice->roster;
    uint32_t position = 0;
    uint32_t start = roster->cursor < roster->sequence_length ? roster->cursor : 0;
    struct endpoint_own *own = first_from(choice, start, &position);
    if (own)
        roster->cursor = position + 1;
    return own;
}

static struct endpoint_own *sample(const struct choice *choice)
{
    for (int i = 0; i < SAMPLES_MAX / 2; i++) {
        struct endpoint_own *own = by_position(choice, random_position(choice));
        if (eligible(choice, own))
            return own;
    }
    return NULL;
}

static struct endpoint_own *choose_random(const struct choice *choice)
{
    struct endpoint_own *own = sample(choice);
    uint32_t position;
    return own ? own : first_from(choice, random_position(choice), &position);
}

/* The power of two choices (Mitzenmacher 2001): the worst load grows with log log n. */
static struct endpoint_own *choose_of_two(const struct choice *choice)
{
    struct endpoint_own *first = choose_random(choice);
    struct endpoint_own *second = first ? sample(choice) : NULL;
    if (!second || second == first)
        return first;
    return cost(choice, second) < cost(choice, first) ? second : first;
}

static struct endpoint_own *choose_of_all(const struct choice *choice)
{
    struct roster *roster = choice->roster;
    struct endpoint_own *best = NULL;
    double best_cost = 0;
    for (uint32_t i = 0; i < roster->count; i++) {
        struct endpoint_own *own = roster->endpoints[i];
        if (!eligible(choice, own))
            continue;
        double own_cost = cost(choice, own);
        if (!best || own_cost < best_cost ||
            (own_cost <= best_cost &&
             (int64_t)(clock_now(roster, own) - clock_now(roster, best)) < 0)) {
            best = own;
            best_cost = own_cost;
        }
    }
    return clock_choose(roster, best);
}

static struct endpoint_own *choose_least(const struct choice *choice)
{
    return choice->roster->count <= SCAN_MAX ? choose_of_all(choice) : choose_of_two(choice);
}

/* ---- placing by a hash ---- */

static uint64_t mix64(uint64_t x) /* the finaliser of splitmix64, S. Vigna */
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ x >> 27) * 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

/* Rendezvous (Thaler and Ravishankar 1998; with weights, Schindelhauer and Schomaker 2005): the
 * higher, the nearer an endpoint is to the key. -w / ln u rises with u, so without weights u does.
 */
static double nearness(const struct choice *choice, uint32_t index)
{
    const struct roster *roster = choice->roster;
    uint64_t mixed = mix64(choice->pick->hash ^ roster->name_hashes[index]);
    double u = ((double)(mixed >> 11) + 0.5) * 0x1p-53;
    return roster->weighted ? -(double)roster->endpoints[index]->endpoint.weight / log(u) : u;
}

struct load { /* of those that stand */
    uint64_t requests;
    uint64_t weights;
};

static struct load load_of_all(const struct choice *choice)
{
    struct load load = {0};
    for (uint32_t i = 0; i < choice->roster->count; i++) {
        struct endpoint_own *own = choice->roster->endpoints[i];
        if (own->endpoint.weight == 0 || !endpoint_stands(own))
            continue;
        load.requests += requests_now(choice, own);
        load.weights += own->endpoint.weight;
    }
    return load;
}

/* Mirrokni, Thorup and Zadimoghaddam 2018: with one more it has no more than its share of all,
 * times the bound, rounded up. */
static bool within_bound(const struct choice *choice, struct endpoint_own *own,
                         const struct load *load)
{
    uint64_t requests = requests_now(choice, own);
    double share = (double)(load->requests + 1) * own->endpoint.weight / (double)load->weights;
    return requests < BOUND_LEAST ||
           (double)requests * 100 < share * choice->settings->hash_bound_percent;
}

/* Among those that can take it, the nearest; `load` NULL: without a bound. */
static struct endpoint_own *choose_nearest(const struct choice *choice, const struct load *load)
{
    struct endpoint_own *best = NULL;
    double best_nearness = 0;
    for (uint32_t i = 0; i < choice->roster->count; i++) {
        double own_nearness = nearness(choice, i);
        if (best && own_nearness <= best_nearness) /* most are not even looked at */
            continue;
        struct endpoint_own *own = choice->roster->endpoints[i];
        if (!eligible(choice, own) || (load && !within_bound(choice, own, load)))
            continue;
        best = own;
        best_nearness = own_nearness;
    }
    return best;
}

/* Who cannot take it leaves its clients to those that are next for each of them, that is, to all
 * others alike; when it is back they come back. Slow start would move clients twice: not here. */
static struct endpoint_own *choose_hashed(struct choice *choice)
{
    if (choice->pick->hash == 0 || !choice->roster->name_hashes)
        return choose_random(choice);
    enum level level = choice->level;
    struct endpoint_own *found = NULL;
    if (level == LEVEL_STRICT)
        choice->level = LEVEL_SLOW;
    if (choice->settings->hash_bound_percent) {
        struct load load = load_of_all(choice);
        found = choose_nearest(choice, &load);
    }
    if (!found)
        found = choose_nearest(choice, NULL);
    choice->level = level;
    return found;
}

static struct endpoint_own *choose_sticky(struct choice *choice)
{
    if (choice->pick->sticky && choice->level == LEVEL_STRICT) {
        struct endpoint_own *own = roster_by_number(choice->roster, choice->pick->sticky);
        choice->level = LEVEL_SLOW; /* it has these clients already */
        bool takes = own && eligible(choice, own);
        choice->level = LEVEL_STRICT;
        if (takes)
            return own;
    }
    return choose_least(choice);
}

static struct endpoint_own *choose(struct choice *choice)
{
    switch (choice->roster->upstream->service->balance) {
    case BALANCE_ROUND_ROBIN:
    case BALANCE_WEIGHTED:
        return choose_rotation(choice);
    case BALANCE_RANDOM:
        return choose_random(choice);
    case BALANCE_HASH:
        return choose_hashed(choice);
    case BALANCE_STICKY:
        return choose_sticky(choice);
    case BALANCE_LEAST:
    case BALANCE_EWMA:
        break;
    }
    return choose_least(choice);
}

/* ---- nobody --------------------------------------------------------------------------------- */

/* An instance that starts is among those that come; one that is BOARD_STARTING because its check
 * failed is not. */
static bool somebody_comes(const struct choice *choice)
{
    const struct roster *roster = choice->roster;
    const struct upstream *upstream = roster->upstream;
    if (roster->others > 0) /* one of them may be found to have the role, or be given it */
        return true;
    if (upstream->service->gateway.remote_count)
        return roster->resolving;
    if (upstream->number == BOARD_NONE) /* it was not written there yet */
        return true;
    const struct board_service *row = board_service(upstream->place.board, upstream->number);
    if (__atomic_load_n(&row->coming, __ATOMIC_RELAXED) > 0)
        return true;
    if (__atomic_load_n(&row->wanted, __ATOMIC_RELAXED) == 0)
        return false;
    /* Its instances are about to be made; or the last one went a moment ago. */
    return __atomic_load_n(&row->first, __ATOMIC_RELAXED) == BOARD_NONE ||
           (upstream->up_seen_ms && choice->now_ms < upstream->up_seen_ms + COMING_GRACE_MS);
}

/* Nobody can take it at any level. PICK_DONE: those that stand are ejected, all of them. */
static enum pick_result choose_last(const struct choice *choice)
{
    const struct roster *roster = choice->roster;
    uint32_t standing = 0;
    uint32_t ejected = 0;
    for (uint32_t i = 0; i < roster->count; i++) {
        const struct endpoint_own *own = roster->endpoints[i];
        if (own->endpoint.weight == 0 || !endpoint_stands(own))
            continue;
        standing++;
        ejected += endpoint_ejected(own, choice->now_ms);
    }
    if (standing == 0)
        return somebody_comes(choice) ? PICK_WAIT : PICK_NONE;
    return ejected < standing ? PICK_WAIT : PICK_DONE;
}

static struct choice choice_begin(struct roster *roster, const struct pick *pick)
{
    const struct upstream *upstream = roster->upstream;
    return (struct choice){
        .roster = roster,
        .pick = pick,
        .settings = &upstream->service->gateway,
        .now_ms = loop_now(upstream->place.loop),
        .turn = loop_turns(upstream->place.loop),
    };
}

/* At the first level at which anybody can. */
static struct endpoint_own *choose_by_level(struct choice *choice)
{
    struct endpoint_own *own = NULL;
    for (choice->level = LEVEL_STRICT; !own && choice->level < LEVEL_PANIC; choice->level++)
        own = choose(choice);
    return own;
}

enum pick_result roster_choose(struct roster *roster, const struct pick *pick,
                               struct endpoint **ret_endpoint)
{
    struct choice choice = choice_begin(roster, pick);
    struct endpoint_own *own = NULL;
    if (roster->count > 0 && roster->role == ROLE_WISH_REPLICA_OR_PRIMARY) {
        choice.role = ROLE_REPLICA;
        own = choose_by_level(&choice);
        choice.role = ROLE_NONE;
    }
    if (roster->count > 0 && !own)
        own = choose_by_level(&choice);
    if (!own) {
        enum pick_result result = choose_last(&choice);
        if (result != PICK_DONE)
            return result;
        choice.level = LEVEL_PANIC;
        own = choose(&choice);
        if (!own)
            return PICK_WAIT; /* for room */
    }
    roster->upstream->up_seen_ms = choice.now_ms;
    *ret_endpoint = &own->endpoint;
    return PICK_DONE;
}

enum pick_result roster_outlook(struct roster *roster)
{
    static const struct pick any;
    struct choice choice = choice_begin(roster, &any);
    uint32_t position;
    choice.level = LEVEL_AVOIDED;
    if (roster->count > 0 && first_from(&choice, 0, &position))
        return PICK_DONE;
    enum pick_result result = choose_last(&choice);
    if (result != PICK_DONE)
        return result;
    choice.level = LEVEL_PANIC;
    return first_from(&choice, 0, &position) ? PICK_DONE : PICK_WAIT;
}
