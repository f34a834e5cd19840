/* HTTP/2 to endpoints: the link that a request goes on, and its head. */
#include <errno.h>

#include "gateway/http/bump.h"
#include "gateway/http/h1_fields.h"
#include "gateway/http/h1_text.h"
#include "gateway/http/h2_client.h"
#include "gateway/http/h2_worker.h"
#include "gateway/http/proxy.h"

/* ---- a link --------------------------------------------------------------------------------- */

static int link_find(struct proxy *proxy, struct h2_link **ret_link)
{
    const struct service_gateway *gateway = &proxy_service(proxy)->gateway;
    struct tls_client *tls = proxy_tls(proxy);
    bool strict = !proxy->retriable || proxy->fresh_only;
    *ret_link = h2_link_take(proxy->endpoint, tls != NULL, strict);
    if (*ret_link)
        return 0;
    return h2_link_connect(proxy->exchange->worker, proxy->endpoint, tls, gateway->connect_ms,
                           gateway->idle_ms, ret_link);
}

static int http2_begin(struct proxy *proxy)
{
    struct h2_link *link;
    int error = link_find(proxy, &link);
    if (error)
        return error;
    struct courier_times times = proxy_times(proxy);
    proxy->courier =
        h2_courier_begin(link, &proxy_calls, proxy, proxy->exchange->request.method, &times);
    return proxy->courier ? 0 : -ENOMEM;
}

/* ---- the head ------------------------------------------------------------------------------- */

struct fields { /* being made, in the worker's room */
    nghttp2_nv *at;
    size_t count;
    size_t length;
    char digits[2][24];
};

static void add(struct fields *fields, struct slice name, struct slice value)
{
    if (fields->count < HEAD_FIELDS_MAX + 16)
        fields->at[fields->count] = h2_nv(name, value);
    fields->count++;
    fields->length += name.length + value.length;
}

static void add_number(struct fields *fields, struct slice name, uint64_t number, char digits[24])
{
    struct text text = {.bytes = digits};
    put_number(&text, number);
    add(fields, name, (struct slice){digits, (uint32_t)text.length});
}

static struct slice path_of(struct exchange *exchange, struct slice target)
{
    if (*target.bytes != '?')
        return target;
    char *path = bump_alloc(exchange->arena, target.length + 1);
    if (!path)
        return SLICE("");
    *path = '/';
    memcpy(path + 1, target.bytes, target.length);
    return (struct slice){path, target.length + 1};
}

/* How the body ends is said by frames; what is known of its length is told all the same. */
static void add_end(struct fields *fields, struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    uint64_t forwards;
    if (request->body == BODY_LENGTH || request->first[FIELD_CONTENT_LENGTH])
        add_number(fields, SLICE("content-length"), request->body_length, fields->digits[0]);
    if (request->expect_continue)
        add(fields, SLICE("expect"), SLICE("100-continue"));
    if (request->te_trailers)
        add(fields, SLICE("te"), SLICE("trailers"));
    if (proxy_forwards(request, &forwards))
        add_number(fields, SLICE("max-forwards"), forwards, fields->digits[1]);
}

static void add_pseudo(struct fields *fields, struct proxy *proxy, struct slice host,
                       struct slice target)
{
    struct exchange *exchange = proxy->exchange;
    add(fields, SLICE(":method"), exchange->request.method_name);
    add(fields, SLICE(":scheme"), proxy_tls(proxy) ? SLICE("https") : SLICE("http"));
    add(fields, SLICE(":authority"), host);
    add(fields, SLICE(":path"), path_of(exchange, target));
}

static bool add_passing(struct fields *fields, struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    struct field made[FORWARDED_FIELDS_MAX];
    uint32_t made_count = forwarded_fields(exchange, made);
    for (uint32_t i = 0; i < request->field_count; i++)
        if (proxy_field_passes(exchange, &request->fields[i]))
            add(fields, request->fields[i].name, request->fields[i].value);
    for (uint32_t i = 0; i < made_count; i++)
        add(fields, made[i].name, made[i].value);
    return made_count > 0;
}

static void add_ruled(struct fields *fields, const struct field *ruled, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        if (proxy_ruled_passes(&ruled[i]))
            add(fields, ruled[i].name, ruled[i].value);
}

/* 0, -ENOMEM, -E2BIG, -EINVAL. */
static int head_make(struct proxy *proxy, struct fields *fields)
{
    struct exchange *exchange = proxy->exchange;
    struct slice host = proxy_host(proxy), target;
    const struct field *ruled = NULL;
    uint32_t ruled_count = 0;
    if (!proxy_target(exchange, &target))
        return -EINVAL;
    if (exchange->route->headers_change_count) {
        ruled = proxy_request_fields(proxy, &ruled_count);
        if (!ruled)
            return -ENOMEM;
        host = proxy_host_ruled(ruled, ruled_count, host);
    }
    add_pseudo(fields, proxy, host, target);
    if (ruled)
        add_ruled(fields, ruled, ruled_count);
    else if (!add_passing(fields, exchange))
        return -ENOMEM;
    add_end(fields, exchange);
    return fields->count > HEAD_FIELDS_MAX + 16 || fields->length > TEXT_BYTES_MAX ? -E2BIG : 0;
}

static ssize_t http2_request(struct proxy *proxy, const struct courier_piece *piece)
{
    struct fields fields = {.at = proxy->exchange->worker->http->h2->fields};
    int error = head_make(proxy, &fields);
    return error ? error : h2_courier_request(proxy->courier, fields.at, fields.count, piece);
}

const struct proxy_protocol proxy_http2 = {
    .name = "HTTP/2",
    .begin = http2_begin,
    .request = http2_request,
};
