#include "gateway/http/proxy_h1.h"

#include <errno.h>

#include "gateway/http/bump.h"
#include "gateway/http/h1_client.h"
#include "gateway/http/h1_fields.h"
#include "gateway/relay/proxy_header.h"

/* ---- a connection --------------------------------------------------------------------------- */

/* A reload may have turned TLS or FastCGI on or off since it was opened; and what may not be sent
 * twice is not sent to a connection that has ended. */
static bool kept_fits(const struct proxy *proxy, struct h1_client *client)
{
    if (h1_client_secure(client) != (proxy_tls(proxy) != NULL))
        return false;
    if (h1_client_fastcgi_was(client) != (proxy->script != NULL))
        return false;
    return proxy->retriable || h1_client_alive(client);
}

static struct h1_client *kept_take(struct proxy *proxy)
{
    bool once = proxy->script && proxy->protocol != &proxy_fastcgi; /* uwsgi, SCGI */
    if (proxy->fresh_only || proxy_service(proxy)->gateway.proxy_protocol || once)
        return NULL;
    struct h1_client *client = h1_client_take(proxy->endpoint);
    while (client && !kept_fits(proxy, client)) {
        h1_client_close(client);
        client = h1_client_take(proxy->endpoint);
    }
    if (!client && !proxy_tls(proxy) && !proxy->script) /* those of other threads are plain HTTP */
        client = h1_client_adopt(proxy->exchange->worker, proxy->endpoint);
    return client;
}

static int proxy_header_send(struct proxy *proxy, struct h1_client *client)
{
    char header[PROXY_HEADER_BYTES_MAX];
    struct client_base *base = proxy->exchange->client;
    struct sockaddr_storage source = {0}, destination = {0};
    client_local(base, proxy->exchange->fd);
    memcpy(&source, &base->peer, sizeof base->peer);
    memcpy(&destination, &base->local, sizeof base->local);
    size_t length = proxy_header_write(proxy_service(proxy)->gateway.proxy_protocol, &source,
                                       &destination, header);
    const struct h1_piece piece = {.head = header, .head_length = length};
    h1_client_private(client);
    return (int)h1_client_send(client, &piece);
}

static bool trailers_want(struct proxy *proxy, struct h1_client *client)
{
    if (!proxy->exchange->request.te_trailers)
        return true;
    char *room = bump_alloc(proxy->exchange->arena, CHUNK_TRAILER_BYTES_MAX);
    if (room)
        h1_client_trailers_want(client, room);
    return room != NULL;
}

/* A reload may have made another protocol of the service's, but not of this request's. */
int proxy_connection_begin(struct proxy *proxy, bool chunked)
{
    const struct exchange *exchange = proxy->exchange;
    const struct service_gateway *gateway = &proxy_service(proxy)->gateway;
    struct h1_client *client = kept_take(proxy);
    bool fresh = !client;
    int error = 0;
    if (fresh)
        error = h1_client_connect(exchange->worker, proxy->endpoint, proxy_tls(proxy),
                                  gateway->connect_ms, &client);
    if (error)
        return error;
    struct courier_times times = proxy_times(proxy);
    h1_client_begin(client, &proxy_calls, proxy, exchange->request.method, chunked, &times);
    proxy->courier = h1_client_courier(client);
    if (!trailers_want(proxy, client))
        error = -ENOMEM;
    if (!error && fresh && gateway->proxy_protocol)
        error = proxy_header_send(proxy, client);
    if (error) {
        proxy->courier = NULL;
        h1_client_close(client);
    }
    return error;
}

static int http1_begin(struct proxy *proxy)
{
    return proxy_connection_begin(proxy, proxy->exchange->request.body == BODY_CHUNKED);
}

/* ---- the head ------------------------------------------------------------------------------- */

static void put_ruled(struct text *text, const struct field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (proxy_ruled_passes(&fields[i]))
            put_field(text, &fields[i]);
}

/* False: rewriting made something that is no target. */
static bool put_line(struct text *text, struct exchange *exchange)
{
    struct slice target;
    if (!proxy_target(exchange, &target))
        return false;
    put_slice(text, exchange->request.method_name);
    PUT(text, " ");
    if (*target.bytes == '?')
        PUT(text, "/");
    put_slice(text, target);
    PUT(text, " HTTP/1.1\r\nHost: ");
    return true;
}

/* Switching to HTTP/2 or TLS behind our back would be a tunnel for requests that nobody checks. */
static bool upgrade_passes(const struct head *request)
{
    if (!request->upgrade)
        return false;
    struct slice name = head_field(request, FIELD_UPGRADE)->value;
    const char *end = name.bytes + name.length;
    const char *token_end = h1_skip(name.bytes, end, BYTE_TOKEN);
    if (token_end == name.bytes || (token_end != end && *token_end != '/'))
        return false;
    struct slice token = {name.bytes, (uint32_t)(token_end - name.bytes)};
    return !slice_is_nocase(token, "h2c") && !slice_is_nocase(token, "h2") &&
           !slice_is_nocase(token, "http") && !slice_is_nocase(token, "tls");
}

static void put_end(struct text *text, struct exchange *exchange)
{
    struct head *request = &exchange->request;
    if (request->body == BODY_CHUNKED)
        PUT(text, "Transfer-Encoding: chunked\r\n");
    else if (request->body == BODY_LENGTH || request->first[FIELD_CONTENT_LENGTH]) {
        PUT(text, "Content-Length: ");
        put_number(text, request->body_length);
        PUT(text, "\r\n");
    }
    if (request->expect_continue)
        PUT(text, "Expect: 100-continue\r\n");
    request->upgrade = upgrade_passes(request);
    if (request->upgrade) {
        PUT(text, "Connection: upgrade\r\nUpgrade: ");
        put_slice(text, head_field(request, FIELD_UPGRADE)->value);
        PUT(text, "\r\n");
    } else if (request->te_trailers) {
        PUT(text, "TE: trailers\r\nConnection: TE\r\n");
    }
    uint64_t forwards;
    if (proxy_forwards(request, &forwards)) {
        PUT(text, "Max-Forwards: ");
        put_number(text, forwards);
        PUT(text, "\r\n");
    }
    PUT(text, "\r\n");
}

/* The fields as they came, and those that are made. False: no memory. */
static bool put_fields(struct text *text, struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    struct field made[FORWARDED_FIELDS_MAX];
    uint32_t made_count = forwarded_fields(exchange, made);
    for (uint32_t i = 0; i < request->field_count; i++)
        if (proxy_field_passes(exchange, &request->fields[i]))
            put_field(text, &request->fields[i]);
    for (uint32_t i = 0; i < made_count; i++)
        put_field(text, &made[i]);
    return made_count > 0;
}

static void put_host(struct text *text, struct slice host)
{
    put_slice(text, host);
    PUT(text, "\r\n");
}

/* 0, -ENOMEM, -E2BIG, -EINVAL. */
static int head_put(struct proxy *proxy, struct text *text)
{
    struct exchange *exchange = proxy->exchange;
    struct slice host = proxy_host(proxy);
    if (!put_line(text, exchange))
        return -EINVAL;
    if (exchange->route->headers_change_count) {
        uint32_t count;
        const struct field *ruled = proxy_request_fields(proxy, &count);
        if (!ruled)
            return -ENOMEM;
        put_host(text, proxy_host_ruled(ruled, count, host));
        put_ruled(text, ruled, count);
    } else {
        put_host(text, host);
        if (!put_fields(text, exchange))
            return -ENOMEM;
    }
    put_end(text, exchange);
    return text->full ? -E2BIG : 0;
}

/* ---- sending -------------------------------------------------------------------------------- */

ssize_t proxy_head_send(struct proxy *proxy, const struct text *text,
                        const struct courier_piece *piece)
{
    bool trails = piece->last && piece->trailer_count;
    const struct h1_piece first = {.head = text->bytes,
                                   .head_length = text->length,
                                   .head_room = WORKER_OUTPUT_BYTES,
                                   .body = piece->bytes,
                                   .body_length = piece->length,
                                   .last = piece->last && !trails};
    ssize_t taken = h1_client_send((struct h1_client *)proxy->courier, &first);
    if (!trails || taken < (ssize_t)piece->length)
        return taken;
    struct courier_piece end = *piece;
    end.length = 0;
    ssize_t error = proxy->courier->kind->send(proxy->courier, &end);
    return error < 0 ? error : taken;
}

static ssize_t http1_request(struct proxy *proxy, const struct courier_piece *piece)
{
    struct text text = {.bytes = proxy->exchange->worker->output};
    int error = head_put(proxy, &text);
    return error ? error : proxy_head_send(proxy, &text, piece);
}

const struct proxy_protocol proxy_http1 = {
    .name = "HTTP/1.1",
    .upgrades = true,
    .begin = http1_begin,
    .request = http1_request,
};
