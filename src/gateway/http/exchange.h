/* An exchange: one request and its response, between a codec (that speaks with the client:
 * h1_server, h2_server) and a handler (that makes the response: proxy, redirect, respond
 * now; FastCGI, files, cache later). Neither knows the other; each knows the exchange. Owned by the
 * codec, from the request's head until both the response is out and the handler has let go.
 *
 *   codec                         exchange                          handler
 *   request head parsed ────────▶ exchange_dispatch: site, route ──▶ start
 *   body bytes ─────────────────▶ exchange_request_body ───────────▶ request_body
 *   asks for more ◀────────────── exchange_request_more ◀─────────── (took what it was given)
 *   head, bytes ◀──────────────── exchange_respond / _write / _end ◀─ response
 *   has room again ─────────────▶ exchange_writable ───────────────▶ response_room
 *   client gone ────────────────▶ exchange_abort ──────────────────▶ abort
 *
 * Flow control is the same in both directions: who is given bytes says how many it took; it is
 * given no more until it asks. Nothing is buffered beyond what one read brought, but for a request
 * body that a retry may need (bounded, EXCHANGE_REPLAY_BYTES).
 *
 * All calls are of one worker. A call may end the exchange (the codec frees it after the last
 * callback returned): after calling out, a handler or codec touches only what is its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/core/worker.h"
#include "gateway/http/head.h"

enum {
    EXCHANGE_ARENA_BYTES_MAX = 256 * 1024, /* head, rewritten fields, variables */
    EXCHANGE_REPLAY_BYTES = 64 * 1024,
    ERROR_PAGE_FIELDS_MAX = 8,
    TRAILERS_MAX = 64,     /* fields, of a request or a response; what is more is left out */
    REQUEST_ID_BYTES = 65, /* of our own: 32 digits; a longer one of a proxy is replaced */
    EXCHANGE_MOVED_BYTES_MIN = 32 * 1024,      /* by send_file; less is cheaper to copy */
    EXCHANGE_TURN_BYTES_MAX = 4 * 1024 * 1024, /* of a body; then others have their turn */
};

struct exchange;
struct filter;  /* filter.h */
struct guarded; /* guarded.h */

/* Who failed, for the log and the error page. */
enum exchange_blame { BLAME_NOBODY, BLAME_CLIENT, BLAME_UPSTREAM, BLAME_ENGINX };

struct response_head { /* what a handler answers; copied or sent before the call returns */
    uint16_t status;
    struct slice reason;        /* "": the status' usual one */
    const struct field *fields; /* hop-by-hop ones and `dropped` are left out; Connection,
                                   Content-Length and Transfer-Encoding are the codec's */
    uint32_t field_count;
    enum body_kind body; /* BODY_CLOSE: a length is not known: the codec frames it */
    uint64_t body_length;
    bool follows; /* the body comes by send_file before anything is waited for: the head may wait
                     for it, to leave in one segment with its first bytes */
};

/* "Not Found"; "" of a status that nobody knows. */
struct slice status_reason(uint16_t status);

struct codec {
    const char *name; /* "HTTP/1.1" */
    bool trails;      /* trailers may end any response */
    /* An interim response (100, 103). */
    void (*interim)(struct exchange *exchange, const struct response_head *head);
    /* The head, with the first bytes of the body (`length` may be 0). `last`: that is all. The
     * number of body bytes taken; the rest is asked for by `response_room`. -errno: the client is
     * gone, abort follows. */
    ssize_t (*respond)(struct exchange *exchange, const struct response_head *head,
                       const char *bytes, size_t length, bool last);
    ssize_t (*write)(struct exchange *exchange, const char *bytes, size_t length, bool last);
    /* Where the next bytes of the body may be put instead of being given to `write`: how many have
     * room; 0: none now, `response_room` will be called; -1: they must be written. Then, before
     * anything else is called: so many were put there. The last ones are followed by an empty
     * `write`. NULL: always -1. */
    ssize_t (*place)(struct exchange *exchange, char **ret_bytes);
    void (*placed)(struct exchange *exchange, size_t length);
    /* The end of a body whose last bytes were written before; trailer fields. */
    void (*end)(struct exchange *exchange, const struct field *trailers, uint32_t count);
    /* The response cannot be finished: cut it so that the client notices. */
    void (*cut)(struct exchange *exchange);
    /* The handler can take more of the request's body. */
    void (*request_more)(struct exchange *exchange);
    /* May the rest of the body be moved from a pipe (no framing, no TLS, nothing waits)? */
    bool (*splices)(struct exchange *exchange);
    /* Moves up to so many bytes of the body out of a pipe. Bytes; -EAGAIN: `response_room` will be
     * called; -errno: the client is gone, abort follows. */
    ssize_t (*splice)(struct exchange *exchange, int pipe_fd, size_t length);
    /* The same of a file, from `offset` on, where `splices` says yes; 0: the file has no more.
     * NULL: this protocol cannot. */
    ssize_t (*send_file)(struct exchange *exchange, int fd, uint64_t offset, size_t length);
    /* An upgrade (101 was given to `respond`), or CONNECT: the codec's stream becomes the tunnel's;
     * `ahead`: bytes that the client sent already. NULL: this protocol has none. */
    struct stream *(*upgrade)(struct exchange *exchange, struct slice *ret_ahead);
    /* A head with 200 was given to `respond` in answer to a request that has `connect`: the
     * request's body are the tunnel's bytes from now on. NULL: this protocol has no such requests.
     */
    void (*tunnel)(struct exchange *exchange);
    /* It will take a while: see to it that the client's going away is noticed meanwhile. */
    void (*watch)(struct exchange *exchange);
    /* The handler has let go: once the response is out the exchange may be freed, also at once. */
    void (*released)(struct exchange *exchange);
};

struct handler {
    const char *name;
    void (*start)(struct exchange *exchange);
    /* Bytes of the request's body; `last`: it is over (length may be 0). The number taken, less:
     * it will call exchange_request_more. */
    size_t (*request_body)(struct exchange *exchange, const char *bytes, size_t length, bool last);
    void (*response_room)(struct exchange *exchange);
    /* The client is gone, or the codec gave up. Let go of everything; call nothing any more. */
    void (*abort)(struct exchange *exchange);
};

struct exchange {
    const struct codec *codec;
    const struct handler *handler; /* NULL: none yet, or done */
    void *handler_own;
    struct filter *filters;  /* the one nearest the handler first; NULL: none */
    struct guarded *guarded; /* NULL: the route has no guards, or they were not asked yet */
    struct client_base *client;
    struct worker *worker;
    struct generation_use *use;          /* holds a reference */
    const struct route *route;           /* NULL: none matched */
    uint32_t route_number;               /* of the matcher */
    struct tally_traffic *route_tally;   /* NULL: none */
    struct tally_traffic *service_tally; /* of whom it went to; NULL: nobody */

    struct head request;                  /* its bytes and fields lie in the arena */
    const struct field *request_trailers; /* set before the body's last bytes are given; arena */
    uint32_t request_trailer_count;
    struct bump *arena;  /* of this exchange; freed with it */
    bool client_trusted; /* the peer is one of the site's `trust` */
    int fd;              /* of the client's socket, for client_local; -1: none of its own */
    bool secure;         /* came by TLS */
    const char *tls_version, *tls_sni; /* for the log; NULL: none */
    char request_id[REQUEST_ID_BYTES]; /* "" until asked for: exchange_request_id */
    struct slice captures[10];         /* of the route's regular expression */
    struct slice allow;                /* of a 405: the methods that there are; valid in the call */
    struct follow *follow;             /* a service's response led elsewhere (follow.h); NULL */
    const struct field *page_fields;   /* further ones of an error page; valid in the call */
    uint32_t page_field_count;         /* ERROR_PAGE_FIELDS_MAX at most */

    uint64_t begun_us;
    uint64_t bytes_in;  /* of the request's body */
    uint64_t bytes_out; /* of the response's body */
    uint16_t status;    /* sent; 0: none yet */
    bool request_ended; /* its body is complete */
    bool body_anew;     /* another handler: the codec has not told it of the body */
    bool responded;     /* the handler has given the head */
    bool response_ended;
    bool release_waits; /* the handler let go, but a filter holds something */
    bool internal;      /* a subrequest: no client's; counted and logged by nobody */
    enum exchange_blame blame;
    uint16_t failed;      /* the status of a failure of ours, even when another is out; 0: none */
    const char *why;      /* of a failure, for the log; static or in the arena */
    const char *cache;    /* what the cache did: "hit", "miss" …; NULL: it was not asked */
    char upstream[64];    /* whom it went to, for the log: "api.2" */
    uint64_t upstream_us; /* until the response's head */
    uint8_t tries;
};

/* ---- for codecs ---- */

/* Finds the host and the route and starts its handler. The head lies in the arena already. Once
 * more for a request that is led elsewhere: follow.h. */
void exchange_dispatch(struct exchange *exchange);
/* Before that: what it came by so far is counted, as answered with this status. */
void exchange_leave(struct exchange *exchange, uint16_t status);
size_t exchange_request_body(struct exchange *exchange, const char *bytes, size_t length,
                             bool last);
void exchange_writable(struct exchange *exchange);
void exchange_abort(struct exchange *exchange, enum exchange_blame blame, const char *why);
/* Counts it, logs it; the codec calls this once, then frees it. */
void exchange_done(struct exchange *exchange);
void exchange_filters_done(struct exchange *exchange); /* exchange_done does it */

/* Bytes that the request's body may have; 0: no bound. */
uint64_t exchange_body_max(const struct exchange *exchange);

/* ---- for handlers ---- */

/* The next stage: whoever started (a handler that only looks at the request, as guards do) has not
 * answered, and is followed by the next handler; in the end by the route's own. The last call of
 * the one that is left, which may have taken none of the request's body, or all that it keeps. */
void exchange_proceed(struct exchange *exchange);

const char *exchange_request_id(struct exchange *exchange);
/* An answer of our own: a small page (text, or JSON when the client asks for it) that says who
 * failed, with the request id. `why` goes to the log only. Ends the exchange's response. */
void exchange_fail(struct exchange *exchange, uint16_t status, enum exchange_blame blame,
                   const char *why);
ssize_t exchange_respond(struct exchange *exchange, const struct response_head *head,
                         const char *bytes, size_t length, bool last);
ssize_t exchange_write(struct exchange *exchange, const char *bytes, size_t length, bool last);
void exchange_end(struct exchange *exchange, const struct field *trailers, uint32_t count);
void exchange_cut(struct exchange *exchange, enum exchange_blame blame, const char *why);
/* Who is to blame, and why, for the log; the first word stands. */
void exchange_blame(struct exchange *exchange, enum exchange_blame blame, const char *why);
void exchange_request_more(struct exchange *exchange);
/* Nothing more comes from the handler; must be the handler's last call. */
void exchange_release(struct exchange *exchange);

void exchange_interim(struct exchange *exchange, const struct response_head *head);
/* As codec.place. */
ssize_t exchange_place(struct exchange *exchange, char **ret_bytes);
void exchange_placed(struct exchange *exchange, size_t length);
bool exchange_splices(struct exchange *exchange);
ssize_t exchange_splice(struct exchange *exchange, int pipe_fd, size_t length);
bool exchange_sends_files(struct exchange *exchange);
ssize_t exchange_send_file(struct exchange *exchange, int fd, uint64_t offset, size_t length);

extern const struct handler handler_proxy, handler_redirect, handler_respond, handler_files;
