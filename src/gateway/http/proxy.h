/* The handler that passes a request to a service's endpoint, for its own files:
 *   proxy.c           its life: choosing, trying, trying again
 *   proxy_request.c   which fields the endpoint gets, and the body
 *   proxy_h1.c        connections and heads of HTTP/1.1
 *   proxy_h2.c        links and heads of HTTP/2
 *   proxy_cgi.c       connections of FastCGI, uwsgi and SCGI
 *   proxy_response.c  what the endpoint answers, to the client
 *   proxy_breaker.c   which service of the route, and its breaker
 *   proxy_key.c       what `balance hash` and `sticky` choose by
 *   cgi.h             the request, when the service speaks FastCGI, uwsgi or SCGI
 *   forwarded.c       X-Forwarded-… and Forwarded
 *
 *   start ─▶ pick ─▶ (wait: `hold`) ─▶ connection: pooled or new ─▶ request ─▶ response ─▶ released
 *             ▲                                                        │
 *             └───────────── failed, and may be tried again ───────────┘
 *
 * What may be tried again: a connect that failed, always, since nothing reached the endpoint; else
 * what the endpoint says it has not begun with (courier.h: untouched), whatever the method; else
 * what the service's `retry methods=` allows, before anything of the response was passed on, with a
 * body only if all that was taken of it is still there (EXCHANGE_REPLAY_BYTES). Within `retry
 * tries=` and its budget; a kept connection that ended while the request was on its way counts
 * for neither, but the next one is made anew. */
#pragma once

#include "gateway/http/courier.h"
#include "gateway/http/exchange.h"
#include "gateway/relay/tunnel.h"
#include "upstream/upstream.h"

struct given {
    const char *bytes;
    size_t length;
    bool last;
    size_t taken; /* when a connection was found at once */
    bool gone;    /* the exchange is over, the proxy freed */
};

struct proxy;

/* How a service is spoken with; one for each that `speaks` names. */
struct proxy_protocol {
    const char *name;
    bool upgrades; /* it can become a tunnel, for WebSocket */
    /* A connection to proxy->endpoint for the request: proxy->courier, begun. 0 or -errno. */
    int (*begin)(struct proxy *proxy);
    /* Sends the head with the first bytes of the body. Of those so many were taken; -E2BIG: the
     * head does not fit; -EINVAL: the rewritten path is none; -ENOMEM; else the connect failed. */
    ssize_t (*request)(struct proxy *proxy, const struct courier_piece *piece);
};
extern const struct proxy_protocol proxy_http1, proxy_fastcgi, proxy_uwsgi, proxy_scgi, proxy_http2;

struct proxy { /* in the exchange's arena */
    struct exchange *exchange;
    struct upstream *upstream;
    struct endpoint *endpoint; /* begun; NULL: none just now */
    const struct proxy_protocol *protocol;
    struct courier *courier;         /* NULL: none just now */
    const struct cgi_script *script; /* of a service that is told CGI variables; NULL: HTTP */
    struct tunnel *tunnel;           /* after an upgrade */
    struct waiter waiter;
    struct timer deadline; /* of a gRPC call that says how long it may take */
    struct pick pick;
    uint64_t sent_us;
    uint64_t latency_us; /* to the response's head; 0: not yet */
    struct given *given; /* what the codec gives in this call of request_body; NULL: nothing */
    char *replay;        /* what was taken of the request's body; NULL: nothing yet */
    uint32_t replay_length;
    uint32_t replay_sent; /* of it, on this connection */
    uint32_t replay_room;
    bool replay_lost; /* not all of it is there */
    bool body_over;   /* its last byte was taken */
    bool retriable;   /* by its method */
    bool begun;       /* the first choice was made */
    bool fresh_only;  /* no kept connection any more */
    bool aborting;
    uint8_t tries;
    uint32_t service;  /* index */
    breaker_pass pass; /* of the try that is under way */
};

static inline const struct service *proxy_service(const struct proxy *proxy)
{
    return upstream_service(proxy->upstream);
}

/* ---- proxy.c ---- */

void proxy_failed(void *owner, const struct courier_failure *failure);
/* The response is out (or cut): lets go of everything. The proxy is gone after it. */
void proxy_finish(struct proxy *proxy, enum endpoint_outcome outcome);

/* The response is not passed on, and the exchange goes on without the proxy. `whole`: nothing more
 * comes of it, so that the connection can be kept. */
void proxy_leave(struct proxy *proxy, bool whole);

/* ---- proxy_request.c ---- */

/* Sends the head, and what there is of the body. 0, or as proxy_protocol.request. */
int proxy_request_send(struct proxy *proxy);
/* The request's fields after the route's rules, Host first. NULL: no memory. */
const struct field *proxy_request_fields(struct proxy *proxy, uint32_t *ret_count);
/* Is a field of the client the endpoint's as it is? */
bool proxy_field_passes(const struct exchange *exchange, const struct field *field);
/* The same of one that has passed the route's rules. */
bool proxy_ruled_passes(const struct field *field);
/* The Host that the client asked for; and after the rules. */
struct slice proxy_host(const struct proxy *proxy);
struct slice proxy_host_ruled(const struct field *fields, uint32_t count, struct slice host);
/* The target, rewritten. False: that made something that is none. */
bool proxy_target(struct exchange *exchange, struct slice *ret_target);
/* How often it may be forwarded yet: what to say in its place. False: nothing is said. */
bool proxy_forwards(const struct head *request, uint64_t *ret_left);
/* The service's timeouts, by the route. */
struct courier_times proxy_times(const struct proxy *proxy);
/* TLS to the service; NULL: plain. */
struct tls_client *proxy_tls(const struct proxy *proxy);
/* The connection has room for more of the body. */
void proxy_room(void *owner);
/* Keeps all of a body whose length must be known before it is sent. False: it is too large. */
bool proxy_body_collect(struct proxy *proxy, const char *bytes, size_t length, bool last);
size_t proxy_body_send(struct proxy *proxy, const char *bytes, size_t length, bool last);

/* ---- proxy_response.c ---- */

extern const struct courier_calls proxy_calls;

/* ---- proxy_breaker.c ---- */

/* By weight, of those whose breaker lets somebody pass. */
const struct route_target *proxy_target_choose(struct exchange *exchange);
/* The try has ended. That it went well was said with the response's head. */
void proxy_breaker_leave(struct proxy *proxy, enum endpoint_outcome outcome);
/* The response's head is here. */
void proxy_breaker_told(struct proxy *proxy, uint16_t status);
/* The answer in place of the service's. */
void proxy_breaker_fail(struct proxy *proxy);

/* ---- proxy_key.c ---- */

/* Fills what the choice of an endpoint depends on. */
void proxy_key(struct proxy *proxy);
/* The Set-Cookie that keeps a client with the endpoint; false: it has it already, or none is
 * wanted. */
bool proxy_cookie(struct proxy *proxy, struct slice *ret_value);

/* ---- forwarded.c ---- */

enum { FORWARDED_FIELDS_MAX = 6 };
/* The fields that tell the endpoint who the client is; the client's own of these names are not
 * passed on. Values in the arena. How many; 0: no memory. */
uint32_t forwarded_fields(struct exchange *exchange, struct field fields[FORWARDED_FIELDS_MAX]);
/* Is a request's field of this name made anew? */
bool forwarded_replaces(const struct exchange *exchange, enum field_id id);
