#include "gateway/http/fastcgi.h"

#include <arpa/inet.h>
#include <errno.h>

#include "gateway/http/expand.h"
#include "gateway/http/fcgi_record.h"
#include "gateway/http/requester.h"

enum { NAME_BYTES_MAX = 256, NUMBER_BYTES_MAX = 20 };

/* ---- parameters ----------------------------------------------------------------------------- */

static void put_lengths(struct text *text, uint32_t name_length, uint32_t value_length)
{
    char bytes[8];
    size_t length = fcgi_length_write(bytes, name_length);
    length += fcgi_length_write(bytes + length, value_length);
    put(text, bytes, length);
}

static void put_param(struct text *text, struct slice name, struct slice value)
{
    put_lengths(text, name.length, value.length);
    put_slice(text, name);
    put_slice(text, value);
}

#define PARAM(text, name, value) put_param((text), SLICE(name), (value))

static struct slice text_slice(const char *text)
{
    return (struct slice){text, (uint32_t)strlen(text)};
}

static void put_number_param(struct text *text, struct slice name, uint64_t number)
{
    char bytes[NUMBER_BYTES_MAX];
    size_t at = sizeof bytes;
    do {
        bytes[--at] = (char)('0' + number % 10);
    } while (number /= 10);
    put_param(text, name, (struct slice){bytes + at, (uint32_t)(sizeof bytes - at)});
}

/* ---- fields of the request ------------------------------------------------------------------ */

/* X-Two-Words as HTTP_X_TWO_WORDS. False: not to be passed on. A name with other bytes than
 * letters, digits and dashes could be taken for another's; Proxy would become HTTP_PROXY, which
 * programs take for their own setting (CVE-2016-5385). */
static bool name_make(const struct field *field, char out[NAME_BYTES_MAX], struct slice *ret_name)
{
    size_t length = strlen("HTTP_");
    if (field->name.length > NAME_BYTES_MAX - length || slice_is_nocase(field->name, "Proxy"))
        return false;
    memcpy(out, "HTTP_", length);
    for (uint32_t i = 0; i < field->name.length; i++) {
        char byte = field->name.bytes[i];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        if (!letter && byte != '-' && (byte < '0' || byte > '9'))
            return false;
        out[length++] = (char)(letter ? byte & ~0x20 : byte == '-' ? '_' : byte);
    }
    *ret_name = (struct slice){out, (uint32_t)length};
    return true;
}

static bool same_name(const struct field *one, const struct field *other)
{
    return one->id == other->id &&
           (one->id != FIELD_OTHER || slice_same_nocase(one->name, other->name));
}

static bool passes(const struct field *field)
{
    return !field->dropped && !field_hop_by_hop(field->id) && field->id != FIELD_CONTENT_TYPE &&
           field->id != FIELD_CONTENT_LENGTH && field_sane(field);
}

/* Several of one name are one variable: RFC 3875 §4.1.18. False: it went with an earlier one. */
static bool put_field_param(struct text *text, const struct field *fields, uint32_t count,
                            uint32_t at)
{
    char name_bytes[NAME_BYTES_MAX];
    struct slice name;
    const struct field *field = &fields[at];
    struct slice between = field->id == FIELD_COOKIE ? SLICE("; ") : SLICE(", ");
    uint32_t length = field->value.length;
    for (uint32_t i = 0; i < at; i++)
        if (passes(&fields[i]) && same_name(&fields[i], field))
            return false;
    if (!name_make(field, name_bytes, &name))
        return false;
    for (uint32_t i = at + 1; i < count; i++)
        if (passes(&fields[i]) && same_name(&fields[i], field))
            length += between.length + fields[i].value.length;
    put_lengths(text, name.length, length);
    put_slice(text, name);
    put_slice(text, field->value);
    for (uint32_t i = at + 1; i < count && length > field->value.length; i++) {
        if (!passes(&fields[i]) || !same_name(&fields[i], field))
            continue;
        put_slice(text, between);
        put_slice(text, fields[i].value);
    }
    return true;
}

static void put_fields(struct text *text, const struct field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (fields[i].id == FIELD_CONTENT_TYPE && !fields[i].dropped && field_sane(&fields[i]))
            PARAM(text, "CONTENT_TYPE", fields[i].value);
        else if (passes(&fields[i]))
            put_field_param(text, fields, count, i);
    }
}

/* ---- CGI variables: RFC 3875 §4.1, and what PHP reads beyond --------------------------------- */

static void put_script(struct text *text, const struct proxy *proxy)
{
    const struct fastcgi_script *script = proxy->script;
    struct slice root = text_slice(proxy->exchange->route->root);
    put_lengths(text, sizeof "SCRIPT_FILENAME" - 1, root.length + script->name.length);
    PUT(text, "SCRIPT_FILENAME");
    put_slice(text, root);
    put_slice(text, script->name);
    PARAM(text, "SCRIPT_NAME", script->name);
    PARAM(text, "DOCUMENT_ROOT", root);
    PARAM(text, "DOCUMENT_URI", script->name);
    if (script->info.length)
        PARAM(text, "PATH_INFO", script->info);
}

static void put_request(struct text *text, struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    struct slice target = request->target;
    struct slice query = request->query;
    PARAM(text, "REQUEST_METHOD", request->method_name);
    PARAM(text, "SERVER_PROTOCOL", text_slice(exchange->codec->name));
    bool slash = target.length && *target.bytes == '?';
    put_lengths(text, sizeof "REQUEST_URI" - 1, target.length + slash);
    PUT(text, "REQUEST_URI");
    put(text, "/", slash);
    put_slice(text, target);
    if (exchange->route->rewrite_count) {
        target = expand_target(exchange);
        const char *mark = target.length ? memchr(target.bytes, '?', target.length) : NULL;
        query = mark ? (struct slice){mark + 1, target.length - (uint32_t)(mark + 1 - target.bytes)}
                     : SLICE("");
    }
    PARAM(text, "QUERY_STRING", query);
    if (request->body != BODY_NONE || request->first[FIELD_CONTENT_LENGTH])
        put_number_param(text, SLICE("CONTENT_LENGTH"), request->body_length);
    else
        PARAM(text, "CONTENT_LENGTH", SLICE(""));
}

static uint16_t port_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
    if (address->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    return 0;
}

static void put_addresses(struct text *text, struct proxy *proxy)
{
    struct exchange *exchange = proxy->exchange;
    char address[REQUESTER_BYTES];
    size_t length = requester_address(exchange, address);
    struct slice host = exchange->request.host;
    uint16_t port = port_of(client_local(exchange->client, exchange->fd));
    struct slice scheme = requester_scheme(exchange);
    PARAM(text, "REMOTE_ADDR", ((struct slice){address, (uint32_t)length}));
    if (!exchange->client_trusted) /* else it is a proxy's */
        put_number_param(text, SLICE("REMOTE_PORT"), port_of(&exchange->client->peer.any));
    PARAM(text, "SERVER_NAME", host.length ? host : text_slice(proxy_service(proxy)->name));
    put_number_param(text, SLICE("SERVER_PORT"),
                     port ? port : exchange->client->plan->listener->port);
    PARAM(text, "REQUEST_SCHEME", scheme);
    if (slice_is(scheme, "https"))
        PARAM(text, "HTTPS", SLICE("on"));
}

/* PARAMS records of what stands behind the first one's header, and the empty one. */
static void params_close(struct text *text)
{
    size_t at = FCGI_BEGIN_BYTES;
    for (;;) {
        size_t length = text->length - at - FCGI_HEADER_BYTES;
        char *header = text->bytes + at;
        if (length <= FCGI_CONTENT_BYTES_MAX) {
            fcgi_header_write(header, FCGI_TYPE_PARAMS, length);
            break;
        }
        fcgi_header_write(header, FCGI_TYPE_PARAMS, FCGI_CONTENT_BYTES_MAX);
        at += FCGI_HEADER_BYTES + FCGI_CONTENT_BYTES_MAX;
        char gap[FCGI_HEADER_BYTES] = {0};
        size_t behind = text->length - at;
        put(text, gap, sizeof gap);
        if (text->full)
            return;
        memmove(text->bytes + at + FCGI_HEADER_BYTES, text->bytes + at, behind);
    }
    char empty[FCGI_HEADER_BYTES];
    fcgi_header_write(empty, FCGI_TYPE_PARAMS, 0);
    put(text, empty, sizeof empty);
}

int fastcgi_head_put(struct proxy *proxy, struct text *text)
{
    struct exchange *exchange = proxy->exchange;
    char first[FCGI_BEGIN_BYTES + FCGI_HEADER_BYTES] = {0};
    uint32_t count;
    const struct field *fields = proxy_request_fields(proxy, &count);
    if (!fields)
        return -ENOMEM;
    fcgi_begin_write(first, proxy_service(proxy)->gateway.idle_max > 0);
    put(text, first, sizeof first);
    PARAM(text, "GATEWAY_INTERFACE", SLICE("CGI/1.1"));
    PARAM(text, "SERVER_SOFTWARE", SLICE("enginx"));
    PARAM(text, "REDIRECT_STATUS", SLICE("200"));
    put_script(text, proxy);
    put_request(text, exchange);
    put_addresses(text, proxy);
    put_fields(text, fields, count);
    if (!text->full)
        params_close(text);
    return text->full ? -E2BIG : 0;
}
