#include "gateway/http/h1_fields.h"
#include "gateway/http/h1_scan.h"

static enum h1_result refuse(struct h1_refusal *refusal, uint16_t status, const char *why)
{
    *refusal = (struct h1_refusal){status, why};
    return H1_BAD;
}

static struct slice between(const char *from, const char *to)
{
    return (struct slice){from, (uint32_t)(to - from)};
}

/* ---- authority (RFC 9110 §4.2, RFC 3986 §3.2) ----------------------------------------------- */

/* The end of `[address]`, or NULL. */
static const char *literal_end(const char *at, const char *end)
{
    const char *close = memchr(at, ']', (size_t)(end - at));
    if (!close || close - at < 3)
        return NULL;
    for (const char *byte = at + 1; byte < close; byte++)
        if (!h1_byte(*byte, BYTE_HEX) && *byte != ':' && *byte != '.')
            return NULL;
    return close + 1;
}

static const char *name_end(const char *at, const char *end)
{
    for (;;) {
        at = h1_skip(at, end, BYTE_HOST);
        if (at == end || *at != '%')
            return at;
        if (end - at < 3 || !h1_byte(at[1], BYTE_HEX) || !h1_byte(at[2], BYTE_HEX))
            return NULL;
        at += 3;
    }
}

/* host [":" port]; a port that is empty is none. */
bool h1_authority_read(struct slice text, struct head *head)
{
    const char *end = text.bytes + text.length;
    const char *host_end = text.length && *text.bytes == '[' ? literal_end(text.bytes, end)
                                                             : name_end(text.bytes, end);
    if (!host_end || host_end == text.bytes || (host_end < end && *host_end != ':'))
        return false;
    uint32_t port = 0;
    for (const char *at = host_end + 1; at < end; at++) {
        if (*at < '0' || *at > '9')
            return false;
        port = port * 10 + (uint32_t)(*at - '0');
        if (port > 65535)
            return false;
    }
    head->host = between(text.bytes, host_end);
    head->port = (uint16_t)port;
    head->authority = end - host_end > 1 ? text : head->host;
    return true;
}

/* ---- the request line ----------------------------------------------------------------------- */

static enum h1_result version_refuse(const char *at, const char *end, struct h1_refusal *refusal)
{
    if (end - at >= 8 && !memcmp(at, "HTTP/", 5) && at[5] >= '0' && at[5] <= '9' && at[6] == '.' &&
        at[7] >= '0' && at[7] <= '9' && at[5] != '1')
        return refuse(refusal, 505, "a version of HTTP other than 1");
    return refuse(refusal, 400, "a broken request line");
}

/* Behind the version, or NULL. Minor versions above 1 are read as 1 (RFC 9110 §2.5). */
static const char *version_read(const char *at, const char *end, struct head *head)
{
    if (end - at < 10 || memcmp(at, "HTTP/1.", 7) != 0 || at[7] < '0' || at[7] > '9' ||
        at[8] != '\r' || at[9] != '\n')
        return NULL;
    head->version_minor = at[7] != '0';
    return at + 10;
}

void h1_target_split(struct head *head, struct slice target)
{
    const char *question = memchr(target.bytes, '?', target.length);
    const char *end = target.bytes + target.length;
    head->target = target;
    head->path = between(target.bytes, question ? question : end);
    head->has_query = question != NULL;
    head->query = question ? between(question + 1, end) : between(end, end);
}

static bool starts(struct slice text, struct slice prefix)
{
    return text.length >= prefix.length &&
           slice_same_nocase((struct slice){text.bytes, prefix.length}, prefix);
}

/* http://authority/path: its authority stands for Host (RFC 9112 §3.2.2). A path that is empty is
 * `/`, or `*` for OPTIONS (§3.2.4). */
static enum h1_result absolute_read(struct head *head, struct slice target,
                                    struct h1_refusal *refusal)
{
    const char *end = target.bytes + target.length;
    uint32_t scheme = starts(target, SLICE("http://"))    ? 7
                      : starts(target, SLICE("https://")) ? 8
                                                          : 0;
    if (!scheme)
        return refuse(refusal, 400, "a target that is none of HTTP's forms");
    const char *authority = target.bytes + scheme;
    const char *path = authority;
    while (path < end && *path != '/' && *path != '?')
        path++;
    if (!h1_authority_read(between(authority, path), head))
        return refuse(refusal, 400, "a bad authority in the target");
    if (path < end)
        h1_target_split(head, between(path, end));
    else
        h1_target_split(head, head->method == METHOD_OPTIONS ? SLICE("*") : SLICE("/"));
    if (!head->path.length)
        head->path = SLICE("/");
    return H1_DONE;
}

static enum h1_result target_read(struct head *head, struct slice target,
                                  struct h1_refusal *refusal)
{
    if (head->method == METHOD_CONNECT)
        return refuse(refusal, 501, "CONNECT");
    if (*target.bytes == '/') {
        h1_target_split(head, target);
        return H1_DONE;
    }
    if (slice_is(target, "*")) {
        if (head->method != METHOD_OPTIONS)
            return refuse(refusal, 400, "the target * with another method than OPTIONS");
        h1_target_split(head, target);
        return H1_DONE;
    }
    return absolute_read(head, target, refusal);
}

/* method SP target SP version CRLF, each space exactly one. Returns behind it, or NULL. */
static const char *line_read(const char *at, const char *end, struct head *head,
                             struct h1_refusal *refusal)
{
    const char *method_end = h1_skip(at, end, BYTE_TOKEN);
    if (method_end == at || method_end == end || *method_end != ' ') {
        refuse(refusal, 400, "a broken method");
        return NULL;
    }
    head->method_name = between(at, method_end);
    head->method = method_of(head->method_name);
    const char *target = method_end + 1;
    const char *target_end = h1_skip(target, end, BYTE_TARGET);
    if (target_end == target || target_end == end || *target_end != ' ') {
        refuse(refusal, 400, "a broken target");
        return NULL;
    }
    const char *next = version_read(target_end + 1, end, head);
    if (!next) {
        version_refuse(target_end + 1, end, refusal);
        return NULL;
    }
    return target_read(head, between(target, target_end), refusal) == H1_DONE ? next : NULL;
}

/* ---- what the fields mean ------------------------------------------------------------------- */

/* RFC 9112 §3.2: exactly one valid Host in HTTP/1.1, whatever form the target has. */
static enum h1_result host_read(struct head *head, struct h1_refusal *refusal)
{
    const struct field *field = head_field(head, FIELD_HOST);
    if (!field)
        return head->version_minor ? refuse(refusal, 400, "no Host") : H1_DONE;
    struct head other = {0};
    if (!h1_authority_read(field->value, head->host.length ? &other : head))
        return refuse(refusal, 400, "a bad Host");
    return H1_DONE;
}

static enum h1_result coding_read(struct head *head, const struct field *field,
                                  struct h1_refusal *refusal)
{
    if (head->first[FIELD_CONTENT_LENGTH])
        return refuse(refusal, 400, "Transfer-Encoding and Content-Length");
    if (!head->version_minor)
        return refuse(refusal, 400, "Transfer-Encoding in HTTP/1.0");
    switch (h1_coding_read(field->value)) {
    case CODING_CHUNKED:
        head->body = BODY_CHUNKED;
        return H1_DONE;
    case CODING_UNKNOWN:
        return refuse(refusal, 501, "a transfer coding other than chunked");
    case CODING_OPEN:
        return refuse(refusal, 400, "a transfer coding whose end is not known");
    case CODING_BROKEN:
        break;
    }
    return refuse(refusal, 400, "a broken Transfer-Encoding");
}

/* RFC 9112 §6.3 */
static enum h1_result framing_read(struct head *head, struct h1_refusal *refusal)
{
    const struct field *coding = head_field(head, FIELD_TRANSFER_ENCODING);
    if (coding)
        return coding_read(head, coding, refusal);
    const struct field *length = head_field(head, FIELD_CONTENT_LENGTH);
    if (!length)
        return H1_DONE;
    if (!h1_length_read(length->value, &head->body_length))
        return refuse(refusal, 400, "a bad Content-Length");
    head->body = head->body_length ? BODY_LENGTH : BODY_NONE;
    return H1_DONE;
}

static enum h1_result expect_read(struct head *head, struct h1_refusal *refusal)
{
    const struct field *field = head_field(head, FIELD_EXPECT);
    if (!field || !head->version_minor)
        return H1_DONE;
    if (!slice_is_nocase(field->value, "100-continue"))
        return refuse(refusal, 417, "an expectation that nobody knows");
    head->expect_continue = head->body != BODY_NONE;
    return H1_DONE;
}

static void head_reset(struct head *head)
{
    struct field *fields = head->fields;
    uint32_t room = head->fields_room;
    *head = (struct head){.fields = fields, .fields_room = room};
}

enum h1_result h1_request_parse(const char *bytes, size_t length, struct head *head,
                                struct h1_refusal *ret_refusal)
{
    head_reset(head);
    const char *end = bytes + length;
    const char *at = line_read(bytes, end, head, ret_refusal);
    if (!at || h1_fields_parse(at, end, head, ret_refusal) != H1_DONE ||
        host_read(head, ret_refusal) != H1_DONE || framing_read(head, ret_refusal) != H1_DONE)
        return H1_BAD;
    if (!h1_connection_read(head))
        return refuse(ret_refusal, 400, "too many names in Connection");
    /* Whoever switches protocols while a body is on its way cannot say where it ends. */
    if (head->body != BODY_NONE)
        head->upgrade = false;
    return expect_read(head, ret_refusal);
}
