#include "gateway/http/head.h"

/* ---- slices --------------------------------------------------------------------------------- */

static inline unsigned char lower(char byte)
{
    return (unsigned char)(byte >= 'A' && byte <= 'Z' ? byte | 0x20 : byte);
}

bool slice_is(struct slice slice, const char *text)
{
    size_t length = strlen(text);
    return slice.length == length && !memcmp(slice.bytes, text, length);
}

bool slice_is_nocase(struct slice slice, const char *text)
{
    for (uint32_t i = 0; i < slice.length; i++)
        if (!text[i] || lower(slice.bytes[i]) != lower(text[i]))
            return false;
    return !text[slice.length];
}

bool slice_same_nocase(struct slice one, struct slice other)
{
    if (one.length != other.length)
        return false;
    for (uint32_t i = 0; i < one.length; i++)
        if (lower(one.bytes[i]) != lower(other.bytes[i]))
            return false;
    return true;
}

/* ---- methods -------------------------------------------------------------------------------- */

bool method_safe(enum http_method method)
{
    return method == METHOD_GET || method == METHOD_HEAD || method == METHOD_OPTIONS ||
           method == METHOD_TRACE;
}

bool method_idempotent(enum http_method method)
{
    return method_safe(method) || method == METHOD_PUT || method == METHOD_DELETE;
}

enum http_method method_of(struct slice name)
{
    static const struct {
        const char *name;
        enum http_method method;
    } rows[] = {
        {"GET", METHOD_GET},     {"POST", METHOD_POST},       {"HEAD", METHOD_HEAD},
        {"PUT", METHOD_PUT},     {"DELETE", METHOD_DELETE},   {"OPTIONS", METHOD_OPTIONS},
        {"PATCH", METHOD_PATCH}, {"CONNECT", METHOD_CONNECT}, {"TRACE", METHOD_TRACE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (slice_is(name, rows[i].name))
            return rows[i].method;
    return METHOD_OTHER;
}

/* ---- field names ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bool hop_by_hop;
} fields_known[FIELD_COUNT] = {
    [FIELD_OTHER] = {"", false},
    [FIELD_HOST] = {"host", false},
    [FIELD_CONNECTION] = {"connection", true},
    [FIELD_CONTENT_LENGTH] = {"content-length", false},
    [FIELD_TRANSFER_ENCODING] = {"transfer-encoding", true},
    [FIELD_UPGRADE] = {"upgrade", true},
    [FIELD_EXPECT] = {"expect", false},
    [FIELD_TE] = {"te", true},
    [FIELD_TRAILER] = {"trailer", false},
    [FIELD_KEEP_ALIVE] = {"keep-alive", true},
    [FIELD_PROXY_CONNECTION] = {"proxy-connection", true},
    [FIELD_PROXY_AUTHENTICATE] = {"proxy-authenticate", true},
    [FIELD_PROXY_AUTHORIZATION] = {"proxy-authorization", true},
    [FIELD_HTTP2_SETTINGS] = {"http2-settings", true},
    [FIELD_X_FORWARDED_FOR] = {"x-forwarded-for", false},
    [FIELD_X_FORWARDED_PROTO] = {"x-forwarded-proto", false},
    [FIELD_X_FORWARDED_HOST] = {"x-forwarded-host", false},
    [FIELD_X_FORWARDED_PORT] = {"x-forwarded-port", false},
    [FIELD_X_REAL_IP] = {"x-real-ip", false},
    [FIELD_FORWARDED] = {"forwarded", false},
    [FIELD_X_REQUEST_ID] = {"x-request-id", false},
    [FIELD_TRACEPARENT] = {"traceparent", false},
    [FIELD_COOKIE] = {"cookie", false},
    [FIELD_SET_COOKIE] = {"set-cookie", false},
    [FIELD_DATE] = {"date", false},
    [FIELD_SERVER] = {"server", false},
    [FIELD_VIA] = {"via", false},
    [FIELD_MAX_FORWARDS] = {"max-forwards", false},
    [FIELD_RETRY_AFTER] = {"retry-after", false},
    [FIELD_CONTENT_TYPE] = {"content-type", false},
    [FIELD_USER_AGENT] = {"user-agent", false},
    [FIELD_REFERER] = {"referer", false},
};

/* Those of one length, so that most names are told apart without a look at their bytes. */
enum { KNOWN_LENGTH_MAX = 19, KNOWN_SAME_LENGTH_MAX = 5 };
static const uint8_t fields_by_length[KNOWN_LENGTH_MAX + 1][KNOWN_SAME_LENGTH_MAX] = {
    [2] = {FIELD_TE},
    [3] = {FIELD_VIA},
    [4] = {FIELD_HOST, FIELD_DATE},
    [6] = {FIELD_COOKIE, FIELD_EXPECT, FIELD_SERVER},
    [7] = {FIELD_UPGRADE, FIELD_REFERER, FIELD_TRAILER},
    [9] = {FIELD_X_REAL_IP, FIELD_FORWARDED},
    [10] = {FIELD_CONNECTION, FIELD_USER_AGENT, FIELD_KEEP_ALIVE, FIELD_SET_COOKIE},
    [11] = {FIELD_TRACEPARENT, FIELD_RETRY_AFTER},
    [12] = {FIELD_CONTENT_TYPE, FIELD_X_REQUEST_ID, FIELD_MAX_FORWARDS},
    [14] = {FIELD_CONTENT_LENGTH, FIELD_HTTP2_SETTINGS},
    [15] = {FIELD_X_FORWARDED_FOR},
    [16] = {FIELD_X_FORWARDED_HOST, FIELD_X_FORWARDED_PORT, FIELD_PROXY_CONNECTION},
    [17] = {FIELD_TRANSFER_ENCODING, FIELD_X_FORWARDED_PROTO},
    [18] = {FIELD_PROXY_AUTHENTICATE},
    [19] = {FIELD_PROXY_AUTHORIZATION},
};

enum likeness { DIFFERENT, SAME, DISGUISED };

/* For bytes of a token: setting 0x20 makes lower case of letters, and nothing else that stands in a
 * known name comes from another byte of a token. */
static inline enum likeness known_like(const char *known, struct slice name)
{
    enum likeness likeness = SAME;
    for (uint32_t i = 0; i < name.length; i++) {
        if ((name.bytes[i] | 0x20) == known[i])
            continue;
        if (name.bytes[i] != '_' || known[i] != '-')
            return DIFFERENT;
        likeness = DISGUISED;
    }
    return likeness;
}

enum field_id field_id_find(struct slice name, bool *ret_disguised)
{
    *ret_disguised = false;
    if (name.length > KNOWN_LENGTH_MAX)
        return FIELD_OTHER;
    const uint8_t *row = fields_by_length[name.length];
    for (int i = 0; i < KNOWN_SAME_LENGTH_MAX && row[i]; i++) {
        enum likeness likeness = known_like(fields_known[row[i]].name, name);
        if (likeness == SAME)
            return row[i];
        *ret_disguised |= likeness == DISGUISED;
    }
    return FIELD_OTHER;
}

enum field_id field_id_of(struct slice name)
{
    bool disguised;
    return field_id_find(name, &disguised);
}

bool field_hop_by_hop(enum field_id id)
{
    return fields_known[id].hop_by_hop;
}

const struct field *head_find(const struct head *head, const char *name)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (slice_is_nocase(head->fields[i].name, name))
            return &head->fields[i];
    return NULL;
}

bool field_trails(const struct field *field)
{
    enum field_id id = field->id;
    return !field->dropped && !field_hop_by_hop(id) && id != FIELD_HOST &&
           id != FIELD_CONTENT_LENGTH && id != FIELD_TRAILER && id != FIELD_SET_COOKIE;
}
