#include <arpa/inet.h>
#include <stdio.h>

#include "gateway/http/bump.h"
#include "gateway/http/proxy.h"

bool forwarded_replaces(const struct exchange *exchange, enum field_id id)
{
    bool trusted = exchange->client_trusted;
    return id == FIELD_X_FORWARDED_FOR || id == FIELD_X_REQUEST_ID || id == FIELD_FORWARDED ||
           (!trusted && (id == FIELD_X_FORWARDED_PROTO || id == FIELD_X_FORWARDED_HOST ||
                         id == FIELD_X_FORWARDED_PORT || id == FIELD_X_REAL_IP));
}

/* ---- addresses ------------------------------------------------------------------------------ */

static size_t octet_print(char *out, unsigned octet)
{
    size_t length = 0;
    if (octet >= 100)
        out[length++] = (char)('0' + octet / 100);
    if (octet >= 10)
        out[length++] = (char)('0' + octet / 10 % 10);
    out[length++] = (char)('0' + octet % 10);
    return length;
}

static size_t v4_print(char *out, const uint8_t octets[4])
{
    size_t length = 0;
    for (int i = 0; i < 4; i++) {
        if (i)
            out[length++] = '.';
        length += octet_print(out + length, octets[i]);
    }
    return length;
}

/* Without a 0 at its end; INET6_ADDRSTRLEN bytes of room. */
static size_t address_print(char *out, const union client_address *address)
{
    if (address->any.sa_family == AF_INET)
        return v4_print(out, (const uint8_t *)&address->v4.sin_addr);
    if (address->any.sa_family != AF_INET6)
        return 0;
    const struct in6_addr *six = &address->v6.sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(six))
        return v4_print(out, six->s6_addr + 12);
    return inet_ntop(AF_INET6, six, out, INET6_ADDRSTRLEN) ? strlen(out) : 0;
}

static uint16_t local_port(const struct client_base *client)
{
    switch (client->local.any.sa_family) {
    case AF_INET:
        return ntohs(client->local.v4.sin_port);
    case AF_INET6:
        return ntohs(client->local.v6.sin6_port);
    default:
        return client->plan->listener->port;
    }
}

/* ---- values --------------------------------------------------------------------------------- */

/* What the trusted proxies in front have said, then the peer. */
static bool chain_print(struct exchange *exchange, enum field_id id, const char *own, size_t length,
                        struct slice *ret_value)
{
    const struct head *request = &exchange->request;
    size_t room = length + 2;
    for (uint32_t i = 0; i < request->field_count; i++)
        if (request->fields[i].id == id)
            room += request->fields[i].value.length + 2u;
    char *text = bump_alloc(exchange->arena, room);
    if (!text)
        return false;
    size_t at = 0;
    for (uint32_t i = 0; i < request->field_count && exchange->client_trusted; i++) {
        const struct field *field = &request->fields[i];
        if (field->id != id || field->dropped || !field->value.length)
            continue;
        memcpy(text + at, field->value.bytes, field->value.length);
        at += field->value.length;
        memcpy(text + at, ", ", 2);
        at += 2;
    }
    memcpy(text + at, own, length);
    *ret_value = (struct slice){text, (uint32_t)(at + length)};
    return true;
}

static bool port_print(struct exchange *exchange, struct slice *ret_value)
{
    char *text = bump_alloc(exchange->arena, 8);
    if (!text)
        return false;
    char digits[8];
    size_t at = sizeof digits;
    unsigned port = local_port(exchange->client);
    do {
        digits[--at] = (char)('0' + port % 10);
    } while (port /= 10);
    memcpy(text, digits + at, sizeof digits - at);
    *ret_value = (struct slice){text, (uint32_t)(sizeof digits - at)};
    return true;
}

/* RFC 7239 */
static bool forwarded_print(struct exchange *exchange, const char *peer, size_t length,
                            struct slice *ret_value)
{
    char text[512];
    bool six = memchr(peer, ':', length) != NULL;
    struct slice host = exchange->request.authority;
    bool named = host.length && host.length < 256;
    int printed =
        snprintf(text, sizeof text, "for=%s%.*s%s%s%.*s%s;proto=%s", six ? "\"[" : "", (int)length,
                 peer, six ? "]\"" : "", named ? ";host=\"" : "", named ? (int)host.length : 0,
                 host.bytes, named ? "\"" : "", exchange->secure ? "https" : "http");
    return chain_print(exchange, FIELD_FORWARDED, text, (size_t)printed, ret_value);
}

static bool wanted(const struct exchange *exchange, enum field_id id)
{
    const struct field *given = head_field(&exchange->request, id);
    return !given || given->dropped || forwarded_replaces(exchange, id);
}

uint32_t forwarded_fields(struct exchange *exchange, struct field fields[FORWARDED_FIELDS_MAX])
{
    char peer[INET6_ADDRSTRLEN];
    size_t length = address_print(peer, &exchange->client->peer);
    uint32_t count = 0;
    struct slice value;
    if (!chain_print(exchange, FIELD_X_FORWARDED_FOR, peer, length, &value))
        return 0;
    fields[count++] = (struct field){SLICE("X-Forwarded-For"), value, FIELD_X_FORWARDED_FOR, false};
    if (wanted(exchange, FIELD_X_FORWARDED_PROTO))
        fields[count++] = (struct field){SLICE("X-Forwarded-Proto"),
                                         exchange->secure ? SLICE("https") : SLICE("http"),
                                         FIELD_X_FORWARDED_PROTO, false};
    if (wanted(exchange, FIELD_X_FORWARDED_HOST) && exchange->request.authority.length)
        fields[count++] = (struct field){SLICE("X-Forwarded-Host"), exchange->request.authority,
                                         FIELD_X_FORWARDED_HOST, false};
    if (wanted(exchange, FIELD_X_FORWARDED_PORT)) {
        if (!port_print(exchange, &value))
            return 0;
        fields[count++] =
            (struct field){SLICE("X-Forwarded-Port"), value, FIELD_X_FORWARDED_PORT, false};
    }
    if (exchange->request.first[FIELD_FORWARDED]) {
        if (!forwarded_print(exchange, peer, length, &value))
            return 0;
        fields[count++] = (struct field){SLICE("Forwarded"), value, FIELD_FORWARDED, false};
    }
    const char *id = exchange_request_id(exchange);
    fields[count++] = (struct field){
        SLICE("X-Request-ID"), {id, (uint32_t)strlen(id)}, FIELD_X_REQUEST_ID, false};
    return count;
}
