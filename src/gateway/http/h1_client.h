/* HTTP/1.1, or FastCGI, to an endpoint: a connection that carries one request after the other, for
 * one owner (the proxy handler) at a time, and waits in the endpoint's pool in between.
 *
 *   h1_client_take / _connect ─▶ _begin ─▶ _send … (head, body) ─▶ response, body … ─▶ _done /
 * _close
 *
 * The owner is called from the loop only, never from within a call of its own. It may close the
 * connection, or give it back, in any call. After `failed` the connection is to be closed.
 * One worker. */
#pragma once

#include "gateway/core/worker.h"
#include "gateway/http/h1_output.h"
#include "gateway/http/h1_parse.h"

struct h1_client;

enum h1_stage {
    STAGE_CONNECT,  /* TCP, TLS */
    STAGE_SEND,     /* the request is on its way */
    STAGE_RESPONSE, /* it is out, the head is not there yet */
    STAGE_BODY,
};

struct h1_failure {
    enum h1_stage stage;
    bool timeout;
    bool received; /* something of a response came */
    bool spoke;    /* STAGE_CONNECT: somebody accepted, and TLS with him failed */
    const char *why;
};

struct h1_client_calls {
    /* The request's body may go on. */
    void (*room)(void *owner);
    void (*interim)(void *owner, const struct head *head);
    /* The head with the first bytes of the body, decoded. How many were taken; when less than all,
     * no more come until h1_client_more. The head's slices hold during the call. */
    size_t (*response)(void *owner, const struct head *head, const char *bytes, size_t length,
                       bool last);
    size_t (*body)(void *owner, const char *bytes, size_t length, bool last);
    /* Large bodies: may they go by a pipe; then: as codec.splice. */
    bool (*splices)(void *owner);
    ssize_t (*splice)(void *owner, int pipe_fd, size_t length);
    void (*failed)(void *owner, const struct h1_failure *failure);
};

struct h1_client_times { /* ms */
    uint32_t send;
    uint32_t response;
    uint32_t read;
    uint32_t idle;
};

/* One that waits in the endpoint's pool; NULL: none. */
struct h1_client *h1_client_take(struct endpoint *endpoint);
/* One that another worker had no need of, plain; NULL: none. */
struct h1_client *h1_client_adopt(struct worker *worker, struct endpoint *endpoint);
/* A new one; the connect goes on by itself. 0 or -errno. `tls` NULL: plain. */
int h1_client_connect(struct worker *worker, struct endpoint *endpoint, struct tls_client *tls,
                      uint32_t connect_ms, struct h1_client **ret_client);
/* Is it still there? Asks the socket: for a request that must not be sent twice. */
bool h1_client_alive(struct h1_client *client);
/* Was there a request on it before? Then its end may have crossed this one on the way. */
bool h1_client_secure(const struct h1_client *client); /* it speaks TLS */
bool h1_client_reused(const struct h1_client *client);
/* Never to be pooled: its PROXY header names one client. */
void h1_client_private(struct h1_client *client);
void h1_client_begin(struct h1_client *client, const struct h1_client_calls *calls, void *owner,
                     enum http_method method, const struct h1_client_times *times);
/* After begin: the endpoint speaks FastCGI. The head that is sent is that of a request up to the
 * end of PARAMS; its body goes in records (always `chunked`), what comes back is taken out of them,
 * and what the program writes to its standard error is logged. Such a connection carries another
 * request when `keeps`. */
void h1_client_fastcgi(struct h1_client *client, bool keeps);
/* Of a kept one: did it carry that before? */
bool h1_client_fastcgi_was(const struct h1_client *client);
/* Body bytes taken (0: wait for `room`), or -errno: the connect failed. `piece.last`: that is the
 * whole request. When the endpoint takes no more, the rest is thrown away as if it had been taken,
 * since its answer may be there already. */
ssize_t h1_client_send(struct h1_client *client, const struct h1_piece *piece, bool chunked);
/* The owner takes the response's body again. */
void h1_client_more(struct h1_client *client);
/* The trailer's fields of the response that is over; 0 if nobody wanted them. */
uint32_t h1_client_trailers(struct h1_client *client, struct field *fields, uint32_t room);
/* After begin: where a trailer is to be put (CHUNK_TRAILER_BYTES_MAX). */
void h1_client_trailers_want(struct h1_client *client, char *room);
/* The request is over: into the pool if it can carry another, else closed. */
void h1_client_done(struct h1_client *client);
void h1_client_close(struct h1_client *client);
/* For an upgrade: the stream, and what was read behind the head. Close it after the move. */
struct stream *h1_client_upgrade(struct h1_client *client, struct slice *ret_ahead);
