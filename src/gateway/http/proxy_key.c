#include <stdio.h>

#include "gateway/http/bump.h"
#include "gateway/http/proxy.h"
#include "gateway/http/requester.h"

/* ---- where keys come from ------------------------------------------------------------------- */

static struct slice header_value(const struct head *request, const char *name)
{
    const struct field *field = head_find(request, name);
    return field ? field->value : SLICE("");
}

/* name=value; name=value (RFC 6265 §4.2.1) */
static bool cookie_in(struct slice list, const char *name, size_t name_length,
                      struct slice *ret_value)
{
    const char *at = list.bytes, *end = list.bytes + list.length;
    while (at < end) {
        while (at < end && (*at == ' ' || *at == ';'))
            at++;
        const char *stop = memchr(at, ';', (size_t)(end - at));
        if (!stop)
            stop = end;
        if ((size_t)(stop - at) > name_length && !memcmp(at, name, name_length) &&
            at[name_length] == '=') {
            at += name_length + 1;
            *ret_value = (struct slice){at, (uint32_t)(stop - at)};
            return true;
        }
        at = stop;
    }
    return false;
}

static struct slice cookie_value(const struct head *request, const char *name)
{
    struct slice value = SLICE("");
    size_t length = strlen(name);
    for (uint32_t i = 0; i < request->field_count; i++)
        if (request->fields[i].id == FIELD_COOKIE &&
            cookie_in(request->fields[i].value, name, length, &value))
            break;
    return value;
}

static struct slice query_value(const struct head *request, const char *name)
{
    const char *at = request->query.bytes, *end = at + request->query.length;
    size_t length = strlen(name);
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        if (!stop)
            stop = end;
        if ((size_t)(stop - at) > length && !memcmp(at, name, length) && at[length] == '=')
            return (struct slice){at + length + 1, (uint32_t)(stop - at - (ptrdiff_t)length - 1)};
        at = stop + 1;
    }
    return SLICE("");
}

static uint64_t client_hash(const struct exchange *exchange)
{
    char text[REQUESTER_BYTES];
    return pick_hash(text, requester_address(exchange, text));
}

static struct slice key_of(const struct head *request, const struct service_gateway *settings)
{
    switch (settings->hash_key) {
    case HASH_PATH:
        return request->path;
    case HASH_URI:
        return request->target;
    case HASH_HOST:
        return request->host;
    case HASH_HEADER:
        return header_value(request, settings->hash_name);
    case HASH_COOKIE:
        return cookie_value(request, settings->hash_name);
    case HASH_QUERY:
        return query_value(request, settings->hash_name);
    case HASH_CLIENT:
        break;
    }
    return SLICE("");
}

/* ---- stickiness ----------------------------------------------------------------------------- */

static const char *sticky_name(const struct service *service)
{
    return service->gateway.cookie_name ? service->gateway.cookie_name : "enginx";
}

/* "api.2" → 2, if it is of this service; 0: none. */
static uint32_t sticky_number(const struct service *service, struct slice value)
{
    size_t length = strlen(service->name);
    if (value.length < length + 2 || value.length > length + 8 ||
        memcmp(value.bytes, service->name, length) != 0 || value.bytes[length] != '.')
        return 0;
    uint32_t number = 0;
    for (size_t i = length + 1; i < value.length; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return 0;
        number = number * 10 + (uint32_t)(value.bytes[i] - '0');
    }
    return number;
}

bool proxy_cookie(struct proxy *proxy, struct slice *ret_value)
{
    const struct service *service = proxy_service(proxy);
    if (service->balance != BALANCE_STICKY || proxy->pick.sticky == proxy->endpoint->number)
        return false;
    size_t room = strlen(sticky_name(service)) + strlen(service->name) + 64;
    char *text = bump_alloc(proxy->exchange->arena, room);
    if (!text)
        return false;
    int length =
        snprintf(text, room, "%s=%s.%u; Path=/; HttpOnly; SameSite=Lax%s", sticky_name(service),
                 service->name, proxy->endpoint->number, proxy->exchange->secure ? "; Secure" : "");
    *ret_value = (struct slice){text, (uint32_t)length};
    return true;
}

void proxy_key(struct proxy *proxy)
{
    const struct service *service = proxy_service(proxy);
    const struct head *request = &proxy->exchange->request;
    if (service->balance == BALANCE_STICKY)
        proxy->pick.sticky = sticky_number(service, cookie_value(request, sticky_name(service)));
    if (service->balance != BALANCE_HASH)
        return;
    struct slice key = key_of(request, &service->gateway);
    if (key.length)
        proxy->pick.hash = pick_hash(key.bytes, key.length);
    else if (service->gateway.hash_key == HASH_CLIENT)
        proxy->pick.hash = client_hash(proxy->exchange);
}
