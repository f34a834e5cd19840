/* What a listener asks of a client before it is connected: a PROXY header, the name in a
 * ClientHello that is passed through, a TLS handshake. The first two are peeked at, so that whoever
 * reads next finds what is his. */
#include <errno.h>
#include <string.h>

#include "gateway/relay/approach.h"
#include "gateway/relay/client_hello.h"
#include "gateway/relay/proxy_header.h"
#include "tls/session.h"

static enum going waits(int error)
{
    return error ? FAILS : WAITS;
}

/* What has come so far, into the worker's input. GOES_ON: *ret_length bytes, at least one. */
static enum going peek(struct approach *approach, size_t size, size_t *ret_length)
{
    struct stream *client = &approach->client;
    if (client->read_blocked)
        return waits(stream_watch(client));
    ssize_t count = recv(client->fd, approach->base.worker->input, size, MSG_PEEK);
    if (count < 0 && errno == EAGAIN)
        return waits(stream_read_blocks(client));
    if (count <= 0)
        return FAILS;
    *ret_length = (size_t)count;
    return GOES_ON;
}

/* What has come does not do yet. */
static enum going more(struct stream *client)
{
    return client->ending ? FAILS : waits(stream_read_blocks(client));
}

/* ---- PROXY header --------------------------------------------------------------------------- */

enum going greet_proxy(struct approach *approach)
{
    struct client_base *base = &approach->base;
    struct proxy_header header;
    size_t peeked;
    size_t length = 0;
    enum going going = peek(approach, PROXY_HEADER_BYTES_MAX, &peeked);
    if (going != GOES_ON)
        return going;
    enum proxy_result result = proxy_header_read(base->worker->input, peeked, &header, &length);
    if (result == PROXY_MORE)
        return more(&approach->client);
    if (result == PROXY_BAD ||
        recv(approach->client.fd, base->worker->input, length, 0) != (ssize_t)length)
        return FAILS;
    if (!header.known) /* the proxy speaks for itself */
        return client_allowed(base) ? GOES_ON : FAILS;
    memcpy(&base->local, &header.destination, sizeof base->local);
    return client_peer_set(base, (const struct sockaddr *)&header.source) ? GOES_ON : FAILS;
}

/* ---- the name of a ClientHello -------------------------------------------------------------- */

/* How well a pattern fits: 0: not at all; the more of the name it states, the better. */
static size_t name_fits(const char *pattern, const char *name)
{
    size_t length = strlen(name);
    if (strcmp(pattern, "*") == 0)
        return 1;
    if (pattern[0] != '*')
        return strcmp(pattern, name) == 0 ? HELLO_NAME_BYTES : 0;
    size_t tail = strlen(pattern + 1); /* with its dot */
    if (length <= tail || strcmp(name + length - tail, pattern + 1) != 0)
        return 0;
    return 1 + tail;
}

static bool service_by_name(const struct listener *listener, const char *name,
                            uint32_t *ret_service)
{
    size_t best = 0;
    for (size_t i = 0; i < listener->sni_count; i++) {
        for (const char *const *pattern = listener->snis[i].names; *pattern; pattern++) {
            size_t fit = name_fits(*pattern, name);
            if (fit <= best)
                continue;
            best = fit;
            *ret_service = listener->snis[i].service;
        }
    }
    return best > 0;
}

enum going greet_hello(struct approach *approach)
{
    char name[HELLO_NAME_BYTES];
    size_t peeked;
    enum going going = peek(approach, HELLO_BYTES_MAX, &peeked);
    if (going != GOES_ON)
        return going;
    enum hello_result result = client_hello_name(approach->base.worker->input, peeked, name);
    if (result == HELLO_MORE)
        return more(&approach->client);
    if (result == HELLO_BAD ||
        !service_by_name(approach->base.plan->listener, name, &approach->service))
        return FAILS;
    return GOES_ON;
}

/* ---- TLS ------------------------------------------------------------------------------------ */

/* Read on until the handshake is over; what came with its end is kept for the tunnel. */
enum going greet_tls(struct approach *approach)
{
    struct stream *client = &approach->client;
    char *bytes = approach->base.worker->input;
    if (!client->tls && stream_tls_accept(client, approach->base.plan->tls))
        return FAILS;
    ssize_t count = stream_read(client, bytes, WORKER_INPUT_BYTES);
    if (count == -EAGAIN)
        return tls_session_done(client->tls) ? GOES_ON : WAITS;
    if (count <= 0)
        return FAILS;
    return approach_keep(approach, bytes, (size_t)count) ? FAILS : GOES_ON;
}
