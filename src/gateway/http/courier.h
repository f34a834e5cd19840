/* A courier carries one request to an endpoint and its answer back, for one owner, the proxy
 * handler. It is what the handler knows of the connection: of HTTP/1.1 and FastCGI one is the
 * connection itself (h1_client.h), of HTTP/2 a stream of one (h2_client.h). How one is come by, and
 * what the request's head looks like, is the protocol's (proxy.h: struct proxy_protocol).
 *
 *   begun ─▶ send … (head, body) ─▶ response, body … ─▶ done / close
 *
 * The owner is called from the loop only, never from within a call of its own. It may close the
 * courier, or be done with it, in any call; either is the last call. After `failed` it is to be
 * closed. One worker. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "gateway/http/head.h"

struct stream;

enum courier_stage {
    STAGE_CONNECT,  /* TCP, TLS */
    STAGE_SEND,     /* the request is on its way */
    STAGE_RESPONSE, /* it is out, the head is not there yet */
    STAGE_BODY,
};

struct courier_failure {
    enum courier_stage stage;
    bool timeout;
    bool received; /* something of a response came */
    bool spoke;    /* STAGE_CONNECT: somebody accepted, and TLS with him failed */
    bool reused;   /* there was a request on the connection before: its end may have crossed this */
    bool untouched; /* the endpoint says that it has not begun with it: no method forbids another
                       try */
    const char *why;
};

struct courier_calls {
    /* The request's body may go on. */
    void (*room)(void *owner);
    void (*interim)(void *owner, const struct head *head);
    /* The head with the first bytes of the body, decoded. How many were taken; when less than all,
     * no more come until `more`. The head's slices hold during the call. */
    size_t (*response)(void *owner, const struct head *head, const char *bytes, size_t length,
                       bool last);
    size_t (*body)(void *owner, const char *bytes, size_t length, bool last);
    /* Where the next bytes of the body may be put at once, instead of being given to `body`, which
     * hears only of its end: how many have room; 0: none now, until `more`; -1: they must be given.
     * Then, before anything else is called: so many were put there. NULL: never. */
    ssize_t (*place)(void *owner, char **ret_bytes);
    void (*placed)(void *owner, size_t length);
    /* Large bodies: may they go by a pipe; then: as codec.splice. */
    bool (*splices)(void *owner);
    ssize_t (*splice)(void *owner, int pipe_fd, size_t length);
    void (*failed)(void *owner, const struct courier_failure *failure);
};

struct courier_times { /* ms */
    uint32_t send;
    uint32_t response;
    uint32_t read;
    uint32_t idle;
};

struct courier_piece { /* of a request's body */
    const char *bytes;
    size_t length;
    bool last;
    const struct field *trailers; /* of the last one */
    uint32_t trailer_count;
};

struct courier; /* embedded first in the protocol's own */

struct courier_kind {
    /* Body bytes taken (0: wait for `room`), or -errno: the connect failed. When the endpoint takes
     * no more, the rest is thrown away as if it had been taken, since its answer may be there
     * already. */
    ssize_t (*send)(struct courier *courier, const struct courier_piece *piece);
    /* The owner takes the response's body again. */
    void (*more)(struct courier *courier);
    /* The trailer's fields of the response that is over. */
    uint32_t (*trailers)(struct courier *courier, struct field *fields, uint32_t room);
    /* After a 101: the stream, and what was read behind the head. Close the courier after the move.
     * NULL: never called, since there is no 101. */
    struct stream *(*upgrade)(struct courier *courier, struct slice *ret_ahead);
    /* After a 101 too, for an owner that has no stream to join it with: what goes and comes from
     * now on are bytes both ways, the request's body and the response's, until either end ends; for
     * `idle_ms` at most nothing may come or go. NULL: as above. */
    void (*tunnel)(struct courier *courier, uint32_t idle_ms);
    /* The response is over: the connection may carry another request. */
    void (*done)(struct courier *courier);
    void (*close)(struct courier *courier);
};

struct courier {
    const struct courier_kind *kind;
};
