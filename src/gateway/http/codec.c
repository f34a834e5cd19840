#include "gateway/http/codec.h"

#include "gateway/core/networks.h"
#include "gateway/http/bump.h"
#include "tls/session.h"

bool codec_trust(struct client_base *client)
{
    if (!client->trust_known) {
        const struct site *site = client->plan->listener->site;
        client->trusted = networks_contain(site->trusted, site->trusted_count, &client->peer.any);
        client->trust_known = true;
    }
    return client->trusted;
}

void codec_exchange_begin(struct exchange *exchange, const struct codec *codec,
                          struct client_base *client, const struct stream *stream,
                          struct bump *arena)
{
    exchange->codec = codec;
    exchange->client = client;
    exchange->worker = client->worker;
    exchange->use = client->use;
    exchange->arena = arena;
    exchange->client_trusted = codec_trust(client);
    exchange->secure = stream->tls != NULL;
    exchange->fd = stream->fd;
    exchange->begun_us = worker_now_us(client->worker);
    if (stream->tls) {
        exchange->tls_version = tls_session_version(stream->tls);
        exchange->tls_sni = tls_session_sni(stream->tls);
    }
    tally_add(&client->tally->requests_now, 1);
}

void codec_exchange_end(struct exchange *exchange, bool whole, const char *why)
{
    if (exchange->handler || !whole)
        exchange_abort(exchange, BLAME_CLIENT, why);
    exchange_done(exchange);
    bump_free(exchange->arena);
}
