#include "gateway/core/flood.h"

#include "gateway/core/ban_news.h"
#include "gateway/core/client_caps.h"
#include "gateway/core/key_hash.h"
#include "gateway/core/networks.h"
#include "gateway/core/rate_table.h"
#include "topology/guard.h"
#include "topology/site.h"
#include "upstream/bans.h"

enum {
    CAPS_OF_FLOODS = 1u << 31, /* added to the listener's row: `bounds per-client=` counts, too */
};

struct flooding { /* what is judged */
    struct worker *worker;
    const struct plan_listener *plan;
    const struct flood *flood;
    uint64_t client;
};

/* ---- the ban -------------------------------------------------------------------------------- */

static void ban(const struct flooding *of, enum ban_why why)
{
    const struct worker *worker = of->worker;
    uint64_t now_ms = loop_now(worker->loop);
    const struct ban ban = {
        .client = of->client, .until_ms = now_ms + of->flood->ban_ms, .why = why};
    if (worker->bans && bans_add(worker->bans, &ban, now_ms) && worker->ban_news)
        ban_news_put(worker->ban_news, &ban, of->plan->listener->text, now_ms);
}

static uint64_t banned_ms(const struct flooding *of)
{
    const struct worker *worker = of->worker;
    if (!worker->bans)
        return 0;
    bool udp = of->plan->listener->protocol == PROTOCOL_UDP;
    return bans_left_ms(worker->bans, of->client, udp ? BAN_USE_DATAGRAMS : BAN_USE_STREAMS,
                        loop_now(worker->loop));
}

/* ---- what is too much ----------------------------------------------------------------------- */

/* The listener's rates are its own; they stay over reloads. */
static bool exceeds(const struct flooding *of, const struct flood_rate *flood, enum ban_why why)
{
    if (!flood->interval_ns)
        return false;
    const struct rate rate = {.interval_ns = flood->interval_ns, .burst = flood->burst};
    const uint64_t parts[] = {of->client, (uint64_t)of->plan->row << 32 | 0xf100d00u | why};
    uint64_t wait_ns;
    if (rate_take(key_hash(key_secret(), parts, sizeof parts), &rate,
                  worker_now_us(of->worker) * 1000, &wait_ns))
        return false;
    ban(of, why);
    return true;
}

/* Who speaks for others, and who is exempt, is not judged. */
static bool judged(struct flooding *of, const struct sockaddr *address)
{
    const struct listener *listener = of->plan->listener;
    of->flood = listener->flood;
    of->client = ban_client(address);
    if (!of->client || networks_contain(of->flood->exempt, of->flood->exempt_count, address))
        return false;
    return !networks_contain(listener->proxies, listener->proxy_count, address) &&
           !(listener->site &&
             networks_contain(listener->site->trusted, listener->site->trusted_count, address));
}

static bool counted(struct tally_traffic *tally, bool refused)
{
    if (refused)
        tally_add(&tally->guarded[GUARD_FLOOD], 1);
    return refused;
}

static bool too_concurrent(const struct flooding *of, struct client_base *client)
{
    if (!of->flood->concurrent)
        return false;
    client->concurrent = client_caps_take(client->plan->row | CAPS_OF_FLOODS, &client->peer.any,
                                          of->flood->concurrent);
    if (!client->concurrent)
        ban(of, BAN_CONCURRENT);
    return !client->concurrent;
}

bool flood_refuses(struct client_base *client)
{
    struct flooding of = {.worker = client->worker, .plan = client->plan};
    if (!client->plan->listener->flood || !judged(&of, &client->peer.any))
        return false;
    return counted(client->tally, banned_ms(&of) > 0 ||
                                      exceeds(&of, &of.flood->connections, BAN_CONNECTIONS) ||
                                      too_concurrent(&of, client));
}

void flood_gone(struct client_base *client)
{
    if (client->concurrent)
        client_caps_give(client->plan->row | CAPS_OF_FLOODS, &client->peer.any);
    client->concurrent = false;
}

bool flood_refuses_request(struct client_base *client, const struct sockaddr *address,
                           uint64_t *ret_ms)
{
    struct flooding of = {.worker = client->worker, .plan = client->plan};
    if (!judged(&of, address))
        return false;
    *ret_ms = banned_ms(&of);
    if (!*ret_ms && exceeds(&of, &of.flood->requests, BAN_REQUESTS))
        *ret_ms = of.flood->ban_ms;
    return counted(client->tally, *ret_ms > 0);
}

bool flood_refuses_session(struct worker *worker, const struct plan_listener *plan,
                           const struct sockaddr *peer)
{
    struct flooding of = {.worker = worker, .plan = plan};
    if (!plan->listener->flood || !judged(&of, peer))
        return false;
    struct tally_traffic *tally =
        tally_traffic(worker->place.tally, worker->place.thread, TALLY_LISTENER, plan->row);
    return counted(tally, banned_ms(&of) > 0 || exceeds(&of, &of.flood->connections, BAN_SESSIONS));
}
