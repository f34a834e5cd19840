/* Heads: a request's or a response's first part as every protocol version has it (RFC 9110):
 * method, target or status, fields. Slices point into bytes that somebody else owns (a worker's
 * input, an exchange's arena); nothing here copies or allocates. HTTP/1.1 (h1_parse.h) and HTTP/2
 * (h2_head.c) fill it; FastCGI … fill the same. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const char *bytes; /* not ended by 0 */
    uint32_t length;
};

#define SLICE(text) ((struct slice){(text), sizeof(text) - 1})

bool slice_is(struct slice slice, const char *text);        /* byte by byte */
bool slice_is_nocase(struct slice slice, const char *text); /* ASCII */
bool slice_same_nocase(struct slice one, struct slice other);

enum http_method {
    METHOD_OTHER,
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_DELETE,
    METHOD_CONNECT,
    METHOD_OPTIONS,
    METHOD_TRACE,
    METHOD_PATCH,
};
enum http_method method_of(struct slice name);   /* case matters */
bool method_safe(enum http_method method);       /* RFC 9110 §9.2.1 */
bool method_idempotent(enum http_method method); /* RFC 9110 §9.2.2 */

/* Names that the gateway itself looks at; found while parsing, so nobody searches for them. */
enum field_id {
    FIELD_OTHER,
    FIELD_HOST,
    FIELD_CONNECTION,
    FIELD_CONTENT_LENGTH,
    FIELD_TRANSFER_ENCODING,
    FIELD_UPGRADE,
    FIELD_EXPECT,
    FIELD_TE,
    FIELD_TRAILER,
    FIELD_KEEP_ALIVE,
    FIELD_PROXY_CONNECTION,
    FIELD_PROXY_AUTHENTICATE,
    FIELD_PROXY_AUTHORIZATION,
    FIELD_HTTP2_SETTINGS,
    FIELD_X_FORWARDED_FOR,
    FIELD_X_FORWARDED_PROTO,
    FIELD_X_FORWARDED_HOST,
    FIELD_X_FORWARDED_PORT,
    FIELD_X_REAL_IP,
    FIELD_FORWARDED,
    FIELD_X_REQUEST_ID,
    FIELD_TRACEPARENT,
    FIELD_COOKIE,
    FIELD_SET_COOKIE,
    FIELD_DATE,
    FIELD_SERVER,
    FIELD_VIA,
    FIELD_MAX_FORWARDS,
    FIELD_RETRY_AFTER,
    FIELD_CONTENT_TYPE,
    FIELD_USER_AGENT,
    FIELD_REFERER,
    FIELD_COUNT,
};
enum field_id field_id_of(struct slice name); /* ASCII case does not matter */
/* The same; *ret_disguised: it is FIELD_OTHER, but would be a known one with `-` for `_`. What
 * reads fields as CGI variables cannot tell the two, so such a field must not be passed on. */
enum field_id field_id_find(struct slice name, bool *ret_disguised);
/* Must not be passed on by a proxy (RFC 9110 §7.6.1); those that Connection names come on top. */
bool field_hop_by_hop(enum field_id id);

struct field {
    struct slice name;  /* as received */
    struct slice value; /* without white space around it */
    uint8_t id;         /* enum field_id */
    bool dropped;       /* named by Connection, or removed by a rule: not passed on */
};

/* May it come behind a body? Framing, routing and what a proxy must not believe may not
 * (RFC 9110 §6.5.1). */
bool field_trails(const struct field *field);

enum { HEAD_FIELDS_MAX = 256 }; /* the listener's bound is at most this */

enum body_kind {
    BODY_NONE,
    BODY_LENGTH, /* Content-Length */
    BODY_CHUNKED,
    BODY_CLOSE, /* a response's, until the connection ends */
};

struct head {
    /* Of requests. */
    enum http_method method;
    struct slice method_name;
    struct slice scheme;    /* "http" or "https" */
    struct slice authority; /* as sent: the target's if absolute, else Host; "" in HTTP/1.0 */
    struct slice host;      /* the authority without port; lower case is not made */
    uint16_t port;          /* of the authority; 0: none */
    struct slice target;    /* origin form, or "*": path and query, what is sent on; begins with `?`
                               if it was absolute and without a path: a `/` belongs before it */
    struct slice path;      /* as sent */
    struct slice query;     /* without `?` */
    bool has_query;
    /* Of responses. */
    uint16_t status;
    struct slice reason;
    /* Of both. */
    uint8_t version_minor; /* HTTP/1.x */
    bool keep_alive;       /* the connection may live on after this message */
    bool upgrade;          /* Connection: upgrade, and an Upgrade field */
    bool connect;          /* it was an extended CONNECT (RFC 8441), and is shown as an upgrade */
    bool expect_continue;
    bool te_trailers;
    enum body_kind body;
    uint64_t body_length; /* BODY_LENGTH */
    struct field *fields; /* room for fields_room, the filler's */
    uint32_t field_count;
    uint32_t fields_room;
    /* Place + 1 of the first field of an id; 0: none. A second of those that may stand but once is
     * an error of the parser, of others the fields are to be walked. */
    uint16_t first[FIELD_COUNT];
};

/* NULL: none. */
static inline const struct field *head_field(const struct head *head, enum field_id id)
{
    return head->first[id] ? &head->fields[head->first[id] - 1] : NULL;
}
/* The first field of that name (any case); NULL: none. */
const struct field *head_find(const struct head *head, const char *name);
