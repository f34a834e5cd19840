#include "gateway/http/cgi.h"

#include <arpa/inet.h>
#include <errno.h>

#include "gateway/http/expand.h"
#include "gateway/http/requester.h"

enum { NAME_BYTES_MAX = 256, NUMBER_BYTES_MAX = 20 };

/* ---- parameters ----------------------------------------------------------------------------- */

struct out { /* what is being written */
    struct text *text;
    const struct cgi_form *form;
};

static void put_begin(const struct out *out, struct slice name, uint32_t value_length)
{
    out->form->begin(out->text, name, value_length);
}

static void put_end(const struct out *out)
{
    if (out->form->end)
        out->form->end(out->text);
}

static void put_param(const struct out *out, struct slice name, struct slice value)
{
    put_begin(out, name, value.length);
    put_slice(out->text, value);
    put_end(out);
}

#define PARAM(out, name, value) put_param((out), SLICE(name), (value))

static struct slice text_slice(const char *text)
{
    return (struct slice){text, (uint32_t)strlen(text)};
}

static void put_number_param(const struct out *out, struct slice name, uint64_t number)
{
    char bytes[NUMBER_BYTES_MAX];
    size_t at = sizeof bytes;
    do {
        bytes[--at] = (char)('0' + number % 10);
    } while (number /= 10);
    put_param(out, name, (struct slice){bytes + at, (uint32_t)(sizeof bytes - at)});
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
static bool put_field_param(const struct out *out, const struct field *fields, uint32_t count,
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
    put_begin(out, name, length);
    put_slice(out->text, field->value);
    for (uint32_t i = at + 1; i < count && length > field->value.length; i++) {
        if (!passes(&fields[i]) || !same_name(&fields[i], field))
            continue;
        put_slice(out->text, between);
        put_slice(out->text, fields[i].value);
    }
    put_end(out);
    return true;
}

static void put_fields(const struct out *out, const struct field *fields, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (fields[i].id == FIELD_CONTENT_TYPE && !fields[i].dropped && field_sane(&fields[i]))
            PARAM(out, "CONTENT_TYPE", fields[i].value);
        else if (passes(&fields[i]))
            put_field_param(out, fields, count, i);
    }
}

/* ---- CGI variables: RFC 3875 §4.1, and what PHP reads beyond --------------------------------- */

static void put_script(const struct out *out, const struct proxy *proxy)
{
    const struct cgi_script *script = proxy->script;
    const char *text = proxy->exchange->route->root;
    if (text) {
        struct slice root = text_slice(text);
        put_begin(out, SLICE("SCRIPT_FILENAME"), root.length + script->name.length);
        put_slice(out->text, root);
        put_slice(out->text, script->name);
        put_end(out);
        PARAM(out, "DOCUMENT_ROOT", root);
    }
    PARAM(out, "SCRIPT_NAME", script->name);
    PARAM(out, "DOCUMENT_URI", script->name.length ? script->name : script->info);
    if (script->info.length)
        PARAM(out, "PATH_INFO", script->info);
}

static void put_content_length(const struct out *out, const struct head *request, bool zero)
{
    if (zero || request->body != BODY_NONE || request->first[FIELD_CONTENT_LENGTH])
        put_number_param(out, SLICE("CONTENT_LENGTH"),
                         request->body == BODY_NONE ? 0 : request->body_length);
    else
        PARAM(out, "CONTENT_LENGTH", SLICE(""));
}

static void put_request(const struct out *out, struct exchange *exchange)
{
    const struct head *request = &exchange->request;
    struct slice target = request->target;
    struct slice query = request->query;
    PARAM(out, "REQUEST_METHOD", request->method_name);
    PARAM(out, "SERVER_PROTOCOL", text_slice(exchange->codec->name));
    bool slash = target.length && *target.bytes == '?';
    put_begin(out, SLICE("REQUEST_URI"), target.length + slash);
    put(out->text, "/", slash);
    put_slice(out->text, target);
    put_end(out);
    if (exchange->route->rewrite_count) {
        target = expand_target(exchange);
        const char *mark = target.length ? memchr(target.bytes, '?', target.length) : NULL;
        query = mark ? (struct slice){mark + 1, target.length - (uint32_t)(mark + 1 - target.bytes)}
                     : SLICE("");
    }
    PARAM(out, "QUERY_STRING", query);
}

static uint16_t port_of(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)address)->sin_port);
    if (address->sa_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)address)->sin6_port);
    return 0;
}

static void put_addresses(const struct out *out, struct proxy *proxy)
{
    struct exchange *exchange = proxy->exchange;
    char address[REQUESTER_BYTES];
    size_t length = requester_address(exchange, address);
    struct slice host = exchange->request.host;
    uint16_t port = port_of(client_local(exchange->client, exchange->fd));
    struct slice scheme = requester_scheme(exchange);
    PARAM(out, "REMOTE_ADDR", ((struct slice){address, (uint32_t)length}));
    if (!exchange->client_trusted) /* else it is a proxy's */
        put_number_param(out, SLICE("REMOTE_PORT"), port_of(&exchange->client->peer.any));
    PARAM(out, "SERVER_NAME", host.length ? host : text_slice(proxy_service(proxy)->name));
    put_number_param(out, SLICE("SERVER_PORT"),
                     port ? port : exchange->client->plan->listener->port);
    PARAM(out, "REQUEST_SCHEME", scheme);
    if (slice_is(scheme, "https"))
        PARAM(out, "HTTPS", SLICE("on"));
}

int cgi_put(struct proxy *proxy, const struct cgi_form *form, struct text *text)
{
    const struct out out = {text, form};
    uint32_t count;
    const struct field *fields = proxy_request_fields(proxy, &count);
    if (!fields)
        return -ENOMEM;
    put_content_length(&out, &proxy->exchange->request,
                       proxy->exchange->route->speaks == SPEAKS_SCGI);
    PARAM(&out, "GATEWAY_INTERFACE", SLICE("CGI/1.1"));
    PARAM(&out, "SERVER_SOFTWARE", SLICE("enginx"));
    PARAM(&out, "REDIRECT_STATUS", SLICE("200"));
    put_script(&out, proxy);
    put_request(&out, proxy->exchange);
    put_addresses(&out, proxy);
    put_fields(&out, fields, count);
    return 0;
}
